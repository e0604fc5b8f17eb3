package identity_test

import (
	"crypto/ed25519"
	"testing"
	"time"

	"github.com/isocore/isocore/identity"
	"github.com/isocore/isocore/refusal"
	"github.com/isocore/isocore/secret"
	"github.com/isocore/isocore/tenant"
)

// txnOf returns a Txn-Token for the principal, with all it has.
func (e *edge) txnOf(t testing.TB, p identity.Principal) secret.Text {
	t.Helper()
	token, err := e.m.Txn(p, identity.TxnGrant{Txn: "x1", Workload: "notes", Reach: p.Reach(), Peer: "192.0.2.7", TTL: 2 * time.Minute})
	if err != nil {
		t.Fatal(err)
	}
	return token
}

// narrowed returns a store token that a Txn-Token is exchanged for.
func (e *edge) narrowed(t testing.TB, txn secret.Text) secret.Text {
	t.Helper()
	token, err := e.m.Narrow(e.must(t, identity.Exchange, txn), identity.Narrowing{Broker: "postgres", Reach: []string{identity.PGRead}, TTL: time.Minute})
	if err != nil {
		t.Fatal(err)
	}
	return token
}

// chain returns one token of each kind, made of one another, by the door where
// it is good.
func (e *edge) chain(t testing.TB) map[string]secret.Text {
	t.Helper()
	provider := e.issue()
	txn := e.txnOf(t, e.must(t, identity.Edge, provider))
	g := grant()
	minted, err := e.m.Mint(g)
	if err != nil {
		t.Fatal(err)
	}
	return map[string]secret.Text{identity.Edge: provider, identity.Exchange: txn, "postgres": e.narrowed(t, txn), " minted": minted}
}

// Each kind of token is good at its own door and nowhere else, whether it was
// seen before or not.
func TestConfusion(t *testing.T) {
	doors := []string{identity.Edge, identity.Exchange, "postgres", "", "Edge", "exchange ", "edge2", "isocore:edge"}
	e := newEdgeOf(t)
	tokens := e.chain(t)
	for kind, token := range tokens {
		home := kind
		if kind == " minted" {
			home = "postgres"
		}
		for _, pass := range []string{"fresh", "cached"} {
			e.Verifier = e.verifier(t, 1024)
			if pass == "cached" {
				e.must(t, home, token)
			}
			for _, door := range doors {
				asked := e.standing.asked
				_, err := e.Verify(t.Context(), door, token)
				if door == home {
					if err != nil {
						t.Errorf("%s: %q at home: %v", pass, kind, err)
					}
					continue
				}
				refused(t, pass+": "+kind+" at "+door, err, refusal.Unauthenticated)
				if e.standing.asked != asked {
					t.Errorf("%s: %q at %q: standing was asked", pass, kind, door)
				}
			}
		}
	}
}

