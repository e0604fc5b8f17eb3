package protect_test

import (
	"context"
	"fmt"
	"os/exec"
	"slices"
	"strings"
	"testing"

	"github.com/isocore/isocore/broker/postgres/protect"
	"github.com/isocore/isocore/local/localtest"
	"github.com/jackc/pgx/v5"
)

// TestFunctions compares the reviewed list with the live catalog, both ways.
func TestFunctions(t *testing.T) {
	super := localtest.Super(t, localtest.Database(t))
	major := majorOf(t, super)
	fs, err := protect.Functions(major)
	if err != nil {
		t.Skipf("missing: %v", err)
	}
	listed := map[string]string{}
	for _, f := range fs {
		if f.Group == "" || f.Group == "unclassified" || !strings.Contains("isv", f.Volatility) {
			t.Errorf("%s: no verdict", f.Signature)
		}
		listed[f.Signature] = f.Volatility
	}
	rows, err := super.Query(t.Context(), `SELECT CASE nspname WHEN 'pg_catalog' THEN '' ELSE nspname || '.' END || format('%I(%s)', proname, oidvectortypes(proargtypes)), provolatile::text
		FROM pg_proc p JOIN pg_namespace n ON n.oid = pronamespace WHERE nspname IN ('pg_catalog', 'information_schema')`)
	must(t, err)
	var name, volatility string
	_, err = pgx.ForEachRow(rows, []any{&name, &volatility}, func() error {
		if listed[name] != volatility {
			t.Errorf("%s is %q here, %q in the list", name, volatility, listed[name])
		}
		delete(listed, name)
		return nil
	})
	must(t, err)
	for name := range listed {
		t.Errorf("%s is in the list only", name)
	}
	if _, err := protect.Functions(14); err == nil {
		t.Error("there is a list for PostgreSQL 14")
	}
}

func majorOf(t *testing.T, conn *pgx.Conn) (major int) {
	t.Helper()
	must(t, conn.QueryRow(t.Context(), `SELECT current_setting('server_version_num')::int / 10000`).Scan(&major))
	return major
}

// TestSeal: every function with the verdict revoke is denied by the server,
// every other one is not.
func TestSeal(t *testing.T) {
	w := newOpenWorld(t)
	doctor := w.connect(t, protect.Keeper, keeper)
	ok, findings, err := protect.Grade(t.Context(), doctor)
	must(t, err)
	if ok || !slices.ContainsFunc(findings, func(f protect.Finding) bool { return strings.HasPrefix(f.Object, "set_config(") }) {
		t.Errorf("graded %v before the seal, with %d findings", ok, len(findings))
	}
	for range 2 {
		must(t, protect.Seal(t.Context(), w.super))
	}
	ok, findings, err = protect.Grade(t.Context(), doctor)
	must(t, err)
	if !ok {
		t.Errorf("not sealed: %v", findings)
	}
	fs, err := protect.Functions(majorOf(t, w.super))
	must(t, err)
	s := w.session(t)
	for _, f := range fs {
		name := f.Signature
		if !strings.HasPrefix(name, "information_schema.") {
			name = "pg_catalog." + name
		}
		want(t, s, fmt.Sprint(f.Allow)[:1], `SELECT has_function_privilege($1, 'EXECUTE')`, name)
	}
	must(t, protect.Install(t.Context(), w.super, w.options)) // again, in a sealed database
	w.apply(t)
	want(t, s.as(t, w.a), "100", count)
}

