// Package postgres is the broker of PostgreSQL: unmodified clients present a
// tenant token as their password and meet one tenant's rows.
//
// The database keeps tenants apart: row security compares every row with a
// tenant context that the database itself verifies, once a transaction (see
// package protect). The broker speaks the protocol on both sides, judges
// messages and kinds of statements by its table, gives each transaction its
// context in the same group of messages as its first statement, and records.
package postgres

import (
	"bufio"
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"log/slog"
	"net"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/isocore/isocore/accept"
	"github.com/isocore/isocore/broker"
	"github.com/isocore/isocore/forward"
	"github.com/isocore/isocore/internal/pgwire"
	"github.com/isocore/isocore/refusal"
	"github.com/isocore/isocore/scope"
)

// Name is that of the broker: in audiences, records and metrics.
const Name = "postgres"

// A Config is what the broker needs. Every field but TLS and Login is required.
type Config struct {
	TLS       *tls.Config // of the listener; nil: tokens are taken from this machine alone
	Databases map[string]Database
	Slots     int           // connections to each database
	Login     time.Duration // what a client may take until its token is shown; zero is ten seconds
	Door      accept.Door
	Log       *slog.Logger
	Now       func() time.Time
}

// A Database is one that clients may name.
type Database struct {
	Store Store
	// Keeper opens a connection as isocore_keeper, which installs keys.
	Keeper func(context.Context) (*pgx.Conn, error)
}

// A Broker answers PostgreSQL clients.
type Broker struct {
	Config
	databases map[string]*database

	mu      sync.Mutex // guards what follows
	running map[cancelKey]func(context.Context) error
}

// A database is a Database with its connections and its key.
type database struct {
	store Store
	keys  *keys
	pool  *forward.Pool
}

type cancelKey struct {
	pid    uint32
	secret string
}

// slotWait is how long a client may wait for a connection to the store.
const slotWait = 5 * time.Second

// statementGrace is how much longer than the store lets it a statement may
// take, on its way there and back.
const statementGrace = 5 * time.Second

// New returns a broker for c, or everything that is wrong with c.
func New(c Config) (*Broker, error) {
	errs := table.Check()
	want := func(ok bool, what string) {
		if !ok {
			errs = append(errs, errors.New("postgres: "+what))
		}
	}
	want(len(c.Databases) > 0, "no database")
	want(c.Slots > 0, "no slots")
	want(c.Log != nil && c.Now != nil && c.Door.Limiter != nil && c.Door.Log != nil, "log, clock or door is missing")
	b := &Broker{Config: c, databases: map[string]*database{}, running: map[cancelKey]func(context.Context) error{}}
	for name, d := range c.Databases {
		want(d.Keeper != nil && d.Store.Address != "" && d.Store.Database != "" &&
			d.Store.Statement > 0 && !d.Store.Password.IsZero(), "database "+name+" is incomplete")
		b.databases[name] = newDatabase(d, c)
	}
	return b, errors.Join(errs...)
}

func newDatabase(d Database, c Config) *database {
	k := &keys{keeper: d.Keeper, now: c.Now}
	login := d.Store.open(k)
	return &database{store: d.Store, keys: k, pool: &forward.Pool{
		Dial: d.Store.dial,
		Open: func(ctx context.Context, rw *bufio.ReadWriter) (forward.Peer, error) { return login(ctx, rw) },
		Max:  c.Slots,
		Each: max(1, c.Slots-c.Slots/4), // a quarter is out of any one tenant's reach
		Wait: slotWait,
	}}
}

// Rows implements [broker.Broker].
func (*Broker) Rows() []scope.Row { return table.Rows(Name) }

// Serve implements [broker.Broker]. Before the first connection it gives
// every database a new key.
func (b *Broker) Serve(ctx context.Context, ln net.Listener, g *broker.Gate) error {
	var keeping sync.WaitGroup
	defer keeping.Wait()
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	for name, d := range b.databases {
		if err := d.keys.turn(ctx); err != nil {
			return errors.Join(err, ln.Close())
		}
		keeping.Go(func() {
			d.keys.keep(ctx, func(err error) { b.Log.ErrorContext(ctx, "key not turned", "database", name, "err", err) })
		})
	}
	return b.Door.Serve(ctx, ln, func(ctx context.Context, guest *accept.Guest) error { return b.host(ctx, guest, g) })
}

