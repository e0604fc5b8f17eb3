// Package limit holds each tenant to what it may use, and strangers to what
// they may before anybody knows who they are.
package limit

import (
	"errors"
	"fmt"
	"maps"
	"math"
	"sync"
	"time"

	"golang.org/x/time/rate"

	"github.com/isocore/isocore/audit"
	"github.com/isocore/isocore/audit/trail"
	"github.com/isocore/isocore/identity"
	"github.com/isocore/isocore/refusal"
	"github.com/isocore/isocore/scope"
	"github.com/isocore/isocore/tenant"
)

// What a record weighs beside the text it holds: two of them, decision and
// outcome, with their headers, seals and who, where and when. What is kept of
// text and parameters the format says. An operation pays before it is
// recorded, so this must not be less than it will weigh.
const (
	recordWeight = 2 * 1024
	hashWeight   = 32 // one provenance

	connectWeight = 4 * 1024 // beginning and end of a session, in two logs
)

const day = 24 * time.Hour

// A Config is the limits of every tenant and of strangers. Every field is
// required; there is no word for unlimited.
type Config struct {
	Connections int     // of one tenant, at once
	Sessions    int     // of one tenant, at once, over connections that nobody owns: visits
	Rate        float64 // operations of one tenant a second
	Burst       int     // operations of one tenant after a quiet time
	Queue       int     // operations of one tenant admitted and not yet settled
	RecordBytes int64   // audit records of one tenant a day (UTC)

	Strangers       int // connections not yet authenticated, at once
	StrangersPerNet int // the same from one /24 of IPv4 or /48 of IPv6

	Tenants int // remembered at once; when all of them are busy, another is refused
	Now     func() time.Time
}

// A Limiter counts. It is safe for concurrent use; the zero Limiter refuses.
type Limiter struct {
	c Config

	mu      sync.Mutex // guards what follows, and the tenants
	tenants map[tenant.ID]*usage
	swept   time.Time // when all tenants were last looked at

	door door
}

// usage is what one tenant uses.
type usage struct {
	connections int
	sessions    int
	queued      int
	bucket      *rate.Limiter
	today       int64 // the day that written is of
	written     int64
}

// New returns the limiter that c describes, or everything that c lacks.
func New(c Config) (*Limiter, error) {
	var errs []error
	want := func(ok bool, name string) {
		if !ok {
			errs = append(errs, fmt.Errorf("limit: %s has to be more than nothing", name))
		}
	}
	want(c.Connections > 0, "Connections")
	want(c.Sessions > 0, "Sessions")
	want(c.Rate > 0 && !math.IsInf(c.Rate, 0), "Rate")
	want(c.Burst > 0, "Burst")
	want(c.Queue > 0, "Queue")
	want(c.RecordBytes > 0, "RecordBytes")
	want(c.Strangers > 0, "Strangers")
	want(c.StrangersPerNet > 0, "StrangersPerNet")
	want(c.Tenants > 0, "Tenants")
	want(c.Now != nil, "Now")
	if errs != nil {
		return nil, errors.Join(errs...)
	}
	return &Limiter{c: c, tenants: make(map[tenant.ID]*usage)}, nil
}

// turn begins a new day's budget, if it is another day.
func (u *usage) turn(now time.Time) {
	if today := now.Unix() / int64(day/time.Second); today != u.today {
		u.today, u.written = today, 0
	}
}

// Connect takes one of the places for connections of p's tenant; release
// gives it back, once. It counts as an operation, and pays for the records of
// the session's beginning and end.
func (l *Limiter) Connect(p identity.Principal) (release func(), err error) {
	return l.enter(p, "connections", func(u *usage) (*int, int) { return &u.connections, l.c.Connections })
}

// Visit is [Limiter.Connect] for a session that owns no connection, as those
// over HTTP: there may be many more of them.
func (l *Limiter) Visit(p identity.Principal) (release func(), err error) {
	return l.enter(p, "sessions", func(u *usage) (*int, int) { return &u.sessions, l.c.Sessions })
}

