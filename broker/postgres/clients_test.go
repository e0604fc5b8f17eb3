package postgres

import (
	"bytes"
	"context"
	"database/sql"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
	_ "github.com/jackc/pgx/v5/stdlib" // the driver pgx of database/sql

	"github.com/isocore/isocore/broker/postgres/protect"
)

// tool returns a command of PostgreSQL's client, or skips naming what is missing.
func tool(t *testing.T, name string) string {
	t.Helper()
	path, err := exec.LookPath(name)
	if err != nil {
		t.Skipf("missing: %s", name)
	}
	return path
}

// command returns a client's command, which finds the broker in its environment.
func (f *fixture) command(t *testing.T, name string, args ...string) *exec.Cmd {
	t.Helper()
	host, port, _ := net.SplitHostPort(f.Addr)
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	t.Cleanup(cancel)
	cmd := exec.CommandContext(ctx, tool(t, name), args...)
	cmd.Env = append(os.Environ(), "PGHOST="+host, "PGPORT="+port, "PGUSER=anybody", "PGDATABASE=app", "PGPASSWORD="+f.Token(f.A).Reveal(), "PGSSLMODE=prefer", "LC_ALL=C", "PSQLRC=/dev/null")
	return cmd
}

func TestPsql(t *testing.T) {
	f := newFixture(t)
	file := filepath.Join(t.TempDir(), "out.csv")
	for name, c := range map[string]struct {
		say  string
		want []string
	}{
		"rows":        {mine + ";", []string{"100 |     1"}},
		"describe":    {`\d doc`, []string{"Table \"app.doc\"", "title", "not null"}},
		"tables":      {`\dt`, []string{"doc", "late", "wide"}},
		"databases":   {`\l`, []string{"List of databases"}},
		"others":      {`\dn` + "\n" + `\di` + "\n" + `\df` + "\n" + `\du`, []string{"app", "doc_pkey", "List of roles"}},
		"copy":        {`\copy (SELECT id, title FROM doc WHERE id < 3 ORDER BY id) to '` + file + `' csv`, []string{"COPY 2"}},
		"copy from":   {`\copy doc (id, title) from '` + os.DevNull + `'` + "\n" + mine + ";", []string{"ERROR:  not permitted", "100 |     1"}},
		"transaction": {"BEGIN;\nINSERT INTO doc (id, title) VALUES (500, 'x');\nSELECT nope;\nSELECT 1;\nROLLBACK;\nSELECT count(*) FROM doc WHERE id = 500;", []string{"BEGIN", "INSERT 0 1", `column "nope" does not exist`, "current transaction is aborted", "ROLLBACK", "0"}},
		"position":    {"SELECT 1;\nSELECT id,\n  nope FROM doc;", []string{"LINE 2:   nope FROM doc;"}},
		"refusal":     {"TRUNCATE doc;", []string{"ERROR:  not permitted"}},
		"variables":   {`\set FETCH_COUNT 10` + "\nSELECT id FROM doc ORDER BY id;", []string{"100 rows"}},
		"gexec":       {"SELECT 'SELECT ' || i FROM generate_series(41, 42) i \\gexec", []string{"41", "42"}},
		"gdesc":       {"SELECT id, title FROM doc \\gdesc", []string{"bigint", "text"}},
		"bind":        {`SELECT 'a' AS x \gset` + "\n" + `\echo :x`, []string{"a"}},
		"conninfo":    {`\conninfo`, []string{`database "app" as user "anybody"`}},
	} {
		t.Run(name, func(t *testing.T) {
			cmd := f.command(t, "psql", "-X", "-P", "pager=off")
			cmd.Stdin = strings.NewReader(c.say + "\n")
			out, err := cmd.CombinedOutput()
			if err != nil {
				t.Errorf("psql: %v", err)
			}
			rest := string(out)
			for _, w := range c.want {
				_, after, ok := strings.Cut(rest, w)
				if !ok {
					t.Fatalf("%s\nanswered:\n%s\nwant %q", c.say, out, w)
				}
				rest = after
			}
		})
	}
	if text, err := os.ReadFile(file); err != nil || string(text) != "1,A 1\n2,A 2\n" {
		t.Errorf("copied %q: %v", text, err)
	}
}

// TestInterrupt interrupts psql in a statement: it is cancelled, the session
// goes on.
func TestInterrupt(t *testing.T) {
	f := newFixture(t)
	cmd := f.command(t, "psql", "-X")
	cmd.Stdin = strings.NewReader("SELECT pg_sleep(20);\nSELECT 'goes' || ' on';\n")
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	f.must(t, cmd.Start())
	for n := 0; n == 0; {
		f.must(t, f.Super.QueryRow(t.Context(), "SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'PgSleep' AND datname = current_database()").Scan(&n))
	}
	f.must(t, cmd.Process.Signal(syscall.SIGINT))
	err := cmd.Wait()
	if !strings.Contains(out.String(), "canceling statement due to user request") {
		t.Errorf("%v: %s", err, out.String())
	}
}