// host answers one connection, and tells the client why it ends.
func (b *Broker) host(ctx context.Context, guest *accept.Guest, g *broker.Gate) error {
	if err := guest.SetDeadline(time.Now().Add(cmp.Or(b.Login, loginTime))); err != nil {
		return err
	}
	c := &caller{Broker: b, guest: guest}
	c.use(guest.Conn)
	known, err := c.converse(ctx, g)
	if err == nil || errors.Is(err, errGone) || errors.Is(err, errBye) {
		return nil
	}
	if errors.Is(err, errSaid) {
		return err
	}
	f := faultOf(err)
	if !known && refusal.Of(err) == refusal.Unauthenticated {
		f.code = stateLogin
	}
	if known {
		return errors.Join(err, c.farewell(f))
	}
	// A stranger is counted, and gets no line of the node's log: a flood of
	// them must not fill that either.
	b.count(g, guest, err)
	b.Log.DebugContext(ctx, "stranger refused", "remote", guest.Addr, "err", errors.Join(err, c.farewell(f)))
	return nil
}

// count counts what went wrong before anybody was known, save what the gate
// has counted.
func (b *Broker) count(g *broker.Gate, guest *accept.Guest, err error) {
	switch r := refusal.Of(err); r {
	case refusal.Malformed, refusal.TooLarge, refusal.TooLong:
		g.Counter.Refused(Name, guest.Addr.Addr(), r)
	default:
	}
}

// converse takes a connection from its first byte to its last. It reports
// whether the client was let in.
func (c *caller) converse(ctx context.Context, g *broker.Gate) (known bool, err error) {
	starts, err := c.begin(ctx)
	if err != nil || !starts {
		return false, err
	}
	if err := c.secure(); err != nil {
		return false, err
	}
	if err := c.negotiate(); err != nil {
		return false, err
	}
	s, d, err := c.enter(ctx, g)
	if err != nil {
		return false, err
	}
	c.guest.Known()
	// Whatever ends the session, it is recorded; a node that goes away lets it
	// finish first.
	life := context.WithoutCancel(ctx)
	err = c.session(life, ctx.Done(), s, d)
	if errors.Is(err, errBye) {
		return true, s.Leave(life, nil)
	}
	if lerr := s.Leave(life, err); lerr != nil {
		err = errors.Join(lerr, err)
	}
	return true, err
}

// session serves s on a backend of its own.
func (c *caller) session(ctx context.Context, drain <-chan struct{}, s *broker.Session, d *database) error {
	// A token that expires lets the statement in progress finish, and nothing else.
	token, forget := s.Context(ctx)
	defer forget()
	ctx, cancel := s.Context(ctx, refusal.Expired)
	defer cancel()
	conn, err := d.pool.Get(ctx, s.Scope())
	if err != nil {
		return err
	}
	defer d.pool.Put(ctx, conn)
	b, ok := conn.Peer().(*backend)
	if !ok {
		return errStep
	}
	key, err := c.greet(ctx, s, conn, b)
	if err != nil {
		return err
	}
	if err := c.conn.SetDeadline(time.Time{}); err != nil {
		return err
	}
	defer c.register(key, func(ctx context.Context) error { return d.store.cancel(ctx, b.key) })()
	slow := d.store.Statement + statementGrace
	conn.Limit(slow)
	client := &client{
		conduit: c.conn, in: c.in, out: c.out, session: s, conn: conn, backend: b,
		drain: drain, token: token, grace: slow, cancel: d.store.cancel,
	}
	return client.serve(ctx)
}

// register lets a CancelRequest with key reach stop, until the returned
// function is called.
func (b *Broker) register(key pgwire.BackendKeyData, stop func(context.Context) error) (forget func()) {
	k := cancelKey{key.PID, key.Secret.Reveal()}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.running[k] = stop
	return func() {
		b.mu.Lock()
		defer b.mu.Unlock()
		delete(b.running, k)
	}
}
