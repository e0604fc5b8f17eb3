package workload_test

import (
	"context"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/isocore/isocore/broker/brokertest"
	"github.com/isocore/isocore/broker/exchange"
	"github.com/isocore/isocore/identity"
	"github.com/isocore/isocore/identity/identitytest"
	"github.com/isocore/isocore/secret"
	"github.com/isocore/isocore/tenant"
	"github.com/isocore/isocore/workload"
)

// A world is a node with a public port, and an application that asks it.
type world struct {
	*brokertest.World
	*workload.Workload
	exchanges atomic.Int64 // that were asked for
}

func newWorld(t *testing.T) *world {
	t.Helper()
	w := &world{World: brokertest.New(t, "postgres", brokertest.Limits())}
	x, err := exchange.New(exchange.Config{
		Minter: w.Minter, Brokers: []string{"postgres"}, Now: time.Now, Log: slog.New(slog.DiscardHandler),
	})
	if err != nil {
		t.Fatal(err)
	}
	endpoint, mux := x.Handler(w.Gate), http.NewServeMux()
	mux.HandleFunc("POST /v1/token", func(rw http.ResponseWriter, r *http.Request) {
		w.exchanges.Add(1)
		endpoint.ServeHTTP(rw, r)
	})
	mux.HandleFunc("GET /.well-known/jwks.json", func(rw http.ResponseWriter, _ *http.Request) { rw.Write(jwks(t, w.Domain)) })
	public := httptest.NewServer(mux)
	t.Cleanup(public.Close)
	w.Workload = newWorkload(t, workload.Config{
		Issuer: w.Issuer, JWKS: public.URL + "/.well-known/jwks.json", TokenURL: public.URL + "/v1/token",
	})
	return w
}

func newWorkload(t *testing.T, c workload.Config) *workload.Workload {
	t.Helper()
	w, err := workload.New(c)
	if err != nil {
		t.Fatal(err)
	}
	return w
}

func jwks(t *testing.T, d *identitytest.Domain) []byte {
	doc, err := d.Minter.Keys().JWKS()
	if err != nil {
		t.Error(err)
	}
	return doc
}

// as returns the context of a request with token, as a handler sees it.
func as(t *testing.T, w *workload.Workload, token secret.Text) context.Context {
	t.Helper()
	ctx, status := serve(t, w, token.Reveal())
	if ctx == nil {
		t.Fatalf("turned away: %d", status)
	}
	return ctx
}

// serve asks an application with these Txn-Token headers. The context is nil
// if its handler did not run.
func serve(t *testing.T, w *workload.Workload, headers ...string) (context.Context, int) {
	t.Helper()
	var seen context.Context
	h := w.Middleware(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { seen = r.Context() }))
	r := httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/", nil)
	for _, v := range headers {
		r.Header.Add(workload.Header, v)
	}
	rec := httptest.NewRecorder()
	h.ServeHTTP(rec, r)
	if (seen == nil) != (rec.Code == http.StatusUnauthorized) {
		t.Errorf("%d %s", rec.Code, rec.Body)
	}
	return seen, rec.Code
}

func TestMiddleware(t *testing.T) {
	w := newWorld(t)
	token := w.TxnToken(w.A, identity.PGRead)
	ctx := as(t, w.Workload, token)
	id, ok := workload.From(ctx)
	p, err := w.Verifier.Verify(t.Context(), identity.Exchange, token)
	if err != nil {
		t.Fatal(err)
	}
	if !ok || id.Tenant() != w.A || id.Principal() != p.ID() || id.Subject() != p.Subject() || id.Issuer() != p.Issuer() || id.Txn() != p.Txn() ||
		!id.Has(identity.PGRead) || id.Has(identity.PGWrite) || id.Has("") || !slices.Equal(id.Reach(), p.Reach()) || id.IsZero() {
		t.Errorf("%+v is not %+v", id, p)
	}
	if left := time.Until(id.Expires()); left <= 0 || left > identity.MaxLifetime {
		t.Errorf("%v left", left)
	}
}

func TestNoRequestOfNobody(t *testing.T) {
	w := newWorld(t)
	good, other := w.TxnToken(w.A).Reveal(), identitytest.New(t)
	w.Domain.Broker = identity.Exchange
	expired, forged := w.Expired(w.A), w.Forged(w.A)
	w.Domain.Broker = "postgres"
	for name, headers := range map[string][]string{
		"none":                     {},
		"empty":                    {""},
		"two":                      {good, good},
		"two, one empty":           {good, ""},
		"two in one":               {good + "," + good},
		"a scheme":                 {"Bearer " + good},
		"a space":                  {good + " "},
		"of another key":           {other.TxnToken(w.A).Reveal()},
		"a store token":            {w.World.Token(w.A).Reveal()},
		"a provider's token":       {w.ProviderToken(w.A).Reveal()},
		"expired":                  {expired.Reveal()},
		"forged":                   {forged.Reveal()},
		"without a signature":      {good[:strings.LastIndexByte(good, '.')+1]},
		"larger than any token":    {strings.Repeat("x", 1<<20)},
		"the signature's last cut": {good[:len(good)-1]},
	} {
		if ctx, status := serve(t, w.Workload, headers...); ctx != nil {
			t.Errorf("%s: %d", name, status)
		}
	}
	if _, ok := workload.From(t.Context()); ok {
		t.Error("somebody is in a context of nobody")
	}
	for name, c := range map[string]workload.Config{
		"another issuer": {Issuer: "https://other.test", Keys: func(context.Context) ([]byte, error) { return jwks(t, w.Domain), nil }},
		"another domain": {Issuer: w.Issuer, Domain: "other.test", Keys: func(context.Context) ([]byte, error) { return jwks(t, w.Domain), nil }},
		"no keys":        {Issuer: w.Issuer, Keys: func(context.Context) ([]byte, error) { return nil, io.ErrUnexpectedEOF }},
		"bad keys":       {Issuer: w.Issuer, Keys: func(context.Context) ([]byte, error) { return []byte(`{"keys":[]}`), nil }},
		"keys nowhere":   {Issuer: w.Issuer, JWKS: "http://127.0.0.1:1/"},
	} {
		if ctx, status := serve(t, newWorkload(t, c), good); ctx != nil {
			t.Errorf("%s: %d", name, status)
		}
	}
}

