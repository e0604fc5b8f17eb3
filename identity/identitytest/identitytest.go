// Package identitytest has real keys and real tokens for the tests of other
// packages. It has no back door: what it calls a Principal went through Verify.
package identitytest

import (
	"crypto/ed25519"
	"encoding/base64"
	"strings"
	"testing"
	"time"

	"github.com/isocore/isocore/identity"
	"github.com/isocore/isocore/secret"
	"github.com/isocore/isocore/tenant"
)

// A Domain is a trust domain with one issuer, whose tokens last five minutes.
type Domain struct {
	Broker   string // the one that tokens are for; "postgres" unless set
	Issuer   string
	Standing *Standing
	Verifier *identity.Verifier
	Minter   *identity.Minter

	t   testing.TB
	key ed25519.PrivateKey
}

// New returns a domain for one test. Its clock is [time.Now], so that it
// follows the bubble of a synctest it was made in.
func New(t testing.TB) *Domain {
	t.Helper()
	d := &Domain{Broker: "postgres", Issuer: "https://issuer.test", Standing: NewStanding(), t: t, key: newKey(t)}
	d.Minter = d.minter(d.key, 0)
	v, err := identity.New(identity.Config{
		TrustDomain: "isocore.test",
		Issuers: func(issuer string) *identity.KeySet {
			if issuer != d.Issuer {
				return nil
			}
			return d.Minter.Keys()
		},
		Standing:    d.Standing,
		MaxLifetime: identity.MaxLifetime,
		Leeway:      5 * time.Second,
		Now:         time.Now,
		CacheSize:   1024,
	})
	if err != nil {
		t.Fatal(err)
	}
	d.Verifier = v
	return d
}

// Grant returns what [Domain.Token] says, for a test to change before it gives
// it to Mint. The tenant, its partner, its principal and the issuer are in
// good standing from now on, unless the test has suspended them.
func (d *Domain) Grant(id tenant.ID, reach ...string) identity.Grant {
	d.t.Helper()
	if len(reach) == 0 {
		reach = []string{identity.PGRead, identity.PGWrite}
	}
	partner, principal := d.Standing.enrol(id, d.Issuer)
	return identity.Grant{
		Tenant: id, Partner: partner, Principal: principal, Subject: "alice", ClientID: "test",
		Broker: d.Broker, Reach: reach, TTL: 5 * time.Minute,
	}
}

// Token returns a good token of a tenant for [Domain.Broker]. Without a reach
// it may read and write.
func (d *Domain) Token(id tenant.ID, reach ...string) secret.Text {
	d.t.Helper()
	return d.Mint(d.Minter, d.Grant(id, reach...))
}

// Expired returns a token that was good and is over.
func (d *Domain) Expired(id tenant.ID, reach ...string) secret.Text {
	d.t.Helper()
	return d.Mint(d.minter(d.key, -time.Hour), d.Grant(id, reach...))
}

// WrongAudience returns a token that is good at another broker.
func (d *Domain) WrongAudience(id tenant.ID, reach ...string) secret.Text {
	d.t.Helper()
	g := d.Grant(id, reach...)
	g.Broker = "not-" + d.Broker
	return d.Mint(d.Minter, g)
}

// Forged returns a token that says the issuer's kid and bears the signature of
// somebody else.
func (d *Domain) Forged(id tenant.ID, reach ...string) secret.Text {
	d.t.Helper()
	return d.forge(d.Token(id, reach...))
}

// ForgedExpired is [Domain.Forged] of what is over besides: it must answer as
// a forgery.
func (d *Domain) ForgedExpired(id tenant.ID, reach ...string) secret.Text {
	d.t.Helper()
	return d.forge(d.Expired(id, reach...))
}

// Mint returns what m mints for g, or ends the test.
func (d *Domain) Mint(m *identity.Minter, g identity.Grant) secret.Text {
	d.t.Helper()
	token, err := m.Mint(g)
	if err != nil {
		d.t.Fatal(err)
	}
	return token
}

// Principal returns whom a good token of the tenant speaks for.
func (d *Domain) Principal(t testing.TB, id tenant.ID, reach ...string) identity.Principal {
	t.Helper()
	p, err := d.Verifier.Verify(t.Context(), d.Broker, d.Token(id, reach...))
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// forge replaces the signature of a token by another key's.
func (d *Domain) forge(token secret.Text) secret.Text {
	d.t.Helper()
	signed := token.Reveal()[:strings.LastIndexByte(token.Reveal(), '.')]
	signature := ed25519.Sign(newKey(d.t), []byte(signed))
	return secret.New(signed + "." + base64.RawURLEncoding.EncodeToString(signature))
}

func (d *Domain) minter(key ed25519.PrivateKey, ahead time.Duration) *identity.Minter {
	d.t.Helper()
	m, err := identity.NewMinter(d.Issuer, key, func() time.Time { return time.Now().Add(ahead) })
	if err != nil {
		d.t.Fatal(err)
	}
	return m
}

func newKey(t testing.TB) ed25519.PrivateKey {
	t.Helper()
	_, key, err := ed25519.GenerateKey(nil)
	if err != nil {
		t.Fatal(err)
	}
	return key
}
