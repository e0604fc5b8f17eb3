package workload

import (
	"context"
	"slices"
	"time"

	"github.com/isocore/isocore/identity"
	"github.com/isocore/isocore/refusal"
	"github.com/isocore/isocore/secret"
	"github.com/isocore/isocore/tenant"
)

// An Identity is for whom a request was made. Only [Workload.Verify] makes
// one; the zero Identity is nobody.
type Identity struct {
	read   identity.Txn
	token  secret.Text
	digest [32]byte // of the token, by which caches know it
}

// Tenant returns whose data the request is about.
func (i Identity) Tenant() tenant.ID { return i.read.Tenant }

// Principal returns the id of the person: unlike Subject it is unique, and
// never given to another one.
func (i Identity) Principal() [16]byte { return i.read.Principal }

// Subject returns what the person's identity provider calls them.
func (i Identity) Subject() string { return i.read.Subject }

// Issuer returns the identity provider.
func (i Identity) Issuer() string { return i.read.Issuer }

// Txn returns the one id that the request carries through every hop, and that
// the audit trail knows it by.
func (i Identity) Txn() string { return i.read.Txn }

// Reach returns how far the request may go, sorted.
func (i Identity) Reach() []string { return slices.Clone(i.read.Reach) }

// Has reports whether the request may go as far as want. Nobody has the empty
// one.
func (i Identity) Has(want string) bool { return want != "" && slices.Contains(i.read.Reach, want) }

// Expires returns when the request's token is over, and all that was had for it.
func (i Identity) Expires() time.Time { return i.read.Expires }

// IsZero reports whether i is nobody.
func (i Identity) IsZero() bool { return i.read.Tenant.IsZero() }

// key is that of the identity in a context, and nobody else's.
type key struct{}

func with(ctx context.Context, i Identity) context.Context { return context.WithValue(ctx, key{}, i) }

// From returns for whom the request of ctx was made. It is false where ctx
// comes from no request that [Workload.Middleware] let in.
func From(ctx context.Context) (Identity, bool) {
	i, ok := ctx.Value(key{}).(Identity)
	return i, ok && !i.IsZero()
}

// need is [From] for what cannot go on without.
func need(ctx context.Context) (Identity, error) {
	i, ok := From(ctx)
	if !ok {
		return Identity{}, refusal.Hinted(refusal.Unauthenticated, "pass the context of the request, below Middleware",
			"workload: no identity in the context")
	}
	return i, nil
}
