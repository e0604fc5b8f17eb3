package registry

import (
	"context"
	"errors"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/isocore/isocore/tenant"
)

// A Partner is who tenants belong to: a service provider, or the operator.
type Partner struct {
	ID      [16]byte
	Name    tenant.Name
	State   State
	Created time.Time
}

// CreatePartner makes an active partner. The cause is [ErrTaken] if there is
// one of that name.
func (r *Registry) CreatePartner(ctx context.Context, name tenant.Name) (Partner, error) {
	p := Partner{tenant.New().UUID(), name, Active, r.now().UTC().Truncate(time.Microsecond)}
	err := r.change(ctx, func(ctx context.Context, tx pgx.Tx) error {
		_, err := tx.Exec(ctx, "INSERT INTO partner (id, name, created) VALUES ($1, $2, $3)", p.ID, string(name), p.Created)
		if violates(err, "partner_name") {
			return taken("partner " + string(name))
		}
		return err
	})
	if err != nil {
		return Partner{}, err
	}
	return p, nil
}

// Partners returns all partners, by name.
func (r *Registry) Partners(ctx context.Context) ([]Partner, error) {
	ctx, cancel := context.WithTimeout(ctx, toAnswer)
	defer cancel()
	rows, _ := r.pool.Query(ctx, "SELECT id, name, state, created FROM partner WHERE state <> 'gone' ORDER BY name")
	list, err := pgx.CollectRows(rows, scanPartner)
	if err != nil {
		return nil, failed(err)
	}
	return list, nil
}

// SuspendPartner keeps every tenant of a partner from acting.
func (r *Registry) SuspendPartner(ctx context.Context, name tenant.Name) (Partner, error) {
	return r.movePartner(ctx, name, Suspended)
}

// ResumePartner is the inverse of SuspendPartner. A tenant that was suspended
// itself stays so.
func (r *Registry) ResumePartner(ctx context.Context, name tenant.Name) (Partner, error) {
	return r.movePartner(ctx, name, Active)
}

func (r *Registry) movePartner(ctx context.Context, name tenant.Name, to State) (Partner, error) {
	var p Partner
	err := r.change(ctx, func(ctx context.Context, tx pgx.Tx) (err error) {
		rows, _ := tx.Query(ctx, "SELECT id, name, state, created FROM partner WHERE name = $1 AND state <> 'gone'", string(name))
		p, err = pgx.CollectExactlyOneRow(rows, scanPartner)
		if errors.Is(err, pgx.ErrNoRows) {
			return missing("partner " + string(name))
		}
		if err != nil {
			return err
		}
		if err := move("partner "+string(name), p.State, to); err != nil {
			return err
		}
		p.State = to
		_, err = tx.Exec(ctx, "UPDATE partner SET state = $2 WHERE id = $1", p.ID, to)
		return err
	})
	if err != nil {
		return Partner{}, err
	}
	return p, nil
}

func scanPartner(row pgx.CollectableRow) (Partner, error) {
	var p Partner
	err := row.Scan(&p.ID, &p.Name, &p.State, &p.Created)
	return p, err
}
