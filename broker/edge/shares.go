package edge

import (
	"sync"

	"github.com/isocore/isocore/refusal"
	"github.com/isocore/isocore/tenant"
)

// shares divides something there is not much of among tenants: none has more
// than a quarter.
type shares struct {
	what string
	most int64

	mu  sync.Mutex // guards what follows
	all int64
	of  map[tenant.ID]int64
}

func newShares(what string, most int64) *shares {
	return &shares{what: what, most: most, of: map[tenant.ID]int64{}}
}

// take takes n for t, or nothing.
func (s *shares) take(t tenant.ID, n int64) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.all+n > s.most {
		return refusal.New(refusal.TooMany, "edge: %d %s in all", s.all, s.what)
	}
	if s.of[t]+n > max(1, s.most/4) {
		return refusal.New(refusal.TooMany, "edge: tenant %s has %d %s", t, s.of[t], s.what)
	}
	s.all += n
	s.of[t] += n
	return nil
}

// give gives back what was taken.
func (s *shares) give(t tenant.ID, n int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.all -= n
	if s.of[t] -= n; s.of[t] == 0 {
		delete(s.of, t)
	}
}
