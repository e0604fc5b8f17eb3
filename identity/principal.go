// Package identity is room 2: a token becomes a Principal, or nothing.
package identity

import (
	"slices"
	"time"

	"github.com/isocore/isocore/tenant"
)

// A Principal is someone whose token was verified. Only [Verifier.Verify]
// makes one; the zero Principal is nobody. It is immutable and safe to copy.
type Principal struct {
	kind    kind
	tenant  tenant.ID
	partner [16]byte
	id      [16]byte
	subject string
	issuer  string
	signer  string   // iss of the token: ours, or a provider's
	value   string   // what the provider calls the tenant, if it is its token
	policy  [32]byte // of the provider as the token was read, if it is its token
	txn     string
	client  string
	token   [32]byte
	key     [32]byte // thumbprint of the key that signed the token
	actors  []string
	reach   []string
	expires time.Time
}

// Tenant returns whose data p may touch.
func (p Principal) Tenant() tenant.ID { return p.tenant }

// Partner returns who answers for the tenant.
func (p Principal) Partner() [16]byte { return p.partner }

// ID returns what the registry assigned to (tenant, issuer, subject): two
// issuers may use the same subject, and never share an ID.
func (p Principal) ID() [16]byte { return p.id }

// Subject returns what the Issuer calls p, which means something beside it only.
func (p Principal) Subject() string { return p.subject }

// Issuer returns who knows p: the identity provider, also when the token is one
// of ours that its token was exchanged for, or else we ourselves.
func (p Principal) Issuer() string { return p.issuer }

// Actors returns on whose behalf p acts, outermost first (RFC 8693, act). Each
// is a subject of p's own issuer, or an issuer, a space and its subject: no
// part has a space in it.
func (p Principal) Actors() []string { return slices.Clone(p.actors) }

// Client returns which program presented the token, or the application that a
// Txn-Token was handed to.
func (p Principal) Client() string { return p.client }

// Txn returns the one id that a request carries through every hop.
func (p Principal) Txn() string { return p.txn }

// Reach returns what the token's scope claim lists, sorted.
func (p Principal) Reach() []string { return slices.Clone(p.reach) }

// Has reports whether the token reaches as far as want. The empty want is
// never had: who needs nothing does not ask.
func (p Principal) Has(want string) bool { return want != "" && slices.Contains(p.reach, want) }

// Expires returns when the token is over.
func (p Principal) Expires() time.Time { return p.expires }

// Token returns the SHA-256 of the token, by which a record can name it.
func (p Principal) Token() [32]byte { return p.token }

// IsZero reports whether p is nobody.
func (p Principal) IsZero() bool { return p.tenant.IsZero() }
