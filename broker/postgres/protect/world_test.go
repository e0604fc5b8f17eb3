package protect_test

import (
	"context"
	"crypto/rand"
	"errors"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/isocore/isocore/broker/postgres/protect"
	"github.com/isocore/isocore/local/localtest"
	"github.com/isocore/isocore/secret"
	"github.com/isocore/isocore/tenant"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
)

func TestMain(m *testing.M) { localtest.Main(m) }

// The roles belong to the whole server of this test process.
var login, keeper = secret.New(rand.Text()), secret.New(rand.Text())

const schema = `
CREATE SCHEMA app AUTHORIZATION app_owner;
SET ROLE app_owner;
CREATE TABLE app.docs (tenant_id uuid, id int, body text, PRIMARY KEY (tenant_id, id));
CREATE TABLE app.note (tenant_id uuid, id uuid DEFAULT gen_random_uuid(), doc int, body text, PRIMARY KEY (tenant_id, id),
    FOREIGN KEY (tenant_id, doc) REFERENCES app.docs (tenant_id, id));
CREATE TABLE app.event (tenant_id uuid, id int, at date, PRIMARY KEY (tenant_id, id, at)) PARTITION BY RANGE (at);
CREATE TABLE app.event_old PARTITION OF app.event FOR VALUES FROM (MINVALUE) TO ('2020-01-01');
CREATE TABLE app.event_new PARTITION OF app.event FOR VALUES FROM ('2020-01-01') TO (MAXVALUE);
CREATE TABLE app.plain (id int PRIMARY KEY, secret text);
CREATE VIEW app.titles WITH (security_invoker = true) AS SELECT id, body FROM app.docs;
RESET ROLE;
INSERT INTO app.plain VALUES (1, 'of everybody');
`

// A world is a protected, sealed database with two tenants in it, a and b.
type world struct {
	name    string
	super   *pgx.Conn
	key     protect.Key
	a, b    tenant.ID
	options protect.Options
}

// newWorld makes a database with schema, protects and seals it.
func newWorld(t testing.TB) *world {
	t.Helper()
	w := newOpenWorld(t)
	must(t, protect.Seal(t.Context(), w.super))
	return w
}

// newOpenWorld is newWorld without the seal.
func newOpenWorld(t testing.TB) *world {
	t.Helper()
	w := &world{
		name: localtest.Database(t), key: protect.NewKey(), a: tenant.New(), b: tenant.New(),
		options: protect.Options{Schemas: []string{"app"}, LoginPassword: login, KeeperPassword: keeper},
	}
	w.super = localtest.Super(t, w.name)
	must(t, protect.Install(t.Context(), w.super, w.options))
	w.do(t, schema)
	_, _, err := protect.Apply(t.Context(), w.super, w.options)
	must(t, err)
	must(t, w.key.Install(t.Context(), w.connect(t, protect.Keeper, keeper), time.Now().Add(time.Hour)))
	for _, id := range []tenant.ID{w.a, w.b} {
		w.do(t, `INSERT INTO app.docs SELECT $1::uuid, i, $1::uuid || ' ' || i FROM generate_series(1, 100) i`, id.UUID())
		w.do(t, `INSERT INTO app.event SELECT $1::uuid, i, date '2019-12-01' + i FROM generate_series(1, 60) i`, id.UUID())
	}
	return w
}

func (w *world) do(t testing.TB, sql string, args ...any) {
	t.Helper()
	if _, err := w.super.Exec(t.Context(), sql, args...); err != nil {
		t.Fatalf("%s: %v", sql, err)
	}
}

func (w *world) connect(t testing.TB, role string, password secret.Text) *pgx.Conn {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), localtest.Postgres(t).DSN(role, password, w.name).Reveal())
	must(t, err)
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		_ = conn.Close(ctx)
	})
	return conn
}

// A session is what the broker holds: logged in, and in the runtime role.
type session struct {
	*pgx.Conn
	w     *world
	start time.Time
}

func (w *world) session(t testing.TB) *session {
	t.Helper()
	s := &session{Conn: w.connect(t, protect.Login, login), w: w}
	must(t, s.QueryRow(t.Context(), `SELECT pg_postmaster_start_time()`).Scan(&s.start))
	_, err := s.Exec(t.Context(), `SET ROLE isocore_rt`)
	must(t, err)
	return s
}

func (s *session) claims(id tenant.ID, reach ...string) protect.Claims {
	now := time.Now()
	return protect.Claims{Tenant: id, Principal: [16]byte{7}, Reach: reach, IssuedAt: now, Expires: now.Add(time.Minute)}
}

// context is one that is good for this session, now.
func (s *session) context(id tenant.ID, reach ...string) string {
	return s.w.key.Context(s.claims(id, reach...), s.PgConn().PID(), s.start)
}

// as begins a transaction of a tenant that may read and write.
func (s *session) as(t testing.TB, id tenant.ID) pgx.Tx {
	t.Helper()
	return s.reaching(t, id, "pg:read", "pg:write")
}

func (s *session) reaching(t testing.TB, id tenant.ID, reach ...string) pgx.Tx {
	t.Helper()
	tx, err := s.Begin(t.Context())
	must(t, err)
	t.Cleanup(func() { _ = tx.Rollback(context.WithoutCancel(t.Context())) })
	var got [16]byte
	must(t, tx.QueryRow(t.Context(), `SELECT isocore.enter($1)`, s.context(id, reach...)).Scan(&got))
	if got != id.UUID() {
		t.Fatalf("entered %x, not %s", got, id)
	}
	return tx
}

type querier interface {
	Query(ctx context.Context, sql string, args ...any) (pgx.Rows, error)
}

// run executes sql and returns its first column as text, one line a row, and
// the SQLSTATE it failed with.
func run(t testing.TB, q querier, sql string, args ...any) (lines, code string) {
	t.Helper()
	rows, err := q.Query(t.Context(), sql, append([]any{pgx.QueryExecModeExec}, args...)...)
	var all []string
	if err == nil {
		for rows.Next() {
			all = append(all, string(rows.RawValues()[0]))
		}
		err = rows.Err()
	}
	if e, ok := errors.AsType[*pgconn.PgError](err); ok {
		return strings.Join(all, "\n"), e.Code
	}
	must(t, err)
	return strings.Join(all, "\n"), ""
}

// want fails unless sql yields exactly lines.
func want(t testing.TB, q querier, lines, sql string, args ...any) {
	t.Helper()
	if got, code := run(t, q, sql, args...); got != lines || code != "" {
		t.Errorf("%s: %q, error %q; want %q", sql, got, code, lines)
	}
}

// refused fails unless sql fails with code.
func refused(t testing.TB, q querier, code, sql string, args ...any) {
	t.Helper()
	if got, c := run(t, q, sql, args...); c != code {
		t.Errorf("%s: %q, error %q; want error %s", sql, got, c, code)
	}
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// psql is the program itself, or a skip that names it.
func psql(t *testing.T) string {
	t.Helper()
	path, err := exec.LookPath("psql")
	if err != nil {
		t.Skip("missing: psql")
	}
	return path
}
