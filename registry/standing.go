package registry

import (
	"time"

	"github.com/isocore/isocore/identity"
	"github.com/isocore/isocore/refusal"
	"github.com/isocore/isocore/tenant"
)

var _ identity.Standing = (*Registry)(nil)

// What Check says. They are made once because it is asked before every
// operation.
var (
	errStale           = refusal.New(refusal.Unavailable, "registry: out of reach for %v", Stale)
	errTenant          = refusal.New(refusal.Unauthenticated, "registry: no such tenant")
	errPartner         = refusal.New(refusal.Unauthenticated, "registry: the tenant is not of this partner")
	errIssuer          = refusal.New(refusal.Unauthenticated, "registry: no such issuer")
	errPrincipal       = refusal.New(refusal.Unauthenticated, "registry: no such principal of this tenant and issuer")
	errTenantSuspended = refusal.New(refusal.Suspended, "registry: the tenant is not active")
	errPartSuspended   = refusal.New(refusal.Suspended, "registry: the partner is not active")
)

// A view is how everybody stood at one moment. It does not change.
type view struct {
	seen time.Time // when the database was last asked and still said the same
	*snapshot
}

// A snapshot is everybody's standing at one version. It does not change.
type snapshot struct {
	version    int64
	partners   map[[16]byte]State
	tenants    map[tenant.ID]standing // without those who are gone
	issuers    map[string]issuer      // by URL, without those who are gone
	principals roll
	keys       map[tenant.ID]int64 // the version that last changed a key of theirs
}

type standing struct {
	partner [16]byte
	state   State
}

type issuer struct {
	id   [16]byte
	keys *identity.KeySet
}

// Check implements [identity.Standing]. It reads memory only, takes no lock
// and allocates nothing.
func (r *Registry) Check(t tenant.ID, partner, principal [16]byte, url string) error {
	v := r.view.Load()
	if v == nil || r.now().Sub(v.seen) >= Stale {
		return errStale
	}
	who, ok := v.tenants[t]
	if !ok {
		return errTenant
	}
	if who.partner != partner {
		return errPartner
	}
	from, ok := v.issuers[url]
	if !ok {
		return errIssuer
	}
	if m, ok := v.principals.find(principal); !ok || m != (member{t, from.id}) {
		return errPrincipal
	}
	if who.state != Active {
		return errTenantSuspended
	}
	if v.partners[partner] != Active {
		return errPartSuspended
	}
	return nil
}

// Changed implements [identity.Standing]: it returns a channel that is closed
// when a change was seen, or the registry went out of reach or came back.
func (r *Registry) Changed() <-chan struct{} { return *r.changed.Load() }

// tell wakes whoever waits for a change. What changed is in place before.
func (r *Registry) tell() {
	next := make(chan struct{})
	close(*r.changed.Swap(&next))
}

// Keys returns the keys of the issuer with this URL, or nil if there is none.
// Like Check it reads memory only.
func (r *Registry) Keys(url string) *identity.KeySet {
	if v := r.view.Load(); v != nil {
		return v.issuers[url].keys
	}
	return nil
}

// KeyVersion returns what last changed a wrapped key of t: whoever remembers
// keys of an earlier version has to read them again. It reads memory only.
func (r *Registry) KeyVersion(t tenant.ID) int64 {
	if v := r.view.Load(); v != nil {
		return v.keys[t]
	}
	return 0
}

// Reachable returns nil, or the refusal of every Check while the database is
// out of reach.
func (r *Registry) Reachable() error {
	if v := r.view.Load(); v == nil || r.now().Sub(v.seen) >= Stale {
		return errStale
	}
	return nil
}
