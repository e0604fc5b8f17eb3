package postgres

import (
	"context"
	"fmt"
	"runtime"
	"slices"
	"strings"
	"testing"

	"github.com/isocore/isocore/audit"
	"github.com/isocore/isocore/identity"
	"github.com/isocore/isocore/internal/pgwire"
)

// mine counts what a session sees: a tenant's hundred rows, and of nobody else.
const mine = "SELECT count(*), count(DISTINCT tenant_id) FROM doc WHERE id <= 100"

const mineLine = `Row "100" "1"`

// A hole is an attack that was possible once, or on another design, and what
// is answered to it. What the attack leaves behind must still be the tenant's.
type hole struct {
	name  string
	reach []string
	play  play
	want  []string
}

var readOnly = []string{identity.PGRead}

var holes = []hole{
	{"1: an error in the first statement", nil, queries("SELECT nope", mine, "SELECT 1/0; "+mine, mine), []string{"Error C=42703", mineLine, "Error C=22012", mineLine}},
	{
		"1: after ROLLBACK, savepoints, COMMIT in a message", nil,
		queries("BEGIN", "ROLLBACK", mine, "BEGIN; SAVEPOINT a; SELECT nope", "ROLLBACK TO a", mine, "ROLLBACK", "SELECT 1; COMMIT; "+mine, "SELECT 1; ROLLBACK; "+mine),
		[]string{mineLine, mineLine, mineLine, mineLine},
	},
	{
		"3: the context by hand", nil,
		queries("SET isocore.ctx = 'x'", "SET LOCAL isocore.ctx = 'x'", "BEGIN; SELECT set_config('isocore.ctx', 'x', true)", "ROLLBACK", "RESET isocore.ctx", "SELECT isocore.enter('x')", mine),
		[]string{"Error C=42501", "Ready I", "Error C=42501", "Ready I", "Error C=42501", "Complete ROLLBACK", "Error C=42501", "Error C=42501", mineLine},
	},
	{"6: a type in pg_temp", nil, queries("CREATE DOMAIN pg_temp.text AS pg_catalog.text", "CREATE TEMP TABLE doc (id int)", mine), []string{"Error C=42501", "Error C=42501", mineLine}},
	{
		"7: SQL's prepared statements", nil,
		queries("PREPARE s AS SELECT 1", "EXECUTE s", "DEALLOCATE PREPARE ALL", "DISCARD ALL", "DISCARD PLANS", mine),
		[]string{"Error C=42501", "Error C=42501", "Complete DEALLOCATE ALL", "Error C=42501", "Error C=42501", mineLine},
	},
	{
		"7: the broker's statement under the client's name", nil,
		say(p("", "SELECT 'hijacked', $1::text", 25), syn, q("BEGIN"), q(mine), b("", "", "x"), e(""), syn, q("COMMIT")),
		[]string{mineLine, "Error C=26000", "Complete ROLLBACK"},
	},
	{"8: a timeout of the client's", nil, queries("SET statement_timeout = 1", "SET lock_timeout = 1", mine), []string{"Error C=42501", "Error C=42501", mineLine}},
	{
		"9: WITH HOLD", nil, queries("DECLARE c CURSOR WITH HOLD FOR TABLE doc", "BEGIN; DECLARE c CURSOR WITHOUT HOLD FOR "+mine+"; FETCH c", "COMMIT", "FETCH c"),
		[]string{"Error C=42501", mineLine, "Error C=34000"},
	},
	{"14: procedures", nil, queries("CALL x()", "DO $$ BEGIN END $$", mine), []string{"Error C=42501", "Error C=42501", mineLine}},
	{"17: FunctionCall", nil, say(q("SELECT 1"), raw("F\x00\x00\x00\x0e\x00\x00\x00\x01\x00\x00\x00\x00\x00\x00"), q(mine)), []string{`Row "1"`, "Error C=42501 M=not permitted", "Ready I", mineLine}},
	{"17: FunctionCall in a block", nil, say(q("BEGIN"), raw("F\x00\x00\x00\x04"), q("SELECT 1"), q("ROLLBACK")), []string{"Error C=42501", "Ready E", "Error C=25P02", "Complete ROLLBACK"}},
	{
		"18: the scanner's setting", nil,
		queries("SET standard_conforming_strings = off", "SET client_encoding = 'SJIS'", "SET NAMES 'SJIS'", "UPDATE pg_settings SET setting = 'off' WHERE name = 'standard_conforming_strings'", "SHOW standard_conforming_strings",
			`SELECT 'a\', '; TRUNCATE doc; --'`, mine),
		[]string{"Error C=42501", "Error C=42501", "Error C=42501", "Error C=42501", `Row "on"`, `TRUNCATE doc; --`, mineLine},
	},
	{"19: EXPLAIN", nil, queries("EXPLAIN SELECT 1", "EXPLAIN ANALYZE DELETE FROM doc", mine), []string{"Error C=42501", "Error C=42501", mineLine}},
	{"20, 21: system columns", nil, queries("SELECT ctid FROM doc", "SELECT xmin FROM doc", "SELECT currtid2('app.doc', '(0,1)')"), []string{"Error C=42501", "Error C=42501", "Error C=42501"}},
	{
		"23: SERIALIZABLE", nil, queries("BEGIN ISOLATION LEVEL SERIALIZABLE", "BEGIN; SET TRANSACTION ISOLATION LEVEL SERIALIZABLE", "SET default_transaction_isolation = 'serializable'", "SET SESSION CHARACTERISTICS AS TRANSACTION ISOLATION LEVEL SERIALIZABLE"),
		[]string{"Error C=42501", "Error C=42501", "Error C=42501", "Error C=42501"},
	},
	{
		"24: reads that write", readOnly,
		queries("WITH w AS (DELETE FROM doc RETURNING 1) SELECT count(*) FROM w", "COPY (DELETE FROM doc RETURNING id) TO STDOUT", "EXPLAIN ANALYZE DELETE FROM doc", "SELECT id FROM doc FOR UPDATE", "INSERT INTO doc (id, title) VALUES (7, 'x')", "MERGE INTO doc USING doc d ON false WHEN NOT MATCHED THEN DO NOTHING", mine),
		[]string{"Error C=42501", "Error C=42501", "Error C=42501", "Error C=42501", "Error C=42501", "Error C=42501", mineLine},
	},
	{
		"24: a portal that writes, fetched", readOnly,
		say(q("BEGIN"), p("", "DELETE FROM doc RETURNING id"), b("c", ""), syn, q("FETCH ALL FROM c"), q("ROLLBACK"), q(mine)),
		[]string{"Error C=42501 M=not permitted", "Ready E", "Error C=25P02", "Complete ROLLBACK", mineLine},
	},
	{"28: PREPARE TRANSACTION", nil, queries("BEGIN", "PREPARE TRANSACTION 'x'", "ROLLBACK", "COMMIT PREPARED 'x'", "ROLLBACK PREPARED 'x'"), []string{"Error C=42501", "Ready E", "Complete ROLLBACK", "Error C=42501", "Error C=42501"}},
	{"36: settings", nil, queries("SET work_mem = '2GB'", "SET synchronous_commit = off", "SET exit_on_error = on", "SET row_security = off", "SET local_preload_libraries = 'x'", "SET session_replication_role = replica"), slices.Repeat([]string{"Error C=42501", "Ready I"}, 6)},
	{"roles", nil, queries("SET ROLE isocore_owner", "RESET ROLE", "SET SESSION AUTHORIZATION DEFAULT", "ALTER ROLE CURRENT_USER PASSWORD 'x'", "GRANT isocore_owner TO isocore_rt"), slices.Repeat([]string{"Error", "Ready I"}, 5)},
	{
		"others at large", nil, queries("LISTEN x", "NOTIFY x", "LOCK doc", "TRUNCATE doc", "VACUUM", "ANALYZE", "CREATE TABLE x ()", "DROP TABLE doc", "COPY doc FROM STDIN", "COPY doc TO '/tmp/x'", "COPY doc TO PROGRAM 'x'", "CHECKPOINT", "LOAD 'x'", "REINDEX TABLE doc", "SELECT * INTO x FROM doc", mine),
		append(slices.Repeat([]string{"Error C=42501", "Ready I"}, 15), mineLine),
	},
	{
		"dynamic SQL in a SELECT", nil, queries("SELECT query_to_xml('SEL'||'ECT set_con'||'fig(''isocore.ctx'','''',true)', true, true, '')", "SELECT pg_terminate_backend(1)", "SELECT lo_create(1)", "SELECT pg_notify('a', 'b')", "SELECT * FROM pg_stat_activity", "SELECT * FROM isocore.key"),
		slices.Repeat([]string{"Error C=42501", "Ready I"}, 6),
	},
}