// A key signs one kind of token: what says that it is of another is refused,
// whoever's key it was and whatever else is right.
func TestKeysOfAnotherKind(t *testing.T) {
	e := newEdgeOf(t)
	ours := newKey(t)
	e.sets[issuer] = keySet(t, map[string]any{"k": ours.Public()})
	sign := func(b []byte) []byte { return ed25519.Sign(ours, b) }
	store, txn, any := `{"alg":"EdDSA","kid":"k","typ":"at+jwt"}`, `{"alg":"EdDSA","kid":"k","typ":"txntoken+jwt"}`, edHeader
	e.must(t, "postgres", compact(store, claims(), sign))
	e.must(t, identity.Exchange, compact(txn, txnClaims(), sign))
	e.must(t, identity.Edge, compact(store, foreign(), e.sign))

	// An operator's mistake: the provider is registered under our own name.
	e.register(t, func(p *identity.Provider) { p.Issuer = issuer })
	theirs := member{"iss", `"` + idp + `"`}
	for name, c := range map[string]struct {
		door  string
		token secret.Text
	}{
		"a provider's store token":              {"postgres", compact(store, claims(theirs), e.sign)},
		"a provider's store token for us":       {"postgres", compact(store, claims(), e.sign)},
		"a provider's Txn-Token":                {identity.Exchange, compact(txn, txnClaims(theirs), e.sign)},
		"a provider's Txn-Token for us":         {identity.Exchange, compact(txn, txnClaims(), e.sign)},
		"a token of ours as a provider's":       {identity.Edge, compact(any, foreign(member{"iss", `"` + issuer + `"`}), sign)},
		"our key, their iss, at a store":        {"postgres", compact(store, claims(theirs, member{"tenant", `"` + idA + `"`}), sign)},
		"our key, their iss, at the exchange":   {identity.Exchange, compact(txn, txnClaims(theirs), sign)},
		"our key, their iss":                    {identity.Edge, compact(any, foreign(), sign)},
		"a Txn-Token that says it is a store's": {"postgres", compact(store, txnClaims(), sign)},
		"a Txn-Token with a store's typ":        {identity.Exchange, compact(store, txnClaims(), sign)},
		"a store token with a Txn-Token's typ":  {"postgres", compact(txn, claims(), sign)},
		"store claims at the exchange":          {identity.Exchange, compact(txn, claims(), sign)},
		"another trust domain's Txn-Token":      {identity.Exchange, compact(txn, txnClaims(member{"aud", `"other.test"`}), sign)},
		"a Txn-Token for an application":        {identity.Exchange, compact(txn, txnClaims(member{"aud", `"https://issuer.test"`}), sign)},
		"a store token for the edge":            {identity.Edge, compact(store, claims(member{"aud", `"isocore:edge"`}), sign)},
		"a store token for the exchange":        {identity.Exchange, compact(store, claims(member{"aud", `"isocore:exchange"`}), sign)},
	} {
		_, err := e.Verify(t.Context(), c.door, c.token)
		refused(t, name, err, refusal.Unauthenticated)
	}
	// Between two changes of a registration its keys may outlive it.
	delete(e.providers, idp)
	_, err := e.Verify(t.Context(), "postgres", compact(store, claims(theirs), e.sign))
	refused(t, "a withdrawn provider's store token", err, refusal.Unauthenticated)
	if e.renewed != 0 {
		t.Error("asked for newer keys")
	}
}

