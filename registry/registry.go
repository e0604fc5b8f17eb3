// Package registry is what exists: partners, their tenants, whose tokens are
// believed and who came with one; and who of them may act now.
//
// All of it is in one PostgreSQL database that nodes share. Each node holds
// the standing of everybody in memory and follows every change; a node that
// has not heard from the database for [Stale] says so instead of what it
// remembers.
package registry

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/isocore/isocore/refusal"
	"github.com/isocore/isocore/secret"
)

// Stale is how long after the last answer of the database a node still
// believes what it remembers.
const Stale = 5 * time.Second

// How often a node asks for changes without being told, how long it waits for
// any one answer, and how many connections it has beside the one it follows on.
const (
	pollEvery = 250 * time.Millisecond
	patience  = time.Second
	toAnswer  = 5 * time.Second  // whoever called, in all
	toLoad    = 10 * time.Second // everybody's standing: a million principals take seconds
	poolSize  = 4
)

// A Config is what a [Registry] needs. Every field is required.
type Config struct {
	DSN secret.Text // connection string of the role that owns the database
	Now func() time.Time
	Log *slog.Logger

	dial pgconn.DialFunc // replaced by tests that cut the wire
}

// A Registry is one node's view of what exists. It is safe for concurrent
// use; the zero Registry knows nobody and says Unavailable.
type Registry struct {
	pool *pgxpool.Pool
	now  func() time.Time
	log  *slog.Logger

	view    atomic.Pointer[view]
	changed atomic.Pointer[chan struct{}]
	loading sync.Mutex // held while view is read from the database and replaced
	taps    taps

	stop func()
	done sync.WaitGroup
}

// Open connects to the database, makes or migrates its tables, loads the
// standing of everybody and follows it until [Registry.Close].
func Open(ctx context.Context, c Config) (*Registry, error) {
	r, err := connect(ctx, c)
	if err != nil {
		return nil, err
	}
	following, stop := context.WithCancel(context.WithoutCancel(ctx))
	r.stop = stop
	to := r.pool.Config().ConnConfig
	r.done.Go(func() { r.follow(following, to) })
	r.done.Go(func() { r.announce(following) })
	return r, nil
}

// connect is Open that follows nothing.
func connect(ctx context.Context, c Config) (*Registry, error) {
	if err := c.check(); err != nil {
		return nil, err
	}
	pc, err := pgxpool.ParseConfig(c.DSN.Reveal())
	if err != nil {
		return nil, errors.New("registry: the connection string cannot be parsed") // its error may quote it
	}
	settle(pc, c.dial)
	pool, err := pgxpool.NewWithConfig(ctx, pc)
	if err != nil {
		return nil, fmt.Errorf("registry: %w", err)
	}
	r := &Registry{pool: pool, now: c.Now, log: c.Log, stop: func() {}}
	first := make(chan struct{})
	r.changed.Store(&first)
	err = migrate(ctx, pool)
	if err == nil {
		err = r.refresh(ctx, pool)
	}
	if err != nil {
		pool.Close()
		return nil, err
	}
	return r, nil
}

func (c Config) check() error {
	var errs []error
	want := func(ok bool, name string) {
		if !ok {
			errs = append(errs, fmt.Errorf("registry: %s is missing", name))
		}
	}
	want(!c.DSN.IsZero(), "DSN")
	want(c.Now != nil, "Now")
	want(c.Log != nil, "Log")
	return errors.Join(errs...)
}

// settle bounds what a connection may take and leaves nothing to the defaults
// of the role.
func settle(pc *pgxpool.Config, dial pgconn.DialFunc) {
	pc.MaxConns = poolSize
	pc.ConnConfig.ConnectTimeout = patience
	if dial != nil {
		pc.ConnConfig.DialFunc = dial
	}
	for name, value := range map[string]string{
		"application_name": "isocore registry", "search_path": "public", "statement_timeout": toLoad.String(), "lock_timeout": "5s",
		"idle_in_transaction_session_timeout": "10s",
	} {
		pc.ConnConfig.RuntimeParams[name] = value
	}
}

// Close stops following and closes every connection. What the Registry
// remembers is believed for [Stale] after.
func (r *Registry) Close() {
	r.stop()
	r.done.Wait()
	r.pool.Close()
}

// change runs f in a transaction and then has this node look at what f did; if
// that fails, it will be seen with the next poll. The first lock of every change is the same, so that two of them
// wait for each other and never deadlock. Like every question to the database
// it is bounded in time.
func (r *Registry) change(ctx context.Context, f func(context.Context, pgx.Tx) error) error {
	ctx, cancel := context.WithTimeout(ctx, toAnswer)
	defer cancel()
	err := pgx.BeginFunc(ctx, r.pool, func(tx pgx.Tx) error {
		if _, err := tx.Exec(ctx, "SELECT n FROM standing_version FOR UPDATE"); err != nil {
			return err
		}
		return f(ctx, tx)
	})
	if err != nil {
		return failed(err)
	}
	if err := r.refresh(ctx, r.pool); err != nil {
		r.log.WarnContext(ctx, "registry changed, and not read again", "err", err)
	}
	return nil
}

// failed returns err with the Reason Unavailable if it has none of its own.
func failed(err error) error {
	if _, ok := errors.AsType[*refusal.Error](err); ok {
		return err
	}
	return refusal.New(refusal.Unavailable, "registry: %w", err)
}

// violates reports whether err is that the constraint forbids it.
func violates(err error, constraint string) bool {
	e, ok := errors.AsType[*pgconn.PgError](err)
	return ok && e.ConstraintName == constraint
}
