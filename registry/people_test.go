package registry

import (
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"fmt"
	"maps"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/isocore/isocore/identity"
	"github.com/isocore/isocore/internal/jws"
	"github.com/isocore/isocore/local/localtest"
	"github.com/isocore/isocore/refusal"
	"github.com/isocore/isocore/secret"
	"github.com/isocore/isocore/tenant"
)

// enrolAt enrols at a node that may have to hear first of the binding.
func enrolAt(t testing.TB, r *Registry, id tenant.ID, sub string) (partner, principal [16]byte, err error) {
	t.Helper()
	if err := r.refresh(t.Context(), r.pool); err != nil {
		t.Fatal(err)
	}
	return r.Enrol(t.Context(), id, idp, sub)
}

// clinic is a tenant that a provider speaks for.
func clinic(t testing.TB, r *Registry) somebody {
	t.Helper()
	settled(t, r)
	a := enrol(t, r, "north/clinic")
	must[Issuer](t)(r.AddProvider(t.Context(), registration(t, idp)))
	bind(t, r, idp, "org_1", a.tenant.Path)
	return a
}

// alone returns a node that follows nothing: it looks when it is asked to, and
// nobody is woken by anything else.
func alone(t testing.TB, c Config) *Registry {
	t.Helper()
	r := must[*Registry](t)(connect(t.Context(), c))
	t.Cleanup(r.Close)
	return r
}

// closed reports whether there was a change.
func closed(changed <-chan struct{}) bool {
	select {
	case <-changed:
		return true
	default:
		return false
	}
}

// People enrol all the time: nobody is woken, and nothing but them is read.
func TestAnEnrolmentWakesNobody(t *testing.T) {
	_, dsn := database(t)
	one, two := alone(t, config(dsn)), alone(t, config(dsn))
	a := clinic(t, one)
	if err := two.refresh(t.Context(), two.pool); err != nil {
		t.Fatal(err)
	}
	before := map[*Registry]*snapshot{one: one.view.Load().snapshot, two: two.view.Load().snapshot}
	here, there := one.Changed(), two.Changed()
	partner, id, err := one.Enrol(t.Context(), a.tenant.ID, idp, "alice")
	if err != nil {
		t.Fatal(err)
	}
	if _, same, err := two.Enrol(t.Context(), a.tenant.ID, idp, "alice"); err != nil || same != id {
		t.Errorf("%x, elsewhere %x, %v", id, same, err)
	}
	if _, _, err := two.Enrol(t.Context(), a.tenant.ID, idp, "bob"); err != nil {
		t.Error(err)
	}
	for _, r := range []*Registry{one, two} {
		if err := r.refresh(t.Context(), r.pool); err != nil {
			t.Fatal(err)
		}
		if err := r.Check(a.tenant.ID, partner, id, idp); err != nil {
			t.Errorf("who was enrolled: %v", err)
		}
		v, was := r.view.Load(), before[r]
		if v.version != was.version+2 || v.crowds[a.tenant.ID] != 3 || v.issuers[idp].provider != was.issuers[idp].provider {
			t.Errorf("version %d after %d, %d people", v.version, was.version, v.crowds[a.tenant.ID])
		}
	}
	if closed(here) || closed(there) {
		t.Error("an enrolment woke whoever waits for a change")
	}
}

// What else changed is not missed because somebody was enrolled beside it.
func TestAChangeBesideAnEnrolmentWakes(t *testing.T) {
	for name, change := range map[string]string{
		"a suspension":     "UPDATE tenant SET state = 'suspended'",
		"an unbinding":     "DELETE FROM issuer_tenant",
		"nothing, counted": "UPDATE standing_version SET n = n + 1",
	} {
		t.Run(name, func(t *testing.T) {
			db, dsn := database(t)
			r := alone(t, config(dsn))
			a := clinic(t, r)
			partner, id, err := r.Enrol(t.Context(), a.tenant.ID, idp, "alice")
			if err != nil {
				t.Fatal(err)
			}
			changed := r.Changed()
			newcomer := fmt.Sprintf("INSERT INTO principal (id, tenant, issuer, sub) SELECT gen_random_uuid(), tenant, issuer, %%s FROM principal WHERE id = '%s'",
				tenant.FromUUID(id))
			all := []string{"BEGIN", fmt.Sprintf(newcomer, "'bob'"), change, fmt.Sprintf(newcomer, "'carol'"), "COMMIT"}
			if _, err := localtest.Super(t, db).Exec(t.Context(), strings.Join(all, ";")); err != nil {
				t.Fatal(err)
			}
			if err := r.refresh(t.Context(), r.pool); err != nil {
				t.Fatal(err)
			}
			if !closed(changed) {
				t.Error("nobody was woken")
			}
			v := r.view.Load()
			if stands := r.Check(a.tenant.ID, partner, id, idp) == nil; stands != (name == "nothing, counted") || v.crowds[a.tenant.ID] != 4 {
				t.Errorf("stands %v, among %d", stands, v.crowds[a.tenant.ID])
			}
		})
	}
}