// published are keys that change, and how often they were asked for.
type published struct {
	t     *testing.T
	d     atomic.Pointer[identitytest.Domain] // nil: out of reach
	asked atomic.Int64
	slow  time.Duration
}

func (p *published) fetch(context.Context) ([]byte, error) {
	p.asked.Add(1)
	<-time.After(p.slow)
	d := p.d.Load()
	if d == nil {
		return nil, io.ErrUnexpectedEOF
	}
	return jwks(p.t, d), nil
}

func (p *published) wants(n int64) {
	p.t.Helper()
	if got := p.asked.Swap(0); got != n {
		p.t.Errorf("asked %d times, not %d", got, n)
	}
}

func TestKeysTurn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		old, young, stranger, id := identitytest.New(t), identitytest.New(t), identitytest.New(t), tenant.New()
		p := &published{t: t, slow: time.Second}
		p.d.Store(old)
		w := newWorkload(t, workload.Config{Issuer: old.Issuer, Keys: p.fetch})
		accepts := func(d *identitytest.Domain, want bool) {
			t.Helper()
			if ctx, _ := serve(t, w, d.TxnToken(id).Reveal()); (ctx != nil) != want {
				t.Errorf("let in: %v", ctx != nil)
			}
		}
		together(t, 20, func() { accepts(old, true) })
		p.wants(1)
		time.Sleep(20 * time.Second)
		p.d.Store(young)
		together(t, 20, func() { accepts(young, true) })
		accepts(old, false) // its key was not published any more
		p.wants(1)
		for range 30 { // made-up names
			accepts(stranger, false)
			time.Sleep(time.Second)
		}
		p.wants(3)
		accepts(young, true)
		p.d.Store(nil)
		time.Sleep(30 * time.Minute) // out of reach, and still believed
		accepts(young, true)
		p.wants(1)
		time.Sleep(31 * time.Minute)
		accepts(young, false)
		p.wants(1)
		p.d.Store(young)
		accepts(young, false) // too soon to ask again
		p.wants(0)
		time.Sleep(10 * time.Second)
		accepts(young, true)
		p.wants(1)
	})
}

// together runs f n times at once.
func together(t *testing.T, n int, f func()) {
	t.Helper()
	done := make(chan struct{})
	for range n {
		go func() {
			defer func() { done <- struct{}{} }()
			f()
		}()
	}
	for range n {
		<-done
	}
}

// TestWhoGivesUpSpoilsNothing: the first to ask for keys goes away.
func TestWhoGivesUpSpoilsNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := identitytest.New(t)
		p := &published{t: t, slow: time.Second}
		p.d.Store(d)
		w := newWorkload(t, workload.Config{Issuer: d.Issuer, Keys: p.fetch})
		ctx, cancel := context.WithCancel(t.Context())
		token := d.TxnToken(tenant.New())
		go func() { time.Sleep(time.Millisecond); cancel() }()
		if _, err := w.Verify(ctx, token); err != nil {
			t.Errorf("who asked: %v", err) // it waits for what serves all
		}
		if _, err := w.Verify(t.Context(), token); err != nil {
			t.Errorf("who came after: %v", err)
		}
		p.wants(1)
	})
}

func TestConfig(t *testing.T) {
	keys := func(context.Context) ([]byte, error) { return nil, nil }
	for name, c := range map[string]workload.Config{
		"nothing":          {},
		"no issuer":        {Keys: keys},
		"no keys":          {Issuer: "https://a.test"},
		"keys twice":       {Issuer: "https://a.test", Keys: keys, JWKS: "https://a.test/"},
		"keys in clear":    {Issuer: "https://a.test", JWKS: "http://a.test/"},
		"a look-alike":     {Issuer: "https://a.test", JWKS: "http://127.0.0.1.a.test/"},
		"tokens in clear":  {Issuer: "https://a.test", Keys: keys, TokenURL: "http://a.test/"},
		"not a URL":        {Issuer: "https://a.test", Keys: keys, TokenURL: "a.test"},
		"credentials":      {Issuer: "https://a.test", Keys: keys, TokenURL: "https://a:b@a.test/"},
		"another protocol": {Issuer: "https://a.test", Keys: keys, TokenURL: "file:///token"},
	} {
		if _, err := workload.New(c); err == nil {
			t.Errorf("%s is taken", name)
		}
	}
}
