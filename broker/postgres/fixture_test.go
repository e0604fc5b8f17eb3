package postgres

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/isocore/isocore/accept"
	"github.com/isocore/isocore/broker/brokertest"
	"github.com/isocore/isocore/broker/postgres/protect"
	"github.com/isocore/isocore/limit"
	"github.com/isocore/isocore/local/localtest"
	"github.com/isocore/isocore/secret"
	"github.com/isocore/isocore/tenant"
)

func TestMain(m *testing.M) { localtest.Main(m) }

// A fixture is a broker before a real server in the sealed grade, with the
// tables of [schema], in which tenants A and B of the world have rows 1 to 100
// each, titled after the tenant.
type fixture struct {
	*brokertest.World
	Super    *pgx.Conn
	Database string
	Addr     string
	Broker   *Broker
	Logged   *logged

	config Config
	stop   func()
}

// schema has the same tables with and without protection: what differs is
// whose rows they hold and what says so.
const schema = `
CREATE SCHEMA app;
CREATE TABLE app.doc (
	tenant_id uuid NOT NULL,
	id        bigint NOT NULL,
	title     text NOT NULL,
	body      text DEFAULT '',
	PRIMARY KEY (tenant_id, id)
);
CREATE TABLE app.late (
	tenant_id uuid NOT NULL,
	id        int NOT NULL,
	UNIQUE (tenant_id, id) DEFERRABLE INITIALLY DEFERRED
);
CREATE TABLE app.wide (
	tenant_id uuid NOT NULL,
	id        int NOT NULL,
	small     smallint,
	amount    numeric(12,2),
	at        timestamptz,
	raw       bytea,
	list      int[],
	PRIMARY KEY (tenant_id, id)
);`

// fill gives a tenant its rows.
const fill = `
INSERT INTO app.doc (tenant_id, id, title) SELECT '%[1]s', i, '%[2]s ' || i FROM generate_series(1, 100) i;
INSERT INTO app.wide (tenant_id, id, small, amount, at, raw, list)
	SELECT '%[1]s', i, i, i * 1.25, '2026-01-01 00:00:00+00'::timestamptz + i * interval '1 hour',
	CASE WHEN i %% 3 = 0 THEN NULL ELSE decode(md5(i::text), 'hex') END, ARRAY[i, NULL, i * 2] FROM generate_series(1, 20) i;`

// tables are those of schema.
var tables = []string{"doc", "late", "wide"}

const (
	loginPassword  = "login-of-a-test-4f1c"
	keeperPassword = "keeper-of-a-test-9a2b"
)

// newFixture returns a fixture of its own for a test that changes the world.
func newFixture(t testing.TB, change ...func(*Config)) *fixture {
	return newFixtureWith(t, brokertest.Limits(), change...)
}

func newFixtureWith(t testing.TB, limits limit.Config, change ...func(*Config)) *fixture {
	t.Helper()
	f := &fixture{World: brokertest.New(t, Name, limits), Database: localtest.Database(t), Logged: &logged{}}
	f.Super = localtest.Super(t, f.Database)
	o := protect.Options{Schemas: []string{"app"}, LoginPassword: secret.New(loginPassword), KeeperPassword: secret.New(keeperPassword)}
	f.must(t, protect.Install(t.Context(), f.Super, o))
	f.exec(t, schema)
	f.exec(t, "ALTER SCHEMA app OWNER TO app_owner")
	for _, table := range tables {
		f.exec(t, "ALTER TABLE app."+table+" OWNER TO app_owner")
	}
	f.exec(t, fmt.Sprintf(fill, f.A, "A"))
	f.exec(t, fmt.Sprintf(fill, f.B, "B"))
	_, _, err := protect.Apply(t.Context(), f.Super, o)
	f.must(t, err)
	f.must(t, protect.Seal(t.Context(), f.Super))
	server := localtest.Postgres(t)
	log := slog.New(slog.NewTextHandler(f.Logged, &slog.HandlerOptions{Level: slog.LevelDebug}))
	f.config = Config{
		Databases: map[string]Database{"app": {
			Store: Store{Address: server.Address(), Database: f.Database, Password: o.LoginPassword, Statement: 30 * time.Second},
			Keeper: func(ctx context.Context) (*pgx.Conn, error) {
				return pgx.Connect(ctx, server.DSN(protect.Keeper, o.KeeperPassword, f.Database).Reveal())
			},
		}},
		Slots: 32,
		Door:  accept.Door{Limiter: f.Limiter, Log: log, Grace: 5 * time.Second},
		Log:   log,
		Now:   time.Now,
	}
	for _, change := range change {
		change(&f.config)
	}
	f.serve(t)
	return f
}

// serve starts the broker; the test's end, or stop, drains it.
func (f *fixture) serve(t testing.TB) {
	t.Helper()
	var err error
	f.Broker, err = New(f.config)
	f.must(t, err)
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	f.must(t, err)
	f.Addr = ln.Addr().String()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- f.Broker.Serve(ctx, ln, f.Gate) }()
	f.stop = sync.OnceFunc(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("Serve: %v", err)
		}
	})
	t.Cleanup(func() { f.stop() })
}

// logged is what the broker told the operator.
type logged struct {
	mu  sync.Mutex
	buf strings.Builder
}

func (l *logged) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.Write(p)
}

func (l *logged) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.String()
}

func (f *fixture) must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// exec runs statements as superuser.
func (f *fixture) exec(t testing.TB, text string) {
	t.Helper()
	if _, err := f.Super.Exec(t.Context(), text); err != nil {
		t.Fatalf("%s: %v", text, err)
	}
}

// dsn returns how a client connects with token.
func (f *fixture) dsn(token secret.Text) string {
	host, port, _ := net.SplitHostPort(f.Addr)
	return fmt.Sprintf("host=%s port=%s user=anybody password=%s dbname=app sslmode=disable", host, port, token.Reveal())
}

// connect returns a connection of the tenant's.
func (f *fixture) connect(t testing.TB, id tenant.ID, reach ...string) *pgx.Conn {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), f.dsn(f.Token(id, reach...)))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		defer cancel()
		_ = conn.Close(ctx)
	})
	return conn
}