// However changes and enrolments fall together, every node comes to what one
// finds that begins afterwards.
func TestAllNodesComeToTheSame(t *testing.T) {
	_, dsn := database(t)
	nodes := []*Registry{open(t, config(dsn)), open(t, config(dsn))}
	a := clinic(t, nodes[0])
	var all sync.WaitGroup
	for i := range 4 {
		all.Go(func() {
			for n := range 15 {
				if _, err := nodes[i%2].Principal(t.Context(), a.tenant.ID, iss, fmt.Sprintf("p%d.%d", i%3, n)); err != nil {
					t.Error(err)
				}
			}
		})
	}
	all.Go(func() {
		for n := range 10 {
			change := nodes[n%2].Suspend
			if n%2 == 1 {
				change = nodes[n%2].Resume
			}
			if _, err := change(t.Context(), a.tenant.Path); err != nil {
				t.Error(err)
			}
			if err := nodes[n%2].BindTenant(t.Context(), idp, fmt.Sprintf("org_%d", n), a.tenant.Path); err != nil {
				t.Error(err)
			}
		}
	})
	all.Wait()
	want := open(t, config(dsn)).view.Load()
	if want.principals.size() != 46 {
		t.Errorf("%d people", want.principals.size())
	}
	for i, r := range nodes {
		if err := r.refresh(t.Context(), r.pool); err != nil {
			t.Fatal(err)
		}
		got := r.view.Load()
		everybody := func(v *view) map[[16]byte]member {
			m := make(map[[16]byte]member)
			for _, layer := range v.principals {
				maps.Copy(m, layer)
			}
			return m
		}
		if got.version != want.version || !maps.Equal(got.tenants, want.tenants) || !maps.Equal(got.crowds, want.crowds) ||
			!maps.Equal(got.active, want.active) || !maps.Equal(everybody(got), everybody(want)) ||
			got.issuers[idp].provider.Digest != want.issuers[idp].provider.Digest {
			t.Errorf("node %d is at %d, not %d: %+v", i, got.version, want.version, got.tenants)
		}
	}
}

// Whoever is gone takes no place of who is there, on this node and on one that
// begins later.
func TestThoseWhoAreGoneAreNotCounted(t *testing.T) {
	_, dsn := database(t)
	r := open(t, config(dsn))
	a, b := clinic(t, r), enrol(t, r, "south/clinic")
	const second = "https://second.test"
	must[Issuer](t)(r.AddProvider(t.Context(), registration(t, second)))
	bind(t, r, second, "org_1", b.tenant.Path)
	for _, sub := range []string{"bob", "carol"} {
		for url, id := range map[string]tenant.ID{idp: a.tenant.ID, second: b.tenant.ID} {
			if _, _, err := r.Enrol(t.Context(), id, url, sub); err != nil {
				t.Fatal(err)
			}
		}
	}
	counted := func(what string, wantA, wantB int) {
		t.Helper()
		for name, node := range map[string]*Registry{"this node": r, "a new node": open(t, config(dsn))} {
			v := node.view.Load()
			if v.crowds[a.tenant.ID] != wantA || v.crowds[b.tenant.ID] != wantB || v.principals.size() != wantA+wantB {
				t.Errorf("%s: %s counts %d and %d, %d in all; want %d and %d", what, name,
					v.crowds[a.tenant.ID], v.crowds[b.tenant.ID], v.principals.size(), wantA, wantB)
			}
		}
	}
	counted("before", 3, 3)
	if err := r.RemoveIssuer(t.Context(), idp); err != nil {
		t.Fatal(err)
	}
	counted("an issuer was removed", 1, 3)
	must[Tenant](t)(r.Suspend(t.Context(), b.tenant.Path))
	counted("a tenant is suspended", 1, 3)
	must[Tenant](t)(r.Delete(t.Context(), b.tenant.Path))
	counted("a tenant is gone", 1, 0)
	if a.check(r) != granted {
		t.Error("somebody who is there was forgotten")
	}
}

