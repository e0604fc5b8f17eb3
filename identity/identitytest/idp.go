package identitytest

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/isocore/isocore/identity"
	"github.com/isocore/isocore/internal/jws"
	"github.com/isocore/isocore/secret"
	"github.com/isocore/isocore/tenant"
)

// IdPIssuer is the iss of the tokens of a domain's identity provider.
const IdPIssuer = "https://idp.test/"

// idp is the identity provider of a domain: a real key of each algorithm, and
// the registrations by which it is believed.
type idp struct {
	mu         sync.Mutex // guards what follows
	generation int
	keys       map[string]crypto.Signer // by algorithm
	set        *identity.KeySet
	providers  map[string]*identity.Provider
	renewed    int
}

// rsaKey is one for all tests: a new one takes as long as some of them.
var rsaKey = sync.OnceValues(func() (*rsa.PrivateKey, error) { return rsa.GenerateKey(rand.Reader, 2048) })

func newIdP(t testing.TB) *idp {
	t.Helper()
	i := &idp{providers: make(map[string]*identity.Provider)}
	i.rotate(t)
	return i
}

// rotate draws keys under new names, and publishes nothing else from now on.
func (i *idp) rotate(t testing.TB) {
	t.Helper()
	ec, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	rs, err := rsaKey()
	if err != nil {
		t.Fatal(err)
	}
	i.mu.Lock()
	defer i.mu.Unlock()
	i.generation++
	i.keys = map[string]crypto.Signer{jws.EdDSA: newKey(t), jws.ES256: ec, jws.RS256: rs}
	var public []jws.Key
	for alg, key := range i.keys {
		k, err := jws.NewKey(i.kid(alg), key.Public())
		if err != nil {
			t.Fatal(err)
		}
		public = append(public, k)
	}
	if i.set, err = jws.NewKeySet(public...); err != nil {
		t.Fatal(err)
	}
}

func (i *idp) kid(alg string) string { return fmt.Sprintf("%s-%d", alg, i.generation) }

func (i *idp) issuers(issuer string) *identity.KeySet {
	i.mu.Lock()
	defer i.mu.Unlock()
	if i.providers[issuer] == nil {
		return nil
	}
	return i.set
}

func (i *idp) provider(issuer string) *identity.Provider {
	i.mu.Lock()
	defer i.mu.Unlock()
	return i.providers[issuer]
}

func (i *idp) renew(context.Context, string) error {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.renewed++
	return nil
}

// An Edit changes the header and the claims of a provider's token before it is
// signed.
type Edit func(header, claims map[string]any)

// Claim returns the edit that says value under name, and nothing if it is nil.
func Claim(name string, value any) Edit {
	return func(_, claims map[string]any) { set(claims, name, value) }
}

// Header is [Claim] for the header.
func Header(name string, value any) Edit {
	return func(header, _ map[string]any) { set(header, name, value) }
}

// Signed returns the edit by which the provider's key for alg signs.
func Signed(alg string) Edit {
	return func(header, _ map[string]any) {
		header["alg"] = alg
		delete(header, "kid")
	}
}

func set(m map[string]any, name string, value any) {
	if m[name] = value; value == nil {
		delete(m, name)
	}
}

// Provider returns the registration of [IdPIssuer], which holds every reach
// there is and is registered by the first call. Bind it by [Domain.Bind],
// change it by [Domain.Register].
func (d *Domain) Provider() *identity.Provider {
	d.t.Helper()
	return d.providerOf(nil)
}

// providerOf returns the registration whose people have this reach. A token
// cannot say less than its provider's registration: another reach is another
// provider.
func (d *Domain) providerOf(reach []string) *identity.Provider {
	d.t.Helper()
	issuer := IdPIssuer + strings.Join(slices.Sorted(slices.Values(reach)), ",")
	if len(reach) == 0 {
		reach = []string{identity.HTTP, identity.PGRead, identity.PGWrite}
	}
	return d.update(issuer, func(p *identity.Provider) {
		if p.Issuer != "" {
			return
		}
		*p = identity.Provider{
			Issuer: issuer, Audiences: []string{"https://app.test"}, Types: []string{"JWT", "at+jwt"},
			Algorithms: []string{jws.EdDSA, jws.Ed25519, jws.ES256, jws.RS256},
			TenantAt:   "/org_id", Shape: identity.Scalar, SubjectAt: "/sub", Reach: reach, MaxLifetime: time.Hour,
		}
	})
}

// update registers what change makes of the registration of an issuer, which
// is zero if there is none, and returns what is registered now.
func (d *Domain) update(issuer string, change func(*identity.Provider)) *identity.Provider {
	d.t.Helper()
	d.idp.mu.Lock()
	defer d.idp.mu.Unlock()
	var next identity.Provider
	before := d.idp.providers[issuer]
	if before != nil {
		next = *before
	}
	change(&next)
	fresh, err := identity.NewProvider(next)
	if err != nil {
		d.t.Fatal(err)
	}
	if before != nil && before.Digest == fresh.Digest {
		return before
	}
	d.idp.providers[issuer] = fresh
	d.Standing.Touch()
	return fresh
}

// Register believes p from now on, in place of what was registered for its
// issuer. Its keys are those of the domain's provider.
func (d *Domain) Register(p identity.Provider) *identity.Provider {
	d.t.Helper()
	return d.update(p.Issuer, func(next *identity.Provider) { *next = p })
}