// TestSealVerifies: what appears or opens later is seen and closed; a role that
// may not revoke is told so.
func TestSealVerifies(t *testing.T) {
	w := newWorld(t)
	for _, open := range []string{
		`GRANT EXECUTE ON FUNCTION pg_catalog.set_config(text, text, boolean) TO PUBLIC`,
		`GRANT EXECUTE ON FUNCTION pg_catalog.lo_get(oid) TO isocore_rt`,
		`GRANT EXECUTE ON FUNCTION pg_catalog.pg_read_file(text) TO isocore_login`,
		`GRANT SELECT ON pg_stat_activity TO PUBLIC`,
		`GRANT UPDATE ON pg_settings TO PUBLIC`,
		`GRANT USAGE ON LANGUAGE plpgsql TO PUBLIC`,
		`GRANT TEMPORARY ON DATABASE ` + w.name + ` TO PUBLIC`,
		`CREATE FUNCTION pg_catalog.newcomer() RETURNS int LANGUAGE sql IMMUTABLE AS 'SELECT 1'`,
		`CREATE VIEW pg_catalog.pg_newcomer AS SELECT 1; GRANT SELECT ON pg_catalog.pg_newcomer TO PUBLIC`,
		`ALTER FUNCTION pg_catalog.now() VOLATILE`,
		`GRANT EXECUTE ON FUNCTION pg_catalog.pg_backend_pid() TO PUBLIC`,
		`GRANT SELECT (oid) ON pg_subscription TO PUBLIC`,
		`ALTER ROLE isocore_login RESET temp_file_limit`,
		`ALTER ROLE isocore_login SET temp_file_limit = -1`,
		`ALTER ROLE isocore_login RESET track_activities`,
		`ALTER ROLE isocore_login SET track_activities = on`,
	} {
		tx, err := w.super.Begin(t.Context())
		must(t, err)
		_, err = tx.Exec(t.Context(), `SET LOCAL allow_system_table_mods = on; `+open)
		must(t, err)
		ok, _, err := protect.GradeIn(t.Context(), tx)
		must(t, err)
		if ok {
			t.Errorf("sealed in spite of %s", open)
		}
		if !strings.HasPrefix(open, "ALTER ROLE") {
			if err := protect.SealIn(t.Context(), tx); err != nil {
				t.Errorf("after %s: %v", open, err)
			}
		}
		must(t, tx.Rollback(t.Context()))
	}
	w.do(t, `CREATE ROLE not_super NOLOGIN`)
	t.Cleanup(func() {
		if _, err := w.super.Exec(context.WithoutCancel(t.Context()), `RESET ROLE; DROP ROLE not_super`); err != nil {
			t.Error(err)
		}
	})
	w.do(t, `SET ROLE not_super`)
	if err := protect.Seal(t.Context(), w.super); err == nil || !strings.Contains(err.Error(), "superuser") {
		t.Errorf("sealed by anybody: %v", err)
	}
}

// TestUnheldRevoke: a server that accepts REVOKE and does nothing, as managed
// services do, is found out by name.
func TestUnheldRevoke(t *testing.T) {
	w := newWorld(t)
	tx, err := w.super.Begin(t.Context())
	must(t, err)
	defer tx.Rollback(context.WithoutCancel(t.Context())) //nolint:errcheck // the test is over
	_, err = tx.Exec(t.Context(), `GRANT EXECUTE ON FUNCTION pg_catalog.set_config(text, text, boolean) TO PUBLIC; CREATE ROLE owns_nothing; SET LOCAL ROLE owns_nothing`)
	must(t, err)
	if err := protect.SealIn(t.Context(), tx); err == nil || !strings.Contains(err.Error(), "set_config(text, text, boolean)") {
		t.Errorf("a revoke without effect: %v", err)
	}
}

// TestConnect: the seal closes the other databases to who needs them not, and
// to nobody else.
func TestConnect(t *testing.T) {
	w := newWorld(t)
	other := localtest.Database(t)
	w.do(t, `CREATE ROLE other_app LOGIN`)
	t.Cleanup(func() {
		if _, err := w.super.Exec(context.WithoutCancel(t.Context()), fmt.Sprintf(`REVOKE ALL ON DATABASE %s FROM other_app`, other)); err != nil {
			t.Error(err)
		}
		revokeEverywhere(t, w.super, "other_app")
	})
	must(t, protect.Seal(t.Context(), w.super))
	want(t, w.super, "f", `SELECT has_database_privilege('isocore_login', $1, 'CONNECT')`, other)
	want(t, w.super, "t", `SELECT has_database_privilege('other_app', $1, 'CONNECT')`, other)
	want(t, w.super, "t", `SELECT has_database_privilege('isocore_login', $1, 'CONNECT') AND has_database_privilege('isocore_keeper', $1, 'CONNECT')`, w.name)
	_, findings, err := protect.Grade(t.Context(), w.super)
	must(t, err)
	for _, f := range findings {
		if f.Object == other {
			t.Errorf("%v", f)
		}
	}
}

