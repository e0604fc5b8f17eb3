// Package trail is what the audit trail is made of: records, their headers,
// seals, batches and checkpoints, as bytes. It opens no file and holds no
// state, so that a verifier needs nothing else.
package trail

import "fmt"

// A Kind is what a record is about an operation, a session or the node itself.
// The zero Kind is none.
type Kind uint8

const (
	Decision Kind = iota + 1 // an operation was admitted or refused; durable before anything else happens
	Outcome                  // what came of a decision
	Entry                    // a session began, ended or was refused
	Admin                    // somebody changed what exists
	System                   // the node itself: boot, shutdown, gap
)

// Kinds are all there are, in order.
var Kinds = []Kind{Decision, Outcome, Entry, Admin, System}

func (k Kind) String() string {
	switch k {
	case Decision:
		return "decision"
	case Outcome:
		return "outcome"
	case Entry:
		return "entry"
	case Admin:
		return "admin"
	case System:
		return "system"
	default:
		return fmt.Sprintf("kind %d", uint8(k))
	}
}

// A Class is what sort of thing a record tells, in clear in its header so that
// "all records of this class" can be proved complete. Numbers are registered in
// docs/records.md and never used again.
type Class uint16

const (
	ClassSessionBegun    Class = 0x0101
	ClassSessionEnded    Class = 0x0102
	ClassSessionRefused  Class = 0x0103
	ClassStatement       Class = 0x0201
	ClassTransaction     Class = 0x0202
	ClassRequest         Class = 0x0203
	ClassExchange        Class = 0x0204
	ClassTenant          Class = 0x0301
	ClassToken           Class = 0x0302
	ClassKey             Class = 0x0303
	ClassIssuer          Class = 0x0304
	ClassConfig          Class = 0x0305
	ClassBoot            Class = 0x0401
	ClassShutdown        Class = 0x0402
	ClassGap             Class = 0x0403
	ClassUnauthenticated Class = 0x0404
	ClassKeySet          Class = 0x0405
)

// A Registered is one line of the register of classes.
type Registered struct {
	Class Class
	Name  string
	Kinds []Kind // beside which the class may stand
	Tells string
}

// Classes are all there are, in order of their numbers.
var Classes = []Registered{
	{ClassSessionBegun, "session-begun", []Kind{Entry}, "a verified token entered a broker"},
	{ClassSessionEnded, "session-ended", []Kind{Entry}, "a session is over, and why"},
	{ClassSessionRefused, "session-refused", []Kind{Entry}, "a verified token was not let in"},
	{ClassStatement, "statement", []Kind{Decision, Outcome}, "a statement of a client"},
	{ClassTransaction, "transaction", []Kind{Decision, Outcome}, "BEGIN, COMMIT, ROLLBACK and savepoints"},
	{ClassRequest, "request", []Kind{Decision, Outcome}, "an HTTP request to an application behind the edge"},
	{ClassExchange, "exchange", []Kind{Decision, Outcome}, "a token was exchanged for a narrower one"},
	{ClassTenant, "tenant", []Kind{Admin}, "a tenant or partner was made, changed, suspended or deleted"},
	{ClassToken, "token", []Kind{Admin}, "a token was issued"},
	{ClassKey, "key", []Kind{Admin}, "a key was made, rotated or destroyed"},
	{ClassIssuer, "issuer", []Kind{Admin}, "an issuer was added, changed or removed"},
	{ClassConfig, "config", []Kind{Admin}, "the configuration was read again, and which routes are others"},
	{ClassBoot, "boot", []Kind{System}, "the log was opened: recovered sizes, and the digest of all heads"},
	{ClassShutdown, "shutdown", []Kind{System}, "the log was closed in order"},
	{ClassGap, "gap", []Kind{System}, "records were refused for a while, how many and why"},
	{ClassUnauthenticated, "unauthenticated", []Kind{System}, "attempts by nobody, counted by listener, source and reason"},
	{ClassKeySet, "key-set", []Kind{System}, "an identity provider publishes other keys than before"},
}

func (c Class) String() string {
	for _, r := range Classes {
		if r.Class == c {
			return r.Name
		}
	}
	return fmt.Sprintf("class %#04x", uint16(c))
}

// Fits reports whether c is registered and may stand beside k.
func (c Class) Fits(k Kind) bool {
	for _, r := range Classes {
		if r.Class != c {
			continue
		}
		for _, has := range r.Kinds {
			if has == k {
				return true
			}
		}
	}
	return false
}
