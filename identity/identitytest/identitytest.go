// Package identitytest has real keys and real tokens for the tests of other
// packages. It has no back door: what it calls a Principal went through Verify.
package identitytest

import (
	"context"
	"crypto/ed25519"
	"encoding/base64"
	"strings"
	"testing"
	"time"

	"github.com/isocore/isocore/identity"
	"github.com/isocore/isocore/secret"
	"github.com/isocore/isocore/tenant"
)

// A Domain is a trust domain with one issuer of its own, whose tokens last five
// minutes, and an identity provider beside it.
type Domain struct {
	Broker   string // the one that tokens are for; "postgres" unless set. It decides what kind of token they are
	Issuer   string
	Standing *Standing
	Verifier *identity.Verifier
	Minter   *identity.Minter

	t   testing.TB
	key ed25519.PrivateKey
	idp *idp

	makers *identity.Verifier // knows no suspension: what tokens are made with
}

// New returns a domain for one test. Its clock is [time.Now], so that it
// follows the bubble of a synctest it was made in.
func New(t testing.TB) *Domain {
	t.Helper()
	d := &Domain{Broker: "postgres", Issuer: "https://issuer.test", Standing: NewStanding(), t: t, key: newKey(t), idp: newIdP(t)}
	d.Minter = d.minter(d.key, 0)
	d.Verifier = d.verifier(d.Standing, d.Standing.Enrol)
	d.makers = d.verifier(everyone{}, func(_ context.Context, id tenant.ID, issuer, subject string) (partner, principal [16]byte, err error) {
		partner, principal = d.Standing.enrol(id, issuer, subject)
		return partner, principal, nil
	})
	return d
}

// everyone is a standing in which all are good.
type everyone struct{}

func (everyone) Check(tenant.ID, [16]byte, [16]byte, string) error { return nil }
func (everyone) Changed() <-chan struct{}                          { return nil }

func (d *Domain) verifier(s identity.Standing, enrol func(context.Context, tenant.ID, string, string) (partner, principal [16]byte, err error)) *identity.Verifier {
	d.t.Helper()
	v, err := identity.New(identity.Config{
		TrustDomain: strings.TrimPrefix(d.Issuer, "https://"),
		Issuers: func(issuer string) *identity.KeySet {
			if issuer != d.Issuer {
				return d.idp.issuers(issuer)
			}
			return d.Minter.Keys()
		},
		Providers:   d.idp.provider,
		Enrol:       enrol,
		Renew:       d.idp.renew,
		Standing:    s,
		MaxLifetime: identity.MaxLifetime,
		Leeway:      5 * time.Second,
		Now:         time.Now,
		CacheSize:   1024,
	})
	if err != nil {
		d.t.Fatal(err)
	}
	return v
}

// Grant returns what [Domain.Token] says, for a test to change before it gives
// it to Mint. The tenant, its partner, its principal and the issuer are in
// good standing from now on, unless the test has suspended them.
func (d *Domain) Grant(id tenant.ID, reach ...string) identity.Grant {
	d.t.Helper()
	if len(reach) == 0 {
		reach = []string{identity.PGRead, identity.PGWrite}
	}
	d.Standing.admit(id)
	partner, principal := d.Standing.enrol(id, d.Issuer, alice)
	return identity.Grant{
		Tenant: id, Partner: partner, Principal: principal, Subject: alice, ClientID: "test",
		Broker: d.Broker, Reach: reach, TTL: 5 * time.Minute,
	}
}

// alice is who all tokens are of.
const alice = "alice"

// Token returns a good token of a tenant for [Domain.Broker], of the kind that
// is good there. Without a reach it may read and write.
func (d *Domain) Token(id tenant.ID, reach ...string) secret.Text {
	d.t.Helper()
	switch d.Broker {
	case identity.Edge:
		return d.foreign(d.providerOf(reach), id)
	case identity.Exchange:
		return d.TxnToken(id, reach...)
	default:
		return d.Mint(d.Minter, d.Grant(id, reach...))
	}
}

// Expired returns a token that was good and is over.
func (d *Domain) Expired(id tenant.ID, reach ...string) secret.Text {
	d.t.Helper()
	hence := -time.Hour
	switch d.Broker {
	case identity.Edge:
		then := time.Now().Add(hence)
		return d.foreign(d.providerOf(reach), id, Claim("iat", then.Unix()), Claim("exp", then.Add(5*time.Minute).Unix()))
	case identity.Exchange:
		return d.txn(d.minter(d.key, hence), id, reach)
	default:
		return d.Mint(d.minter(d.key, hence), d.Grant(id, reach...))
	}
}

// WrongAudience returns a token that is good elsewhere: at another broker, in
// another application, in another trust domain.
func (d *Domain) WrongAudience(id tenant.ID, reach ...string) secret.Text {
	d.t.Helper()
	switch d.Broker {
	case identity.Edge:
		return d.foreign(d.providerOf(reach), id, Claim("aud", "https://other.test"))
	case identity.Exchange:
		m, err := identity.NewMinter("https://not-"+strings.TrimPrefix(d.Issuer, "https://"), d.key, time.Now)
		if err != nil {
			d.t.Fatal(err)
		}
		return d.txn(m, id, reach)
	default:
		g := d.Grant(id, reach...)
		g.Broker = "not-" + d.Broker
		return d.Mint(d.Minter, g)
	}
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
