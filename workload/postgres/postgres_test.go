package postgres_test

import (
	"context"
	"errors"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/isocore/isocore/audit"
	"github.com/isocore/isocore/identity"
	"github.com/isocore/isocore/refusal"
	"github.com/isocore/isocore/tenant"
	"github.com/isocore/isocore/workload/postgres"
)

// whose returns which tenants' rows a request sees, and by which connection.
func whose(ctx context.Context, p *pgxpool.Pool) (seen []string, conn *pgx.Conn, err error) {
	c, err := p.Acquire(ctx)
	if err != nil {
		return nil, nil, err
	}
	defer c.Release()
	err = c.QueryRow(ctx, "SELECT array_agg(DISTINCT title) FROM app.note").Scan(&seen)
	return seen, c.Conn(), err
}

// sees checks that a request of the tenant sees its own rows and no others,
// and returns the connection.
func sees(t *testing.T, ctx context.Context, p *pgxpool.Pool, id tenant.ID) *pgx.Conn {
	t.Helper()
	seen, conn, err := whose(ctx, p)
	if err != nil || len(seen) != 1 || seen[0] != id.String() {
		t.Errorf("%s sees %q: %v", id, seen, err)
	}
	return conn
}

func TestOnePoolOfTwoTenants(t *testing.T) {
	w := newWorld(t)
	for _, size := range []int32{1, 2, 5} {
		p := w.pool(t, size)
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		var asking sync.WaitGroup
		for worker := range 8 {
			id := []tenant.ID{w.A, w.B}[worker%2]
			a, b := w.request(t, id), w.request(t, id, identity.PGRead)
			asking.Go(func() {
				for i := range 12 {
					request := []context.Context{a, b}[i%2]
					sees(t, &both{request, ctx}, p, id)
				}
			})
		}
		asking.Wait()
		cancel()
		p.Close()
	}
	for _, id := range []tenant.ID{w.A, w.B} {
		for _, r := range w.Records(t, id) {
			if r.Kind == audit.Decision && (r.Broker == "postgres") && r.Reason != "" {
				t.Errorf("%s: %s %s: %s", id, r.Operation, r.Text, r.Detail)
			}
		}
	}
}

// both is a context with the values of one and the end of another.
type both struct {
	context.Context
	end context.Context
}

func (b *both) Done() <-chan struct{}       { return b.end.Done() }
func (b *both) Err() error                  { return b.end.Err() }
func (b *both) Deadline() (time.Time, bool) { return b.end.Deadline() }

func TestConnectionIsOnePersons(t *testing.T) {
	w := newWorld(t)
	p := w.pool(t, 4)
	a := w.request(t, w.A)
	first := sees(t, a, p, w.A)
	if again := sees(t, w.request(t, w.A), p, w.A); again != first {
		t.Error("the same person's next request has another connection")
	}
	if w.exchanges.Load() != 1 || w.dialled.Load() != 1 {
		t.Errorf("%d exchanges, %d connections", w.exchanges.Load(), w.dialled.Load())
	}
	if narrow := sees(t, w.request(t, w.A, identity.PGRead), p, w.A); narrow == first {
		t.Error("a narrower request has a wider one's connection")
	}
	if _, err := p.Exec(w.request(t, w.A, identity.PGRead), "UPDATE app.note SET title = 'x'"); code(err) != "42501" {
		t.Errorf("a request that may read writes: %v", err)
	}
	if foreign := sees(t, w.request(t, w.B), p, w.B); foreign == first {
		t.Error("another tenant has the first one's connection")
	}
	if back := sees(t, a, p, w.A); back == first {
		t.Error("the connection lives on")
	}
}

func TestConnectionIsOneTxns(t *testing.T) {
	w := newWorld(t)
	c := w.config(t, 2)
	postgres.ConfigureEach(c, w.app)
	p := open(t, c)
	a := w.request(t, w.A)
	first := sees(t, a, p, w.A)
	if same := sees(t, a, p, w.A); same != first {
		t.Error("a request has two connections")
	}
	if next := sees(t, w.request(t, w.A), p, w.A); next == first {
		t.Error("another txn has the first one's connection")
	}
}

func TestNobodyDialsNothing(t *testing.T) {
	w := newWorld(t)
	p := w.pool(t, 4)
	sees(t, w.request(t, w.A), p, w.A)
	before := w.dialled.Load()
	if _, err := p.Exec(t.Context(), "SELECT 1"); refusal.Of(err) != refusal.Unauthenticated || refusal.HintOf(err) == "" {
		t.Errorf("nobody: %v", err)
	}
	if _, err := p.Exec(w.request(t, w.A, identity.HTTP), "SELECT 1"); refusal.Of(err) != refusal.Narrow {
		t.Errorf("a request that may not: %v", err)
	}
	if conns := p.AcquireAllIdle(t.Context()); len(conns) != 0 {
		t.Errorf("nobody has %d connections", len(conns))
	}
	if got := w.dialled.Load(); got != before || w.exchanges.Load() != 1 {
		t.Errorf("%d connections, %d exchanges", got-before, w.exchanges.Load())
	}
	if s := p.Stat(); s.NewConnsCount() > 2 { // one was A's, one failed before it was dialled
		t.Errorf("%d connections were begun", s.NewConnsCount())
	}
}

func TestTokenThatIsOver(t *testing.T) {
	w := newWorld(t)
	p := w.pool(t, 1)
	a := w.request(t, w.A)
	sees(t, a, p, w.A)
	w.Standing.Suspend(w.A.UUID())
	if _, _, err := whose(a, p); err == nil {
		t.Error("a suspended tenant reads")
	}
	if _, _, err := whose(w.request(t, w.A), p); refusal.Of(err) != refusal.Suspended && code(err) == "" {
		t.Errorf("a suspended tenant connects: %v", err)
	}
	sees(t, w.request(t, w.B), p, w.B)
	w.Standing.Resume(w.A.UUID())
	sees(t, a, p, w.A)
}