// raw is a message in bytes.
type raw string

func (r raw) Encode(dst []byte) ([]byte, error) { return append(dst, r...), nil }

func TestHoles(t *testing.T) {
	f := newFixture(t)
	for _, h := range holes {
		t.Run(h.name, func(t *testing.T) {
			got := f.as(t, h.reach...).perform(t, append(slices.Clone(h.play), step{[]pgwire.Message{q("ROLLBACK"), q(mine)}, mineLine}))
			if !contains(got, h.want) {
				t.Errorf("played:\n%sgot:\n\t%s\nwant among it:\n\t%s", h.play, strings.Join(got, "\n\t"), strings.Join(h.want, "\n\t"))
			}
		})
	}
	var n int
	f.must(t, f.Super.QueryRow(t.Context(), "SELECT count(*) FROM app.doc WHERE tenant_id = $1", f.B.UUID()).Scan(&n))
	if n != 100 {
		t.Errorf("B has %d rows left", n)
	}
}

// TestNothingInTheStore looks at the store while a tenant works: neither a
// token nor a context is in what the server shows of a statement.
func TestNothingInTheStore(t *testing.T) {
	f := newFixture(t)
	f.exec(t, "ALTER ROLE isocore_login IN DATABASE "+f.Database+" SET track_activities = on") // the seal has it off
	token := f.Token(f.A)
	w := hijack(t, f.dsn(token))
	w.send(t, append(run("SELECT pg_sleep(0.5), current_setting('isocore.ctx')"), syn)...)
	var texts []string
	for len(texts) < 1000 && !strings.Contains(strings.Join(texts, "\n"), "pg_sleep") {
		rows, err := f.Super.Query(t.Context(), "SELECT query FROM pg_stat_activity WHERE usename = 'isocore_login'")
		f.must(t, err)
		for rows.Next() {
			var text string
			f.must(t, rows.Scan(&text))
			texts = append(texts, text)
		}
		f.must(t, rows.Err())
	}
	lines := w.until(t, "Ready")
	row := lines[slices.IndexFunc(lines, func(l string) bool { return strings.HasPrefix(l, "Row") })]
	context := strings.Trim(strings.Fields(row)[2], `"`)
	if !strings.HasPrefix(context, "v1") || !strings.Contains(strings.Join(texts, "\n"), "pg_sleep") {
		t.Fatalf("control: %q, %q", context, texts)
	}
	for _, text := range texts {
		if strings.Contains(text, context[10:]) || strings.Contains(text, token.Reveal()) || strings.Contains(text, f.A.String()) {
			t.Errorf("the server shows %q", text)
		}
	}
	// It proves nothing a moment later, nor in another transaction.
	got := w.perform(t, queries("BEGIN", "SET isocore.ctx = '"+context+"'", "ROLLBACK", "SELECT isocore.enter('"+context+"')", mine))
	if !contains(got, []string{"Error C=42501", "Error C=42501", mineLine}) {
		t.Errorf("replayed: %q", got)
	}
}

