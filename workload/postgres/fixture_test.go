package postgres_test

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/isocore/isocore/accept"
	"github.com/isocore/isocore/broker/brokertest"
	"github.com/isocore/isocore/broker/exchange"
	broker "github.com/isocore/isocore/broker/postgres"
	"github.com/isocore/isocore/broker/postgres/protect"
	"github.com/isocore/isocore/local/localtest"
	"github.com/isocore/isocore/secret"
	"github.com/isocore/isocore/tenant"
	"github.com/isocore/isocore/workload"
	"github.com/isocore/isocore/workload/postgres"
)

func TestMain(m *testing.M) { localtest.Main(m) }

const (
	loginPassword  = "login-of-a-test-77aa"
	keeperPassword = "keeper-of-a-test-31c0"
)

const schema = `
CREATE SCHEMA app;
CREATE TABLE app.note (tenant_id uuid NOT NULL, id int NOT NULL, title text NOT NULL, PRIMARY KEY (tenant_id, id));
ALTER SCHEMA app OWNER TO app_owner;
ALTER TABLE app.note OWNER TO app_owner;`

// rows is how many notes each tenant has.
const rows = 7

// A world is a node with a broker before a real server, a token endpoint, and
// an application that asks them.
type world struct {
	*brokertest.World
	app       *workload.Workload
	addr      string       // of the broker
	exchanges atomic.Int64 // that were asked for
	dialled   atomic.Int64 // connections to the broker
}

func newWorld(t testing.TB) *world {
	t.Helper()
	w, database := newNode(t), localtest.Database(t)
	super := localtest.Super(t, database)
	o := protect.Options{Schemas: []string{"app"}, LoginPassword: secret.New(loginPassword), KeeperPassword: secret.New(keeperPassword)}
	must(t, protect.Install(t.Context(), super, o))
	exec(t, super, schema)
	for _, id := range []tenant.ID{w.A, w.B} {
		exec(t, super, fmt.Sprintf("INSERT INTO app.note SELECT '%s', i, '%[1]s' FROM generate_series(1, %d) i", id, rows))
	}
	_, _, err := protect.Apply(t.Context(), super, o)
	must(t, err)
	must(t, protect.Seal(t.Context(), super))
	w.serve(t, database, o)
	return w
}

// newNode returns a world without a broker.
func newNode(t testing.TB) *world {
	t.Helper()
	w := &world{World: brokertest.New(t, broker.Name, brokertest.Limits())}
	w.public(t)
	return w
}

// public starts the token endpoint, and makes the application.
func (w *world) public(t testing.TB) {
	t.Helper()
	log := slog.New(slog.DiscardHandler)
	x, err := exchange.New(exchange.Config{Minter: w.Minter, Brokers: []string{broker.Name}, Now: time.Now, Log: log})
	must(t, err)
	h := x.Handler(w.Gate)
	s := httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		w.exchanges.Add(1)
		h.ServeHTTP(rw, r)
	}))
	t.Cleanup(s.Close)
	w.app, err = workload.New(workload.Config{
		Issuer: w.Issuer, TokenURL: s.URL,
		Keys: func(context.Context) ([]byte, error) { return w.Minter.Keys().JWKS() },
	})
	must(t, err)
}

// serve starts the broker; the test's end drains it.
func (w *world) serve(t testing.TB, database string, o protect.Options) {
	t.Helper()
	server, log := localtest.Postgres(t), slog.New(slog.DiscardHandler)
	b, err := broker.New(broker.Config{
		Databases: map[string]broker.Database{"app": {
			Store: broker.Store{Address: server.Address(), Database: database, Password: o.LoginPassword, Statement: 30 * time.Second},
			Keeper: func(ctx context.Context) (*pgx.Conn, error) {
				return pgx.Connect(ctx, server.DSN(protect.Keeper, o.KeeperPassword, database).Reveal())
			},
		}},
		Slots: 32, Door: accept.Door{Limiter: w.Limiter, Log: log, Grace: 5 * time.Second}, Log: log, Now: time.Now,
	})
	must(t, err)
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	w.addr = ln.Addr().String()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- b.Serve(ctx, ln, w.Gate) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("Serve: %v", err)
		}
	})
}

// pool returns an application's pool of size connections.
func (w *world) pool(t testing.TB, size int32, change ...func(*pgxpool.Config)) *pgxpool.Pool {
	t.Helper()
	c := w.config(t, size)
	for _, f := range change {
		f(c)
	}
	postgres.Configure(c, w.app, "pg:read", "pg:write")
	return open(t, c)
}

func (w *world) config(t testing.TB, size int32) *pgxpool.Config {
	t.Helper()
	c, err := pgxpool.ParseConfig(fmt.Sprintf("postgres://app:stale@%s/app?sslmode=disable&pool_min_conns=1", w.addr))
	must(t, err)
	c.MaxConns = size
	dial := c.ConnConfig.DialFunc
	c.ConnConfig.DialFunc = func(ctx context.Context, network, addr string) (net.Conn, error) {
		w.dialled.Add(1)
		return dial(ctx, network, addr)
	}
	return c
}

func open(t testing.TB, c *pgxpool.Config) *pgxpool.Pool {
	t.Helper()
	p, err := pgxpool.NewWithConfig(t.Context(), c)
	must(t, err)
	t.Cleanup(p.Close)
	return p
}

// request returns the context of a request of somebody of a tenant.
func (w *world) request(t testing.TB, id tenant.ID, reach ...string) context.Context {
	t.Helper()
	return w.as(t, w.TxnToken(id, reach...))
}

func (w *world) as(t testing.TB, token secret.Text) context.Context {
	t.Helper()
	var ctx context.Context
	h := w.app.Middleware(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { ctx = r.Context() }))
	r := httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/", nil)
	r.Header.Set(workload.Header, token.Reveal())
	h.ServeHTTP(httptest.NewRecorder(), r)
	if ctx == nil {
		t.Fatal("turned away")
	}
	return ctx
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func exec(t testing.TB, conn *pgx.Conn, text string) {
	t.Helper()
	if _, err := conn.Exec(t.Context(), text); err != nil {
		t.Fatalf("%s: %v", text, err)
	}
}