// TestGivenUp: who gives up waiting leaves a connection behind, its own.
func TestGivenUp(t *testing.T) {
	w := newWorld(t)
	p := w.pool(t, 2)
	for i := range 20 {
		id := []tenant.ID{w.A, w.B}[i%2]
		ctx, cancel := context.WithTimeout(w.request(t, id), time.Duration(i%5)*time.Millisecond)
		if seen, _, err := whose(ctx, p); err == nil && (len(seen) != 1 || seen[0] != id.String()) {
			t.Errorf("%s sees %q", id, seen)
		}
		cancel()
		sees(t, w.request(t, w.B), p, w.B)
	}
}

// TestPasswordIsForgotten: neither what the pool keeps of a connection nor the
// error of one that failed tells the token.
func TestPasswordIsForgotten(t *testing.T) {
	w := newWorld(t)
	var shown []string
	p := w.pool(t, 1, func(c *pgxpool.Config) {
		c.AfterConnect = func(_ context.Context, conn *pgx.Conn) error {
			shown = append(shown, conn.Config().Password)
			return nil
		}
	})
	conn, err := p.Acquire(w.request(t, w.A))
	must(t, err)
	shown = append(shown, conn.Conn().Config().Password, p.Config().ConnConfig.Password)
	conn.Release()
	bad := w.pool(t, 1, func(c *pgxpool.Config) { c.ConnConfig.Database = "nowhere" })
	_, err = bad.Acquire(w.request(t, w.A))
	failed, ok := errors.AsType[*pgconn.ConnectError](err)
	if !ok {
		t.Fatalf("a database that is not there: %v", err)
	}
	for _, s := range append(shown, failed.Config.Password) {
		if s != "" {
			t.Errorf("somebody keeps %.20q", s)
		}
	}
	if strings.Contains(err.Error(), "eyJ") {
		t.Errorf("the error tells the token: %v", err)
	}
}

func TestTokenIsNotSentInClear(t *testing.T) {
	w := newNode(t)
	for _, dsn := range []string{
		"postgres://app@192.0.2.1/app?sslmode=disable",
		"postgres://app@192.0.2.1/app?sslmode=prefer",
		"postgres://app@192.0.2.1/app?sslmode=allow",
		"postgres://app@127.0.0.1,192.0.2.1/app?sslmode=disable",
	} {
		c, err := pgxpool.ParseConfig(dsn)
		must(t, err)
		c.ConnConfig.DialFunc = func(context.Context, string, string) (net.Conn, error) {
			t.Errorf("%s is dialled", dsn)
			return nil, errors.ErrUnsupported
		}
		postgres.Configure(c, w.app)
		if _, err := open(t, c).Acquire(w.request(t, w.A)); refusal.Of(err) != refusal.Denied || refusal.HintOf(err) == "" {
			t.Errorf("%s: %v", dsn, err)
		}
	}
	if w.exchanges.Load() != 0 {
		t.Error("a token was exchanged for it")
	}
}

// TestOwnHooks: what an application has set before still runs.
func TestOwnHooks(t *testing.T) {
	w := newWorld(t)
	ran := map[string]int{}
	tracer := &tracer{}
	p := w.pool(t, 1, func(c *pgxpool.Config) {
		c.BeforeConnect = func(_ context.Context, c *pgx.ConnConfig) error {
			ran["BeforeConnect"]++
			c.Password = "mine"
			return nil
		}
		c.ConnConfig.AfterConnect = func(context.Context, *pgconn.PgConn) error { ran["AfterConnect"]++; return nil }
		c.PrepareConn = func(context.Context, *pgx.Conn) (bool, error) { ran["PrepareConn"]++; return true, nil }
		c.AfterRelease = func(*pgx.Conn) bool { return false }
		c.ConnConfig.Tracer = tracer
	})
	a := w.request(t, w.A)
	first := sees(t, a, p, w.A)
	if second := sees(t, a, p, w.A); second == first {
		t.Error("AfterRelease does not run")
	}
	if ran["BeforeConnect"] != 2 || ran["AfterConnect"] != 2 || ran["PrepareConn"] != 2 || tracer.queries == 0 {
		t.Errorf("%v, %d queries", ran, tracer.queries)
	}
}

type tracer struct{ queries int }

func (c *tracer) TraceQueryStart(ctx context.Context, _ *pgx.Conn, _ pgx.TraceQueryStartData) context.Context {
	c.queries++
	return ctx
}

func (*tracer) TraceQueryEnd(context.Context, *pgx.Conn, pgx.TraceQueryEndData) {}

// TestTransaction: what is begun is one tenant's to its end.
func TestTransaction(t *testing.T) {
	w := newWorld(t)
	p := w.pool(t, 2)
	for _, id := range []tenant.ID{w.A, w.B} {
		err := pgx.BeginFunc(w.request(t, id), p, func(tx pgx.Tx) error {
			tag, err := tx.Exec(t.Context(), "UPDATE app.note SET title = $1", id.String())
			if tag.RowsAffected() != rows {
				t.Errorf("%d rows of %d", tag.RowsAffected(), rows)
			}
			return err
		})
		must(t, err)
	}
}

// code returns what the store calls err.
func code(err error) string {
	if e, ok := errors.AsType[*pgconn.PgError](err); ok {
		return e.Code
	}
	return ""
}
