package admin

import (
	"context"
	"time"

	"github.com/isocore/isocore/audit"
	"github.com/isocore/isocore/refusal"
	"github.com/isocore/isocore/registry"
	"github.com/isocore/isocore/tenant"
)

// A Partner is one as the API shows it.
type Partner struct {
	Name    string    `json:"name"`
	State   string    `json:"state"`
	Created time.Time `json:"created"`
}

// A NewPartner is what POST /v1/partners takes.
type NewPartner struct {
	Name string `json:"name"`
}

func showPartner(p registry.Partner) Partner {
	return Partner{string(p.Name), string(p.State), p.Created}
}

func (a *API) partners(r *request) (any, error) {
	all, err := a.Registry.Partners(r.Context())
	if err != nil {
		return nil, err
	}
	shown := []Partner{}
	for _, p := range all {
		shown = append(shown, showPartner(p))
	}
	return shown, nil
}

func (a *API) createPartner(r *request) (any, error) {
	var n NewPartner
	if err := r.decode(&n); err != nil {
		return nil, err
	}
	name, err := tenant.ParseName(n.Name)
	if err != nil {
		return nil, refusal.New(refusal.Malformed, "%w", err)
	}
	var p registry.Partner
	c := change{class: audit.ClassTenant, operation: "partner create", resources: []string{n.Name}}
	err = a.do(r.Context(), r, c, func() (err error) {
		p, err = a.Registry.CreatePartner(r.Context(), name)
		return err
	})
	if err != nil {
		return nil, err
	}
	return showPartner(p), nil
}

// changePartner suspends or resumes a partner.
func (a *API) changePartner(r *request) (any, error) {
	var c StateChange
	if err := r.decode(&c); err != nil {
		return nil, err
	}
	switch registry.State(c.State) {
	case registry.Suspended:
		return a.movePartner(r, "partner suspend", a.Registry.SuspendPartner)
	case registry.Active:
		return a.movePartner(r, "partner resume", a.Registry.ResumePartner)
	case registry.Leaving, registry.Gone:
	}
	return nil, refusal.New(refusal.Malformed, "admin: a partner cannot be made %.20q", c.State)
}

// movePartner changes the state of a partner, and with it what each of its
// tenants may do: each of their logs says so.
func (a *API) movePartner(r *request, operation string, move func(context.Context, tenant.Name) (registry.Partner, error)) (any, error) {
	name, err := tenant.ParseName(r.PathValue("name"))
	if err != nil {
		return nil, refusal.New(refusal.Malformed, "%w", err)
	}
	touched, err := a.Registry.Tenants(r.Context(), registry.Filter{Partner: name})
	if err != nil {
		return nil, err
	}
	var ids []tenant.ID
	for _, t := range touched {
		ids = append(ids, t.ID)
	}
	var p registry.Partner
	c := change{class: audit.ClassTenant, operation: operation, resources: []string{string(name)}}
	err = a.doAll(r.Context(), r, c, ids, func() (err error) {
		p, err = move(r.Context(), name)
		return err
	})
	return showPartner(p), err
}
