// Package edge is the broker of applications over HTTP: a reverse proxy at
// whose door an identity provider's token is shown, and behind which an
// unmodified application meets one tenant's request at a time.
//
// What clients say of who they are, other than by a token that verifies, never
// reaches an application: every header of that kind is taken out under every
// spelling, and a Txn-Token is put in that says whose request it is. A request
// that two readers could read in two ways is refused before anything is sent.
//
// A connection on which nobody has shown a good token ends with the first
// answer, and after 15 seconds in any case. An answer of which nobody knows the
// length, a WebSocket among them, ends when its token does; whatever else is
// in progress then, the body of a request or an answer, is cut 60 seconds later.
// When the tenant is suspended, or the provider gone, all of it ends at once.
//
// OPTIONS needs a token as every method does, and a browser sends none with
// the preflight of a request to another origin (CORS): pages of another origin
// than the application's cannot call it through the edge, unless what serves
// them answers preflights in front of it.
package edge

import (
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"log"
	"log/slog"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/isocore/isocore/accept"
	"github.com/isocore/isocore/broker"
	"github.com/isocore/isocore/identity"
	"github.com/isocore/isocore/scope"
	"github.com/isocore/isocore/secret"
	"github.com/isocore/isocore/tenant"
)

// Name is that of the broker: in records and metrics, and at the verifier,
// which takes an identity provider's token here and nowhere else.
const Name = identity.Edge

// A Minter makes the Txn-Token of a request.
type Minter interface {
	Txn(p identity.Principal, g identity.TxnGrant) (secret.Text, error)
}

// A Config is what the broker needs. Every field but TLS and Connections is
// required.
type Config struct {
	TLS    *tls.Config // of the listener; nil: tokens are taken from this machine alone
	Routes []Route
	Minter Minter
	// Paths returns what a tenant is called; false if it is not there.
	Paths       func(tenant.ID) (tenant.Path, bool)
	Door        accept.Door
	Log         *slog.Logger
	Now         func() time.Time
	Sessions    int // tokens at work at once
	Connections int // of clients that have shown a good token, at once; a quarter at most is one tenant's. Zero is 8192
}

// A Broker answers HTTP clients.
type Broker struct {
	Config
	routes  atomic.Pointer[router]
	noise   *log.Logger // of net/http
	buffers sync.Pool   // of *[copySize]byte
}

// defaultConnections is how many clients there may be unless a Config says.
const defaultConnections = 8192

// New returns a broker for c, or everything that is wrong with c.
func New(c Config) (*Broker, error) {
	errs := table.Check()
	want := func(ok bool, what string) {
		if !ok {
			errs = append(errs, errors.New("edge: "+what))
		}
	}
	want(c.Minter != nil, "no minter")
	want(c.Paths != nil, "no names of tenants")
	want(c.Log != nil && c.Now != nil && c.Door.Limiter != nil && c.Door.Log != nil, "log, clock or door is missing")
	want(c.Sessions > 0, "no sessions")
	want(c.Connections >= 0, "fewer connections than none")
	c.Connections = cmp.Or(c.Connections, defaultConnections)
	b := &Broker{Config: c}
	b.buffers.New = func() any { return new([copySize]byte) }
	if c.Log != nil {
		b.noise = slog.NewLogLogger(c.Log.Handler(), slog.LevelDebug)
	}
	if err := b.SetRoutes(c.Routes); err != nil {
		errs = append(errs, err)
	}
	if err := errors.Join(errs...); err != nil {
		return nil, err
	}
	return b, nil
}

// SetRoutes replaces the routes, all at once, or says everything that is wrong
// with them and leaves those that were. Requests in progress keep their route,
// and so its upstream: that is to be closed by whoever made it, after them.
func (b *Broker) SetRoutes(routes []Route) error {
	r, err := newRouter(routes)
	if err != nil {
		return err
	}
	b.routes.Store(r)
	return nil
}

// Rows implements [broker.Broker].
func (*Broker) Rows() []scope.Row { return table.Rows(Name) }

// Serve implements [broker.Broker].
func (b *Broker) Serve(ctx context.Context, ln net.Listener, g *broker.Gate) error {
	s := b.serving(ctx, g)
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	var sweeping sync.WaitGroup
	sweeping.Go(func() { s.sessions.sweep(ctx) })
	err := b.Door.Serve(ctx, ln, s.host)
	stop()
	sweeping.Wait()
	s.sessions.close()
	return err
}

// serving returns b as it serves until ctx is done.
func (b *Broker) serving(ctx context.Context, g *broker.Gate) *serving {
	return &serving{
		Broker: b, gate: g, draining: ctx,
		sessions: newSessions(g, b.Sessions, b.Now),
		guests:   newShares("connections", int64(b.Connections)),
		held:     newShares("bytes of bodies", heldBytes),
	}
}

// A serving is a Broker at one listener.
type serving struct {
	*Broker
	gate     *broker.Gate
	draining context.Context // done once the node goes away
	sessions *sessions
	guests   *shares // connections whose client is known
	held     *shares // bytes of bodies that are read before they are judged
	draws    draws
}
