package edge

import (
	"context"
	"crypto/ed25519"
	"errors"
	"log/slog"
	"net"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/isocore/isocore/accept"
	"github.com/isocore/isocore/broker/brokertest"
	"github.com/isocore/isocore/identity"
	"github.com/isocore/isocore/internal/jws"
	"github.com/isocore/isocore/prove"
	"github.com/isocore/isocore/secret"
	"github.com/isocore/isocore/tenant"
)

// A proving is a deployment of an edge and an application that repeats whose
// request it got, to be attacked.
type proving struct {
	*brokertest.World
	app    *app
	broker *Broker
	addr   string
	target *prove.Target
	stop   func() error
}

// trustDomain is that of a World.
const trustDomain = "issuer.test"

func newProving(t testing.TB) *proving {
	t.Helper()
	limits := brokertest.Limits()
	limits.Sessions, limits.Connections = 10000, 1000
	p := &proving{World: brokertest.New(t, Name, limits), app: newApp(t)}
	p.Grant(p.A) // both are in good standing from now on
	p.Grant(p.B)
	paths := map[tenant.ID]tenant.Path{p.A: {Partner: "home", Name: "prove-alpha"}, p.B: {Partner: "home", Name: "prove-omega"}}
	p.target = &prove.Target{
		A: p.tenant("home/prove-alpha", p.A), B: p.tenant("home/prove-omega", p.B), Providers: providers(t, p.A, p.B),
	}
	p.Gate.Verifier = p.verifier(t)
	up := upstream(t, p.app.Listener.Addr().String())
	reach := []string{identity.PGRead, identity.PGWrite}
	var err error
	p.broker, err = New(Config{
		Routes: []Route{
			{Name: "app", Host: "app.test", Path: "/", Upstream: up, Reach: reach, MaxBody: 4 << 20},
			{Name: "host", Host: "{tenant}.app.test", Path: "/", Upstream: up, Reach: reach, MaxBody: 1 << 10},
			{Name: "path", Host: "path.test", Path: "/of/{tenant}", Upstream: up, Reach: reach, MaxBody: 1 << 10},
		},
		Minter: p.Minter, Paths: func(id tenant.ID) (tenant.Path, bool) { path, ok := paths[id]; return path, ok },
		Door: accept.Door{Limiter: p.Limiter, Log: slog.New(slog.DiscardHandler), Grace: time.Second},
		Log:  slog.New(slog.DiscardHandler), Now: time.Now, Sessions: 10000,
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range p.broker.routes.Load().all() {
		p.target.Routes = append(p.target.Routes, prove.Route{Name: r.Name, Host: r.Host, Path: r.Path, Reach: r.Reach})
	}
	if err := p.start("127.0.0.1:0"); err != nil {
		t.Fatal(err)
	}
	p.target.Addr = map[string]string{Name: p.addr, "postgres": "nowhere", identity.Exchange: "nowhere"}
	t.Cleanup(func() {
		if err := p.stop(); err != nil {
			t.Error(err)
		}
	})
	return p
}

// all returns the routes in order of their names.
func (r *router) all() []*route {
	all := slices.Clone(r.open)
	for _, rs := range r.hosts {
		all = append(all, rs...)
	}
	slices.SortFunc(all, func(a, b *route) int { return strings.Compare(a.Name, b.Name) })
	return all
}

// providers are those of a run: one for both tenants, one that calls A what the
// first calls B, and two whose people reach less.
func providers(t testing.TB, a, b tenant.ID) []*prove.Provider {
	t.Helper()
	var all []*prove.Provider
	for _, one := range []struct {
		url    string
		reach  []string
		values map[string]string
	}{
		{"https://prover-one.invalid", []string{identity.HTTP, identity.PGRead, identity.PGWrite}, map[string]string{a.String(): "org-alpha", b.String(): "org-omega"}},
		{"https://prover-two.invalid", []string{identity.HTTP, identity.PGRead, identity.PGWrite}, map[string]string{a.String(): "org-omega"}},
		{"https://prover-reads.invalid", []string{identity.HTTP, identity.PGRead}, map[string]string{a.String(): "org-alpha"}},
		{"https://prover-apart.invalid", []string{identity.PGRead, identity.PGWrite}, map[string]string{a.String(): "org-alpha"}},
	} {
		p, err := prove.NewProvider(one.url, "https://prover.invalid/app", one.reach...)
		if err != nil {
			t.Fatal(err)
		}
		p.Values = one.values
		all = append(all, p)
	}
	return all
}

// verifier believes the providers of the run.
func (p *proving) verifier(t testing.TB) *identity.Verifier {
	t.Helper()
	keys, registered := map[string]*identity.KeySet{p.Issuer: p.Minter.Keys()}, map[string]*identity.Provider{}
	for _, one := range p.target.Providers {
		set, err := jws.ParsePublished(one.JWKS())
		if err != nil {
			t.Fatal(err)
		}
		tenants := map[string]tenant.ID{}
		for id, value := range one.Values {
			if tenants[value], err = tenant.Parse(id); err != nil {
				t.Fatal(err)
			}
		}
		keys[one.Issuer] = set
		registered[one.Issuer], err = identity.NewProvider(identity.Provider{
			Issuer: one.Issuer, Audiences: []string{one.Audience}, Types: []string{prove.ProviderType}, Algorithms: []string{jws.ES256},
			TenantAt: "/" + prove.ProviderClaim, Shape: identity.Scalar, SubjectAt: "/sub", Reach: one.Reach, MaxLifetime: time.Hour, Tenants: tenants,
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	v, err := identity.New(identity.Config{
		TrustDomain: trustDomain, Issuers: func(issuer string) *identity.KeySet { return keys[issuer] },
		Providers: func(issuer string) *identity.Provider { return registered[issuer] }, Enrol: p.Standing.Enrol,
		Renew: func(context.Context, string) error { return errors.New("there are no newer keys") }, Standing: p.Standing,
		MaxLifetime: identity.MaxLifetime, Leeway: 5 * time.Second, Now: time.Now, CacheSize: 1024,
	})
	if err != nil {
		t.Fatal(err)
	}
	return v
}

// start serves at addr until stop.
func (p *proving) start(addr string) error {
	ln, err := net.Listen("tcp", addr)
	if err != nil {
		return err
	}
	p.addr = ln.Addr().String()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- p.broker.Serve(ctx, ln, p.Gate) }()
	p.stop = sync.OnceValue(func() error {
		cancel()
		return <-done
	})
	return nil
}

func (p *proving) tenant(path string, id tenant.ID) prove.Tenant {
	return prove.Tenant{
		Name: path, ID: id.String(), Canary: "canary-" + tenant.New().String(),
		Token: func(ctx context.Context, door string, reach ...string) (secret.Text, error) {
			return p.token(ctx, id, door, reach)
		},
		Flawed:  func(_ context.Context, _ string, f prove.Flaw) (secret.Text, error) { return p.flawed(id, f) },
		Suspend: func(context.Context) error { p.Standing.Suspend(id.UUID()); return nil },
		Resume:  func(context.Context) error { p.Standing.Resume(id.UUID()); return nil },
	}
}

// token returns a good token for a door, of the kind that is good there.
func (p *proving) token(ctx context.Context, id tenant.ID, door string, reach []string) (secret.Text, error) {
	if door != Name && door != identity.Exchange {
		g := p.Grant(id, identity.PGRead)
		g.Broker = door
		return p.Minter.Mint(g)
	}
	of := p.target.Providers[0]
	if len(reach) > 0 && !slices.Contains(reach, identity.HTTP) && door == Name {
		of = p.target.Providers[3]
	}
	token, err := of.Token(of.Good(id.String(), life))
	if err != nil || door == Name {
		return token, err
	}
	who, err := p.Gate.Verifier.Verify(ctx, Name, token)
	if err != nil {
		return token, err
	}
	return p.Minter.Txn(who, identity.TxnGrant{Txn: tenant.New().String(), Workload: "app", Reach: reach, TTL: time.Minute})
}

func (p *proving) flawed(id tenant.ID, f prove.Flaw) (secret.Text, error) {
	of := p.target.Providers[0]
	good := of.Good(id.String(), life)
	switch f {
	case prove.Forged:
		header, payload := good.Texts()
		signed := prove.Base64(header) + "." + prove.Base64(payload)
		_, key, err := ed25519.GenerateKey(nil)
		return secret.New(signed + "." + prove.Base64(string(ed25519.Sign(key, []byte(signed))))), err
	case prove.Expired:
		good.Iat, good.Exp = "1700000000", "1700000300"
	case prove.Elsewhere:
		good.Aud = `"https://elsewhere.invalid"`
	case prove.Stranger:
		stranger, err := prove.NewProvider("https://stranger.invalid", of.Audience)
		if err != nil {
			return secret.Text{}, err
		}
		stranger.Values = of.Values
		return stranger.Token(stranger.Good(id.String(), life))
	}
	return of.Token(good)
}
