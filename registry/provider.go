package registry

import (
	"bytes"
	"context"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"net/url"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/isocore/isocore/identity"
	"github.com/isocore/isocore/internal/jws"
	"github.com/isocore/isocore/refusal"
	"github.com/isocore/isocore/tenant"
)

// How many providers there are, and how much text says where one publishes.
const (
	maxProviders = 1000
	maxURI       = 1 << 10
	maxCA        = 64 << 10
)

// A Registration is an identity provider as the operator describes it. Its
// fields say what those of [identity.Provider] say.
type Registration struct {
	Issuer
	Preset     string // the one it was made from; means nothing here
	Audiences  []string
	Parties    []string
	Types      []string
	Algorithms []string
	TenantAt   string
	Shape      identity.Shape
	SubjectAt  string
	Reach      []string
	Lifetime   time.Duration

	// Keys is a JWK Set that the operator keeps up to date. Without it the keys
	// are fetched from JWKSURI, whose certificate CA vouches for, in PEM, and
	// the system's authorities if that is empty.
	Keys    []byte
	JWKSURI string
	CA      string
	Private bool // JWKSURI may lead to a private or a loopback address

	Bindings []Binding // by value; AddProvider takes none
}

// A Source is where a provider publishes its keys.
type Source struct {
	URL     string // its issuer URL
	JWKSURI string
	CA      string
	Private bool
}

// AddProvider believes tokens of an identity provider from now on. They are
// nobody's until a value of its tenant claim is bound. The cause is [ErrTaken]
// if the provider is there.
func (r *Registry) AddProvider(ctx context.Context, g Registration) (Issuer, error) {
	doc, err := g.check()
	if err != nil {
		return Issuer{}, err
	}
	is := Issuer{tenant.New().UUID(), g.URL}
	err = r.change(ctx, func(ctx context.Context, tx pgx.Tx) error {
		if err := room(ctx, tx, g.URL); err != nil {
			return err
		}
		_, err := tx.Exec(ctx, `INSERT INTO issuer (id, url, provider, preset, audiences, parties, typ, algs, tenant_at, tenant_shape,
				subject_at, reach, lifetime, jwks, jwks_uri, ca, private)
			VALUES ($1, $2, true, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16)`,
			is.ID, g.URL, g.Preset, column(g.Audiences), column(g.Parties), column(g.Types), column(g.Algorithms), g.TenantAt, string(g.Shape),
			g.SubjectAt, column(g.Reach), g.Lifetime, doc, g.JWKSURI, g.CA, g.Private)
		return err
	})
	if err != nil {
		return Issuer{}, err
	}
	return is, nil
}

// column returns l as a column takes it: never NULL.
func column(l []string) []string { return append([]string{}, l...) }

// room refuses a provider that is there, and one too many.
func room(ctx context.Context, tx pgx.Tx, iss string) error {
	var there, provider bool
	var all int
	err := tx.QueryRow(ctx, `SELECT coalesce(bool_or(url = $1), false), coalesce(bool_or(url = $1 AND provider), false), count(*) FILTER (WHERE provider)
		FROM issuer WHERE state = 'active'`, iss).Scan(&there, &provider, &all)
	switch {
	case err != nil:
		return err
	case provider:
		return refusal.Hinted(refusal.Denied, "remove it first", "registry: issuer %s is there: %w", iss, ErrTaken)
	case there:
		return own(iss)
	case all >= maxProviders:
		return refusal.New(refusal.TooMany, "registry: there are %d identity providers", all)
	}
	return nil
}

// own refuses to make of the trust domain's own issuer a provider.
func own(iss string) error {
	return refusal.New(refusal.Denied, "registry: %s is the trust domain's own issuer, not an identity provider", iss)
}

// Check returns all that is wrong with g, before anything is asked of the
// database. AddProvider checks too.
func (g *Registration) Check() error {
	_, err := g.check()
	return err
}

// check returns the document of static keys, as it is kept, or all that is
// wrong with g.
func (g *Registration) check() ([]byte, error) {
	var errs []error
	want := func(ok bool, format string, args ...any) {
		if !ok {
			errs = append(errs, fmt.Errorf("registry: "+format, args...))
		}
	}
	want(isIssuer(g.URL), "%.100q is not the URL of an issuer", g.URL)
	want(len(g.Preset) <= maxSubject, "the name of a preset has at most %d bytes", maxSubject)
	want((g.Keys == nil) != (g.JWKSURI == ""), "the keys are either given or published at a URL")
	want(g.JWKSURI == "" || isURI(g.JWKSURI), "%.100q is not an https URL that keys are published at", g.JWKSURI)
	want(g.JWKSURI != "" || g.CA == "" && !g.Private, "an authority and a private address are for keys that are fetched")
	want(len(g.Bindings) == 0, "values are bound after the provider is there")
	if _, err := g.provider(nil); err != nil {
		errs = append(errs, err)
	}
	if err := checkCA(g.CA); err != nil {
		errs = append(errs, err)
	}
	if err := errors.Join(errs...); err != nil {
		return nil, refusal.New(refusal.Malformed, "%w", err)
	}
	if g.Keys == nil {
		return nil, nil
	}
	return keep(g.Keys)
}