// A flood of new people is held to a rate, of each tenant for itself. Who is
// known passes, and so does who the operator names.
func TestAFloodOfNewPeople(t *testing.T) {
	_, dsn := database(t)
	c := config(dsn)
	at := time.Now()
	var later atomic.Int64
	c.Now = func() time.Time { return at.Add(time.Duration(later.Load())) }
	r := open(t, c)
	a, b := clinic(t, r), enrol(t, r, "south/clinic")
	bind(t, r, idp, "org_2", b.tenant.Path)
	enter := func(id tenant.ID, sub string) refusal.Reason {
		_, _, err := r.Enrol(t.Context(), id, idp, sub)
		return reason(err)
	}
	if got := enter(a.tenant.ID, "first"); got != granted {
		t.Fatal(got)
	}
	for range enrolBurst - 1 {
		if err := r.taps.admit(a.tenant.ID, at); err != nil {
			t.Fatal(err)
		}
	}
	for who, want := range map[string]refusal.Reason{"one more": refusal.TooFast, "first": granted} {
		if got := enter(a.tenant.ID, who); got != want {
			t.Errorf("%s: %v, want %v", who, got, want)
		}
	}
	if got := enter(b.tenant.ID, "somebody"); got != granted {
		t.Errorf("another tenant: %v", got)
	}
	if _, err := r.Principal(t.Context(), a.tenant.ID, iss, "by the operator"); err != nil {
		t.Error(err)
	}
	later.Store(int64(time.Second))
	for i := range enrolRate {
		if got := enter(a.tenant.ID, "later "+strconv.Itoa(i)); got != granted {
			t.Errorf("a second later: %v", got)
		}
	}
	if got := enter(a.tenant.ID, "too many"); got != refusal.TooFast {
		t.Errorf("a second later, one more: %v", got)
	}
}

// What is remembered of who enrols is bounded, and forgotten when it may be.
func TestTapsAreBounded(t *testing.T) {
	var p taps
	now := time.Unix(1_800_000_000, 0)
	for range maxTaps {
		if err := p.admit(tenant.New(), now); err != nil {
			t.Fatal(err)
		}
	}
	if err := p.admit(tenant.New(), now); reason(err) != refusal.TooFast || len(p.of) != maxTaps {
		t.Errorf("%v, %d remembered", err, len(p.of))
	}
	if err := p.admit(tenant.New(), now.Add(time.Second)); err != nil || len(p.of) != 1 {
		t.Errorf("all quiet: %v, %d remembered", err, len(p.of))
	}
}

// A provider that was removed and added again begins with nobody: the token of
// before is good again, and is somebody new.
func TestATokenOutlivesItsRegistration(t *testing.T) {
	_, dsn := database(t)
	r := open(t, config(dsn))
	a := clinic(t, r)
	if err := r.RemoveIssuer(t.Context(), idp); err != nil {
		t.Fatal(err)
	}
	g, sign := signing(t)
	v := must[*identity.Verifier](t)(identity.New(identity.Config{
		TrustDomain: "isocore.test", Issuers: r.Keys, Providers: r.Provider, Enrol: r.Enrol,
		Renew:    func(context.Context, string) error { return nil },
		Standing: r, MaxLifetime: identity.MaxLifetime, Now: time.Now, CacheSize: 64,
	}))
	now := time.Now().Unix()
	token := sign(map[string]any{"iss": idp, "sub": "alice", "aud": "https://app.test", "iat": now, "exp": now + 300, "org_id": "org_1"})
	var last identity.Principal
	for _, round := range []string{"first", "again"} {
		must[Issuer](t)(r.AddProvider(t.Context(), g))
		bind(t, r, idp, "org_1", a.tenant.Path)
		p := must[identity.Principal](t)(v.Verify(t.Context(), identity.Edge, token))
		if again := must[identity.Principal](t)(v.Verify(t.Context(), identity.Edge, token)); p.ID() == last.ID() || again.ID() != p.ID() {
			t.Errorf("%s: %x, then %x, after %x", round, p.ID(), again.ID(), last.ID())
		}
		if !last.IsZero() && reason(v.Live(last)) != refusal.Unauthenticated {
			t.Error("who they were before lives on")
		}
		last = p
		if err := r.RemoveIssuer(t.Context(), idp); err != nil {
			t.Fatal(err)
		}
		if _, err := v.Verify(t.Context(), identity.Edge, token); reason(err) != refusal.Unauthenticated {
			t.Errorf("%s, removed: %v", round, err)
		}
	}
}

// signing returns a registration and what signs as it.
func signing(t testing.TB) (Registration, func(map[string]any) secret.Text) {
	t.Helper()
	_, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	signer, key, err := jws.NewSigner(private)
	if err != nil {
		t.Fatal(err)
	}
	g := registration(t, idp)
	g.Algorithms, g.Keys = []string{jws.EdDSA}, must[[]byte](t)(must[*jws.KeySet](t)(jws.NewKeySet(key)).JWKS())
	return g, func(claims map[string]any) secret.Text {
		return secret.New(must[string](t)(jws.Sign(signer, "JWT", claims)))
	}
}
