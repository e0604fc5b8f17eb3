// Package scope is room 3: what a Principal may touch, as data.
//
// A broker has one [Table]: operation, verdict, reason. Deny is the zero
// verdict and the verdict of everything that is not listed.
package scope

import (
	"cmp"
	"fmt"
	"slices"

	"github.com/isocore/isocore/identity"
	"github.com/isocore/isocore/refusal"
	"github.com/isocore/isocore/tenant"
)

// A Scope is what one Principal may touch. The zero Scope matches nothing.
type Scope struct{ p identity.Principal }

// Of returns the scope of p. It is the only maker of a Scope.
func Of(p identity.Principal) Scope { return Scope{p} }

// Tenant returns whose data is in scope.
func (s Scope) Tenant() tenant.ID { return s.p.Tenant() }

// Principal returns whose scope it is.
func (s Scope) Principal() identity.Principal { return s.p }

// An Operation is one thing asked for; the unit of verdict and record.
type Operation struct {
	Name      string   // its row in the table
	Resources []string // what it names, as the client wrote it
	Text      []byte   // statement, prompt, path: sealed in the record
	Class     uint16   // of its records, registered in docs/records.md

	Parameters [][]byte // what the text was given beside it; nil is NULL
}

// A Request is bytes that ask for one or more operations: a batch, a message
// with several statements. One verdict and one record each, all or nothing.
type Request interface{ Operations() []Operation }

// A Verdict is what the table says of an operation.
type Verdict uint8

const (
	Deny    Verdict = iota // refused; the verdict of everything unlisted
	Allow                  // forwarded as it is: it touches no tenant's data, or is part of an operation already recorded
	Confine                // forwarded only after being rewritten under the scope
)

func (v Verdict) String() string {
	switch v {
	case Allow:
		return "allow"
	case Confine:
		return "confine"
	case Deny:
		return "deny"
	default:
		return "deny"
	}
}

// An Effect says when an operation may run relative to its record.
type Effect uint8

const (
	Write Effect = iota // not sent before its decision is durable
	Read                // sent, and not answered before its decision is durable: only where the engine itself guarantees a read
)

func (e Effect) String() string {
	if e == Read {
		return "read"
	}
	return "write"
}

// A Rule is one line of a table.
type Rule[R Request] struct {
	Verdict Verdict
	Effect  Effect
	Needs   string // the reach a token must have; "" only beside Allow and Deny
	Why     string // the reason, for people: docs, console, prover, and the client that is refused
	Hint    string // what a refused client reads in its place; may be empty

	// Confine rewrites the i-th operation of req under s. It is set exactly
	// when the verdict is Confine.
	Confine func(req R, i int, s Scope) error
}

// A Table is a broker's posture.
type Table[R Request] map[string]Rule[R]

// Rule returns the rule of op, or a refusal: Unlisted if there is none.
func (t Table[R]) Rule(op string) (Rule[R], error) {
	r, ok := t[op]
	if !ok {
		return Rule[R]{}, refusal.New(refusal.Unlisted, "%.100q is not in the table", op)
	}
	return r, nil
}

// A Row is a line of a table without its code.
type Row struct {
	Broker  string  `json:"broker"`
	Name    string  `json:"name"`
	Verdict Verdict `json:"-"`
	Effect  Effect  `json:"-"`
	Needs   string  `json:"needs,omitempty"`
	Why     string  `json:"why"`
}

// Rows returns the table of broker as rows, sorted by name.
func (t Table[R]) Rows(broker string) []Row {
	rows := make([]Row, 0, len(t))
	for name, r := range t {
		rows = append(rows, Row{broker, name, r.Verdict, r.Effect, r.Needs, r.Why})
	}
	slices.SortFunc(rows, func(a, b Row) int { return cmp.Compare(a.Name, b.Name) })
	return rows
}

// Check reports everything that is wrong with t: a Confine without a function
// or a reach, a function beside another verdict, a row without a reason.
func (t Table[R]) Check() []error {
	var errs []error
	want := func(ok bool, name, what string) {
		if !ok {
			errs = append(errs, fmt.Errorf("scope: row %q: %s", name, what))
		}
	}
	for name, r := range t {
		want(name != "", name, "has no name")
		want(r.Why != "", name, "has no reason")
		want((r.Verdict == Confine) == (r.Confine != nil), name, "a function goes with Confine and nothing else")
		want((r.Verdict == Confine) == (r.Needs != ""), name, "a reach goes with Confine and nothing else")
		want(r.Verdict <= Confine, name, "has no such verdict")
	}
	return errs
}