// keep returns the document by which the keys of another one are kept: what
// can verify, in our own spelling.
func keep(published []byte) ([]byte, error) {
	keys, err := jws.ParsePublished(published)
	var doc []byte
	if err == nil {
		doc, err = keys.JWKS()
	}
	if err == nil {
		_, err = jws.ParsePublished(doc)
	}
	if err != nil {
		return nil, refusal.New(refusal.Malformed, "registry: %w", err)
	}
	return doc, nil
}

// checkCA wants certificates and nothing else.
func checkCA(text string) error {
	if len(text) > maxCA {
		return fmt.Errorf("registry: the certificates of an authority have at most %d bytes", maxCA)
	}
	for rest := []byte(text); len(bytes.TrimSpace(rest)) > 0; {
		var b *pem.Block
		if b, rest = pem.Decode(rest); b == nil || b.Type != "CERTIFICATE" {
			return errors.New("registry: the authority is not a list of certificates in PEM")
		}
		if _, err := x509.ParseCertificate(b.Bytes); err != nil {
			return fmt.Errorf("registry: the authority: %w", err)
		}
	}
	return nil
}

// provider returns what the edge goes by.
func (g *Registration) provider(tenants map[string]tenant.ID) (*identity.Provider, error) {
	return identity.NewProvider(identity.Provider{
		Issuer: g.URL, Audiences: g.Audiences, Parties: g.Parties, Types: g.Types, Algorithms: g.Algorithms,
		TenantAt: g.TenantAt, Shape: g.Shape, SubjectAt: g.SubjectAt, Reach: g.Reach, MaxLifetime: g.Lifetime, Tenants: tenants,
	})
}

// isIssuer reports whether s may be an iss: https, and nothing that a
// comparison byte by byte would trip over.
func isIssuer(s string) bool {
	u, err := url.Parse(s)
	return err == nil && len(s) <= maxSubject && u.Scheme == "https" && u.Host != "" && u.User == nil && u.RawQuery == "" && u.Fragment == ""
}

// isURI reports whether keys may be fetched from s.
func isURI(s string) bool {
	u, err := url.Parse(s)
	return err == nil && len(s) <= maxURI && u.Scheme == "https" && u.Hostname() != "" && u.User == nil && u.Fragment == ""
}

// SetProviderKeys replaces the keys of a provider that are not fetched.
// Setting what is set changes nothing, and wakes nobody.
func (r *Registry) SetProviderKeys(ctx context.Context, iss string, published []byte) error {
	doc, err := keep(published)
	if err != nil {
		return err
	}
	return r.change(ctx, func(ctx context.Context, tx pgx.Tx) error {
		id, err := findProvider(ctx, tx, iss)
		if err != nil {
			return err
		}
		var fetched bool
		if err := tx.QueryRow(ctx, "SELECT jwks_uri <> '' FROM issuer WHERE id = $1", id).Scan(&fetched); err != nil {
			return err
		}
		if fetched {
			return refusal.New(refusal.Denied, "registry: the keys of %s are fetched, not set", iss)
		}
		_, err = tx.Exec(ctx, "UPDATE issuer SET jwks = $2 WHERE id = $1 AND jwks <> $2", id, doc)
		return err
	})
}

// findProvider returns the id of the provider with this URL.
func findProvider(ctx context.Context, q querier, iss string) (id [16]byte, err error) {
	var provider bool
	err = q.QueryRow(ctx, "SELECT id, provider FROM issuer WHERE url = $1 AND state = 'active'", iss).Scan(&id, &provider)
	switch {
	case errors.Is(err, pgx.ErrNoRows):
		return id, missing("issuer " + iss)
	case err == nil && !provider:
		return id, own(iss)
	}
	return id, err
}

const selectProvider = `SELECT id, url, preset, audiences, parties, typ, algs, tenant_at, tenant_shape, subject_at, reach, lifetime,
	jwks, jwks_uri, ca, private FROM issuer WHERE state = 'active' AND provider ORDER BY url`

func scanProvider(row pgx.CollectableRow) (Registration, error) {
	var g Registration
	err := row.Scan(&g.ID, &g.URL, &g.Preset, &g.Audiences, &g.Parties, &g.Types, &g.Algorithms, &g.TenantAt, &g.Shape, &g.SubjectAt,
		&g.Reach, &g.Lifetime, &g.Keys, &g.JWKSURI, &g.CA, &g.Private)
	return g, err
}

// Registrations returns all identity providers with whom they speak for, by
// URL.
func (r *Registry) Registrations(ctx context.Context) ([]Registration, error) {
	ctx, cancel := context.WithTimeout(ctx, toAnswer)
	defer cancel()
	var all []Registration
	err := pgx.BeginTxFunc(ctx, r.pool, pgx.TxOptions{IsoLevel: pgx.RepeatableRead, AccessMode: pgx.ReadOnly}, func(tx pgx.Tx) error {
		rows, _ := tx.Query(ctx, selectProvider)
		var err error
		if all, err = pgx.CollectRows(rows, scanProvider); err != nil {
			return err
		}
		bound, err := bindings(ctx, tx)
		for i := range all {
			all[i].Bindings = bound[all[i].ID]
		}
		return err
	})
	if err != nil {
		return nil, failed(err)
	}
	return all, nil
}
