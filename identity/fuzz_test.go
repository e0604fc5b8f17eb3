package identity_test

import (
	"encoding/hex"
	"encoding/json"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/isocore/isocore/identity"
)

func FuzzVerify(f *testing.F) {
	w := newWorld(f)
	m := w.minter(f)
	f.Add(claims())
	f.Add(claims(member{"act", nested(3)}))
	f.Add(claims(member{"TENANT", `"` + idOther + `"`}))
	f.Add(claims(member{"exp", "1e300"}))
	kid := `{"alg":"EdDSA","kid":"` + keyName(f, m) + `","typ":"at+jwt"}`
	// Oracle "no more than can be minted": whatever correctly signed claims are
	// accepted, the Principal made of them can be granted by Mint, verifies
	// again, and is the same but for the token.
	f.Fuzz(func(t *testing.T, payload string) {
		p, err := w.verify(t, compact(kid, payload, w.sign))
		if err != nil {
			if !p.IsZero() {
				t.Errorf("%q: refused, and %+v", payload, p)
			}
			return
		}
		token, err := m.Mint(identity.Grant{
			Tenant: p.Tenant(), Partner: p.Partner(), Principal: p.ID(), Subject: p.Subject(), ClientID: "fuzz", Broker: "postgres",
			Reach: p.Reach(), Actors: p.Actors(), Txn: p.Txn(), TTL: p.Expires().Sub(w.now).Truncate(time.Second),
		})
		if err != nil {
			t.Fatalf("%q is %+v, which cannot be minted: %v", payload, p, err)
		}
		again, err := w.verify(t, token)
		if err != nil || again.Tenant() != p.Tenant() || again.ID() != p.ID() || again.Partner() != p.Partner() || again.Subject() != p.Subject() ||
			again.Issuer() != p.Issuer() || again.Txn() != p.Txn() || !again.Expires().Equal(p.Expires()) ||
			!slices.Equal(again.Reach(), p.Reach()) || !slices.Equal(again.Actors(), p.Actors()) {
			t.Errorf("%q is %+v, and minted %+v, %v", payload, p, again, err)
		}
	})
}

func FuzzProviderClaims(f *testing.F) {
	e := newEdgeOf(f)
	for _, seed := range []string{
		foreign(), foreign(member{"aud", `["x","second"]`}), foreign(member{"exp", "1800000300.5"}, member{"nbf", "1"}), foreign(member{"ORG_ID", `"B"`}),
		foreign(member{"act", nested(3)}), foreign(member{"+org_id", `"B"`}), foreign(member{"org_id", `"\u0041"`}), foreign(member{"org_id", "\"A\xff\""}),
		foreign(member{"events", `{"x":{}}`}), foreign(member{"groups", `[null,{"x":null}]`}), foreign(member{"org_id", `null`}),
	} {
		f.Add(seed)
	}
	// Oracle "one reading": whatever claims of a provider are accepted, a strict
	// decoder of the standard kind, told nothing of ours, reads the same tenant
	// and subject in them, and in what it prints of them; and they name an
	// audience of ours and dates that are due.
	f.Fuzz(func(t *testing.T, payload string) {
		token := compact(edHeader, payload, e.sign)
		p, err := e.enter(t, token)
		if err != nil {
			if !p.IsZero() {
				t.Errorf("%q: refused, and %+v", payload, p)
			}
			return
		}
		for range 2 {
			var m map[string]any
			if err := json.Unmarshal([]byte(payload), &m); err != nil {
				t.Fatalf("%q: accepted, and %v", payload, err)
			}
			value, okV := m["org_id"].(string)
			subject, okS := m["sub"].(string)
			exp, okE := m["exp"].(float64)
			if !okV || !okS || !okE || e.providers[idp].Tenants[value] != p.Tenant() || subject != p.Subject() || exp <= float64(e.now.Unix()) ||
				m["iss"] != idp || m["aud"] == nil || m["cnf"] != nil || m["events"] != nil {
				t.Fatalf("%q is %+v", payload, p)
			}
			again, err := json.Marshal(m)
			if err != nil {
				t.Fatal(err)
			}
			payload = string(again)
		}
		// What was printed is read as the same person, unless it printed a date
		// as nobody should.
		if again, err := e.enter(t, compact(edHeader, payload, e.sign)); err == nil && (again.Tenant() != p.Tenant() || again.ID() != p.ID()) {
			t.Errorf("%q is %+v, then %+v", payload, p, again)
		}
	})
}

