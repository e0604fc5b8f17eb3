package protect_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/isocore/isocore/broker/postgres/protect"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
)

// attacks are statements of tenant A, run directly in the runtime role of a
// sealed database, past every scanner. Each must fail with the code, or, where
// that is "", yield exactly what it yields without B.
var attacks = []struct{ from, sql, code, yields string }{
	// The context.
	{"postgres.md 1", `SET LOCAL isocore.ctx = 'b'; SELECT count(*)::text FROM app.docs`, "42501", ""},
	{"postgres.md 1", `SET LOCAL isocore.ctx = ''; SELECT count(*)::text FROM app.docs`, "", "0"},
	{"postgres.md 2", `SET ROLE isocore_owner`, "42501", ""},
	{"postgres.md 2", `SET ROLE app_owner`, "42501", ""},
	{"postgres.md 2", `SET SESSION AUTHORIZATION isocore_keeper`, "42501", ""},
	{"postgres.md 3", `DO $$ BEGIN EXECUTE 'SEL'||'ECT set_c'||'onfig(''isocore.ctx'', ''x'', true)'; END $$`, "42501", ""},
	{"postgres.md 4", `SELECT query_to_xml('SEL'||'ECT set_c'||'onfig(''isocore.ctx'', ''x'', true)', true, true, '')`, "42501", ""},
	{"postgres.md 5", `SELECT * FROM ts_stat('select to_tsvector(set_config(''isocore.ctx'', ''x'', true))')`, "42501", ""},
	{"postgres.md 5", `SELECT ts_rewrite('a'::tsquery, 'select ''a''::tsquery, ''b''::tsquery')`, "42501", ""},
	{"postgres.md 6", `WITH x AS (SELECT pg_catalog.set_config('isocore.ctx', 'x', true)) SELECT count(*) FROM x, app.docs`, "42501", ""},
	{"postgres.md 6", `SELECT set_config('isocore.ctx', 'x', true)`, "42501", ""},
	{"holes.md 3", `SELECT query FROM pg_stat_activity`, "42501", ""},
	{"holes.md 13", `SELECT * FROM isocore.key`, "42501", ""},
	{"holes.md 18", `UPDATE pg_settings SET setting = 'off' WHERE name = 'standard_conforming_strings'`, "42501", ""},

	// What is left behind, and what is everybody's.
	{"postgres.md 9", `CREATE TEMP TABLE docs (x text)`, "42501", ""},
	{"postgres.md 9", `CREATE TABLE app.trap (x text)`, "42501", ""},
	{"postgres.md 9", `CREATE TABLE isocore_compat.trap (x text)`, "42501", ""},
	{"postgres.md 9", `CREATE SCHEMA trap`, "42501", ""},
	{"postgres.md 10", `SELECT statement FROM pg_prepared_statements`, "42501", ""},
	{"postgres.md 10", `SELECT statement FROM pg_cursors`, "42501", ""},
	{"postgres.md 11", `SELECT lo_create(0)`, "42501", ""},
	{"postgres.md 11", `SELECT lo_get(1)`, "42501", ""},
	{"postgres.md 11", `SELECT oid FROM pg_largeobject_metadata`, "42501", ""},
	{"postgres.md 12", `SELECT pg_notify('channel', 'text')`, "42501", ""},
	{"postgres.md 13", `SELECT pg_stat_get_backend_activity(1)`, "42501", ""},
	{"postgres.md 14", `SELECT pg_terminate_backend(1)`, "42501", ""},
	{"holes.md 29", `SELECT pg_cancel_backend(1)`, "42501", ""},
	{"postgres.md 18", `ALTER ROLE isocore_login PASSWORD 'evil'`, "42501", ""},
	{"postgres.md 20", `SELECT pg_catalog.pg_advisory_lock(1)`, "42501", ""},
	{"postgres.md 20", `SELECT objid FROM pg_locks`, "42501", ""},
	{"holes.md 25", `SELECT setseed(0.5)`, "42501", ""},
	{"counter", `SELECT pg_backend_pid()`, "42501", ""},
	{"counter", `SELECT inet_client_port()`, "42501", ""},
	{"counter", `SELECT count(oid) FROM pg_subscription`, "42501", ""},
	{"counter", `SELECT srsublsn FROM pg_subscription_rel`, "42501", ""},
	{"holes.md 28", `SELECT gid FROM pg_prepared_xacts`, "42501", ""},
	{"build.md R1", `COPY app.docs (id, body) FROM STDIN`, "0A000", ""},

	// Other tenants' rows.
	{"postgres.md 15", `TRUNCATE app.docs`, "42501", ""},
	{"postgres.md 16", `INSERT INTO app.docs (id, body) SELECT max(id) + 1, '' FROM app.docs RETURNING id::text`, "", "101"},
	{"postgres.md 16", `INSERT INTO app.docs (tenant_id, id) VALUES ('{b}', 5000)`, "42501", ""},
	{"postgres.md 16", `UPDATE app.docs SET tenant_id = '{b}' WHERE id = 1`, "42501", ""},
	{"postgres.md 21", `SET LOCAL row_security = off; SELECT count(*) FROM app.docs`, "42501", ""},
	{"postgres.md 22", `SELECT count(*)::text FROM app.docs WHERE app.leak(body) AND tenant_id = '{b}'`, "", "0"},
	{"holes.md 2", `SELECT count(*)::text FROM app.docs WHERE tenant_id = '{b}'`, "", "0"},
	{"holes.md 2", `UPDATE app.docs SET body = '' WHERE tenant_id = '{b}' RETURNING id::text`, "", ""},
	{"holes.md 2", `DELETE FROM app.docs WHERE tenant_id = '{b}' RETURNING id::text`, "", ""},
	{"holes.md 31", `SELECT count(*)::text FROM app.event_new WHERE tenant_id = '{b}'`, "", "0"},
	{"unprotected", `SELECT secret FROM app.plain`, "42501", ""},
	{"unprotected", `SELECT * FROM isocore.installed`, "42501", ""},
	{"foreign key", `INSERT INTO app.note (doc) VALUES (99999)`, "23503", ""},

	// Counters and places.
	{"holes.md 20", `SELECT currtid2('app.docs', '(0,1)')`, "42501", ""},
	{"holes.md 21", `SELECT ctid FROM app.docs`, "42501", ""},
	{"holes.md 21", `SELECT xmin FROM app.docs`, "42501", ""},
	{"holes.md 21", `SELECT tableoid FROM app.docs`, "42501", ""},
	{"holes.md 21", `INSERT INTO app.docs (id) VALUES (6000) RETURNING xmin`, "42501", ""},
	{"postgres.md 17", `SELECT pg_total_relation_size('app.docs')`, "42501", ""},
	{"postgres.md 17", `SELECT pg_stat_get_live_tuples('app.docs'::regclass)`, "42501", ""},
	{"postgres.md 17", `SELECT n_live_tup FROM pg_stat_user_tables`, "42501", ""},
	{"postgres.md 17", `SELECT count(*)::text FROM pg_stats WHERE schemaname = 'app'`, "", "0"},
	{"build.md R6", `SELECT pg_current_wal_lsn()`, "42501", ""},
	{"build.md R6", `SELECT pg_current_snapshot()`, "42501", ""},
	{"build.md R6", `SELECT txid_current()`, "42501", ""},
	{"build.md R6", `SELECT pg_database_size(current_database())`, "42501", ""},
	{"build.md R6", `SELECT pg_logical_emit_message(true, 'a', 'b')`, "42501", ""},
	{"build.md R6", `SELECT pg_export_snapshot()`, "42501", ""},
	{"counter", `SELECT age('3'::xid)`, "42501", ""},
	{"counter", `SELECT mxid_age('3'::xid)`, "42501", ""},
	{"holes.md 26", `SELECT setval('app.counter', 9)`, "42501", ""},
	{"holes.md 26", `SELECT nextval('app.counter')`, "42501", ""},
	{"holes.md 26", `SELECT last_value FROM app.counter`, "42501", ""},

	// Settings by function.
	{"holes.md 36", `SELECT set_config('work_mem', '2000000', false)`, "42501", ""},
	{"holes.md 36", `SELECT set_config('role', 'none', true)`, "42501", ""},
	{"holes.md 36", `SELECT set_config('session_authorization', 'isocore_keeper', true)`, "42501", ""},
	{"holes.md 36", `SELECT set_config('search_path', 'pg_temp', true)`, "42501", ""},
	{"holes.md 36", `SELECT set_config('row_security', 'off', true)`, "42501", ""},
	{"holes.md 36", `SELECT set_config('statement_timeout', '0', true)`, "42501", ""},
	{"holes.md 36", `SELECT set_config('ISOCORE.ctx', 'x', true)`, "42501", ""},
	{"holes.md 36", `SELECT set_config(NULL, 'x', true)`, "42501", ""},
	{"holes.md 36", `SELECT set_config('temp_file_limit', '-1', true)`, "42501", ""},
	{"holes.md 36", `SET LOCAL temp_file_limit = -1`, "42501", ""},
	{"counter", `SELECT set_config('client_min_messages', 'debug5', true)`, "42501", ""},
	{"counter", `SELECT set_config('Client_Min_Messages', 'DEBUG', false)`, "42501", ""},
	{"counter", `SELECT set_config('client_min_messages', 'log', true)`, "42501", ""},
	{"counter", `SELECT set_config('client_min_messages', 'info', true)`, "42501", ""},
	{"counter", `SELECT set_config('client_min_messages', NULL, true)`, "42501", ""},
	{"counter", `SELECT set_config('CLIENT_MIN_MESSAGES', 'Warning', true)`, "", "warning"},
}