func (l *Limiter) enter(p identity.Principal, what string, places func(*usage) (taken *int, most int)) (release func(), err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	u, err := l.usage(p.Tenant())
	if err != nil {
		return nil, err
	}
	now := l.c.Now()
	u.turn(now)
	taken, most := places(u)
	switch {
	case *taken >= most:
		return nil, refusal.New(refusal.TooMany, "limit: tenant %s has %d %s", p.Tenant(), *taken, what)
	case u.written > l.c.RecordBytes-connectWeight:
		return nil, refusal.New(refusal.OverBudget, "limit: tenant %s has %d bytes of records today", p.Tenant(), u.written)
	case !u.bucket.AllowN(now, 1):
		return nil, refusal.New(refusal.TooFast, "limit: tenant %s is over %g operations a second", p.Tenant(), l.c.Rate)
	}
	*taken++
	u.written += connectWeight
	return sync.OnceFunc(func() {
		l.mu.Lock()
		defer l.mu.Unlock()
		*taken--
	}), nil
}

// A Hold is what some operations reserved of their tenant's limits.
type Hold interface {
	// Settle says what came of them, and gives their places back. A Hold that
	// is not settled keeps them.
	Settle(r audit.Result)
}

// Reserve takes what ops need of the limits of p's tenant, or nothing. It
// does not wait. The weight of their records is paid here, whatever comes of
// them: what the table refuses is recorded too.
func (l *Limiter) Reserve(p identity.Principal, ops []scope.Operation) (Hold, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	u, err := l.usage(p.Tenant())
	if err != nil {
		return nil, err
	}
	now := l.c.Now()
	u.turn(now)
	cost := weight(ops)
	switch {
	case u.written > l.c.RecordBytes-cost:
		return nil, refusal.New(refusal.OverBudget, "limit: tenant %s has %d bytes of records today", p.Tenant(), u.written)
	case u.queued+len(ops) > l.c.Queue:
		return nil, refusal.New(refusal.TooFast, "limit: tenant %s has %d operations in progress", p.Tenant(), u.queued)
	case !u.bucket.AllowN(now, len(ops)):
		return nil, refusal.New(refusal.TooFast, "limit: tenant %s is over %g operations a second", p.Tenant(), l.c.Rate)
	}
	u.queued += len(ops)
	u.written += cost
	return &hold{l: l, u: u, places: len(ops)}, nil
}

// weight returns what the records of ops will weigh, at the most.
func weight(ops []scope.Operation) int64 {
	var n int64
	for _, op := range ops {
		n += recordWeight + int64(len(op.Name)+min(len(op.Text), trail.MaxText))
		for _, r := range op.Resources {
			n += int64(len(r))
		}
		n += trail.MaxParameter * int64(min(len(op.Parameters), trail.MaxParameters))
	}
	return n
}

type hold struct {
	l      *Limiter
	u      *usage
	places int // still held; guarded by l.mu
}

func (h *hold) Settle(r audit.Result) {
	h.l.mu.Lock()
	defer h.l.mu.Unlock()
	h.u.queued -= h.places
	h.places = 0
	h.u.written += int64(hashWeight * len(r.Provenance))
}

// usage returns what t uses, remembering it from now on.
func (l *Limiter) usage(t tenant.ID) (*usage, error) {
	if t.IsZero() {
		return nil, refusal.New(refusal.Unauthenticated, "limit: nobody has no limits")
	}
	if u := l.tenants[t]; u != nil {
		return u, nil
	}
	if l.c.Now == nil {
		return nil, refusal.New(refusal.Unavailable, "limit: a zero Limiter")
	}
	now := l.c.Now()
	l.forget(now)
	if len(l.tenants) >= l.c.Tenants {
		return nil, refusal.New(refusal.TooMany, "limit: %d tenants are busy", len(l.tenants))
	}
	u := &usage{bucket: rate.NewLimiter(rate.Limit(l.c.Rate), l.c.Burst)}
	l.tenants[t] = u
	return u, nil
}

// forget drops the tenants of whom nothing is to be remembered, when there
// are as many as there may be, and at most once a second.
func (l *Limiter) forget(now time.Time) {
	if len(l.tenants) < l.c.Tenants || now.Sub(l.swept) < time.Second && !l.swept.IsZero() {
		return
	}
	l.swept = now
	maps.DeleteFunc(l.tenants, func(_ tenant.ID, u *usage) bool { return l.idle(u, now) })
}

// idle reports whether forgetting u gives its tenant nothing.
func (l *Limiter) idle(u *usage, now time.Time) bool {
	fresh := u.written == 0 || u.today != now.Unix()/int64(day/time.Second)
	return fresh && u.connections == 0 && u.sessions == 0 && u.queued == 0 && u.bucket.TokensAt(now) >= float64(l.c.Burst)
}