// Withdraw removes the registration of an issuer.
func (d *Domain) Withdraw(issuer string) {
	d.idp.mu.Lock()
	delete(d.idp.providers, issuer)
	d.idp.mu.Unlock()
	d.Standing.Touch()
}

// Rotate replaces the keys of the provider. Tokens from before are signed by
// nobody. The RSA key, which takes too long to make, has another name only.
func (d *Domain) Rotate() {
	d.t.Helper()
	d.idp.rotate(d.t)
	d.Standing.Touch()
}

// Renewed returns how often newer keys of the provider were asked for.
func (d *Domain) Renewed() int {
	d.idp.mu.Lock()
	defer d.idp.mu.Unlock()
	return d.idp.renewed
}

// Value returns what the provider calls a tenant.
func Value(id tenant.ID) string { return "org-" + id.String()[:8] }

// Bind has the provider p speak for a tenant, which is in good standing from
// now on unless the test has suspended it.
func (d *Domain) Bind(p *identity.Provider, id tenant.ID) *identity.Provider {
	d.t.Helper()
	d.Standing.admit(id)
	return d.update(p.Issuer, func(next *identity.Provider) {
		if next.Issuer == "" {
			*next = *p
		}
		if next.Tenants = maps.Clone(next.Tenants); next.Tenants == nil {
			next.Tenants = make(map[string]tenant.ID)
		}
		next.Tenants[Value(id)] = id
	})
}

// ProviderToken returns a good token of [IdPIssuer] for somebody of a tenant,
// changed by edits, that lasts five minutes.
func (d *Domain) ProviderToken(id tenant.ID, edits ...Edit) secret.Text {
	d.t.Helper()
	return d.foreign(d.Provider(), id, edits...)
}

func (d *Domain) foreign(p *identity.Provider, id tenant.ID, edits ...Edit) secret.Text {
	d.t.Helper()
	p = d.Bind(p, id)
	now := time.Now()
	header := map[string]any{"alg": jws.ES256, "typ": "JWT"}
	claims := map[string]any{
		"iss": p.Issuer, "aud": p.Audiences[0], "sub": "alice", "org_id": Value(id), "azp": "test",
		"iat": now.Unix(), "exp": now.Add(5 * time.Minute).Unix(),
	}
	for _, edit := range edits {
		edit(header, claims)
	}
	if _, named := header["kid"]; !named {
		header["kid"] = d.KeyID(fmt.Sprint(header["alg"]))
	}
	h, errH := json.Marshal(header)
	c, errC := json.Marshal(claims)
	if errH != nil || errC != nil {
		d.t.Fatal(errH, errC)
	}
	return d.Issue(fmt.Sprint(header["alg"]), string(h), string(c))
}

// KeyID returns the kid of the provider's key for alg.
func (d *Domain) KeyID(alg string) string {
	d.idp.mu.Lock()
	defer d.idp.mu.Unlock()
	if alg == jws.Ed25519 {
		alg = jws.EdDSA
	}
	return d.idp.kid(alg)
}

// Issue returns the token with this header and payload, byte for byte, signed
// by the provider's key for alg: EdDSA for an algorithm it has no key for.
func (d *Domain) Issue(alg, header, payload string) secret.Text {
	d.t.Helper()
	d.idp.mu.Lock()
	key, known := d.idp.keys[alg]
	if !known {
		key = d.idp.keys[jws.EdDSA]
	}
	d.idp.mu.Unlock()
	b64 := base64.RawURLEncoding.EncodeToString
	signed := b64([]byte(header)) + "." + b64([]byte(payload))
	signature, err := sign(key, []byte(signed))
	if err != nil {
		d.t.Fatal(err)
	}
	return secret.New(signed + "." + b64(signature))
}

func sign(key crypto.Signer, signed []byte) ([]byte, error) {
	digest := sha256.Sum256(signed)
	switch key := key.(type) {
	case ed25519.PrivateKey:
		return ed25519.Sign(key, signed), nil
	case *ecdsa.PrivateKey:
		r, s, err := ecdsa.Sign(rand.Reader, key, digest[:])
		if err != nil {
			return nil, err
		}
		return slices.Concat(r.FillBytes(make([]byte, 32)), s.FillBytes(make([]byte, 32))), nil
	default:
		return key.Sign(rand.Reader, digest[:], crypto.SHA256)
	}
}

// TxnToken returns a good Txn-Token for somebody of a tenant whom the provider
// vouches for. Without a reach it has all that they have.
func (d *Domain) TxnToken(id tenant.ID, reach ...string) secret.Text {
	d.t.Helper()
	return d.txn(d.Minter, id, reach)
}

func (d *Domain) txn(m *identity.Minter, id tenant.ID, reach []string) secret.Text {
	d.t.Helper()
	p, err := d.makers.Verify(d.t.Context(), identity.Edge, d.ProviderToken(id))
	if err != nil {
		d.t.Fatal(err)
	}
	if len(reach) == 0 {
		reach = p.Reach()
	}
	token, err := m.Txn(p, identity.TxnGrant{
		Txn: tenant.New().String(), Workload: "app", Reach: reach, Peer: "192.0.2.1", TTL: 2 * time.Minute,
	})
	if err != nil {
		d.t.Fatal(err)
	}
	return token
}
