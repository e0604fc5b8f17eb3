package registry

import (
	"maps"
	"sync"
	"time"

	"golang.org/x/time/rate"

	"github.com/isocore/isocore/refusal"
	"github.com/isocore/isocore/tenant"
)

// How many of a tenant may enrol a second, how many after a quiet time, and
// how many tenants may be at it at once.
const (
	enrolRate  = 20
	enrolBurst = 500
	maxTaps    = 1 << 14
)

// taps hold new people of each tenant to a rate, each tenant for itself. A
// tenant is remembered until it has been quiet for so long that to forget it
// gives it nothing.
type taps struct {
	mu    sync.Mutex // guards what follows
	of    map[tenant.ID]*rate.Limiter
	swept time.Time
}

func (p *taps) admit(t tenant.ID, now time.Time) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	l := p.of[t]
	if l == nil {
		p.sweep(now)
		if len(p.of) >= maxTaps {
			return refusal.New(refusal.TooFast, "registry: new people come to %d tenants at once", len(p.of))
		}
		if p.of == nil {
			p.of = make(map[tenant.ID]*rate.Limiter)
		}
		l = rate.NewLimiter(enrolRate, enrolBurst)
		p.of[t] = l
	}
	if !l.AllowN(now, 1) {
		return refusal.New(refusal.TooFast, "registry: over %d new people of tenant %s a second", enrolRate, t)
	}
	return nil
}

// sweep forgets who is quiet, when there is no place left, and at most once a
// second.
func (p *taps) sweep(now time.Time) {
	if len(p.of) < maxTaps || now.Sub(p.swept) < time.Second && !p.swept.IsZero() {
		return
	}
	p.swept = now
	maps.DeleteFunc(p.of, func(_ tenant.ID, l *rate.Limiter) bool { return l.TokensAt(now) >= enrolBurst })
}
