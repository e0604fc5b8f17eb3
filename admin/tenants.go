package admin

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/isocore/isocore/audit"
	"github.com/isocore/isocore/refusal"
	"github.com/isocore/isocore/registry"
	"github.com/isocore/isocore/tenant"
)

// A Tenant is one as the API shows it.
type Tenant struct {
	ID      string     `json:"id"`
	Path    string     `json:"path"`
	State   string     `json:"state"`
	Region  string     `json:"region,omitempty"`
	Created time.Time  `json:"created"`
	Gone    *time.Time `json:"gone,omitempty"`
}

// A NewTenant is what POST /v1/tenants takes.
type NewTenant struct {
	Path   string `json:"path"` // partner/name
	Region string `json:"region,omitempty"`
}

// A StateChange is what PATCH takes: active or suspended.
type StateChange struct {
	State string `json:"state"`
}

// States are those a tenant can be in.
var States = []string{string(registry.Active), string(registry.Suspended), string(registry.Leaving), string(registry.Gone)}

func show(t registry.Tenant) Tenant {
	s := Tenant{ID: t.ID.String(), Path: t.Path.String(), State: string(t.State), Region: t.Region, Created: t.Created}
	if !t.Gone.IsZero() {
		s.Gone = &t.Gone
	}
	return s
}

// path returns the tenant that the URL of r names.
func (r *request) path() (tenant.Path, error) {
	return parsePath(r.PathValue("partner") + "/" + r.PathValue("name"))
}

func parsePath(s string) (tenant.Path, error) {
	p, err := tenant.ParsePath(s, Home)
	if err != nil {
		return p, refusal.New(refusal.Malformed, "%w", err)
	}
	return p, nil
}

func (a *API) tenants(r *request) (any, error) {
	q, err := r.query("state", "partner")
	if err != nil {
		return nil, err
	}
	f := registry.Filter{State: registry.State(q.Get("state"))}
	if f.State != "" && !slices.Contains(States, string(f.State)) {
		return nil, refusal.New(refusal.Malformed, "admin: a tenant cannot be %.20q", f.State)
	}
	if p := q.Get("partner"); p != "" {
		if f.Partner, err = tenant.ParseName(p); err != nil {
			return nil, refusal.New(refusal.Malformed, "%w", err)
		}
	}
	all, err := a.Registry.Tenants(r.Context(), f)
	if err != nil {
		return nil, err
	}
	shown := []Tenant{}
	for _, t := range all {
		shown = append(shown, show(t))
	}
	return shown, nil
}

func (a *API) showTenant(r *request) (any, error) {
	path, err := r.path()
	if err != nil {
		return nil, err
	}
	t, err := a.Registry.Tenant(r.Context(), path)
	if err != nil {
		return nil, err
	}
	return show(t), nil
}

// createTenant makes a tenant and the key of its log. The tenant's own first
// record says that it was made.
func (a *API) createTenant(r *request) (any, error) {
	var n NewTenant
	if err := r.decode(&n); err != nil {
		return nil, err
	}
	path, err := parsePath(n.Path)
	if err != nil {
		return nil, err
	}
	c := change{class: audit.ClassTenant, operation: "tenant create", resources: []string{path.String()}}
	if err := a.record(r.Context(), r, c); err != nil {
		return nil, err
	}
	t, err := a.Registry.CreateTenant(r.Context(), path, n.Region)
	if err == nil {
		err = a.Keyring.Create(r.Context(), t.ID, Purpose)
	}
	if err != nil {
		c.status, c.reason, c.detail = audit.StatusFailed, refusal.Of(err).String(), err.Error()
		return nil, errors.Join(err, a.record(r.Context(), r, c))
	}
	c.tenant, c.status = t.ID, audit.StatusOK
	return show(t), a.record(r.Context(), r, c)
}

// changeTenant suspends or resumes a tenant.
func (a *API) changeTenant(r *request) (any, error) {
	var c StateChange
	if err := r.decode(&c); err != nil {
		return nil, err
	}
	switch registry.State(c.State) {
	case registry.Suspended:
		return a.moveTenant(r, "tenant suspend", a.Registry.Suspend)
	case registry.Active:
		return a.moveTenant(r, "tenant resume", a.Registry.Resume)
	case registry.Leaving, registry.Gone:
	}
	return nil, refusal.New(refusal.Malformed, "admin: a tenant cannot be made %.20q", c.State)
}

// deleteTenant ends a suspended tenant. Its rows and its log stay; its name is
// free and its id is refused for ever.
func (a *API) deleteTenant(r *request) (any, error) {
	return a.moveTenant(r, "tenant delete", a.Registry.Delete)
}

// moveTenant changes the state of the tenant that the URL of r names.
func (a *API) moveTenant(r *request, operation string, move func(context.Context, tenant.Path) (registry.Tenant, error)) (any, error) {
	path, err := r.path()
	if err != nil {
		return nil, err
	}
	t, err := a.Registry.Tenant(r.Context(), path)
	if err != nil {
		return nil, err
	}
	c := change{class: audit.ClassTenant, operation: operation, tenant: t.ID, resources: []string{path.String()}}
	err = a.do(r.Context(), r, c, func() (err error) {
		t, err = move(r.Context(), path)
		return err
	})
	if err != nil {
		return nil, err
	}
	return show(t), nil
}