// What changes acts on who is in, and on what is remembered of their token.
func TestProvidersChange(t *testing.T) {
	other := newKey(t)
	for _, c := range []struct {
		name    string
		change  func(e *edge)
		live    refusal.Reason // of who showed the provider's token; Internal stands for none
		again   refusal.Reason // of the same token, shown again
		further refusal.Reason // of who showed a token of ours for them
	}{
		{"nothing", func(*edge) {}, 0, 0, 0},
		{"suspended", func(e *edge) { e.standing.answer = refusal.New(refusal.Suspended, "x") }, refusal.Suspended, refusal.Suspended, refusal.Suspended},
		{"registry lost", func(e *edge) { e.standing.answer = errStanding }, refusal.Unavailable, refusal.Unavailable, refusal.Unavailable},
		{"provider removed", func(e *edge) { delete(e.providers, idp) }, refusal.Unauthenticated, refusal.Unauthenticated, refusal.Unauthenticated},
		{"mapping removed", func(e *edge) {
			e.register(t, func(p *identity.Provider) { delete(p.Tenants, "A") })
		}, refusal.Unauthenticated, refusal.Unauthenticated, refusal.Unauthenticated},
		{"tenant gone and made anew under its name", func(e *edge) {
			e.register(t, func(p *identity.Provider) { p.Tenants["A"] = tenant.New() })
		}, refusal.Unauthenticated, 0, refusal.Unauthenticated},
		{"mapped by another value", func(e *edge) {
			e.register(t, func(p *identity.Provider) { p.Tenants = map[string]tenant.ID{"A2": mustID(idA)} })
		}, refusal.Unauthenticated, refusal.Unauthenticated, 0},
		{"another tenant bound", func(e *edge) {
			e.register(t, func(p *identity.Provider) { p.Tenants["C"] = tenant.New() })
		}, 0, 0, 0},
		{"reach changed", func(e *edge) {
			e.register(t, func(p *identity.Provider) { p.Reach = []string{identity.HTTP} })
		}, refusal.Unauthenticated, 0, 0},
		{"audience changed", func(e *edge) {
			e.register(t, func(p *identity.Provider) { p.Audiences = []string{"other"} })
		}, refusal.Unauthenticated, refusal.Unauthenticated, 0},
		{"algorithm withdrawn", func(e *edge) {
			e.register(t, func(p *identity.Provider) { p.Algorithms = []string{"RS256"} })
		}, refusal.Unauthenticated, refusal.Unauthenticated, 0},
		{"a key more", func(e *edge) {
			e.sets[idp] = keySet(t, map[string]any{"k": e.key.Public(), "next": other.Public()})
		}, 0, 0, 0},
		{"key rotated away", func(e *edge) { e.sets[idp] = keySet(t, map[string]any{"next": other.Public()}) }, refusal.Unauthenticated, refusal.Unauthenticated, 0},
		{"another key of its name", func(e *edge) { e.sets[idp] = keySet(t, map[string]any{"k": other.Public()}) }, refusal.Unauthenticated, refusal.Unauthenticated, 0},
		{"keys unknown", func(e *edge) { delete(e.sets, idp) }, refusal.Unauthenticated, refusal.Unauthenticated, 0},
		{"our key rotated", func(e *edge) { e.sets[issuer] = keySet(t, map[string]any{"next": other.Public()}) }, 0, 0, refusal.Unauthenticated},
		{"over", func(e *edge) { e.now = e.now.Add(5 * time.Minute) }, refusal.Expired, refusal.Expired, refusal.Expired},
		{"over and suspended", func(e *edge) {
			e.now = e.now.Add(5 * time.Minute)
			e.standing.answer = refusal.New(refusal.Suspended, "x")
		}, refusal.Suspended, refusal.Suspended, refusal.Suspended},
	} {
		e := newEdgeOf(t)
		provider := e.issue()
		in := e.must(t, identity.Edge, provider)
		txn := e.txnOf(t, in)
		store := e.narrowed(t, txn)
		further := map[string]identity.Principal{"Txn-Token": e.must(t, identity.Exchange, txn), "store token": e.must(t, "postgres", store)}
		c.change(e)
		said(t, c.name+", live", e.Live(in), c.live)
		_, err := e.enter(t, provider)
		said(t, c.name+", again", err, c.again)
		for kind, p := range further {
			said(t, c.name+", live, "+kind, e.Live(p), c.further)
		}
		_, err = e.Verify(t.Context(), identity.Exchange, txn)
		said(t, c.name+", again, Txn-Token", err, c.further)
		_, err = e.Verify(t.Context(), "postgres", store)
		said(t, c.name+", again, store token", err, c.further)
	}
}

// said checks that err has this Reason, where Internal stands for no error.
func said(t *testing.T, what string, err error, want refusal.Reason) {
	t.Helper()
	if err == nil && want != refusal.Internal || err != nil && (want == refusal.Internal || refusal.Of(err) != want) {
		t.Errorf("%s: %v, not %v", what, err, want)
	}
}

// Who was remembered under another registration is read again: to the tenant
// that the value is bound to now, with the reach that is granted now.
func TestTheCacheFollowsTheRegistration(t *testing.T) {
	e := newEdgeOf(t)
	token := e.issue()
	before := e.must(t, identity.Edge, token)
	e.register(t, func(p *identity.Provider) {
		p.Tenants["A"] = mustID(idB)
		p.Reach = []string{identity.HTTP}
	})
	after := e.must(t, identity.Edge, token)
	if after.Tenant().String() != idB || after.Has(identity.PGRead) || after.ID() == before.ID() || len(e.enrolled) != 2 {
		t.Errorf("%+v, then %+v; enrolled %v", before, after, e.enrolled)
	}
}

