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
	tenant  tenant.ID
	partner [16]byte
	id      [16]byte
	subject string
	issuer  string
	txn     string
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

// Subject returns the token's sub, which means something beside its Issuer only.
func (p Principal) Subject() string { return p.subject }

// Issuer returns the token's iss.
func (p Principal) Issuer() string { return p.issuer }

// Actors returns on whose behalf p acts, outermost first (RFC 8693, act). Each
// is a subject of p's own issuer, or an issuer, a space and its subject: no
// part has a space in it.
func (p Principal) Actors() []string { return slices.Clone(p.actors) }

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
