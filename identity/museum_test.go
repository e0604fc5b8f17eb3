package identity_test

import (
	"crypto/ed25519"
	"strings"
	"testing"
	"time"

	"github.com/isocore/isocore/identity"
	"github.com/isocore/isocore/refusal"
	"github.com/isocore/isocore/secret"
	"github.com/isocore/isocore/tenant"
)

// What others leaked by, tried here. The numbers are those of the list of
// incidents that the tests of the whole refer to.

// 01: an issuer speaks for the tenants that the operator bound to it, whatever
// it claims, and by no other name of theirs.
func TestMuseum01(t *testing.T) {
	e := newEdgeOf(t)
	const other = "https://other.test"
	theirs := newKey(t)
	e.sets[other] = keySet(t, map[string]any{"k": theirs.Public()})
	e.register(t, func(p *identity.Provider) { p.Issuer, p.Tenants = other, map[string]tenant.ID{"C": mustID(idOther)} })
	sign := func(b []byte) []byte { return ed25519.Sign(theirs, b) }
	iss := member{"iss", `"` + other + `"`}
	if _, err := e.enter(t, compact(edHeader, foreign(iss, member{"org_id", `"C"`}), sign)); err != nil {
		t.Fatalf("control: %v", err)
	}
	for _, value := range []string{"A", "B", idA, idB, idOther, idp + "/A", "home/clinic"} {
		_, err := e.enter(t, compact(edHeader, foreign(iss, member{"org_id", `"` + value + `"`}, member{"tenant", `"` + idA + `"`}, member{"tid", `"A"`}), sign))
		refused(t, "other's token for "+value, err, refusal.Unauthenticated)
	}
}

// 02: an e-mail address is nobody. People are told apart by issuer and subject.
func TestMuseum02(t *testing.T) {
	e := newEdgeOf(t)
	mail := []member{{"email", `"ceo@b.test"`}, {"email_verified", "true"}, {"preferred_username", `"ceo@b.test"`}, {"upn", `"ceo@b.test"`}}
	a := e.must(t, identity.Edge, e.issue(append(mail, member{"sub", `"s1"`})...))
	b := e.must(t, identity.Edge, e.issue(append(mail, member{"sub", `"s1"`}, member{"org_id", `"B"`})...))
	c := e.must(t, identity.Edge, e.issue(append(mail, member{"sub", `"s2"`})...))
	if a.Tenant() == b.Tenant() || a.ID() == b.ID() || a.ID() == c.ID() || a.Subject() != "s1" {
		t.Errorf("%+v, %+v and %+v", a, b, c)
	}
	for _, line := range e.enrolled {
		if strings.Contains(line, "ceo") {
			t.Errorf("enrolled %s", line)
		}
	}
	_, err := e.enter(t, e.issue(append(mail, member{"sub", ""})...))
	refused(t, "an e-mail address and no sub", err, refusal.Unauthenticated)
}

// 04: what is remembered of a token is not believed of another issuer, door or
// registration: see also TestConfusion.
func TestMuseum04(t *testing.T) {
	e := newEdgeOf(t)
	token := e.issue()
	e.must(t, identity.Edge, token)
	e.providers["https://other.test"], e.sets["https://other.test"] = e.providers[idp], e.sets[idp]
	delete(e.providers, idp)
	_, err := e.enter(t, token)
	refused(t, "the bytes of a withdrawn issuer, whose keys and policy another has", err, refusal.Unauthenticated)
	e.register(t, func(p *identity.Provider) { p.Audiences = []string{"https://b.test"} })
	_, err = e.enter(t, token)
	refused(t, "the same bytes where another audience is asked for", err, refusal.Unauthenticated)
	e.register(t, func(*identity.Provider) {})
	e.must(t, identity.Edge, token)
}

