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
	errIssuer          = refusal.New(refusal.Unauthenticated, "registry: no such issuer, or none of this tenant")
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
	onlyPeople bool                 // are new in it, since the snapshot before
	partners   map[[16]byte]partner // without those who are gone, as all that follow
	tenants    map[tenant.ID]standing
	issuers    map[string]issuer     // by URL
	active     map[[16]byte]struct{} // ids of all issuers, those that are unfit too
	unfit      map[string]error      // providers that are not among issuers, by URL
	published  []Source              // by URL
	principals roll
	crowds     map[tenant.ID]int   // how many principals each has
	keys       map[tenant.ID]int64 // the version that last changed a key of theirs
}

type partner struct {
	name  tenant.Name
	state State
}

type standing struct {
	partner [16]byte
	name    tenant.Name
	state   State
}

// An issuer without a provider is the trust domain's own.
type issuer struct {
	id       [16]byte
	doc      []byte // of keys, where they are not fetched
	keys     *identity.KeySet
	provider *identity.Provider
	speaks   map[tenant.ID]struct{} // for whom, if it is a provider
}

// has reports whether i speaks for t: its own tenants only, if it is a
// provider.
func (i issuer) has(t tenant.ID) bool {
	_, bound := i.speaks[t]
	return bound || i.provider == nil
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
	if !ok || !from.has(t) {
		return errIssuer
	}
	if m, ok := v.principals.find(principal); !ok || m != (member{t, from.id}) {
		return errPrincipal
	}
	if who.state != Active {
		return errTenantSuspended
	}
	if v.partners[partner].state != Active {
		return errPartSuspended
	}
	return nil
}

// Changed implements [identity.Standing]: it returns a channel that is closed
// when a change was seen, or the registry went out of reach or came back. That
// somebody was enrolled is none: it takes nothing from anybody.
func (r *Registry) Changed() <-chan struct{} { return *r.changed.Load() }

// Wake is a change that others announce: of keys that the registry does not
// have, for one.
func (r *Registry) Wake() { r.tell() }

// tell wakes whoever waits for a change. What changed is in place before.
func (r *Registry) tell() {
	next := make(chan struct{})
	close(*r.changed.Swap(&next))
}

// Keys returns the keys of the issuer with this URL, or nil if there is none
// or they are fetched. Like Check it reads memory only, takes no lock and
// allocates nothing, and so do those that follow.
func (r *Registry) Keys(url string) *identity.KeySet {
	if v := r.view.Load(); v != nil {
		return v.issuers[url].keys
	}
	return nil
}

// Provider returns the identity provider whose iss is exactly this, or nil.
func (r *Registry) Provider(url string) *identity.Provider {
	if v := r.view.Load(); v != nil {
		return v.issuers[url].provider
	}
	return nil
}

// Published returns where providers publish their keys, by URL. It is for
// reading only; a change makes another one.
func (r *Registry) Published() []Source {
	if v := r.view.Load(); v != nil {
		return v.published
	}
	return nil
}

// TenantPath returns what a tenant is called, unless it is gone.
func (r *Registry) TenantPath(t tenant.ID) (tenant.Path, bool) {
	v := r.view.Load()
	if v == nil {
		return tenant.Path{}, false
	}
	who, ok := v.tenants[t]
	if !ok {
		return tenant.Path{}, false
	}
	return tenant.Path{Partner: v.partners[who.partner].name, Name: who.name}, true
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