// Whose id standing no longer has is read again, once, and may have another
// one. Who is suspended is not, nor is a token that has its id in it.
func TestWhoIsForgottenIsReadAgain(t *testing.T) {
	e := newEdgeOf(t)
	token := e.issue()
	before := e.must(t, identity.Edge, token)
	store := e.narrowed(t, e.txnOf(t, before))
	e.must(t, "postgres", store)
	for name, c := range map[string]struct {
		door  string
		token secret.Text
		says  refusal.Reason
		read  int
	}{
		"forgotten":             {identity.Edge, token, refusal.Unauthenticated, 1},
		"suspended":             {identity.Edge, token, refusal.Suspended, 0},
		"unknown":               {identity.Edge, token, refusal.Unavailable, 0},
		"forgotten, our token":  {"postgres", store, refusal.Unauthenticated, 0},
		"forgotten, wrong door": {"postgres", token, refusal.Unauthenticated, 0},
	} {
		e.enrolled, e.standing.answer = nil, refusal.New(c.says, "standing")
		_, err := e.Verify(t.Context(), c.door, c.token)
		refused(t, name, err, c.says)
		if len(e.enrolled) != c.read {
			t.Errorf("%s: enrolled %v", name, e.enrolled)
		}
	}
	e.enrolled, e.standing.answer = nil, nil
	if p := e.must(t, identity.Edge, token); p.ID() != before.ID() || len(e.enrolled) != 0 {
		t.Errorf("%+v; enrolled %v", p, e.enrolled)
	}
}

// Standing is asked about the person's own issuer, not the token's.
func TestStandingIsOfTheOrigin(t *testing.T) {
	e := newEdgeOf(t)
	in := e.must(t, identity.Edge, e.issue())
	txn := e.txnOf(t, in)
	store := e.narrowed(t, txn)
	for door, token := range map[string]secret.Text{identity.Exchange: txn, "postgres": store} {
		e.standing.issuer = ""
		p := e.must(t, door, token)
		if e.standing.issuer != idp || p.Issuer() != idp || p.Subject() != "alice" || p.ID() != in.ID() || p.Partner() != in.Partner() || p.Tenant() != in.Tenant() || p.Txn() != "x1" || p.Client() != "notes" {
			t.Errorf("%s: standing of %s, %+v", door, e.standing.issuer, p)
		}
	}
	// Without providers there is nobody to vouch.
	v, err := identity.New(identity.Config{
		TrustDomain: "issuer.test", Issuers: func(s string) *identity.KeySet { return e.sets[s] }, Standing: &e.standing,
		MaxLifetime: identity.MaxLifetime, Now: func() time.Time { return e.now }, CacheSize: 64,
	})
	if err != nil {
		t.Fatal(err)
	}
	for door, token := range map[string]secret.Text{identity.Edge: e.issue(), identity.Exchange: txn, "postgres": store} {
		_, err := v.Verify(t.Context(), door, token)
		refused(t, "no providers, "+door, err, refusal.Unauthenticated)
	}
}

// The way of every operation at the edge allocates nothing.
func TestLiveAtTheEdgeAllocatesNothing(t *testing.T) {
	e := newEdgeOf(t)
	in := e.must(t, identity.Edge, e.issue())
	txn := e.txnOf(t, in)
	for name, p := range map[string]identity.Principal{
		"provider": in, "Txn-Token": e.must(t, identity.Exchange, txn), "store token": e.must(t, "postgres", e.narrowed(t, txn)),
	} {
		if n := testing.AllocsPerRun(100, func() {
			if err := e.Live(p); err != nil {
				t.Error(err)
			}
		}); n != 0 {
			t.Errorf("%s: %v allocations", name, n)
		}
	}
}
