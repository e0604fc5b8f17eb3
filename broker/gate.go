// Package broker is the order in which every protocol goes through the rooms:
// Gate -> Session -> Pass.
//
// A [Gate] holds what all brokers share. [Gate.Enter] makes a [Session] of a
// token that verifies. [Admit] makes a [Pass] of a request the session may
// make: it applies expiry, limits, the verdict table and the audit record, in
// this order and nowhere else. A store is reached only with a Pass.
package broker

import (
	"context"
	"errors"
	"net/netip"
	"sync"
	"time"

	"github.com/isocore/isocore/audit"
	"github.com/isocore/isocore/identity"
	"github.com/isocore/isocore/limit"
	"github.com/isocore/isocore/refusal"
	"github.com/isocore/isocore/scope"
	"github.com/isocore/isocore/secret"
	"github.com/isocore/isocore/tenant"
)

// A Verifier makes a Principal of a token and says whether it still is one.
type Verifier interface {
	Verify(ctx context.Context, broker string, token secret.Text) (identity.Principal, error)
	Live(p identity.Principal) error
	// Watch returns a channel that is closed at the next change of any
	// tenant's, principal's or issuer's standing.
	Watch() <-chan struct{}
}

// A Limiter holds each tenant to its limits.
type Limiter interface {
	Connect(p identity.Principal) (release func(), err error)
	Visit(p identity.Principal) (release func(), err error)
	Reserve(p identity.Principal, ops []scope.Operation) (limit.Hold, error)
}

// A Log takes records. Nothing is answered that it has not taken.
type Log interface {
	Append(rs ...audit.Record) (*audit.Receipt, error)
}

// A Gate holds what all brokers share. Every field is required.
type Gate struct {
	Verifier Verifier
	Limiter  Limiter
	Log      Log
	Counter  Counter
	Now      func() time.Time

	mu       sync.Mutex // guards what follows
	throttle map[tenant.ID]throttled
}

// A Counter counts what is refused before anybody is authenticated, and what
// is decided, by broker, row and verdict. It must not block.
type Counter interface {
	Refused(broker string, peer netip.Addr, r refusal.Reason)
	Decided(broker, operation string, v scope.Verdict, r refusal.Reason)
}

// throttled is how often one tenant went too fast in one second, beyond the
// refusal that was recorded.
type throttled struct {
	second  int64
	omitted int64
}

// maxThrottled bounds the tenants whose omitted refusals are counted at once.
const maxThrottled = 10000

// Check reports every field that is missing.
func (g *Gate) Check() error {
	var errs []error
	want := func(ok bool, what string) {
		if !ok {
			errs = append(errs, errors.New("broker: the gate has no "+what))
		}
	}
	want(g.Verifier != nil, "verifier")
	want(g.Limiter != nil, "limiter")
	want(g.Log != nil, "log")
	want(g.Counter != nil, "counter")
	want(g.Now != nil, "clock")
	return errors.Join(errs...)
}

// recorded reports whether a refusal for speed is to be recorded: the first
// in each second of a tenant is, with the number of those omitted before it.
func (g *Gate) recorded(t tenant.ID) (omitted int64, record bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	now := g.Now().Unix()
	last, known := g.throttle[t]
	if known && last.second == now {
		last.omitted++
		g.throttle[t] = last
		return 0, false
	}
	if g.throttle == nil || len(g.throttle) >= maxThrottled {
		g.throttle = make(map[tenant.ID]throttled)
	}
	g.throttle[t] = throttled{second: now}
	return last.omitted, true
}
