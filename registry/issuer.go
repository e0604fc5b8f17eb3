package registry

import (
	"context"
	"fmt"

	"github.com/jackc/pgx/v5"

	"github.com/isocore/isocore/identity"
	"github.com/isocore/isocore/refusal"
	"github.com/isocore/isocore/tenant"
)

// An Issuer is whose tokens are believed.
type Issuer struct {
	ID  [16]byte
	URL string // exactly what its tokens have as iss
}

// SetIssuer believes tokens of the issuer with this URL that keys verify, and
// no others of it. The trust domain's own is set at start: its nodes share one
// minting key, for what the last of them sets is what holds.
func (r *Registry) SetIssuer(ctx context.Context, iss string, keys *identity.KeySet) (Issuer, error) {
	if !isIssuer(iss) {
		return Issuer{}, refusal.New(refusal.Malformed, "registry: %.100q is not the URL of an issuer", iss)
	}
	doc, err := keys.JWKS()
	if err != nil {
		return Issuer{}, fmt.Errorf("registry: keys of %s: %w", iss, err)
	}
	is := Issuer{URL: iss}
	err = r.change(ctx, func(ctx context.Context, tx pgx.Tx) error {
		var provider bool
		err := tx.QueryRow(ctx, "SELECT EXISTS (SELECT FROM issuer WHERE url = $1 AND state = 'active' AND provider)", iss).Scan(&provider)
		if err != nil {
			return err
		}
		if provider {
			return refusal.New(refusal.Denied, "registry: %s is an identity provider: %w", iss, ErrTaken)
		}
		// Setting what is set changes nothing, and wakes nobody.
		return tx.QueryRow(ctx, `WITH
			had AS (SELECT id, jwks FROM issuer WHERE url = $2 AND state = 'active'),
			changed AS (UPDATE issuer SET jwks = $3 WHERE id = (SELECT id FROM had WHERE jwks <> $3)),
			added AS (INSERT INTO issuer (id, url, jwks) SELECT $1, $2, $3 WHERE NOT EXISTS (SELECT FROM had) RETURNING id)
			SELECT id FROM had UNION ALL SELECT id FROM added`, tenant.New().UUID(), iss, doc).Scan(&is.ID)
	})
	if err != nil {
		return Issuer{}, err
	}
	return is, nil
}

// Issuers returns all issuers, by URL.
func (r *Registry) Issuers(ctx context.Context) ([]Issuer, error) {
	ctx, cancel := context.WithTimeout(ctx, toAnswer)
	defer cancel()
	rows, _ := r.pool.Query(ctx, "SELECT id, url FROM issuer WHERE state = 'active' ORDER BY url")
	list, err := pgx.CollectRows(rows, pgx.RowToStructByPos[Issuer])
	if err != nil {
		return nil, failed(err)
	}
	return list, nil
}

// RemoveIssuer believes no token of an issuer any more. Set again it is
// another issuer: its people are not those of before.
func (r *Registry) RemoveIssuer(ctx context.Context, iss string) error {
	return r.change(ctx, func(ctx context.Context, tx pgx.Tx) error {
		tag, err := tx.Exec(ctx, "UPDATE issuer SET state = 'gone' WHERE url = $1 AND state = 'active'", iss)
		if err == nil && tag.RowsAffected() == 0 {
			return missing("issuer " + iss)
		}
		return err
	})
}