func TestAttacks(t *testing.T) {
	w := newWorld(t)
	w.do(t, `SET ROLE app_owner; CREATE SEQUENCE app.counter; RESET ROLE;
		CREATE FUNCTION app.leak(text) RETURNS boolean COST 0.0001 LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'leaked %', $1; END $$;
		GRANT EXECUTE ON FUNCTION app.leak(text) TO isocore_rt`)
	s := w.session(t)
	for _, a := range attacks {
		sql := strings.ReplaceAll(a.sql, "{b}", w.b.String())
		tx := s.as(t, w.a)
		got, code := runAll(t, tx, sql)
		if code != a.code || (code == "" && got != a.yields) {
			t.Errorf("%s: %s: %q, error %q; want %q, error %q", a.from, sql, got, code, a.yields, a.code)
		}
		must(t, tx.Rollback(t.Context()))
	}
	tx := s.as(t, w.b)
	want(t, tx, "100", count)
	want(t, tx, "0", `SELECT count(*)::text FROM app.docs WHERE body = ''`)
}

// TestPermissivePolicy: policies of the application narrow, and never widen (hole 2).
func TestPermissivePolicy(t *testing.T) {
	w := newWorld(t)
	w.do(t, `CREATE POLICY all_of_it ON app.docs USING (true) WITH CHECK (true); CREATE POLICY own ON app.note USING (body = isocore.principal()::text)`)
	w.apply(t)
	s := w.session(t)
	tx := s.as(t, w.a)
	want(t, tx, "100", count)
	want(t, tx, "", `UPDATE app.docs SET body = 'mine' WHERE tenant_id <> isocore.tenant() RETURNING id::text`)
	want(t, tx, "", `INSERT INTO app.note (doc, body) VALUES (1, isocore.principal()::text) RETURNING NULL::text`)
	refused(t, tx, "42501", `INSERT INTO app.note (doc, body) VALUES (1, 'of somebody')`)
}

