package identitytest

import (
	"context"
	"sync"

	"github.com/isocore/isocore/refusal"
	"github.com/isocore/isocore/tenant"
)

// A Standing is the registry of a test, in memory. It knows whom a token was
// made for, and nobody else.
type Standing struct {
	mu         sync.Mutex             // guards what follows
	tenants    map[tenant.ID][16]byte // their partners
	principals map[origin][16]byte
	origins    map[[16]byte]origin
	suspended  map[any]bool // by [16]byte id or issuer URL
	lost       bool
	changed    chan struct{}
}

type origin struct {
	tenant          tenant.ID
	issuer, subject string
}

// NewStanding returns a standing that knows nobody.
func NewStanding() *Standing {
	return &Standing{
		tenants: make(map[tenant.ID][16]byte), principals: make(map[origin][16]byte), origins: make(map[[16]byte]origin),
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
	theirs, known := s.tenants[t]
	if who := s.origins[principal]; !known || theirs != partner || who.tenant != t || who.issuer != issuer {
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

// Enrol is [identity.Config.Enrol] for tenants that tokens were made for. The
// same person of the same tenant and issuer is the same principal.
func (s *Standing) Enrol(_ context.Context, id tenant.ID, issuer, subject string) (partner, principal [16]byte, err error) {
	s.mu.Lock()
	lost, known := s.lost, s.tenants[id] != [16]byte{}
	s.mu.Unlock()
	if lost {
		return partner, principal, refusal.New(refusal.Unavailable, "identitytest: the registry is out of reach")
	}
	if !known {
		return partner, principal, refusal.New(refusal.Unauthenticated, "identitytest: nobody knows them")
	}
	partner, principal = s.enrol(id, issuer, subject)
	return partner, principal, nil
}

// enrol is Enrol for the makers of tokens: it works whatever the test did to
// the registry.
func (s *Standing) enrol(id tenant.ID, issuer, subject string) (partner, principal [16]byte) {
	s.mu.Lock()
	defer s.mu.Unlock()
	who := origin{id, issuer, subject}
	principal, known := s.principals[who]
	if !known {
		principal = tenant.New().UUID()
		s.principals[who], s.origins[principal] = principal, who
	}
	return s.tenants[id], principal
}

// admit makes a tenant known, under a partner of its own.
func (s *Standing) admit(id tenant.ID) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, known := s.tenants[id]; !known {
		s.tenants[id] = tenant.New().UUID()
	}
}
