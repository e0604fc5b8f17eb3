// Package refusal is the one vocabulary in which IsoCore says no.
//
// A refusal has two audiences. The client hears the text of a [Reason], one of
// a closed set, the same on every protocol. The operator reads the chain of
// errors behind it.
package refusal

import (
	"errors"
	"fmt"
)

// A Reason is why something was refused, in words a client may hear. The zero
// Reason is Internal: what nobody classified tells nothing.
type Reason uint8

const (
	Internal        Reason = iota // a fault of ours, or a cause nobody classified
	Unauthenticated               // no token, or not one of ours
	Expired                       // a token that was good
	Suspended                     // tenant, partner or principal may not act now
	Narrow                        // the token's scope does not reach so far
	Denied                        // the table says Deny
	Unlisted                      // the table does not say anything
	NotFound                      // not there, or not yours: the same answer
	Malformed                     // not the protocol
	TooLarge                      // over a size limit
	TooMany                       // over a limit of things at once
	TooFast                       // over a rate
	OverBudget                    // over a budget
	TooLong                       // over a time limit
	Unrecorded                    // the audit trail cannot take the record
	Unavailable                   // the store cannot be reached
	Draining                      // this node is going away
)

// Reasons are all there are, in order.
var Reasons = []Reason{
	Internal, Unauthenticated, Expired, Suspended, Narrow, Denied, Unlisted, NotFound, Malformed,
	TooLarge, TooMany, TooFast, OverBudget, TooLong, Unrecorded, Unavailable, Draining,
}

// String returns the name of r, as records and APIs carry it.
func (r Reason) String() string {
	if int(r) < len(names) {
		return names[r]
	}
	return names[Internal]
}

// Text returns what a client hears.
func (r Reason) Text() string {
	if int(r) < len(texts) {
		return texts[r]
	}
	return texts[Internal]
}

var names = [len(texts)]string{
	"Internal", "Unauthenticated", "Expired", "Suspended", "Narrow", "Denied", "Unlisted", "NotFound", "Malformed",
	"TooLarge", "TooMany", "TooFast", "OverBudget", "TooLong", "Unrecorded", "Unavailable", "Draining",
}

var texts = [Draining + 1]string{
	"internal error",
	"not authenticated",
	"token expired; present a new one",
	"suspended",
	"not permitted",
	"not permitted",
	"not supported here",
	"not found",
	"protocol error",
	"too large",
	"too many connections",
	"slow down",
	"budget used",
	"time limit",
	"audit unavailable",
	"store unavailable",
	"connect again",
}

// An Error is a Reason with its cause.
type Error struct {
	Reason Reason
	Hint   string // may follow the Reason's text towards the client; fixed words of ours only
	err    error
}

// New returns an Error for r whose cause is written with format and args, as
// by [fmt.Errorf]. The cause is for the operator only.
func New(r Reason, format string, args ...any) *Error {
	return &Error{Reason: r, err: fmt.Errorf(format, args...)}
}

// Hinted is [New] with a hint the client may read.
func Hinted(r Reason, hint, format string, args ...any) *Error {
	return &Error{Reason: r, Hint: hint, err: fmt.Errorf(format, args...)}
}

func (e *Error) Error() string { return e.Reason.String() + ": " + e.err.Error() }

func (e *Error) Unwrap() error { return e.err }

// Of returns the Reason in err's chain, or Internal if there is none.
func Of(err error) Reason {
	if e, ok := errors.AsType[*Error](err); ok {
		return e.Reason
	}
	return Internal
}

// HintOf returns the hint in err's chain, or "".
func HintOf(err error) string {
	if e, ok := errors.AsType[*Error](err); ok {
		return e.Hint
	}
	return ""
}
