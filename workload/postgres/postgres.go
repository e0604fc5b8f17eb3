// Package postgres makes an ordinary pgx pool work behind the edge: each of
// its connections belongs to one person, and is lent to nobody else.
//
//	c, err := pgxpool.ParseConfig("postgres://app@127.0.0.1:7432/app?sslmode=verify-full")
//	postgres.Configure(c, w, "pg:read", "pg:write")
//	pool, err := pgxpool.NewWithConfig(ctx, c)
//	...
//	rows, err := pool.Query(r.Context(), "SELECT title FROM document")
//
// The context of the request says whose connection it is; without one nothing
// is dialled. A connection is opened with a token that the request's own
// Txn-Token was exchanged for, and is used again by requests of the same
// person of the same tenant with the same reach, until that token is over.
//
// # What it costs
//
// A request that finds no connection of its person pays for an exchange and a
// login: on two shared cores 20 ms, where a query with a connection takes 1.
// The pool gives up idle connections of others for it, every one that it
// meets: a pool is of use to a few people at a time, fewer than it has
// connections. Every connection is one at the
// broker too, and counts against the tenant's limit. Give it as many as there
// are requests at once, and keep MaxConnIdleTime short.
//
// The audit trail has the txn of the request that opened the connection, with
// everything that went over it: those are requests of the same person within
// the minutes of one token. [ConfigureEach] gives every txn its own connection
// where a trail by request matters more than the login.
//
// LISTEN, and whatever else lives in a connection, does not outlive the
// person's turn with it.
package postgres

import (
	"context"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/multitracer"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/isocore/isocore/refusal"
	"github.com/isocore/isocore/tenant"
	"github.com/isocore/isocore/workload"
)

// broker is the one that the tokens are for.
const broker = "postgres"

// How long a connection may be nobody's. An idle one holds a place of the
// pool, one of its tenant's at the broker, and a backend of the server.
const (
	maxIdle  = 30 * time.Second
	maxLife  = 15 * time.Minute // of a token
	maxCheck = 15 * time.Second
	margin   = 2 * time.Second // before its end a connection is not lent again
)

// Configure makes c a configuration whose pool belongs, a connection each, to
// the people of w's requests. Of reach they get what their request has; without
// one, all of that. It sets the password, forbids idle connections made ahead
// of anybody, shortens what lives too long, and calls the hooks that were set
// before after its own.
func Configure(c *pgxpool.Config, w *workload.Workload, reach ...string) {
	configure(c, w, reach, func(workload.Identity) string { return "" })
}

// ConfigureEach is [Configure] for a connection a request: none is used again
// under another txn.
func ConfigureEach(c *pgxpool.Config, w *workload.Workload, reach ...string) {
	configure(c, w, reach, workload.Identity.Txn)
}

func configure(c *pgxpool.Config, w *workload.Workload, reach []string, txn func(workload.Identity) string) {
	h := &hooks{w: w, reach: slices.Clone(reach), txn: txn, config: *c, waiting: map[owner]int{}}
	c.BeforeConnect = h.beforeConnect
	c.PrepareConn = h.prepare
	c.ShouldPing = h.shouldPing
	c.MinConns, c.MinIdleConns = 0, 0
	c.MaxConnLifetime = shorter(c.MaxConnLifetime, maxLife)
	c.MaxConnIdleTime = shorter(c.MaxConnIdleTime, maxIdle)
	c.HealthCheckPeriod = shorter(c.HealthCheckPeriod, maxCheck)
	c.ConnConfig.Password = ""
	if theirs := c.ConnConfig.Tracer; theirs != nil {
		c.ConnConfig.Tracer = multitracer.New(theirs, h)
		return
	}
	c.ConnConfig.Tracer = h
}

func shorter(d, most time.Duration) time.Duration {
	if d <= 0 || d > most {
		return most
	}
	return d
}

// An owner is who a connection belongs to. The tenant and the id of the
// person, which the registry never gives twice, and how far the token reaches:
// nobody gets a connection that was opened for more.
type owner struct {
	tenant    tenant.ID
	principal [16]byte
	reach     string
	txn       string
}

// A tenure is what a connection knows of itself.
type tenure struct {
	owner   owner
	expires time.Time
}

// tenureKey is where a connection keeps its tenure.
const tenureKey = "isocore.tenure"