// 05: two tokens are one to the cache only if they are one.
func TestMuseum05(t *testing.T) {
	seen := map[[32]byte]string{}
	parts := []string{"", "a", "b", ".", "a.", ".a", "a\x00", "\x00", "\x00a", "é", "e\u0301", "[a,[b]]", strings.Repeat("a", 1535), strings.Repeat("a", 1536), strings.Repeat("a", 1537)}
	for _, a := range parts {
		for _, b := range parts {
			for _, c := range parts {
				token := a + b + c
				if other, taken := seen[identity.Digest(token)]; taken && other != token {
					t.Fatalf("%.50q and %.50q", token, other)
				}
				seen[identity.Digest(token)] = token
			}
		}
	}
}

// 06: names that become one another by joining, cutting, folding or
// normalising are different tenants, or none.
func TestMuseum06(t *testing.T) {
	e := newEdgeOf(t)
	values := []string{"a", "a:b", "a_b", "ab", "A", "prod", "prod2", "prod-2", "prod.2", "a%3ab", "a/b", "a:", ":a"}
	bound := map[string]tenant.ID{}
	for _, v := range values {
		bound[v] = tenant.New()
	}
	e.register(t, func(p *identity.Provider) { p.Tenants = bound })
	for v, id := range bound {
		if p := e.must(t, identity.Edge, e.issue(member{"org_id", `"` + v + `"`})); p.Tenant() != id {
			t.Errorf("%q is %v", v, p.Tenant())
		}
	}
	for _, v := range []string{"a ", " a", "a\u200b", "\u0430", "ａ", "PROD", "pro", "prod3", "a\\u0000", "á"} {
		_, err := e.enter(t, e.issue(member{"org_id", `"` + v + `"`}))
		refused(t, v, err, refusal.Unauthenticated)
	}
}

// 07: a tenant made anew under the name of one that is gone is another. Nothing
// that was made for the old one opens the new one.
func TestMuseum07(t *testing.T) {
	e := newEdgeOf(t)
	provider := e.issue()
	in := e.must(t, identity.Edge, provider)
	txn := e.txnOf(t, in)
	store := e.narrowed(t, txn)
	anew := tenant.New()
	e.register(t, func(p *identity.Provider) { p.Tenants["A"] = anew })
	if err := e.Live(in); refusal.Of(err) != refusal.Unauthenticated {
		t.Errorf("who was in: %v", err)
	}
	for door, token := range map[string]secret.Text{identity.Exchange: txn, "postgres": store} {
		_, err := e.Verify(t.Context(), door, token)
		refused(t, "the old tenant's token at "+door, err, refusal.Unauthenticated)
	}
	p := e.must(t, identity.Edge, provider)
	if p.Tenant() != anew || p.ID() == in.ID() {
		t.Errorf("%+v, then %+v", in, p)
	}
}

// 54: a stolen token is good for minutes, in one place: there is no
// registration for longer than a day, none without an audience, and a token
// that is bound to a key is not taken without the proof.
func TestMuseum54(t *testing.T) {
	r := registration()
	r.MaxLifetime = 90 * 24 * time.Hour
	if _, err := identity.NewProvider(r); err == nil {
		t.Error("a provider whose tokens last for months")
	}
	e := newEdgeOf(t)
	for name, change := range map[string]member{
		"a month":      {"exp", "1802592000"},
		"elsewhere":    {"aud", `"https://drift.test"`},
		"bound (DPoP)": {"cnf", `{"jkt":"0ZcOCORZNYy-DWpqq30jZyJGHTN0d2HglBV3uiguA4I"}`},
		"bound (mTLS)": {"cnf", `{"x5t#S256":"bwcK0esc3ACC3DB2Y5_lESsXE8o9ltc05O89jdN-dg2"}`},
	} {
		_, err := e.enter(t, e.issue(change))
		refused(t, name, err, refusal.Unauthenticated)
	}
	p := e.must(t, identity.Exchange, e.txnOf(t, e.must(t, identity.Edge, e.issue())))
	store, err := e.m.Narrow(p, identity.Narrowing{Broker: "postgres", Reach: []string{identity.PGRead}, TTL: 24 * time.Hour})
	if err != nil {
		t.Fatal(err)
	}
	for _, other := range []string{"qdrant", "postgres-2", identity.Edge, identity.Exchange} {
		_, err := e.Verify(t.Context(), other, store)
		refused(t, "a token for postgres at "+other, err, refusal.Unauthenticated)
	}
}
