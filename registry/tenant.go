package registry

import (
	"context"
	"errors"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/isocore/isocore/refusal"
	"github.com/isocore/isocore/tenant"
)

// maxTenants is how many one list may hold.
const maxTenants = 100_000

// A Tenant is whose data it is, with what people call it.
type Tenant struct {
	ID      tenant.ID
	Path    tenant.Path
	Partner [16]byte
	State   State
	Region  string
	Created time.Time
	Gone    time.Time // zero until it is
}

const selectTenant = `SELECT t.id, p.name, t.name, t.partner, t.state, t.region, t.created, t.gone
	FROM tenant t JOIN partner p ON p.id = t.partner `

// CreateTenant makes an active tenant with an id that nobody ever had. The
// cause is [ErrTaken] if its partner has one of that name; what other partners
// have plays no part.
func (r *Registry) CreateTenant(ctx context.Context, path tenant.Path, region string) (Tenant, error) {
	if region != "" {
		if _, err := tenant.ParseName(region); err != nil {
			return Tenant{}, refusal.New(refusal.Malformed, "registry: region: %w", err)
		}
	}
	t := Tenant{ID: tenant.New(), Path: path, State: Active, Region: region, Created: r.now().UTC().Truncate(time.Microsecond)}
	err := r.change(ctx, func(ctx context.Context, tx pgx.Tx) error {
		err := tx.QueryRow(ctx, "SELECT id FROM partner WHERE name = $1 AND state <> 'gone'", string(path.Partner)).Scan(&t.Partner)
		if errors.Is(err, pgx.ErrNoRows) {
			return missing("partner " + string(path.Partner))
		}
		if err != nil {
			return err
		}
		_, err = tx.Exec(ctx, "INSERT INTO tenant (id, partner, name, region, created) VALUES ($1, $2, $3, $4, $5)",
			t.ID.UUID(), t.Partner, string(path.Name), region, t.Created)
		if violates(err, "tenant_name") {
			return taken("tenant " + path.String())
		}
		return err
	})
	if err != nil {
		return Tenant{}, err
	}
	return t, nil
}

// A Filter chooses tenants. The zero Filter chooses all that are not gone.
type Filter struct {
	Partner tenant.Name // only this partner's, unless empty
	State   State       // only those in this state, unless empty
}

// Tenants returns the tenants that f chooses, by path and age.
func (r *Registry) Tenants(ctx context.Context, f Filter) ([]Tenant, error) {
	ctx, cancel := context.WithTimeout(ctx, toAnswer)
	defer cancel()
	rows, _ := r.pool.Query(ctx, selectTenant+`WHERE ($1 = '' OR p.name = $1) AND (t.state = $2 OR $2 = '' AND t.state <> 'gone')
		ORDER BY p.name, t.name, t.created LIMIT $3`, string(f.Partner), f.State, maxTenants+1)
	list, err := pgx.CollectRows(rows, scanTenant)
	if err != nil {
		return nil, failed(err)
	}
	if len(list) > maxTenants {
		return nil, refusal.New(refusal.TooLarge, "registry: more than %d tenants; choose a partner", maxTenants)
	}
	return list, nil
}

// Tenant returns the tenant at path, unless it is gone.
func (r *Registry) Tenant(ctx context.Context, path tenant.Path) (Tenant, error) {
	ctx, cancel := context.WithTimeout(ctx, toAnswer)
	defer cancel()
	rows, _ := r.pool.Query(ctx, selectTenant+whereTenant, string(path.Partner), string(path.Name))
	return oneTenant(rows, path)
}

const whereTenant = "WHERE p.name = $1 AND t.name = $2 AND p.state <> 'gone' AND t.state <> 'gone'"

// Suspend keeps a tenant from acting: on every node within a second, in open
// sessions too.
func (r *Registry) Suspend(ctx context.Context, path tenant.Path) (Tenant, error) {
	return r.moveTenant(ctx, path, Suspended)
}

// Resume is the inverse of Suspend.
func (r *Registry) Resume(ctx context.Context, path tenant.Path) (Tenant, error) {
	return r.moveTenant(ctx, path, Active)
}

// Leave begins the end of a suspended tenant: there is no way back.
func (r *Registry) Leave(ctx context.Context, path tenant.Path) (Tenant, error) {
	return r.moveTenant(ctx, path, Leaving)
}

// Delete ends a tenant that is suspended or leaving. Its name is free for
// another, who gets another id; its own id stays refused for ever.
func (r *Registry) Delete(ctx context.Context, path tenant.Path) (Tenant, error) {
	return r.moveTenant(ctx, path, Gone)
}

func (r *Registry) moveTenant(ctx context.Context, path tenant.Path, to State) (Tenant, error) {
	var t Tenant
	err := r.change(ctx, func(ctx context.Context, tx pgx.Tx) (err error) {
		rows, _ := tx.Query(ctx, selectTenant+whereTenant, string(path.Partner), string(path.Name))
		if t, err = oneTenant(rows, path); err != nil {
			return err
		}
		if err := move("tenant "+path.String(), t.State, to); err != nil {
			return err
		}
		t.State = to
		var gone *time.Time
		if to == Gone {
			t.Gone = r.now().UTC().Truncate(time.Microsecond)
			gone = &t.Gone
		}
		_, err = tx.Exec(ctx, "UPDATE tenant SET state = $2, gone = $3 WHERE id = $1", t.ID.UUID(), to, gone)
		return err
	})
	if err != nil {
		return Tenant{}, err
	}
	return t, nil
}

func oneTenant(rows pgx.Rows, path tenant.Path) (Tenant, error) {
	t, err := pgx.CollectExactlyOneRow(rows, scanTenant)
	if errors.Is(err, pgx.ErrNoRows) {
		return Tenant{}, missing("tenant " + path.String())
	}
	if err != nil {
		return Tenant{}, failed(err)
	}
	return t, nil
}

func scanTenant(row pgx.CollectableRow) (Tenant, error) {
	var t Tenant
	var id [16]byte
	var gone *time.Time
	err := row.Scan(&id, &t.Path.Partner, &t.Path.Name, &t.Partner, &t.State, &t.Region, &t.Created, &gone)
	t.ID, t.Created = tenant.FromUUID(id), t.Created.UTC()
	if gone != nil {
		t.Gone = gone.UTC()
	}
	return t, err
}
