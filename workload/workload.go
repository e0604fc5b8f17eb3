// Package workload is what an application behind the edge imports: it verifies
// for whom each request comes, and carries that on to where the data are.
//
// The application has no credential of its own. The edge puts a Txn-Token on
// every request it forwards. [Workload.Middleware] verifies it, and runs no
// handler without one. [Transport] hands it on to other services of the same
// trust domain. [Workload.Token] exchanges it for what a store takes as a
// password; package workload/postgres does that for a pgx pool.
//
// The verified identity travels in the request's context, as net/http has it:
// whoever holds that context acts for that person, and nobody else can.
package workload

import (
	"cmp"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/netip"
	"net/url"
	"strings"
	"time"

	"github.com/isocore/isocore/identity"
	"github.com/isocore/isocore/internal/jws"
	"github.com/isocore/isocore/refusal"
	"github.com/isocore/isocore/secret"
)

// Header is the one that carries the Txn-Token, and the only one.
const Header = "Txn-Token"

// A Config says whose tokens are believed and where others are had for them.
type Config struct {
	Issuer string // iss of the Txn-Tokens
	Domain string // their aud, the trust domain; "": the Issuer without https://

	// Where the issuer's public keys come from: Keys returns a JWK Set, or JWKS
	// is the https URL of one. Exactly one of them is required.
	Keys func(context.Context) ([]byte, error)
	JWKS string

	TokenURL string       // https URL of the token endpoint; "": no tokens for stores
	HTTP     *http.Client // for both; nil: one that gives up after five seconds
	Log      *slog.Logger // hears why a request was turned away; nil: nobody does
}

// A Workload is an application behind the edge. It is safe for concurrent use.
type Workload struct {
	c      Config
	keys   *keys
	tokens *tokens
}

// New returns the workload that c describes, or everything that is wrong with c.
func New(c Config) (*Workload, error) {
	var errs []error
	want := func(ok bool, what string) {
		if !ok {
			errs = append(errs, errors.New("workload: "+what))
		}
	}
	want(c.Issuer != "", "Issuer is missing")
	want((c.Keys == nil) != (c.JWKS == ""), "there has to be one of Keys and JWKS")
	for name, at := range map[string]string{"JWKS": c.JWKS, "TokenURL": c.TokenURL} {
		if err := reachable(at); at != "" && err != nil {
			errs = append(errs, fmt.Errorf("workload: %s: %w", name, err))
		}
	}
	if errs != nil {
		return nil, errors.Join(errs...)
	}
	c.Domain = cmp.Or(c.Domain, strings.TrimPrefix(c.Issuer, "https://"))
	c.Log = cmp.Or(c.Log, slog.New(slog.DiscardHandler))
	c.HTTP = client(c.HTTP)
	if c.Keys == nil {
		c.Keys = published(c.HTTP, c.JWKS)
	}
	return &Workload{c, newKeys(c.Keys), newTokens(c.HTTP, c.TokenURL)}, nil
}

// reachable reports whether a secret, or what it is verified with, may travel
// to at: by TLS, or without leaving the machine.
func reachable(at string) error {
	u, err := url.Parse(at)
	if err != nil {
		return errors.New("not a URL")
	}
	if u.Scheme != "https" && (u.Scheme != "http" || !loopback(u.Hostname())) || u.Host == "" || u.User != nil || u.Fragment != "" {
		return errors.New("not https://, nor http:// on this machine")
	}
	return nil
}

func loopback(host string) bool {
	addr, err := netip.ParseAddr(host)
	return host == "localhost" || err == nil && addr.IsLoopback()
}

// patience is how long a call to the token endpoint or for keys may take.
const patience = 5 * time.Second

// client returns a client like given that follows no redirect: a token goes
// where the configuration says, or nowhere.
func client(given *http.Client) *http.Client {
	c := http.Client{
		Timeout: patience,
		Transport: &http.Transport{
			TLSHandshakeTimeout: patience,
			MaxIdleConnsPerHost: 16,
			IdleConnTimeout:     time.Minute,
			ForceAttemptHTTP2:   true,
		},
	}
	if given != nil {
		c = *given
	}
	c.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	c.Jar = nil
	return &c
}

// Middleware runs next for requests with exactly one Txn-Token that is good;
// next finds whose it is by [From]. Every other request gets 401, and next is
// not run: there is no request of nobody.
func (w *Workload) Middleware(next http.Handler) http.Handler {
	return http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		id, err := w.identify(r)
		if err != nil {
			w.c.Log.WarnContext(r.Context(), "request turned away", "path", r.URL.Path, "err", err)
			rw.Header().Set("Cache-Control", "no-store")
			http.Error(rw, refusal.Unauthenticated.Text(), http.StatusUnauthorized)
			return
		}
		next.ServeHTTP(rw, r.WithContext(with(r.Context(), id)))
	})
}

// identify returns whose request r is.
func (w *Workload) identify(r *http.Request) (Identity, error) {
	values := r.Header.Values(Header)
	if len(values) != 1 {
		return Identity{}, refusal.New(refusal.Unauthenticated, "workload: %d Txn-Token headers", len(values))
	}
	return w.Verify(r.Context(), secret.New(values[0]))
}

// Verify returns whose request carries token, for what is not net/http.
func (w *Workload) Verify(ctx context.Context, token secret.Text) (Identity, error) {
	set, err := w.keys.current(ctx)
	if err != nil {
		return Identity{}, refusal.New(refusal.Unavailable, "workload: the issuer's keys: %w", err)
	}
	read, err := identity.ReadTxn(set, w.c.Issuer, w.c.Domain, token, time.Now())
	if errors.Is(err, jws.ErrNoKey) {
		if set, err = w.keys.renew(ctx, set); err != nil {
			return Identity{}, refusal.New(refusal.Unauthenticated, "workload: an unknown key, and no newer ones: %w", err)
		}
		read, err = identity.ReadTxn(set, w.c.Issuer, w.c.Domain, token, time.Now())
	}
	if err != nil {
		return Identity{}, fmt.Errorf("workload: %w", err)
	}
	return Identity{read: read, token: token, digest: sha256.Sum256([]byte(token.Reveal()))}, nil
}