func FuzzTxnClaims(f *testing.F) {
	w := newWorld(f)
	m := w.minter(f)
	kid := `{"alg":"EdDSA","kid":"` + keyName(f, m) + `","typ":"txntoken+jwt"}`
	f.Add(txnClaims())
	f.Add(txnClaims(member{"act", nested(2)}))
	f.Add(txnClaims(member{"rctx", `{"iss":"` + issuer + `","token":"` + idOther + `"}`}))
	// Oracle "no more than can be minted": whatever Txn-Token is accepted, an
	// application reads the same in it, and the token that is minted of its
	// principal again is the same but for what it was made of.
	f.Fuzz(func(t *testing.T, payload string) {
		token := compact(kid, payload, w.sign)
		p, err := w.Verify(t.Context(), identity.Exchange, token)
		read, errRead := identity.ReadTxn(m.Keys(), issuer, "issuer.test", token, w.now)
		if err != nil {
			if !p.IsZero() {
				t.Errorf("%q: refused, and %+v", payload, p)
			}
			return
		}
		if errRead != nil || read.Tenant != p.Tenant() || read.Principal != p.ID() || read.Subject != p.Subject() || read.Issuer != p.Issuer() ||
			read.Txn != p.Txn() || read.Workload != p.Client() || !slices.Equal(read.Reach, p.Reach()) || !read.Expires.Equal(p.Expires()) {
			t.Errorf("%q is %+v, and an application reads %+v, %v", payload, p, read, errRead)
		}
		again, err := m.Txn(p, identity.TxnGrant{Txn: p.Txn(), Workload: p.Client(), Reach: p.Reach(), Peer: read.Peer, TTL: identity.MaxLifetime})
		if err != nil {
			t.Fatalf("%q is %+v, which cannot be minted: %v", payload, p, err)
		}
		q, err := w.Verify(t.Context(), identity.Exchange, again)
		if err != nil || q.Tenant() != p.Tenant() || q.ID() != p.ID() || q.Subject() != p.Subject() || !q.Expires().Equal(p.Expires()) || !slices.Equal(q.Actors(), p.Actors()) {
			t.Errorf("%q is %+v, and minted %+v, %v", payload, p, q, err)
		}
	})
}

func FuzzPointer(f *testing.F) {
	f.Add("/org_id", "org_id")
	f.Add("/a~1b/c~0d", "c~d")
	f.Add("/~01", "~1")
	// Oracle "nothing but its name": a pointer that is accepted finds the claim
	// that RFC 6901 says, spelled by its own inverse, and no other.
	f.Fuzz(func(t *testing.T, at, other string) {
		e := newEdgeOf(t)
		r := registration()
		r.TenantAt = at
		p, err := identity.NewProvider(r)
		if err != nil {
			return
		}
		e.providers[idp] = p
		names := strings.Split(at, "/")[1:]
		for i := range names {
			names[i] = strings.ReplaceAll(strings.ReplaceAll(names[i], "~1", "/"), "~0", "~")
		}
		value := any("A")
		for _, name := range slices.Backward(names) {
			value = map[string]any{name: value}
		}
		claims, ok := value.(map[string]any)
		if !ok {
			t.Fatalf("%q has no name", at)
		}
		for name, v := range map[string]any{"iss": idp, "sub": "alice", "aud": "second", "iat": 1800000000, "exp": 1800000300} {
			if _, taken := claims[name]; taken {
				return
			}
			claims[name] = v
		}
		good, err := json.Marshal(claims)
		if err != nil {
			t.Fatal(err)
		}
		if who, err := e.enter(t, compact(edHeader, string(good), e.sign)); err != nil || who.Tenant().String() != idA {
			t.Fatalf("%q in %s: %v, %v", at, good, who.Tenant(), err)
		}
		if other == names[0] {
			return
		}
		claims[other] = claims[names[0]]
		delete(claims, names[0])
		bad, err := json.Marshal(claims)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := e.enter(t, compact(edHeader, string(bad), e.sign)); err == nil && !strings.Contains(string(bad), strconv.Quote(names[0])) {
			t.Errorf("%q in %s: accepted", at, bad)
		}
	})
}

// keyName returns the kid of the one key of m.
func keyName(tb testing.TB, m *identity.Minter) string {
	tb.Helper()
	doc, err := m.Keys().JWKS()
	if err != nil {
		tb.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(doc), `"kid":"`)
	kid, _, _ := strings.Cut(rest, `"`)
	return kid
}

func FuzzParseReach(f *testing.F) {
	f.Add("pg:read pg:write")
	f.Add("a  b")
	f.Add(hex.EncodeToString(make([]byte, 300)))
	// Oracle "sorted and whole": what is accepted comes back sorted, without
	// doubles, made of the same bytes, and is accepted again.
	f.Fuzz(func(t *testing.T, s string) {
		words, err := identity.ParseReach(s)
		if err != nil {
			return
		}
		joined := strings.Join(words, " ")
		again, err := identity.ParseReach(joined)
		if err != nil || !slices.Equal(words, again) || !slices.IsSorted(words) || len(slices.Compact(slices.Clone(words))) != len(words) || len(joined) != len(s) {
			t.Errorf("%q is %q, again %q, %v", s, words, again, err)
		}
	})
}
