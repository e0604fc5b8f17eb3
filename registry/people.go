package registry

import (
	"context"
	"maps"

	"github.com/jackc/pgx/v5"

	"github.com/isocore/isocore/tenant"
)

// Principals of tenants and issuers that are gone stay in the table, for no id
// is used twice, and nowhere else: nobody believes them, so they neither take
// memory nor count against a bound.

// loadPrincipals reads all principals.
func (s *snapshot) loadPrincipals(ctx context.Context, tx pgx.Tx) error {
	var id, of, from [16]byte
	all := make(map[[16]byte]member)
	rows, _ := tx.Query(ctx, `SELECT p.id, p.tenant, p.issuer
		FROM principal p JOIN tenant t ON t.id = p.tenant JOIN issuer i ON i.id = p.issuer
		WHERE t.state <> 'gone' AND i.state = 'active'`)
	_, err := pgx.ForEachRow(rows, []any{&id, &of, &from}, func() error {
		all[id] = member{tenant.FromUUID(of), from}
		return nil
	})
	s.principals = roll(nil).with(all)
	s.crowds = s.principals.crowds()
	return err
}

// newcomers returns who of those that came after a version, up to another, is
// there, and how many came. Each of them is a version of its own, and so is
// every change of anything else: if as many came as there were versions, they
// are all that changed.
func newcomers(ctx context.Context, tx pgx.Tx, after, upTo int64) (there map[[16]byte]member, came int64, err error) {
	var id, of, from [16]byte
	var is bool
	there = make(map[[16]byte]member)
	rows, _ := tx.Query(ctx, `SELECT p.id, p.tenant, p.issuer, t.state <> 'gone' AND i.state = 'active'
		FROM principal p JOIN tenant t ON t.id = p.tenant JOIN issuer i ON i.id = p.issuer
		WHERE p.changed > $1 AND p.changed <= $2`, after, upTo)
	_, err = pgx.ForEachRow(rows, []any{&id, &of, &from, &is}, func() error {
		came++
		if is {
			there[id] = member{tenant.FromUUID(of), from}
		}
		return nil
	})
	return there, came, err
}

func (s *snapshot) add(more map[[16]byte]member) {
	if len(more) == 0 {
		return
	}
	s.crowds = maps.Clone(s.crowds)
	for _, m := range more {
		s.crowds[m.tenant]++
	}
	s.principals = s.principals.with(more)
}

// drop forgets the people of whoever was there in old and is gone. It looks at
// all of them only if somebody is.
func (s *snapshot) drop(old *view) {
	gone := false
	for id := range old.tenants {
		_, there := s.tenants[id]
		gone = gone || !there
	}
	for id := range old.active {
		_, there := s.active[id]
		gone = gone || !there
	}
	if !gone {
		return
	}
	s.principals = s.principals.only(func(m member) bool {
		_, tenant := s.tenants[m.tenant]
		_, issuer := s.active[m.issuer]
		return tenant && issuer
	})
	s.crowds = s.principals.crowds()
}
