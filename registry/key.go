package registry

import (
	"context"
	"errors"

	"github.com/jackc/pgx/v5"

	"github.com/isocore/isocore/refusal"
	"github.com/isocore/isocore/tenant"
)

// A KeyState is what a wrapped key is for. The zero KeyState is nothing.
type KeyState string

// A key is current until the next version is, then opens what it sealed, and
// destroyed opens nothing.
const (
	KeyCurrent   KeyState = "current"
	KeyRetired   KeyState = "retired"
	KeyDestroyed KeyState = "destroyed"
)

// A WrappedKey is one version of a tenant's key for a purpose, as the database
// keeps it. The zero tenant's is the operator's.
type WrappedKey struct {
	Tenant  tenant.ID
	Purpose string
	Version uint32
	KEK     string // names the key that wrapped it
	Wrapped []byte // none when destroyed
	State   KeyState
	Changed int64 // as [Registry.KeyVersion] counts
}

// WrappedKeys returns all versions of t's key for purpose, in their order.
func (r *Registry) WrappedKeys(ctx context.Context, t tenant.ID, purpose string) ([]WrappedKey, error) {
	ctx, cancel := context.WithTimeout(ctx, toAnswer)
	defer cancel()
	rows, _ := r.pool.Query(ctx, `SELECT version, kek, wrapped, state, changed FROM tenant_key
		WHERE tenant = $1 AND purpose = $2 ORDER BY version`, t.UUID(), purpose)
	list, err := pgx.CollectRows(rows, func(row pgx.CollectableRow) (WrappedKey, error) {
		k := WrappedKey{Tenant: t, Purpose: purpose}
		err := row.Scan(&k.Version, &k.KEK, &k.Wrapped, &k.State, &k.Changed)
		return k, err
	})
	if err != nil {
		return nil, failed(err)
	}
	return list, nil
}

// AddWrappedKey makes k the current version and retires the one before. The
// cause is [ErrTaken] if k is not the next version, for somebody else was
// faster, or if the key was destroyed.
func (r *Registry) AddWrappedKey(ctx context.Context, k WrappedKey) error {
	return r.change(ctx, func(ctx context.Context, tx pgx.Tx) error {
		var last uint32
		var destroyed bool
		err := tx.QueryRow(ctx, `SELECT coalesce(max(version), 0), coalesce(bool_or(state = 'destroyed'), false)
			FROM tenant_key WHERE tenant = $1 AND purpose = $2`, k.Tenant.UUID(), k.Purpose).Scan(&last, &destroyed)
		if err != nil {
			return err
		}
		if destroyed || k.Version != last+1 {
			return refusal.New(refusal.Denied, "registry: version %d of the %s key of tenant %s: %w", k.Version, k.Purpose, k.Tenant, ErrTaken)
		}
		_, retire := tx.Exec(ctx, "UPDATE tenant_key SET state = 'retired' WHERE tenant = $1 AND purpose = $2 AND state = 'current'",
			k.Tenant.UUID(), k.Purpose)
		_, add := tx.Exec(ctx, "INSERT INTO tenant_key (tenant, purpose, version, kek, wrapped, state) VALUES ($1, $2, $3, $4, $5, 'current')",
			k.Tenant.UUID(), k.Purpose, k.Version, k.KEK, k.Wrapped)
		return errors.Join(retire, add)
	})
}

// DestroyWrappedKeys erases every version of every key of t, for ever. How
// long copies live on in backups of the database is for whoever makes them.
func (r *Registry) DestroyWrappedKeys(ctx context.Context, t tenant.ID) error {
	return r.change(ctx, func(ctx context.Context, tx pgx.Tx) error {
		_, err := tx.Exec(ctx, "UPDATE tenant_key SET state = 'destroyed', wrapped = NULL WHERE tenant = $1 AND state <> 'destroyed'", t.UUID())
		return err
	})
}
