// Package node is one running IsoCore: it opens the rooms in order, from a
// configuration that was read, and closes them in the other.
package node

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/mod/sumdb/note"

	"github.com/isocore/isocore/admin"
	"github.com/isocore/isocore/audit"
	"github.com/isocore/isocore/audit/bundle"
	"github.com/isocore/isocore/audit/segment"
	"github.com/isocore/isocore/broker"
	"github.com/isocore/isocore/broker/edge"
	"github.com/isocore/isocore/broker/exchange"
	"github.com/isocore/isocore/broker/postgres"
	"github.com/isocore/isocore/config"
	"github.com/isocore/isocore/forward"
	"github.com/isocore/isocore/identity"
	"github.com/isocore/isocore/identity/published"
	"github.com/isocore/isocore/keyring"
	"github.com/isocore/isocore/limit"
	"github.com/isocore/isocore/registry"
	"github.com/isocore/isocore/scope"
	"github.com/isocore/isocore/tenant"
)

// A Node is everything that one process holds open.
type Node struct {
	config   *config.Config
	log      *slog.Logger
	registry *registry.Registry
	keyring  *keyring.Keyring
	minter   *identity.Minter
	verifier *identity.Verifier
	trail    *audit.Log
	policy   *bundle.Policy
	meter    *meter
	gate     *broker.Gate
	limiter  *limit.Limiter
	shown    map[string]*atomic.Pointer[tls.Certificate] // at each door with TLS; those of the last reload
	signer   note.Signer
	grade    string // of the worst database; set when it was opened
	keys     *published.Fetcher
	doors    []door
	edge     *edge.Broker                // nil: it has no section
	exchange *exchange.Exchange          // nil: it has no section
	routes   atomic.Pointer[config.Edge] // as the last reload left them
	reached  map[string]reached          // the same, with the ways there; Reload's, and Close's
	retired  []forward.Upstream          // the ways that no route takes any more
	listen   map[string]net.Listener
	close    []func(context.Context) error // in the order in which things were opened
}

// A door is a broker with the address it answers at.
type door struct {
	name   string
	broker broker.Broker
	ln     net.Listener
}

// Bounds of a node.
const (
	closeTime    = 10 * time.Second
	tokenCache   = 4096
	strangers    = 1024
	strangersNet = 256
	tenants      = 100_000
)

// DrainTime is how long sessions may go on once the node is asked to end.
const DrainTime = 5 * time.Second

// Open opens a node for c: registry, keys, trail, brokers. It listens, and
// answers nobody before [Node.Serve]. What is wrong with the keys, the
// registry, the trail or a store is in the error, all of it that can be seen.
func Open(ctx context.Context, c *config.Config, log *slog.Logger) (_ *Node, err error) {
	n := &Node{config: c, log: log, shown: map[string]*atomic.Pointer[tls.Certificate]{}}
	n.routes.Store(c.Brokers.Edge)
	defer func() {
		if err != nil {
			err = errors.Join(err, n.Close())
		}
	}()
	if err := n.take(); err != nil { // first: a port that is taken is worth no record
		return nil, err
	}
	k, err := readKeys(c.Keys.Dir.String())
	if err != nil {
		return nil, err
	}
	if err := n.openRegistry(ctx, k); err != nil {
		return nil, err
	}
	if err := n.openTrail(ctx, k); err != nil {
		return nil, err
	}
	if err := n.openGate(); err != nil {
		return nil, err
	}
	return n, n.examine(ctx)
}

// publicDoor is the door of who asks whether the node lives.
const publicDoor = "public"

// take takes the addresses at which the node will answer: of each broker, and
// of who asks whether the node lives.
func (n *Node) take() error {
	n.listen = map[string]net.Listener{}
	for name, l := range addresses(n.config) {
		ln, err := net.Listen("tcp", l.String())
		if err != nil {
			return fmt.Errorf("node: %w", err)
		}
		n.listen[name] = ln
		n.opened(func(context.Context) error {
			ln.Close() //nolint:errcheck // whoever served it has closed it
			return nil
		})
	}
	return nil
}

// addresses returns where each door of c listens.
func addresses(c *config.Config) map[string]config.Listen {
	at := map[string]config.Listen{}
	if p := c.Brokers.Postgres; p != nil {
		at[postgres.Name] = p.Listen
	}
	if e := c.Brokers.Edge; e != nil {
		at[edge.Name] = e.Listen
	}
	if !c.Admin.Listen.Off() {
		at[publicDoor] = c.Admin.Listen
	}
	return at
}

// opened notes how to close what was opened.
func (n *Node) opened(close func(context.Context) error) { n.close = append(n.close, close) }

// Issuer returns the issuer of the tokens of a trust domain.
func Issuer(domain string) string { return "https://" + domain }