// TestReadOnlyToken: what a token may do is the engine's lock too.
func TestReadOnlyToken(t *testing.T) {
	w := newWorld(t)
	s := w.session(t)
	for _, sql := range []string{
		`INSERT INTO app.docs (id) VALUES (8000)`,
		`UPDATE app.docs SET body = '' WHERE id = 1`,
		`DELETE FROM app.docs WHERE id = 1`,
		`SELECT * FROM app.docs WHERE id = 1 FOR UPDATE`,
		`WITH x AS (DELETE FROM app.docs RETURNING id) SELECT count(*) FROM x`,
		`MERGE INTO app.docs d USING (VALUES (1)) v(id) ON d.id = v.id WHEN MATCHED THEN DELETE`,
	} {
		tx := s.reaching(t, w.a, "pg:read", "pg:writer")
		want(t, tx, "100", count)
		refused(t, tx, "42501", sql)
		must(t, tx.Rollback(t.Context()))
	}
}

// TestAdvisoryLocks: one tenant's locks are in nobody else's way (postgres.md 20).
// No two of its keys share a slot.
func TestAdvisoryLocks(t *testing.T) {
	w := newWorld(t)
	first, second := w.session(t).as(t, w.a), w.session(t)
	for _, f := range []string{"pg_advisory_lock(1)", "pg_advisory_lock(1, 2)", "pg_advisory_xact_lock(3)", "pg_advisory_lock_shared(4)", "pg_advisory_xact_lock_shared(5, 6)"} {
		_, err := first.Exec(t.Context(), `SELECT `+f)
		must(t, err)
	}
	ofB := second.as(t, w.b)
	want(t, ofB, "t", `SELECT bool_and(x) FROM (VALUES (pg_try_advisory_lock(1)), (pg_try_advisory_lock(1, 2)), (pg_try_advisory_xact_lock(3)),
		(pg_try_advisory_lock(4)), (pg_try_advisory_xact_lock(5, 6))) v(x)`)
	want(t, ofB, "", `SELECT pg_advisory_unlock_all()`)
	must(t, ofB.Rollback(t.Context()))
	ofA := second.as(t, w.a)
	want(t, ofA, "f", `SELECT bool_or(x) FROM (VALUES (pg_try_advisory_lock(1)), (pg_try_advisory_lock(1, 2)), (pg_try_advisory_xact_lock(3)),
		(pg_try_advisory_lock(4)), (pg_try_advisory_xact_lock(5, 6))) v(x)`)
	want(t, ofA, "t", `SELECT pg_try_advisory_lock_shared(4) AND pg_try_advisory_xact_lock_shared(5, 6) AND pg_advisory_unlock_shared(4)`)
	want(t, first, "t", `SELECT pg_advisory_unlock(1)`)
	want(t, ofA, "t", `SELECT pg_try_advisory_lock(1)`)
	must(t, ofA.Rollback(t.Context()))
	refused(t, second, "42501", `SELECT pg_advisory_lock(1)`) // nobody's
}

