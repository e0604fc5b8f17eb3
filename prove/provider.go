package prove

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"strings"
	"time"

	"github.com/isocore/isocore/internal/jws"
	"github.com/isocore/isocore/secret"
)

// What the tokens of a [Provider] look like. All providers of a run call their
// keys by one name: whoever looks a key up by that alone takes the wrong one.
const (
	ProviderClaim = "org_id" // names the tenant
	ProviderType  = "at+jwt"
	ProviderKey   = "prover"
)

// A Provider is an identity provider that was made for the run. It signs
// whatever a probe writes.
type Provider struct {
	Issuer   string
	Audience string
	Reach    []string          // what its people reach
	Values   map[string]string // what it calls the tenants it speaks for, by their ID
	key      *ecdsa.PrivateKey
	jwks     []byte
}

// NewProvider returns a provider with a key of its own, which speaks for
// nobody yet.
func NewProvider(issuer, audience string, reach ...string) (*Provider, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("prove: %w", err)
	}
	public, err := jws.NewKey(ProviderKey, &key.PublicKey)
	if err != nil {
		return nil, fmt.Errorf("prove: %w", err)
	}
	set, err := jws.NewKeySet(public)
	if err != nil {
		return nil, fmt.Errorf("prove: %w", err)
	}
	doc, err := set.JWKS()
	if err != nil {
		return nil, fmt.Errorf("prove: %w", err)
	}
	return &Provider{Issuer: issuer, Audience: audience, Reach: reach, Values: map[string]string{}, key: key, jwks: doc}, nil
}

// JWKS returns the keys of p, as a JWK Set.
func (p *Provider) JWKS() []byte { return p.jwks }

// Claims are what a token says, each value as it stands in JSON. An empty one
// is left out.
type Claims struct {
	Alg, Kid, Typ, Head string // Head is put behind the members of the header
	Iss, Aud, Sub, Org  string
	Iat, Exp, More      string // More is put behind the other claims
}

// Good returns what a good token of a tenant says, from now on for a time.
func (p *Provider) Good(tenant string, life time.Duration) Claims {
	now := time.Now()
	return Claims{
		Alg: `"` + jws.ES256 + `"`, Kid: `"` + ProviderKey + `"`, Typ: `"` + ProviderType + `"`,
		Iss: fmt.Sprintf("%q", p.Issuer), Aud: fmt.Sprintf("%q", p.Audience), Sub: `"prover"`, Org: fmt.Sprintf("%q", p.Values[tenant]),
		Iat: fmt.Sprint(now.Unix()), Exp: fmt.Sprint(now.Add(life).Unix()),
	}
}

// Texts returns the header and the payload of c.
func (c Claims) Texts() (header, payload string) {
	object := func(more string, members ...string) string {
		var b strings.Builder
		for i := 0; i < len(members); i += 2 {
			if members[i+1] == "" {
				continue
			}
			if b.Len() > 0 {
				b.WriteByte(',')
			}
			fmt.Fprintf(&b, "%q:%s", members[i], members[i+1])
		}
		return "{" + b.String() + more + "}"
	}
	return object(c.Head, "alg", c.Alg, "kid", c.Kid, "typ", c.Typ),
		object(c.More, "iss", c.Iss, "aud", c.Aud, "sub", c.Sub, ProviderClaim, c.Org, "iat", c.Iat, "exp", c.Exp)
}

// Token returns the token that says c.
func (p *Provider) Token(c Claims) (secret.Text, error) {
	header, payload := c.Texts()
	return p.Sign(Base64(header) + "." + Base64(payload))
}

// Sign returns the token of a text that is signed as it is.
func (p *Provider) Sign(text string) (secret.Text, error) {
	signature, err := p.Signature(text)
	if err != nil {
		return secret.Text{}, err
	}
	return secret.New(text + "." + Base64(string(signature))), nil
}

// Signature returns that of a text (RFC 7518, 3.4).
func (p *Provider) Signature(text string) ([]byte, error) {
	digest := sha256.Sum256([]byte(text))
	r, s, err := ecdsa.Sign(rand.Reader, p.key, digest[:])
	if err != nil {
		return nil, fmt.Errorf("prove: %w", err)
	}
	both := make([]byte, 64)
	r.FillBytes(both[:32])
	s.FillBytes(both[32:])
	return both, nil
}

// Base64 encodes text as tokens are (RFC 7515, 2).
func Base64(text string) string { return base64.RawURLEncoding.EncodeToString([]byte(text)) }
