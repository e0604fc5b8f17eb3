package broker

import (
	"cmp"
	"context"
	"crypto/sha256"
	"errors"
	"slices"
	"sync/atomic"

	"github.com/isocore/isocore/audit"
	"github.com/isocore/isocore/limit"
	"github.com/isocore/isocore/refusal"
	"github.com/isocore/isocore/scope"
)

// A Pass is a request admitted and recorded, holding what its rules left of
// it. Only [Admit] makes one, and only package forward takes the request out.
type Pass[R scope.Request] struct {
	s       *Session
	req     R
	ops     []scope.Operation
	judged  []judgement
	one     [1]judgement // room for them, for most requests are of one operation
	effect  scope.Effect
	hold    limit.Hold
	receipt *audit.Receipt
	taken   atomic.Bool
	closed  atomic.Bool
}

// A judgement is what was decided of one operation.
type judgement struct {
	verdict scope.Verdict
	err     error
}

var (
	errNothing = errors.New("broker: a request of no operation")
	errTaken   = errors.New("broker: the request was taken already")
	errClosed  = errors.New("broker: the pass was closed already")
)

// Admit decides one request of s. It applies, in this order and nowhere else:
// live, limits, table, record. All of its operations are admitted or none. It
// does not wait for the decision to be durable, unless it refuses: a refusal
// is durable on return.
func Admit[R scope.Request](ctx context.Context, s *Session, t scope.Table[R], req R) (*Pass[R], error) {
	p := &Pass[R]{s: s, req: req, ops: req.Operations()}
	if len(p.ops) == 0 {
		return nil, refusal.New(refusal.Internal, "%w", errNothing)
	}
	err := p.decide(t)
	for i, j := range p.judged {
		s.gate.Counter.Decided(s.broker, p.ops[i].Name, j.verdict, reason(err))
	}
	records := p.decisions(err)
	if len(records) > 0 {
		var rerr error
		if p.receipt, rerr = s.gate.Log.Append(records...); rerr != nil {
			return nil, p.release(refusal.New(refusal.Unrecorded, "%w", rerr))
		}
	}
	if err == nil {
		return p, nil
	}
	if _, rerr := p.receipt.Wait(ctx); rerr != nil {
		return nil, p.release(refusal.New(refusal.Unrecorded, "%w", rerr))
	}
	return nil, p.release(err)
}

// decide judges every operation of p and confines those that are admitted.
func (p *Pass[R]) decide(t scope.Table[R]) error {
	if p.judged = p.one[:]; len(p.ops) != len(p.one) {
		p.judged = make([]judgement, len(p.ops))
	}
	if err := p.s.gate.Verifier.Live(p.s.p); err != nil {
		return p.fail(err)
	}
	var room [4]scope.Rule[R]
	rules := room[:0]
	p.effect = scope.Read
	for i, op := range p.ops {
		rule, err := t.Rule(op.Name)
		rules = append(rules, rule)
		p.judged[i] = judgement{rule.Verdict, err}
		if rule.Verdict != scope.Allow {
			p.effect = min(p.effect, rule.Effect)
		}
	}
	if limited := p.limited(); len(limited) > 0 {
		hold, err := p.s.gate.Limiter.Reserve(p.s.p, limited)
		if err != nil {
			return p.fail(err)
		}
		p.hold = hold
	}
	var first error
	for i, rule := range rules {
		if err := p.apply(i, rule); err != nil && first == nil {
			first = err
		}
	}
	return first
}

// limited returns the operations that count: those that the table does not
// just allow.
func (p *Pass[R]) limited() []scope.Operation {
	allowed := func(j judgement) bool { return j.verdict == scope.Allow }
	if !slices.ContainsFunc(p.judged, allowed) {
		return p.ops
	}
	var limited []scope.Operation
	for i, op := range p.ops {
		if !allowed(p.judged[i]) {
			limited = append(limited, op)
		}
	}
	return limited
}

// apply carries out one rule, and notes what came of it.
func (p *Pass[R]) apply(i int, rule scope.Rule[R]) error {
	j := &p.judged[i]
	switch {
	case j.err != nil:
	case rule.Verdict == scope.Allow:
	case rule.Verdict != scope.Confine:
		j.err = refusal.Hinted(refusal.Denied, cmp.Or(rule.Hint, rule.Why), "%.100q: %s", p.ops[i].Name, rule.Why)
	case !p.s.p.Has(rule.Needs):
		j.err = refusal.New(refusal.Narrow, "%.100q needs %s", p.ops[i].Name, rule.Needs)
	default:
		j.err = rule.Confine(p.req, i, p.s.Scope())
	}
	return j.err
}

// fail marks every operation as refused for err.
func (p *Pass[R]) fail(err error) error {
	for i := range p.judged {
		p.judged[i].err = err
	}
	return err
}