// TestUndone reads in the trail what became of what was written.
func TestUndone(t *testing.T) {
	f := newFixture(t)
	for name, c := range map[string]struct {
		play play
		want []string // operation and status of each outcome
	}{
		"kept":                   {queries("UPDATE doc SET body = '1' WHERE id = 1; SELECT 1"), []string{"update ok", "select ok"}},
		"a later one fails":      {queries("UPDATE doc SET body = '1' WHERE id = 1; SELECT nope; SELECT 2"), []string{"update rolled-back", "select failed", "select skipped"}},
		"committed before":       {queries("UPDATE doc SET body = '1' WHERE id = 1; COMMIT; DELETE FROM doc WHERE id = 1; SELECT nope"), []string{"update ok", "commit ok", "delete rolled-back", "select failed"}},
		"rolled back within":     {queries("UPDATE doc SET body = '1' WHERE id = 1; ROLLBACK; SELECT 1"), []string{"update rolled-back", "rollback ok", "select ok"}},
		"fails at the end":       {queries("INSERT INTO late (id) VALUES (1), (1)"), []string{"insert rolled-back"}},
		"fails at COMMIT":        {queries("BEGIN; INSERT INTO late (id) VALUES (1), (1); COMMIT"), []string{"insert rolled-back", "commit failed"}},
		"pipeline":               {say(all(run("UPDATE doc SET body = '1' WHERE id = 1"), run("DELETE FROM doc WHERE id = 2"), run("SELECT nope"), run("SELECT 1"), one(syn))...), []string{"update rolled-back", "delete rolled-back", "select failed", "select skipped"}},
		"pipeline, fails at end": {say(all(run("INSERT INTO late (id) VALUES (1), (1)"), run("SELECT 1"), one(syn))...), []string{"insert rolled-back", "select rolled-back"}},
		"refused after":          {say(all(run("UPDATE doc SET body = '1' WHERE id = 1"), run("TRUNCATE doc"), run("SELECT 1"), one(syn))...), []string{"update rolled-back"}},
		"a block says its end":   {queries("BEGIN", "UPDATE doc SET body = '1' WHERE id = 1", "SELECT nope", "COMMIT"), []string{"update ok", "select failed", "commit rolled-back"}},
		"prepared and described": {say(p("s", "SELECT 1"), d("s"), syn, b("x", "s"), syn), []string{"Bind ok"}},
	} {
		t.Run(name, func(t *testing.T) {
			before := len(f.Records(t, f.A))
			f.as(t).perform(t, c.play)
			var got []string
			for _, r := range f.ended(t, before) {
				if r.Kind == audit.Outcome {
					got = append(got, strings.TrimPrefix(r.Operation, "Execute ")+" "+r.Result.Status)
				}
			}
			if !slices.Equal(got, c.want) {
				t.Errorf("played:\n%sgot %q, want %q", c.play, got, c.want)
			}
		})
	}
}

