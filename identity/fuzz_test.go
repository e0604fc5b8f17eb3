package identity_test

import (
	"encoding/hex"
	"slices"
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
