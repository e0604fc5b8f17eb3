package main

import (
	"context"
	"crypto/ed25519"
	"errors"
	"net/netip"
	"time"

	"github.com/isocore/isocore/identity"
	"github.com/isocore/isocore/internal/jws"
	"github.com/isocore/isocore/refusal"
	"github.com/isocore/isocore/scope"
	"github.com/isocore/isocore/secret"
	"github.com/isocore/isocore/tenant"
)

// A person has a token of an identity provider, and is known here: real keys,
// a real verifier and a real minter over a registry that knows one tenant.
type person struct {
	verifier *identity.Verifier
	minter   *identity.Minter
	token    secret.Text
	path     func(tenant.ID) (tenant.Path, bool)
}

// The names of this little world.
const (
	benchDomain   = "bench.test"
	benchProvider = "https://idp.bench.test"
	benchAudience = "https://app.bench.test"
	benchOrg      = "org_9f86d081884c7d65"
	benchLife     = time.Hour
)

// providerClaims is what an identity provider says of somebody, about as long
// as providers say it.
type providerClaims struct {
	Issuer   string   `json:"iss"`
	Audience []string `json:"aud"`
	Subject  string   `json:"sub"`
	Issued   int64    `json:"iat"`
	Before   int64    `json:"nbf"`
	Expires  int64    `json:"exp"`
	ID       string   `json:"jti"`
	Org      string   `json:"org_id"`
	Scope    string   `json:"scope"`
	Party    string   `json:"azp"`
	Roles    []string `json:"roles"`
}

func newPerson() (*person, error) {
	_, mintKey, errM := ed25519.GenerateKey(nil)
	_, theirKey, errT := ed25519.GenerateKey(nil)
	if err := errors.Join(errM, errT); err != nil {
		return nil, err
	}
	minter, err := identity.NewMinter("https://"+benchDomain, mintKey, time.Now)
	if err != nil {
		return nil, err
	}
	signer, key, err := jws.NewSigner(theirKey)
	if err != nil {
		return nil, err
	}
	keys, err := jws.NewKeySet(key)
	if err != nil {
		return nil, err
	}
	token, err := providerToken(signer)
	if err != nil {
		return nil, err
	}
	id := tenant.New()
	p := &person{minter: minter, token: token, path: func(t tenant.ID) (tenant.Path, bool) {
		return tenant.Path{Partner: "home", Name: "clinic"}, t == id
	}}
	p.verifier, err = newVerifier(id, minter, keys)
	return p, err
}

func providerToken(signer jws.Signer) (secret.Text, error) {
	now := time.Now().Unix()
	text, err := jws.Sign(signer, "at+jwt", providerClaims{
		Issuer: benchProvider, Audience: []string{benchAudience, "https://idp.bench.test/userinfo"}, Subject: "auth|5f7c8ec7c33c6c004bbafe82",
		Issued: now, Before: now, Expires: now + int64(benchLife/time.Second), ID: "b3a1f6e0-58a7-4c59-9d1e-0c6b7a1f2d34", Org: benchOrg,
		Scope: "openid profile notes:read notes:write", Party: "my_client_id_of_32_characters_abc", Roles: []string{"member", "author"},
	})
	return secret.New(text), err
}

// newVerifier returns a verifier that knows one provider, of one tenant.
func newVerifier(id tenant.ID, minter *identity.Minter, keys *identity.KeySet) (*identity.Verifier, error) {
	provider, err := identity.NewProvider(identity.Provider{
		Issuer: benchProvider, Audiences: []string{benchAudience}, Types: []string{"at+jwt"}, Algorithms: []string{jws.EdDSA},
		TenantAt: "/org_id", Shape: identity.Scalar, SubjectAt: "/sub", Reach: []string{identity.HTTP}, MaxLifetime: benchLife,
		Tenants: map[string]tenant.ID{benchOrg: id},
	})
	if err != nil {
		return nil, err
	}
	partner, principal := tenant.New().UUID(), tenant.New().UUID()
	return identity.New(identity.Config{
		TrustDomain: benchDomain,
		Issuers: func(issuer string) *identity.KeySet {
			switch issuer {
			case benchProvider:
				return keys
			case minter.Issuer():
				return minter.Keys()
			default:
				return nil
			}
		},
		Providers: func(issuer string) *identity.Provider {
			if issuer != benchProvider {
				return nil
			}
			return provider
		},
		Enrol: func(context.Context, tenant.ID, string, string) ([16]byte, [16]byte, error) {
			return partner, principal, nil
		},
		Renew:    func(context.Context, string) error { return errors.New("no other keys") },
		Standing: calm{changed: make(chan struct{})}, MaxLifetime: identity.MaxLifetime, Now: time.Now, CacheSize: 1024,
	})
}

// calm is a registry where nothing ever changes.
type calm struct{ changed chan struct{} }

func (calm) Check(tenant.ID, [16]byte, [16]byte, string) error { return nil }
func (c calm) Changed() <-chan struct{}                        { return c.changed }

// nobody counts.
type nobody struct{}

func (nobody) Refused(string, netip.Addr, refusal.Reason)            {}
func (nobody) Decided(string, string, scope.Verdict, refusal.Reason) {}