// Origin returns the origin of the logs of a trust domain.
func Origin(domain string) string { return domain + "/audit" }

func (n *Node) openRegistry(ctx context.Context, k nodeKeys) (err error) {
	n.registry, err = registry.Open(ctx, registry.Config{DSN: n.config.Registry.DSN.Text, Now: time.Now, Log: n.log})
	if err != nil {
		return err
	}
	n.opened(func(context.Context) error { n.registry.Close(); return nil })
	if _, err := n.registry.CreatePartner(ctx, admin.Home); err != nil && !errors.Is(err, registry.ErrTaken) {
		return err
	}
	n.keyring, err = keyring.New(keyring.Config{KEK: k.kek, Store: n.registry})
	if err != nil {
		return err
	}
	issuer := Issuer(n.config.TrustDomain)
	if n.minter, err = identity.NewMinter(issuer, k.mint, time.Now); err != nil {
		return err
	}
	if _, err = n.registry.SetIssuer(ctx, issuer, n.minter.Keys()); err != nil {
		return err
	}
	if err := n.openProviders(); err != nil {
		return err
	}
	n.verifier, err = identity.New(identity.Config{
		TrustDomain: n.config.TrustDomain, Issuers: n.keysOf, Standing: n.registry,
		Providers: n.registry.Provider, Enrol: n.registry.Enrol, Renew: n.keys.Renew,
		MaxLifetime: identity.MaxLifetime, Leeway: 5 * time.Second, Now: time.Now, CacheSize: tokenCache,
	})
	return err
}

// parameters are the words of the configuration; anything else is refused there.
var parameters = map[string]audit.Parameters{
	"digest": audit.DigestParameters, "full": audit.FullParameters, "none": audit.NoParameters,
}

func (n *Node) openTrail(ctx context.Context, k nodeKeys) error {
	if err := n.keyring.Create(ctx, tenant.ID{}, admin.Purpose); err != nil {
		return err
	}
	a := n.config.Audit
	if len(a.Strict) > 0 {
		return fmt.Errorf("node: audit.strict names %v, and no broker of this version holds its answers for their outcome; hint: leave it out", a.Strict)
	}
	origin := Origin(n.config.TrustDomain)
	signer, vkey, err := noteKey(origin, k.checkpoint)
	if err != nil {
		return err
	}
	n.signer = signer
	if n.policy, err = bundle.ParsePolicy("log " + vkey + "\nquorum none\n"); err != nil {
		return err
	}
	commits, err := segment.Open(filepath.Join(a.Dir.String(), "log"), 0)
	if err != nil {
		return err
	}
	n.trail, err = audit.Open(ctx, audit.Config{
		Commit: commits, Keys: n.keyring, Signer: signer, Origin: origin, Dir: a.Dir.String(),
		Interval: a.Interval.Std(), Queue: a.Queue, Deadline: a.Deadline.Std(), MinFree: a.MinFree.Fraction(), Epoch: a.Epoch.Std(), Now: time.Now,
		Parameters: parameters[a.Parameters],
	})
	if err != nil {
		return errors.Join(err, commits.Close())
	}
	n.opened(n.trail.Close)
	return nil
}

func (n *Node) openGate() (err error) {
	if n.limiter, err = limit.New(limits(n.config)); err != nil {
		return err
	}
	n.meter = newMeter(n.trail, n.log, time.Now)
	n.gate = &broker.Gate{Verifier: n.verifier, Limiter: n.limiter, Log: n.trail, Counter: n.meter, Now: time.Now}
	if err := n.gate.Check(); err != nil {
		return err
	}
	return n.addBrokers()
}

// limits returns what c allows each tenant, and what strangers are allowed.
func limits(c *config.Config) limit.Config {
	l := c.Limits.Default
	return limit.Config{
		Connections: l.Connections, Sessions: l.Sessions, Rate: l.Rate.PerSecond(), Burst: l.Burst, Queue: l.Queue, RecordBytes: int64(l.RecordBytes),
		Strangers: strangers, StrangersPerNet: strangersNet, Tenants: tenants, Now: time.Now,
	}
}

// Endpoints returns where clients are answered, by broker.
func (n *Node) Endpoints() map[string]string {
	at := map[string]string{"admin": n.config.Admin.Socket.String()}
	for _, d := range n.doors {
		at[d.name] = d.ln.Addr().String()
	}
	if ln := n.listen[publicDoor]; ln != nil {
		at[publicDoor] = ln.Addr().String()
	}
	return at
}

// Rows returns every row of every broker.
func (n *Node) Rows() []scope.Row {
	var rows []scope.Row
	for _, d := range n.doors {
		rows = append(rows, d.broker.Rows()...)
	}
	if n.exchange != nil {
		rows = append(rows, n.exchange.Rows()...)
	}
	return rows
}