// ended waits for the end of a session and returns what was recorded after the
// first n records.
func (f *fixture) ended(t *testing.T, n int) []audit.Record {
	t.Helper()
	for {
		rs := f.Records(t, f.A)[n:]
		if len(rs) > 0 && rs[len(rs)-1].Class == audit.ClassSessionEnded {
			return rs
		}
		runtime.Gosched()
	}
}

// TestGone says what a client hears when the store goes.
func TestGone(t *testing.T) {
	f := newFixture(t)
	terminate := func() {
		if _, err := f.Super.Exec(context.Background(), "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = 'isocore_login' AND datname = current_database()"); err != nil {
			t.Error(err)
		}
	}
	w := f.as(t)
	w.send(t, q("SELECT pg_sleep(20)"))
	for n := 0; n == 0; {
		f.must(t, f.Super.QueryRow(t.Context(), "SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'PgSleep' AND datname = current_database()").Scan(&n))
	}
	terminate()
	if got := w.rest(t); fmt.Sprint(got) != "[Columns pg_sleep:false:0:2278:4:-1:0 Error S=FATAL C=57P01 M=terminating connection due to administrator command]" {
		t.Errorf("while it runs: %q", got)
	}
	w = f.as(t)
	terminate()
	w.send(t, q("SELECT 1"))
	got := w.rest(t)
	if len(got) != 1 || !strings.HasPrefix(got[0], "Error S=FATAL C=57P01") && !strings.HasPrefix(got[0], "Error S=FATAL C=08006") {
		t.Errorf("while it idles: %q", got)
	}
}
