package identity_test

import (
	"sync"
	"testing"
	"time"

	"github.com/isocore/isocore/identity"
	"github.com/isocore/isocore/identity/identitytest"
	"github.com/isocore/isocore/refusal"
	"github.com/isocore/isocore/secret"
	"github.com/isocore/isocore/tenant"
)

// everyone is a standing that anyone may ask at once.
type everyone struct{}

func (everyone) Check(tenant.ID, [16]byte, [16]byte, string) error { return nil }
func (everyone) Changed() <-chan struct{}                          { return nil }

// verifierForMany is w's verifier with everyone in good standing, for many
// goroutines.
func (w *world) verifierForMany(t testing.TB) *identity.Verifier {
	t.Helper()
	sets, now := w.sets, w.now
	v, err := identity.New(identity.Config{
		TrustDomain: "issuer.test", Issuers: func(s string) *identity.KeySet { return sets[s] }, Standing: everyone{},
		MaxLifetime: identity.MaxLifetime, Now: func() time.Time { return now }, CacheSize: 1024,
	})
	if err != nil {
		t.Fatal(err)
	}
	return v
}

// Many verify while their tenant is suspended and resumed: whoever was told of
// the suspension finds it, and nobody is told anything else.
func TestManyAtOnce(t *testing.T) {
	d := identitytest.New(t)
	a, b := tenant.New(), tenant.New()
	tokens := map[tenant.ID]secret.Text{a: d.Token(a), b: d.Token(b)}
	forged := d.Forged(a)
	var all sync.WaitGroup
	for range 4 {
		for id, token := range tokens {
			all.Go(func() {
				for range 200 {
					p, err := d.Verifier.Verify(t.Context(), d.Broker, token)
					if err == nil && p.Tenant() != id {
						t.Errorf("%v is %v", id, p.Tenant())
					}
					if err != nil && (id == b || refusal.Of(err) != refusal.Suspended) {
						t.Errorf("%v: %v", id, err)
					}
				}
			})
		}
		all.Go(func() {
			for range 20 {
				if _, err := d.Verifier.Verify(t.Context(), d.Broker, forged); refusal.Of(err) != refusal.Unauthenticated {
					t.Errorf("forged: %v", err)
				}
			}
		})
	}
	for range 50 {
		d.Standing.Suspend(a.UUID())
		if _, err := d.Verifier.Verify(t.Context(), d.Broker, tokens[a]); refusal.Of(err) != refusal.Suspended {
			t.Errorf("suspended: %v", err)
		}
		d.Standing.Resume(a.UUID())
	}
	all.Wait()
}

// Who watches hears of the change before anyone could have missed it.
func TestWatch(t *testing.T) {
	d := identitytest.New(t)
	id := tenant.New()
	p := d.Principal(t, id)
	for name, c := range map[string]struct {
		change, undo func()
		want         refusal.Reason
	}{
		"tenant":    {func() { d.Standing.Suspend(id.UUID()) }, func() { d.Standing.Resume(id.UUID()) }, refusal.Suspended},
		"partner":   {func() { d.Standing.Suspend(p.Partner()) }, func() { d.Standing.Resume(p.Partner()) }, refusal.Suspended},
		"principal": {func() { d.Standing.Suspend(p.ID()) }, func() { d.Standing.Resume(p.ID()) }, refusal.Suspended},
		"registry":  {d.Standing.Lose, d.Standing.Find, refusal.Unavailable},
		"nothing":   {d.Standing.Touch, func() {}, refusal.Internal},
	} {
		changed := d.Verifier.Watch()
		if err := d.Verifier.Live(p); err != nil {
			t.Fatalf("%s: control: %v", name, err)
		}
		c.change()
		<-changed
		if err := d.Verifier.Live(p); refusal.Of(err) != c.want {
			t.Errorf("%s: %v", name, err)
		}
		c.undo()
	}
}

// Many come in while keys and registrations change: each is who their token
// says, or nobody.
func TestManyAtOnceAtTheEdge(t *testing.T) {
	d := identitytest.New(t)
	a, b := tenant.New(), tenant.New()
	var all sync.WaitGroup
	for id, token := range map[tenant.ID]secret.Text{a: d.ProviderToken(a), b: d.ProviderToken(b)} {
		for range 2 {
			all.Go(func() {
				for range 200 {
					p, err := d.Verifier.Verify(t.Context(), identity.Edge, token)
					if err == nil && p.Tenant() != id {
						t.Errorf("%v is %v", id, p.Tenant())
					}
					if err == nil {
						err = d.Verifier.Live(p)
					}
					if err != nil && refusal.Of(err) != refusal.Unauthenticated {
						t.Errorf("%v: %v", id, err)
					}
				}
			})
		}
	}
	for range 20 {
		p := *d.Provider()
		p.MaxLifetime -= time.Second
		d.Register(p)
		d.Withdraw(p.Issuer)
		d.Register(p)
	}
	d.Rotate()
	all.Wait()
	if _, err := d.Verifier.Verify(t.Context(), identity.Edge, d.ProviderToken(a)); err != nil {
		t.Errorf("after all of it: %v", err)
	}
}
