package exchange

import (
	"slices"
	"strings"

	"github.com/isocore/isocore/audit"
	"github.com/isocore/isocore/identity"
	"github.com/isocore/isocore/refusal"
	"github.com/isocore/isocore/scope"
)

// table is the posture of the exchange: one row a broker that a token can be
// had for. No reach is common to all Txn-Tokens, so each row needs the weakest
// one that opens anything at its broker: a token that opened nothing would only
// be one more to lose. The row of what is not there has a fixed name, for a
// client's own words name no row.
var table = scope.Table[*request]{
	"exchange postgres":  {Verdict: scope.Confine, Needs: identity.PGRead, Why: "a token for PostgreSQL: the same person and txn, never more reach or life", Confine: narrow},
	"exchange elsewhere": {Why: "no broker of that name runs here"},
}

// elsewhere is the row of an audience that is none of ours.
const elsewhere = "exchange elsewhere"

// row returns the name of the row of a broker's tokens.
func row(name string) string { return "exchange " + name }

// audience is what precedes the broker's name in an audience.
const audience = "isocore:"

// A request is one exchange.
type request struct {
	row     string
	target  string // the audience, as the client wrote it
	broker  string // that it names, if it runs here
	scope   string // as the client wrote it; "" is all there is
	asked   []string
	granted []string // by the rule; nil until it ran
}

// request returns what f asks for.
func (x *Exchange) request(f *form) *request {
	q := &request{row: elsewhere, target: f.audience, scope: f.scope, asked: f.reach}
	if name, ok := strings.CutPrefix(f.audience, audience); ok && slices.Contains(x.c.Brokers, name) {
		q.row, q.broker, q.target = row(name), name, name
	}
	return q
}

// Operations implements [scope.Request].
func (q *request) Operations() []scope.Operation {
	return []scope.Operation{{
		Name: q.row, Resources: []string{q.target}, Text: []byte(q.scope), Class: uint16(audit.ClassExchange),
	}}
}

// narrow grants what was asked of what the Txn-Token has, all or nothing:
// silently less would be found out at the store. Nothing asked is all it has.
func narrow(q *request, _ int, s scope.Scope) error {
	p := s.Principal()
	if len(q.asked) == 0 {
		q.granted = p.Reach()
		return nil
	}
	for _, want := range q.asked {
		if !p.Has(want) {
			return refusal.New(refusal.Narrow, "exchange: %q is not among %q", want, p.Reach())
		}
	}
	q.granted = slices.Clone(q.asked)
	return nil
}