func revokeEverywhere(t *testing.T, super *pgx.Conn, role string) {
	ctx := context.WithoutCancel(t.Context())
	rows, err := super.Query(ctx, `SELECT format('REVOKE ALL ON DATABASE %I FROM %I', datname, $1::text) FROM pg_database WHERE datname !~ '^t_'`, role)
	must(t, err)
	texts, err := pgx.CollectRows(rows, pgx.RowTo[string])
	must(t, err)
	for _, text := range append(texts, `DROP OWNED BY `+role, `DROP ROLE `+role) {
		if _, err := super.Exec(ctx, text); err != nil {
			t.Error(err)
		}
	}
}

// TestPsql: what the real psql asks of the catalogs still works.
func TestPsql(t *testing.T) {
	program := psql(t)
	w := newWorld(t)
	dsn := localtest.Postgres(t).DSN(protect.Login, login, w.name).Reveal()
	for _, c := range []string{
		`\d`, `\d app.docs`, `\d app.event`, `\d app.event_new`, `\d+ app.docs`, `\d app.titles`, `\dt`, `\dt app.*`, `\di`, `\di app.*`, `\dv`, `\ds`, `\df`, `\df isocore.*`,
		`\dn`, `\dn+`, `\du`, `\l`, `\dp`, `\dp app.*`, `\dT`, `\dx`, `\dP`, `\dd`, `\do`, `\dc`, `\dC`, `\dD`, `\dy`, `\dL`, `\dA`, `\drds`, `\ddp`, `\dO`, `\dF`, `\des`, `\sf isocore.tenant`, `\sv app.titles`,
	} {
		cmd := exec.CommandContext(t.Context(), program, "-X", "-q", "-v", "ON_ERROR_STOP=1", "-d", dsn, "-c", `SET ROLE isocore_rt`, "-c", c)
		if out, err := cmd.CombinedOutput(); err != nil || strings.Contains(string(out), "ERROR") {
			t.Errorf("%s: %v\n%s", c, err, out)
		}
	}
}

// TestCatalogs: information_schema, the views of the catalog that are allowed,
// and what pgx asks when it meets a type.
func TestCatalogs(t *testing.T) {
	w := newWorld(t)
	w.do(t, `SET ROLE app_owner; CREATE TYPE app.mood AS ENUM ('well', 'ill'); CREATE TYPE app.pair AS (a int, b app.mood); RESET ROLE`)
	s := w.session(t)
	rows, err := s.Query(t.Context(), `SELECT format('SELECT count(*) FROM %I.%I', nspname, relname) FROM pg_class c JOIN pg_namespace n ON n.oid = relnamespace
		WHERE nspname IN ('information_schema', 'pg_catalog') AND relkind IN ('v', 'r') AND has_table_privilege(c.oid, 'SELECT')`)
	must(t, err)
	texts, err := pgx.CollectRows(rows, pgx.RowTo[string])
	must(t, err)
	if len(texts) < 100 {
		t.Errorf("only %d catalogs can be read", len(texts))
	}
	for _, text := range texts {
		if _, code := run(t, s, text); code != "" {
			t.Errorf("%s: %s", text, code)
		}
	}
	for _, name := range []string{"app.mood", "app.pair", "app.pair[]"} {
		if name == "app.pair[]" {
			name = "app._pair"
		}
		typ, err := s.LoadType(t.Context(), name)
		must(t, err)
		s.TypeMap().RegisterType(typ)
	}
	var mood string
	must(t, s.QueryRow(t.Context(), `SELECT $1::app.mood`, "ill").Scan(&mood))
}