// TestAdvisorySlots: however it asks, a tenant takes no more than 64 entries of
// the lock table that all tenants share.
func TestAdvisorySlots(t *testing.T) {
	w := newWorld(t)
	first, second, ofB := w.session(t), w.session(t), w.session(t)
	tx := first.as(t, w.a)
	want(t, tx, "20000", `SELECT count(pg_advisory_lock(g)) FROM generate_series(1, 20000) g`)
	want(t, tx, "6000", `SELECT count(pg_advisory_xact_lock(g)) FROM generate_series(20001, 26000) g`)
	want(t, tx, "2000", `SELECT count(pg_advisory_lock_shared(g)) FROM generate_series(-2000, -1) g`)
	want(t, tx, "2000", `SELECT count(*) FROM generate_series(1, 2000) g WHERE pg_try_advisory_lock(g, g)`)
	want(t, tx, "2000", `SELECT count(*) FROM generate_series(1, 2000) g WHERE pg_try_advisory_xact_lock_shared(g, -g)`)
	other := second.as(t, w.a)
	want(t, other, "0", `SELECT count(*) FROM generate_series(50000, 51000) g WHERE pg_try_advisory_lock_shared(g)`)
	const locks = `SELECT count(DISTINCT (classid, objid)) FROM pg_locks WHERE locktype = 'advisory' AND database = (SELECT oid FROM pg_database WHERE datname = current_database())`
	want(t, w.super, "64", locks)
	want(t, ofB.as(t, w.b), "1000", `SELECT count(*) FROM generate_series(1, 1000) g WHERE pg_try_advisory_lock(g)`)
	want(t, w.super, "128", locks)
	want(t, tx, "", `SELECT pg_advisory_unlock_all()`)
	must(t, tx.Rollback(t.Context()))
	want(t, w.super, "64", locks)
}

// TestLimits: what a session may put on disk is bounded, and who it is to the
// server is known before it is a tenant's, and not after.
func TestLimits(t *testing.T) {
	w := newWorld(t)
	s := w.session(t)
	want(t, s, "1GB", `SHOW temp_file_limit`)
	refused(t, s, "42501", `SET temp_file_limit = -1`)
	refused(t, s, "42501", `SELECT pg_backend_pid()`)
	want(t, w.connect(t, protect.Login, login), "t", `SELECT pg_backend_pid() > 0`)
	want(t, w.connect(t, protect.Keeper, keeper), "f", `SELECT has_function_privilege('pg_backend_pid()', 'EXECUTE')`)
}

// TestCompat: what asyncpg and its kind set by function.
func TestCompat(t *testing.T) {
	w := newWorld(t)
	s := w.session(t)
	want(t, s, "off", `SELECT set_config('jit', 'off', false)`)
	want(t, s, "off", `SHOW jit`)
	tx := s.as(t, w.a)
	want(t, tx, "app", `SELECT set_config('application_name', 'app', true)`)
	want(t, tx, "app", `SHOW application_name`)
	must(t, tx.Rollback(t.Context()))
	want(t, s, "", `SHOW application_name`)
	want(t, s, "isocore_compat, pg_catalog, app, pg_temp", `SHOW search_path`)
}

func (w *world) apply(t testing.TB) {
	t.Helper()
	_, _, err := protect.Apply(t.Context(), w.super, w.options)
	must(t, err)
}

// runAll runs several statements as one message, and returns what the last
// yields, one line a row, and the SQLSTATE they failed with.
func runAll(t *testing.T, tx pgx.Tx, sql string) (lines, code string) {
	t.Helper()
	results, err := tx.Conn().PgConn().Exec(t.Context(), sql).ReadAll()
	if e, ok := errors.AsType[*pgconn.PgError](err); ok {
		return "", e.Code
	}
	must(t, err)
	var all []string
	for _, row := range results[len(results)-1].Rows {
		all = append(all, string(row[0]))
	}
	return strings.Join(all, "\n"), ""
}