func TestPgbench(t *testing.T) {
	f := newFixture(t)
	f.exec(t, `
		CREATE TABLE app.pgbench_accounts (tenant_id uuid NOT NULL, aid int, bid int, abalance int, PRIMARY KEY (tenant_id, aid));
		CREATE TABLE app.pgbench_branches (tenant_id uuid NOT NULL, bid int, bbalance int, PRIMARY KEY (tenant_id, bid));
		CREATE TABLE app.pgbench_tellers (tenant_id uuid NOT NULL, tid int, bid int, tbalance int, PRIMARY KEY (tenant_id, tid));
		CREATE TABLE app.pgbench_history (tenant_id uuid NOT NULL, tid int, bid int, aid int, delta int, mtime timestamp);`)
	for _, table := range []string{"accounts", "branches", "tellers", "history"} {
		f.exec(t, "ALTER TABLE app.pgbench_"+table+" OWNER TO app_owner")
	}
	for _, id := range []string{f.A.String(), f.B.String()} {
		f.exec(t, strings.ReplaceAll(`
			INSERT INTO app.pgbench_branches SELECT 'ID', i, 0 FROM generate_series(1, 4) i;
			INSERT INTO app.pgbench_tellers SELECT 'ID', i, 1 + i % 4, 0 FROM generate_series(1, 40) i;
			INSERT INTO app.pgbench_accounts SELECT 'ID', i, 1, 0 FROM generate_series(1, 1000) i;`, "ID", id))
	}
	_, _, err := protect.Apply(t.Context(), f.Super, protect.Options{Schemas: []string{"app"}})
	f.must(t, err)
	for _, mode := range []string{"simple", "extended", "prepared"} {
		for _, script := range []string{"select-only", "tpcb-like"} {
			t.Run(mode+" "+script, func(t *testing.T) {
				out, err := f.command(t, "pgbench", "-n", "-M", mode, "-b", script, "-c", "4", "-t", "20", "-D", "scale=1", "-s", "1").CombinedOutput()
				if err != nil || !strings.Contains(string(out), "number of transactions actually processed: 80/80") {
					// Accounts beyond the thousandth are not there: an update of none is fine.
					t.Errorf("%v: %s", err, out)
				}
			})
		}
	}
	var mine, others int
	f.must(t, f.Super.QueryRow(t.Context(), "SELECT count(*) FILTER (WHERE tenant_id = $1), count(*) FILTER (WHERE tenant_id <> $1) FROM app.pgbench_history", f.A.UUID()).Scan(&mine, &others))
	if mine != 240 || others != 0 {
		t.Errorf("%d of the tenant's, %d of others", mine, others)
	}
}

func TestPool(t *testing.T) {
	f := newFixture(t)
	pool, err := pgxpool.New(t.Context(), f.dsn(f.Token(f.A)))
	f.must(t, err)
	defer pool.Close()
	var all sync.WaitGroup
	for range 8 {
		all.Go(func() {
			for range 20 {
				var n int
				if err := pool.QueryRow(t.Context(), "SELECT count(*) FROM doc WHERE id <= $1", 100).Scan(&n); err != nil || n != 100 {
					t.Errorf("%d: %v", n, err)
				}
			}
		})
	}
	all.Wait()
}

func TestDatabaseSQL(t *testing.T) {
	f := newFixture(t)
	db, err := sql.Open("pgx", f.dsn(f.Token(f.A)))
	f.must(t, err)
	defer db.Close()
	tx, err := db.BeginTx(t.Context(), &sql.TxOptions{Isolation: sql.LevelRepeatableRead})
	f.must(t, err)
	s, err := tx.PrepareContext(t.Context(), "INSERT INTO doc (id, title) VALUES ($1, $2)")
	f.must(t, err)
	for i := range 5 {
		if _, err := s.ExecContext(t.Context(), 900+i, "x"); err != nil {
			t.Fatal(err)
		}
	}
	f.must(t, tx.Commit())
	var n int
	f.must(t, db.QueryRowContext(t.Context(), "SELECT count(*) FROM doc").Scan(&n))
	if n != 105 {
		t.Errorf("%d rows", n)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	if _, err := db.ExecContext(ctx, "SELECT pg_sleep(20)"); err == nil {
		t.Error("the deadline of a context does nothing")
	}
	f.must(t, db.PingContext(t.Context()))
}
