package identitytest

import (
	"sync"

	"github.com/isocore/isocore/refusal"
	"github.com/isocore/isocore/tenant"
)

// A Standing is the registry of a test, in memory. It knows whom a token was
// made for, and nobody else.
type Standing struct {
	mu         sync.Mutex // guards what follows
	tenants    map[tenant.ID]member
	principals map[[16]byte]origin
	suspended  map[any]bool // by [16]byte id or issuer URL
	lost       bool
	changed    chan struct{}
}

type member struct{ partner, principal [16]byte }

type origin struct {
	tenant tenant.ID
	issuer string
}

// NewStanding returns a standing that knows nobody.
func NewStanding() *Standing {
	return &Standing{
		tenants: make(map[tenant.ID]member), principals: make(map[[16]byte]origin),
		suspended: make(map[any]bool), changed: make(chan struct{}),
	}
}

// Check implements [identity.Standing].
func (s *Standing) Check(t tenant.ID, partner, principal [16]byte, issuer string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.lost {
		return refusal.New(refusal.Unavailable, "identitytest: the registry is out of reach")
	}
	m, ok := s.tenants[t]
	if !ok || m.partner != partner || s.principals[principal] != (origin{t, issuer}) {
		return refusal.New(refusal.Unauthenticated, "identitytest: nobody knows them")
	}
	for _, id := range [][16]byte{t.UUID(), partner, principal} {
		if s.suspended[id] {
			return refusal.New(refusal.Suspended, "identitytest: %x is suspended", id)
		}
	}
	if s.suspended[issuer] {
		return refusal.New(refusal.Suspended, "identitytest: %s is suspended", issuer)
	}
	return nil
}

// Changed implements [identity.Standing].
func (s *Standing) Changed() <-chan struct{} {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.changed
}

// Suspend suspends the tenant, partner or principal with this id.
func (s *Standing) Suspend(id [16]byte) { s.change(func() { s.suspended[id] = true }) }

// Resume is the inverse of Suspend.
func (s *Standing) Resume(id [16]byte) { s.change(func() { delete(s.suspended, id) }) }

// SuspendIssuer suspends everyone of an issuer.
func (s *Standing) SuspendIssuer(url string) { s.change(func() { s.suspended[url] = true }) }

// Forget makes a tenant one that never was.
func (s *Standing) Forget(id tenant.ID) { s.change(func() { delete(s.tenants, id) }) }

// Lose puts the registry out of reach.
func (s *Standing) Lose() { s.change(func() { s.lost = true }) }

// Find is the inverse of Lose.
func (s *Standing) Find() { s.change(func() { s.lost = false }) }

// Touch says that something changed, and changes nothing.
func (s *Standing) Touch() { s.change(func() {}) }

func (s *Standing) change(f func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	f()
	close(s.changed)
	s.changed = make(chan struct{})
}

// enrol returns the partner and the principal of a tenant, drawn the first
// time.
func (s *Standing) enrol(id tenant.ID, issuer string) (partner, principal [16]byte) {
	s.mu.Lock()
	defer s.mu.Unlock()
	m, ok := s.tenants[id]
	if !ok {
		m = member{tenant.New().UUID(), tenant.New().UUID()}
		s.tenants[id] = m
		s.principals[m.principal] = origin{id, issuer}
	}
	return m.partner, m.principal
}