// decisions returns the records of what was decided: one an operation, save
// those that the table allows. A request that goes too fast is recorded once
// a second.
func (p *Pass[R]) decisions(err error) []audit.Record {
	var omitted int64
	if r := reason(err); err != nil && (r == refusal.TooFast || r == refusal.TooMany || r == refusal.OverBudget) {
		n, record := p.s.gate.recorded(p.s.p.Tenant())
		if !record {
			return nil
		}
		omitted = n
	}
	rs := make([]audit.Record, 0, len(p.ops))
	for i, op := range p.ops {
		j := p.judged[i]
		if err == nil && j.verdict == scope.Allow {
			continue
		}
		r := p.s.record(audit.Decision)
		r.Class = audit.Class(op.Class)
		r.Operation, r.Verdict = op.Name, j.verdict.String()
		r.Resources, r.Text, r.Digest = op.Resources, op.Text, sha256.Sum256(op.Text)
		r.Parameters = op.Parameters
		r.Result.Rows = omitted
		if j.err == nil {
			j.err = err // one refused, all refused
		}
		if j.err != nil {
			r.Verdict = scope.Deny.String()
			r.Reason, r.Detail = refusal.Of(j.err).String(), j.err.Error()
		}
		rs = append(rs, r)
	}
	return rs
}

// release gives back what p reserved, and returns err.
func (p *Pass[R]) release(err error) error {
	if p.hold != nil {
		p.hold.Settle(audit.Result{Status: audit.StatusRefused})
		p.hold = nil
	}
	return err
}

// Scope returns whose request it is.
func (p *Pass[R]) Scope() scope.Scope { return p.s.Scope() }

// Take returns the request, once. If it may write, its decision is durable by
// then. Sealed to package forward.
func (p *Pass[R]) Take(ctx context.Context) (R, error) {
	var none R
	if !p.taken.CompareAndSwap(false, true) {
		return none, refusal.New(refusal.Internal, "%w", errTaken)
	}
	if p.effect == scope.Write {
		if err := p.Recorded(ctx); err != nil {
			return none, err
		}
	}
	return p.req, nil
}

// Recorded waits until the decision is durable. Sealed to package forward,
// which calls it before any answer.
func (p *Pass[R]) Recorded(ctx context.Context) error {
	if _, err := p.receipt.Wait(ctx); err != nil {
		return refusal.New(refusal.Unrecorded, "%w", err)
	}
	return nil
}

// Free gives back what the operations reserved of their tenant's limits, where
// the outcome has to wait for something else. Sealed to package forward.
func (p *Pass[R]) Free() {
	if p.hold != nil {
		p.hold.Settle(audit.Result{})
		p.hold = nil
	}
}

// Close records what came of the operations: one result each, those missing
// being abandoned. It outlives ctx, for a client that hangs up is recorded
// too. Sealed to package forward.
func (p *Pass[R]) Close(ctx context.Context, rs ...audit.Result) (*audit.Receipt, error) {
	if !p.closed.CompareAndSwap(false, true) {
		return nil, refusal.New(refusal.Internal, "%w", errClosed)
	}
	for len(rs) < len(p.ops) {
		rs = append(rs, audit.Result{Status: audit.StatusAbandoned})
	}
	if p.hold != nil {
		p.hold.Settle(total(rs))
		p.hold = nil
	}
	if p.receipt == nil {
		return nil, nil
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), recordTimeout)
	defer cancel()
	of, err := p.receipt.Wait(ctx)
	if err != nil {
		return nil, refusal.New(refusal.Unrecorded, "%w", err)
	}
	receipt, err := p.s.gate.Log.Append(p.outcomes(of, rs)...)
	if err != nil {
		return nil, refusal.New(refusal.Unrecorded, "%w", err)
	}
	return receipt, nil
}

// outcomes returns the records of rs, each beside the decision it belongs to:
// decisions got consecutive numbers from of on.
func (p *Pass[R]) outcomes(of audit.Ref, rs []audit.Result) []audit.Record {
	var out []audit.Record
	for i, op := range p.ops {
		if p.judged[i].verdict == scope.Allow {
			continue
		}
		r := p.s.record(audit.Outcome)
		r.Class, r.Of = audit.Class(op.Class), of
		r.Operation, r.Result = op.Name, rs[i]
		out = append(out, r)
		of.Seq++
	}
	return out
}

// total adds up rs, for the limits.
func total(rs []audit.Result) audit.Result {
	var sum audit.Result
	for _, r := range rs {
		sum.Status = r.Status
		sum.Rows += r.Rows
		sum.BytesIn += r.BytesIn
		sum.BytesOut += r.BytesOut
		sum.TokensIn += r.TokensIn
		sum.TokensOut += r.TokensOut
		sum.Micros += r.Micros
	}
	return sum
}

func reason(err error) refusal.Reason {
	if err == nil {
		return refusal.Internal
	}
	return refusal.Of(err)
}
