package registry

import (
	"context"
	"errors"

	"github.com/jackc/pgx/v5"

	"github.com/isocore/isocore/refusal"
	"github.com/isocore/isocore/tenant"
)

// How many values one provider may have, and how long one is.
const (
	maxBindings = 10_000
	maxValue    = 128
)

// A Binding is what a provider calls a tenant. The same value of two providers
// is two tenants.
type Binding struct {
	Value  string // of the tenant claim, byte for byte
	Tenant tenant.ID
	Path   tenant.Path
	State  State // of the tenant: who is gone is spoken for no more
}

// BindTenant has the value of a provider's tenant claim stand for the tenant
// at path. The cause is [ErrTaken] if it stands for another, though that be
// gone: it is to be unbound first. Binding what is bound changes nothing.
func (r *Registry) BindTenant(ctx context.Context, iss, value string, path tenant.Path) error {
	if !isValue(value) {
		return refusal.New(refusal.Malformed, "registry: a value is 1 to %d bytes of ASCII without a space, not %.50q", maxValue, value)
	}
	return r.change(ctx, func(ctx context.Context, tx pgx.Tx) error {
		id, err := findProvider(ctx, tx, iss)
		if err != nil {
			return err
		}
		rows, _ := tx.Query(ctx, selectTenant+whereTenant, string(path.Partner), string(path.Name))
		t, err := oneTenant(rows, path)
		if err != nil {
			return err
		}
		bound, err := bound(ctx, tx, id, value)
		if err != nil || bound == t.ID {
			return err
		}
		if !bound.IsZero() {
			return refusal.Hinted(refusal.Denied, "unbind it first", "registry: %q of %s stands for another tenant: %w", value, iss, ErrTaken)
		}
		var all int
		if err := tx.QueryRow(ctx, "SELECT count(*) FROM issuer_tenant WHERE issuer = $1", id).Scan(&all); err != nil {
			return err
		}
		if all >= maxBindings {
			return refusal.New(refusal.TooMany, "registry: %d values of %s are bound", all, iss)
		}
		_, err = tx.Exec(ctx, "INSERT INTO issuer_tenant (issuer, value, tenant) VALUES ($1, $2, $3)", id, value, t.ID.UUID())
		return err
	})
}

// UnbindTenant has a value of a provider's tenant claim stand for nobody.
func (r *Registry) UnbindTenant(ctx context.Context, iss, value string) error {
	return r.change(ctx, func(ctx context.Context, tx pgx.Tx) error {
		id, err := findProvider(ctx, tx, iss)
		if err != nil {
			return err
		}
		if !isValue(value) {
			return missing("such value of " + iss)
		}
		tag, err := tx.Exec(ctx, "DELETE FROM issuer_tenant WHERE issuer = $1 AND value = $2", id, value)
		if err == nil && tag.RowsAffected() == 0 {
			return missing("value " + value + " of " + iss)
		}
		return err
	})
}

// isValue reports whether s may be what a provider calls a tenant: visible
// ASCII, so that no two values look the same or become the same.
func isValue(s string) bool {
	for i := range len(s) {
		if s[i] <= ' ' || s[i] > '~' {
			return false
		}
	}
	return s != "" && len(s) <= maxValue
}

// bound returns which tenant a value stands for, or nobody.
func bound(ctx context.Context, tx pgx.Tx, issuer [16]byte, value string) (tenant.ID, error) {
	var id [16]byte
	err := tx.QueryRow(ctx, "SELECT tenant FROM issuer_tenant WHERE issuer = $1 AND value = $2", issuer, value).Scan(&id)
	if errors.Is(err, pgx.ErrNoRows) {
		return tenant.ID{}, nil
	}
	return tenant.FromUUID(id), err
}

// bindings returns what is bound, by the id of the issuer that is there.
func bindings(ctx context.Context, tx pgx.Tx) (map[[16]byte][]Binding, error) {
	all := make(map[[16]byte][]Binding)
	var issuer, id [16]byte
	var b Binding
	rows, _ := tx.Query(ctx, `SELECT b.issuer, b.value, b.tenant, p.name, t.name, t.state
		FROM issuer_tenant b JOIN issuer i ON i.id = b.issuer JOIN tenant t ON t.id = b.tenant JOIN partner p ON p.id = t.partner
		WHERE i.state = 'active' AND i.provider ORDER BY b.value COLLATE "C"`)
	_, err := pgx.ForEachRow(rows, []any{&issuer, &b.Value, &id, &b.Path.Partner, &b.Path.Name, &b.State}, func() error {
		b.Tenant = tenant.FromUUID(id)
		all[issuer] = append(all[issuer], b)
		return nil
	})
	return all, err
}
