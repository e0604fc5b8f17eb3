package identity_test

import (
	"crypto/ed25519"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/isocore/isocore/identity"
	"github.com/isocore/isocore/tenant"
)

func grant() identity.Grant {
	return identity.Grant{
		Tenant: tenant.New(), Partner: tenant.New().UUID(), Principal: tenant.New().UUID(), Subject: "alice", ClientID: "psql",
		Broker: "postgres", Reach: []string{identity.PGWrite, identity.PGRead}, TTL: 15 * time.Minute,
	}
}

func (w *world) minter(t testing.TB) *identity.Minter {
	t.Helper()
	m, err := identity.NewMinter(issuer, w.key, func() time.Time { return w.now })
	if err != nil {
		t.Fatal(err)
	}
	w.sets[issuer] = m.Keys()
	return m
}

func TestMintVerifies(t *testing.T) {
	w := newWorld(t)
	m := w.minter(t)
	w.now = w.now.Add(999 * time.Millisecond)
	g := grant()
	g.Actors = []string{"bob", "https://other.test carol"}
	seen := map[string]bool{}
	for range 10 {
		token, err := m.Mint(g)
		if err != nil {
			t.Fatal(err)
		}
		p, err := w.verify(t, token)
		if err != nil {
			t.Fatal(err)
		}
		if p.Tenant() != g.Tenant || p.Partner() != g.Partner || p.ID() != g.Principal || p.Subject() != "alice" || p.Issuer() != m.Issuer() ||
			!slices.Equal(p.Actors(), g.Actors) || !slices.Equal(p.Reach(), []string{"pg:read", "pg:write"}) || p.Expires().Sub(w.now) > g.TTL {
			t.Errorf("%+v is not %+v", p, g)
		}
		if seen[p.Txn()] || seen[token.Reveal()] {
			t.Error("drawn twice")
		}
		seen[p.Txn()], seen[token.Reveal()] = true, true
	}
	g.Txn = "given"
	token, err := m.Mint(g)
	if err != nil {
		t.Fatal(err)
	}
	if p, err := w.verify(t, token); err != nil || p.Txn() != "given" {
		t.Errorf("txn %q, %v", p.Txn(), err)
	}
	// Whoever publishes the keys and whoever reads them agree.
	doc, err := m.Keys().JWKS()
	if err != nil {
		t.Fatal(err)
	}
	set, err := identity.ParseKeySet(doc)
	if err != nil || set.Digest() != m.Keys().Digest() {
		t.Errorf("%s: %v", doc, err)
	}
}

func TestMintRefuses(t *testing.T) {
	w := newWorld(t)
	m := w.minter(t)
	for name, change := range map[string]func(g *identity.Grant){
		"no tenant":           func(g *identity.Grant) { g.Tenant = tenant.ID{} },
		"no partner":          func(g *identity.Grant) { g.Partner = [16]byte{} },
		"no principal":        func(g *identity.Grant) { g.Principal = [16]byte{} },
		"no subject":          func(g *identity.Grant) { g.Subject = "" },
		"a control":           func(g *identity.Grant) { g.Subject = "a\nb" },
		"invalid UTF-8":       func(g *identity.Grant) { g.Subject = "a\xff" },
		"no client":           func(g *identity.Grant) { g.ClientID = "" },
		"no broker":           func(g *identity.Grant) { g.Broker = "" },
		"two brokers":         func(g *identity.Grant) { g.Broker = "postgres qdrant" },
		"no reach":            func(g *identity.Grant) { g.Reach = nil },
		"an empty reach":      func(g *identity.Grant) { g.Reach = []string{""} },
		"a reach twice":       func(g *identity.Grant) { g.Reach = []string{"a", "a"} },
		"two reaches in 1":    func(g *identity.Grant) { g.Reach = []string{"pg:read pg:write"} },
		"17 reaches":          func(g *identity.Grant) { g.Reach = strings.Split("a b c d e f g h i j k l m n o p q", " ") },
		"5 actors":            func(g *identity.Grant) { g.Actors = strings.Split("a b c d e", " ") },
		"an empty actor":      func(g *identity.Grant) { g.Actors = []string{""} },
		"a spaced actor":      func(g *identity.Grant) { g.Actors = []string{"iss a b"} },
		"no lifetime":         func(g *identity.Grant) { g.TTL = 0 },
		"a negative one":      func(g *identity.Grant) { g.TTL = -time.Second },
		"half a second":       func(g *identity.Grant) { g.TTL = time.Second / 2 },
		"a second and a half": func(g *identity.Grant) { g.TTL = 3 * time.Second / 2 },
		"a second too long":   func(g *identity.Grant) { g.TTL = 15*time.Minute + time.Second },
		"a long txn":          func(g *identity.Grant) { g.Txn = strings.Repeat("x", 129) },
	} {
		g := grant()
		change(&g)
		if token, err := m.Mint(g); err == nil || !token.IsZero() {
			t.Errorf("%s: minted, %v", name, err)
		}
	}
}

func TestNewMinterRefuses(t *testing.T) {
	key := newKey(t)
	for name, c := range map[string]struct {
		issuer string
		key    ed25519.PrivateKey
		now    func() time.Time
	}{
		"no issuer": {"", key, time.Now}, "a space": {"https://a b", key, time.Now}, "no key": {issuer, nil, time.Now},
		"a short key": {issuer, key[:32], time.Now}, "no clock": {issuer, key, nil},
	} {
		if m, err := identity.NewMinter(c.issuer, c.key, c.now); err == nil {
			t.Errorf("%s: %v", name, m)
		}
	}
}

func TestAMinterPrintsNoKey(t *testing.T) {
	w := newWorld(t)
	m := w.minter(t)
	for _, verb := range []string{"%v", "%+v", "%#v", "%x", "%s"} {
		out := fmt.Sprintf(verb, m)
		for _, form := range []string{"%v", "%x", "%#v", "%s"} {
			if strings.Contains(out, strings.Trim(fmt.Sprintf(form, []byte(w.key[:8])), "[]{}")) {
				t.Errorf("%s prints the key: %s", verb, out)
			}
		}
	}
}