// Policy returns whose signatures count for this node's exports, as text.
func (n *Node) Policy() string { return n.policy.String() }

// Ready returns nil while the node can answer clients.
func (n *Node) Ready() error {
	return errors.Join(n.registry.Reachable(), n.trail.Ready())
}

// Serve answers clients and the operator until ctx is done, then drains. It
// calls ready once everything answers. Its error is of what could not serve.
func (n *Node) Serve(ctx context.Context, ready func()) error {
	socket, err := adminSocket(n.config.Admin.Socket.String())
	if err != nil {
		return err
	}
	jwks, err := n.minter.Keys().JWKS()
	if err != nil {
		return errors.Join(err, socket.Close())
	}
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	var serving sync.WaitGroup
	var mu sync.Mutex // guards errs
	var errs []error
	run := func(what string, serve func(context.Context) error) {
		serving.Go(func() {
			defer stop() // one ends, all end
			if err := serve(ctx); err != nil {
				mu.Lock()
				defer mu.Unlock()
				errs = append(errs, fmt.Errorf("node: %s: %w", what, err))
			}
		})
	}
	api := n.api()
	run("admin", func(ctx context.Context) error { return api.Serve(ctx, socket) })
	run("keys of identity providers", func(ctx context.Context) error {
		n.keys.Run(ctx)
		return nil
	})
	run("changes of these keys", n.wake)
	if ln := n.listen[publicDoor]; ln != nil {
		public, err := n.openPublic(jwks)
		if err != nil {
			return errors.Join(err, socket.Close())
		}
		run(publicDoor, func(ctx context.Context) error { return public.Serve(ctx, ln) })
	}
	for _, d := range n.doors {
		run(d.name, func(ctx context.Context) error { return d.broker.Serve(ctx, d.ln, n.gate) })
	}
	var metering sync.WaitGroup
	metered, last := context.WithCancel(context.WithoutCancel(ctx))
	metering.Go(func() { n.meter.run(metered) })
	ready()
	n.watch(ctx)
	serving.Wait()
	last() // whoever was refused while the others drained is counted too
	metering.Wait()
	return errors.Join(errs...)
}

// watch waits for the end. It says so if the trail fails before, for nothing is
// answered any more then, and whenever the node stops being ready or is again.
func (n *Node) watch(ctx context.Context) {
	failed, tick, was := n.trail.Failed(), time.NewTicker(watchEvery), error(nil)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			n.log.InfoContext(ctx, "draining", "grace", DrainTime)
			return
		case <-failed:
			failed = nil
			n.log.ErrorContext(ctx, "the audit trail has failed: every operation is refused until the node is started again", "err", n.trail.Err())
		case <-tick.C:
		}
		is := n.Ready()
		switch {
		case is != nil && was == nil:
			n.log.ErrorContext(ctx, "not ready: clients are refused", "err", is)
		case is == nil && was != nil:
			n.log.InfoContext(ctx, "ready again")
		}
		was = is
	}
}

// watchEvery is how often a node asks itself whether it is ready.
const watchEvery = time.Second

// api returns the operator's door.
func (n *Node) api() *admin.API {
	return admin.New(admin.Config{
		Registry: n.registry, Keyring: n.keyring, Minter: n.minter, Verifier: n.verifier, Log: n.trail, Policy: n.policy,
		Signer: n.signer, Rows: n.Rows, Grade: func() string { return n.grade }, Doors: n.Endpoints, Routes: n.Routes, Ready: n.Ready, Now: time.Now, Logger: n.log,
	})
}

// Close closes what was opened, the last first.
func (n *Node) Close() error {
	ctx, cancel := context.WithTimeout(context.Background(), closeTime)
	defer cancel()
	var errs []error
	for i := len(n.close) - 1; i >= 0; i-- {
		errs = append(errs, n.close[i](ctx))
	}
	n.close = nil
	return errors.Join(errs...)
}

// adminSocket listens on a unix socket that only our account may open.
func adminSocket(path string) (net.Listener, error) {
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return nil, fmt.Errorf("node: %w", err)
	}
	if c, err := net.Dial("unix", path); err == nil {
		c.Close() //nolint:errcheck // only asked whether somebody is there
		return nil, fmt.Errorf("node: somebody answers at %s already", path)
	}
	if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, fmt.Errorf("node: %w", err)
	}
	ln, err := net.Listen("unix", path)
	if err != nil {
		return nil, fmt.Errorf("node: %w", err)
	}
	if err := os.Chmod(path, 0o600); err != nil {
		return nil, errors.Join(err, ln.Close())
	}
	return ln, nil
}
