package admin

import (
	"context"
	"errors"

	"github.com/isocore/isocore/audit"
	"github.com/isocore/isocore/refusal"
	"github.com/isocore/isocore/tenant"
)

// A change is what the records say of something the operator does.
type change struct {
	class     audit.Class
	operation string
	tenant    tenant.ID // zero: no tenant is touched
	resources []string
	detail    string
	status    string // of what was done; empty before it is
	reason    string // why it was not
}

// do makes c durable in the operator's log and in that of the tenant it
// touches, makes the change, and makes durable what came of it. What cannot be
// recorded is not done; what was done and cannot be recorded is not answered.
func (a *API) do(ctx context.Context, r *request, c change, act func() error) error {
	if err := a.record(ctx, r, c); err != nil {
		return err
	}
	err := act()
	c.status = audit.StatusOK
	if err != nil {
		c.status, c.reason, c.detail = audit.StatusFailed, refusal.Of(err).String(), err.Error()
	}
	return errors.Join(err, a.record(ctx, r, c))
}

// doAll is do for a change that touches several tenants: the log of each says
// that it was made.
func (a *API) doAll(ctx context.Context, r *request, c change, touched []tenant.ID, act func() error) error {
	if err := a.do(ctx, r, c, act); err != nil {
		return err
	}
	c.status = audit.StatusOK
	var errs []error
	for _, id := range touched {
		c.tenant = id
		errs = append(errs, a.record(ctx, r, c))
	}
	return errors.Join(errs...)
}

// record makes c durable in the operator's log and in that of the tenant it
// touches.
func (a *API) record(ctx context.Context, r *request, c change) error {
	rec := audit.Record{
		Kind: audit.Admin, Class: c.class, Time: a.Now(), Subject: r.peer, Issuer: "unix socket", Broker: "admin",
		Operation: c.operation, Resources: c.resources, Detail: c.detail, Reason: c.reason, Result: audit.Result{Status: c.status},
	}
	logs := []tenant.ID{{}}
	if !c.tenant.IsZero() {
		rec.Resources = append([]string{c.tenant.String()}, rec.Resources...)
		logs = append(logs, c.tenant)
	}
	for _, log := range logs {
		rec.Log = log
		receipt, err := a.Log.Append(rec)
		if err == nil {
			_, err = receipt.Wait(ctx)
		}
		if err != nil {
			return refusal.New(refusal.Unrecorded, "admin: %w", err)
		}
	}
	return nil
}