// hooks are those of one pool.
type hooks struct {
	w      *workload.Workload
	reach  []string
	txn    func(workload.Identity) string
	config pgxpool.Config // as it was: the application's own hooks

	mu      sync.Mutex    // guards what follows
	waiting map[owner]int // who waits for a connection
}

// owner returns whose connection the request of ctx needs, and its reach.
func (h *hooks) owner(ctx context.Context) (owner, []string, error) {
	id, ok := workload.From(ctx)
	if !ok {
		return owner{}, nil, refusal.Hinted(refusal.Unauthenticated, "give the pool the context of the request, below Middleware",
			"workload: a connection of nobody")
	}
	reach := id.Reach()
	if len(h.reach) > 0 {
		reach = slices.DeleteFunc(reach, func(r string) bool { return !slices.Contains(h.reach, r) })
	}
	if len(reach) == 0 {
		return owner{}, nil, refusal.Hinted(refusal.Narrow, "the route at the edge has to list one of them, and the person to have it",
			"workload: none of %q is within the reach of this request", h.reach)
	}
	return owner{id.Tenant(), id.Principal(), strings.Join(reach, " "), h.txn(id)}, reach, nil
}

// beforeConnect exchanges the request's token, and makes the connection that
// is to come its person's.
func (h *hooks) beforeConnect(ctx context.Context, c *pgx.ConnConfig) error {
	o, reach, err := h.owner(ctx)
	if err != nil {
		return err
	}
	if err := private(&c.Config); err != nil {
		return err
	}
	if h.config.BeforeConnect != nil {
		if err := h.config.BeforeConnect(ctx, c); err != nil {
			return err
		}
	}
	token, expires, err := h.w.Token(ctx, broker, reach...)
	if err != nil {
		return err
	}
	c.Password = token.Reveal()
	theirs := c.AfterConnect
	c.AfterConnect = func(ctx context.Context, conn *pgconn.PgConn) error {
		conn.CustomData()[tenureKey] = tenure{o, expires}
		if theirs != nil {
			return theirs(ctx, conn)
		}
		return nil
	}
	return nil
}

// private refuses to send a token across a network in clear: pgx would, with
// sslmode=prefer, if the server said that it has no TLS.
func private(c *pgconn.Config) error {
	ways := append([]*pgconn.FallbackConfig{{Host: c.Host, TLSConfig: c.TLSConfig}}, c.Fallbacks...)
	for _, way := range ways {
		addr, err := netip.ParseAddr(way.Host)
		here := strings.HasPrefix(way.Host, "/") || way.Host == "localhost" || err == nil && addr.IsLoopback()
		if way.TLSConfig == nil && !here {
			return refusal.Hinted(refusal.Denied, "connect with sslmode=verify-full", "workload: no TLS to %s", way.Host)
		}
	}
	return nil
}

// prepare lends conn to the request of ctx, or has it destroyed.
func (h *hooks) prepare(ctx context.Context, conn *pgx.Conn) (bool, error) {
	o, _, err := h.owner(ctx)
	if err != nil {
		return false, err
	}
	if !lendable(conn, o) {
		return false, nil
	}
	if h.config.PrepareConn != nil {
		return h.config.PrepareConn(ctx, conn)
	}
	//lint:ignore SA1019 an application may still have it
	if theirs := h.config.BeforeAcquire; theirs != nil {
		return theirs(ctx, conn), nil
	}
	return true, nil
}

// lendable reports whether conn is o's, for some time yet.
func lendable(conn *pgx.Conn, o owner) bool {
	t, ok := conn.PgConn().CustomData()[tenureKey].(tenure)
	return ok && t.owner == o && time.Until(t.expires) > margin
}

// shouldPing leaves alone what prepare will destroy: a ping is an operation,
// and would be one of somebody else's.
func (h *hooks) shouldPing(ctx context.Context, p pgxpool.ShouldPingParams) bool {
	o, _, err := h.owner(ctx)
	if err != nil || !lendable(p.Conn, o) {
		return false
	}
	if h.config.ShouldPing != nil {
		return h.config.ShouldPing(ctx, p)
	}
	return p.IdleDuration > time.Second
}

// others reports whether anybody but o waits.
func (h *hooks) others(o owner) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	_, own := h.waiting[o]
	return len(h.waiting) > 1 || len(h.waiting) == 1 && !own
}
