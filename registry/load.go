package registry

import (
	"bytes"
	"context"
	"errors"
	"fmt"

	"github.com/jackc/pgx/v5"

	"github.com/isocore/isocore/identity"
	"github.com/isocore/isocore/internal/jws"
	"github.com/isocore/isocore/tenant"
)

// load reads everybody's standing in one transaction. Principals are added to
// those of old, unless the database is older than that: then it was restored,
// and nothing of old holds. If nothing but principals came, nothing else is
// read: people enrol all the time, and the rest is the same for all of them.
func load(ctx context.Context, q source, old *view) (s *snapshot, err error) {
	err = pgx.BeginTxFunc(ctx, q, pgx.TxOptions{IsoLevel: pgx.RepeatableRead, AccessMode: pgx.ReadOnly}, func(tx pgx.Tx) error {
		var version int64
		if err := tx.QueryRow(ctx, "SELECT n FROM standing_version").Scan(&version); err != nil {
			return err
		}
		if old == nil || old.version > version {
			if s, err = loadRest(ctx, tx, version, old); err != nil {
				return err
			}
			return s.loadPrincipals(ctx, tx)
		}
		more, came, err := newcomers(ctx, tx, old.version, version)
		if err != nil {
			return err
		}
		if came > 0 && came == version-old.version {
			s = old.after(version, more)
			return nil
		}
		if s, err = loadRest(ctx, tx, version, old); err != nil {
			return err
		}
		s.principals, s.crowds = old.principals, old.crowds
		s.drop(old)
		s.add(more)
		return nil
	})
	return s, err
}

// after returns s at a later version, until which only principals came. All
// else is shared with s, for neither changes.
func (s *snapshot) after(version int64, more map[[16]byte]member) *snapshot {
	next := *s
	next.version, next.onlyPeople = version, true
	next.add(more)
	return &next
}

// loadRest reads all but the principals.
func loadRest(ctx context.Context, tx pgx.Tx, version int64, old *view) (*snapshot, error) {
	s := &snapshot{
		version: version, partners: make(map[[16]byte]partner), tenants: make(map[tenant.ID]standing),
		issuers: make(map[string]issuer), active: make(map[[16]byte]struct{}), keys: make(map[tenant.ID]int64), unfit: make(map[string]error),
	}
	return s, errors.Join(s.loadStates(ctx, tx), s.loadOwn(ctx, tx), s.loadProviders(ctx, tx, old))
}

func (s *snapshot) loadStates(ctx context.Context, tx pgx.Tx) error {
	var id, of [16]byte
	var name tenant.Name
	var state State
	var changed int64
	rows, _ := tx.Query(ctx, "SELECT id, name, state FROM partner WHERE state <> 'gone'")
	_, errPartners := pgx.ForEachRow(rows, []any{&id, &name, &state}, func() error {
		s.partners[id] = partner{name, state}
		return nil
	})
	rows, _ = tx.Query(ctx, "SELECT id, partner, name, state FROM tenant WHERE state <> 'gone'")
	_, errTenants := pgx.ForEachRow(rows, []any{&id, &of, &name, &state}, func() error {
		s.tenants[tenant.FromUUID(id)] = standing{of, name, state}
		return nil
	})
	rows, _ = tx.Query(ctx, "SELECT tenant, max(changed) FROM tenant_key GROUP BY tenant")
	_, errKeys := pgx.ForEachRow(rows, []any{&id, &changed}, func() error {
		s.keys[tenant.FromUUID(id)] = changed
		return nil
	})
	return errors.Join(errPartners, errTenants, errKeys)
}

// loadOwn reads the issuers of our own tokens. One that cannot be read stops
// everything: whoever came with a token of it would be refused without a word.
func (s *snapshot) loadOwn(ctx context.Context, tx pgx.Tx) error {
	var id [16]byte
	var url string
	var doc []byte
	rows, _ := tx.Query(ctx, "SELECT id, url, jwks FROM issuer WHERE state = 'active' AND NOT provider")
	_, err := pgx.ForEachRow(rows, []any{&id, &url, &doc}, func() error {
		keys, err := identity.ParseKeySet(doc)
		if err != nil {
			return fmt.Errorf("keys of %s: %w", url, err)
		}
		s.issuers[url], s.active[id] = issuer{id: id, keys: keys}, struct{}{}
		return nil
	})
	return err
}

// loadProviders reads the identity providers. One whose row nobody could have
// written through [Registry.AddProvider] is not believed, and stands in the
// way of no other.
func (s *snapshot) loadProviders(ctx context.Context, tx pgx.Tx, old *view) error {
	rows, _ := tx.Query(ctx, selectProvider)
	all, err := pgx.CollectRows(rows, scanProvider)
	if err != nil {
		return err
	}
	bound, err := bindings(ctx, tx)
	if err != nil {
		return err
	}
	for _, g := range all {
		s.active[g.ID] = struct{}{}
		had := issuer{}
		if old != nil {
			had = old.issuers[g.URL]
		}
		is, err := fromRow(g, bound[g.ID], had)
		if err != nil {
			s.unfit[g.URL] = err
			continue
		}
		s.issuers[g.URL] = is
		if g.JWKSURI != "" {
			s.published = append(s.published, Source{g.URL, g.JWKSURI, g.CA, g.Private})
		}
	}
	return nil
}

// fromRow returns what a node goes by. A document that had was made from is
// not read again.
func fromRow(g Registration, bound []Binding, had issuer) (issuer, error) {
	tenants, speaks := make(map[string]tenant.ID), make(map[tenant.ID]struct{})
	for _, b := range bound {
		if b.State != Gone {
			tenants[b.Value], speaks[b.Tenant] = b.Tenant, struct{}{}
		}
	}
	p, err := g.provider(tenants)
	if err != nil {
		return issuer{}, err
	}
	is := issuer{id: g.ID, doc: g.Keys, provider: p, speaks: speaks}
	if g.Keys == nil {
		return is, nil
	}
	if had.keys != nil && bytes.Equal(had.doc, g.Keys) {
		is.keys = had.keys
		return is, nil
	}
	is.keys, err = jws.ParsePublished(g.Keys)
	return is, err
}
