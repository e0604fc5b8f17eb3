package registry

import (
	"context"
	"errors"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/jackc/pgx/v5"

	"github.com/isocore/isocore/refusal"
	"github.com/isocore/isocore/tenant"
)

// How many principals a node holds in memory, how many of them one tenant may
// have, so that none keeps the others from theirs, and how long a subject is.
// Those of a tenant that is gone, or of an issuer that was removed, are not
// counted.
const (
	maxPrincipals = 1 << 20
	maxCrowd      = 1 << 17
	maxSubject    = 255
)

// Principal returns the id of who is sub at the issuer iss in tenant t, and
// assigns one the first time. No two of (tenant, issuer, sub) share one. One
// tenant has at most 131072 principals that count, and all together 1048576:
// over that whoever is new is refused as TooMany.
func (r *Registry) Principal(ctx context.Context, t tenant.ID, iss, sub string) ([16]byte, error) {
	return r.principal(ctx, t, iss, sub, func() error { return nil })
}

// principal is Principal for which a new one has to be admitted first.
func (r *Registry) principal(ctx context.Context, t tenant.ID, iss, sub string, admit func() error) ([16]byte, error) {
	bad := func(c rune) bool { return !unicode.IsPrint(c) }
	if sub == "" || len(sub) > maxSubject || !utf8.ValidString(sub) || strings.ContainsFunc(sub, bad) {
		return [16]byte{}, refusal.New(refusal.Malformed, "registry: the subject is not printable text of 1 to %d bytes", maxSubject)
	}
	ctx, cancel := context.WithTimeout(ctx, toAnswer)
	defer cancel()
	id, err := findPrincipal(ctx, r.pool, t, iss, sub)
	if err == nil {
		return id, r.known(ctx, id)
	}
	if !errors.Is(err, pgx.ErrNoRows) {
		return [16]byte{}, failed(err)
	}
	if err := r.view.Load().full(t); err != nil {
		return [16]byte{}, err
	}
	if err := admit(); err != nil {
		return [16]byte{}, err
	}
	err = r.change(ctx, func(ctx context.Context, tx pgx.Tx) (err error) {
		id, err = assignPrincipal(ctx, tx, t, iss, sub)
		return err
	})
	if err != nil {
		return [16]byte{}, err
	}
	return id, nil
}

// full refuses one more principal of t if there are as many as may be.
func (v *view) full(t tenant.ID) error {
	if v == nil {
		return nil
	}
	const todo = "find out at its identity provider who makes up subjects; removing the issuer lets go of all who came by it, " +
		"and added again it begins with nobody"
	if n := v.crowds[t]; n >= maxCrowd {
		return refusal.New(refusal.TooMany, "registry: tenant %s has %d principals, as many as one may have: %s", t, n, todo)
	}
	if n := v.principals.size(); n >= maxPrincipals {
		return refusal.New(refusal.TooMany, "registry: there are %d principals, as many as a node remembers: see which tenant has most; %s", n, todo)
	}
	return nil
}

// Enrol returns who subject of an identity provider is in tenant t, and of
// which partner that is, as [Registry.Principal] does. A tenant that the
// provider does not speak for is refused; whether those who are there may act
// is for Check to say.
//
// Of those who are new each node admits 500 of one tenant after a quiet time,
// and 20 a second then: who may sign up as often as they like at a provider
// would otherwise fill the registry at the speed of their requests. The others
// are refused as TooFast, and may come again.
func (r *Registry) Enrol(ctx context.Context, t tenant.ID, iss, subject string) (partner, principal [16]byte, err error) {
	if err := r.Reachable(); err != nil {
		return partner, principal, err
	}
	v := r.view.Load()
	who, ok := v.tenants[t]
	if !ok {
		return partner, principal, errTenant
	}
	if from, ok := v.issuers[iss]; !ok || from.provider == nil || !from.has(t) {
		return partner, principal, errIssuer
	}
	principal, err = r.principal(ctx, t, iss, subject, func() error { return r.taps.admit(t, r.now()) })
	if err != nil && refusal.Of(err) == refusal.NotFound { // it went in between
		return [16]byte{}, [16]byte{}, refusal.New(refusal.Unauthenticated, "registry: %w", err)
	}
	if err != nil {
		return [16]byte{}, [16]byte{}, err
	}
	return who.partner, principal, nil
}

// known sees to it that this node knows a principal another one assigned.
func (r *Registry) known(ctx context.Context, id [16]byte) error {
	if v := r.view.Load(); v != nil {
		if _, ok := v.principals.find(id); ok {
			return nil
		}
	}
	return r.refresh(ctx, r.pool)
}

func findPrincipal(ctx context.Context, q querier, t tenant.ID, iss, sub string) (id [16]byte, err error) {
	err = q.QueryRow(ctx, `SELECT p.id FROM principal p JOIN issuer i ON i.id = p.issuer JOIN tenant t ON t.id = p.tenant
		WHERE p.tenant = $1 AND i.url = $2 AND i.state = 'active' AND t.state <> 'gone' AND p.sub = $3`, t.UUID(), iss, sub).Scan(&id)
	return id, err
}

// assignPrincipal looks again, now that no one else can change anything.
func assignPrincipal(ctx context.Context, tx pgx.Tx, t tenant.ID, iss, sub string) (id [16]byte, err error) {
	if id, err = findPrincipal(ctx, tx, t, iss, sub); !errors.Is(err, pgx.ErrNoRows) {
		return id, err
	}
	err = tx.QueryRow(ctx, `INSERT INTO principal (id, tenant, issuer, sub)
		SELECT $1, t.id, i.id, $4 FROM tenant t, issuer i
		WHERE t.id = $2 AND t.state <> 'gone' AND i.url = $3 AND i.state = 'active' RETURNING id`,
		tenant.New().UUID(), t.UUID(), iss, sub).Scan(&id)
	if errors.Is(err, pgx.ErrNoRows) {
		return id, missing("tenant " + t.String() + " with issuer " + iss)
	}
	return id, err
}
