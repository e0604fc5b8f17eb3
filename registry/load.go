package registry

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"

	"github.com/jackc/pgx/v5"

	"github.com/isocore/isocore/identity"
	"github.com/isocore/isocore/internal/jws"
	"github.com/isocore/isocore/tenant"
)

// load reads everybody's standing in one transaction. Principals are added to
// those of old, unless the database is older than that: then it was restored,
// and nothing of old holds.
func load(ctx context.Context, q source, old *view) (*snapshot, error) {
	s := &snapshot{
		partners: make(map[[16]byte]partner), tenants: make(map[tenant.ID]standing),
		issuers: make(map[string]issuer), keys: make(map[tenant.ID]int64), unfit: make(map[string]error),
	}
	err := pgx.BeginTxFunc(ctx, q, pgx.TxOptions{IsoLevel: pgx.RepeatableRead, AccessMode: pgx.ReadOnly}, func(tx pgx.Tx) error {
		if err := tx.QueryRow(ctx, "SELECT n FROM standing_version").Scan(&s.version); err != nil {
			return err
		}
		after := int64(0)
		if old != nil && old.version <= s.version {
			s.principals, s.crowds, after = old.principals, old.crowds, old.version
		}
		return errors.Join(s.loadStates(ctx, tx), s.loadOwn(ctx, tx), s.loadProviders(ctx, tx, old), s.loadPrincipals(ctx, tx, after))
	})
	return s, err
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
		s.issuers[url] = issuer{id: id, keys: keys}
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

func (s *snapshot) loadPrincipals(ctx context.Context, tx pgx.Tx, after int64) error {
	var id, of, from [16]byte
	more := make(map[[16]byte]member)
	rows, _ := tx.Query(ctx, "SELECT id, tenant, issuer FROM principal WHERE changed > $1", after)
	_, err := pgx.ForEachRow(rows, []any{&id, &of, &from}, func() error {
		more[id] = member{tenant.FromUUID(of), from}
		return nil
	})
	if err != nil || len(more) == 0 {
		return err
	}
	s.crowds = maps.Clone(s.crowds)
	if s.crowds == nil {
		s.crowds = make(map[tenant.ID]int)
	}
	for _, m := range more {
		s.crowds[m.tenant]++
	}
	s.principals = s.principals.with(more)
	return nil
}
