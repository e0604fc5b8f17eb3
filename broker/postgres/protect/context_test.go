package protect_test

import (
	"context"
	"encoding/hex"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/isocore/isocore/broker/postgres/protect"
	"github.com/isocore/isocore/tenant"
	"github.com/jackc/pgx/v5"
)

const count = `SELECT count(*)::text FROM app.docs`

// TestWorks is the control of all the others: a database that shows nobody
// anything leaks nothing.
func TestWorks(t *testing.T) {
	w := newWorld(t)
	s := w.session(t)
	tx := s.as(t, w.a)
	want(t, tx, "100", count)
	want(t, tx, "100", `SELECT count(*)::text FROM (SELECT * FROM app.docs) d`)
	want(t, tx, "100", `SELECT count(*)::text FROM app.titles`)
	want(t, tx, "60", `SELECT count(*)::text FROM app.event`)
	want(t, tx, "30", `SELECT count(*)::text FROM app.event_old`)
	want(t, tx, w.a.String(), `SELECT DISTINCT replace(tenant_id::text, '-', '') FROM app.docs`)
	want(t, tx, "7000", `INSERT INTO app.docs (id, body) VALUES (7000, 'new') RETURNING id::text`)
	want(t, tx, "newer", `UPDATE app.docs SET body = 'newer' WHERE id = 7000 RETURNING body`)
	want(t, tx, "7000", `INSERT INTO app.note (doc) VALUES (7000) RETURNING doc::text`)
	want(t, tx, "7000", `DELETE FROM app.note WHERE doc = 7000 RETURNING doc::text`)
	want(t, tx, "7000", `DELETE FROM app.docs WHERE id = 7000 RETURNING id::text`)
	want(t, tx, "1", `INSERT INTO app.docs (id, body) VALUES (1, 'upsert') ON CONFLICT (tenant_id, id) DO UPDATE SET body = excluded.body RETURNING id::text`)
	want(t, tx, "07000000-0000-0000-0000-000000000000", `SELECT isocore.principal()::text`)
	want(t, tx, "true false false false", `SELECT concat_ws(' ', isocore.has_scope('pg:read')::text, isocore.has_scope('pg')::text,
		isocore.has_scope('pg:read pg:write')::text, isocore.has_scope('')::text)`)
	must(t, tx.Commit(t.Context()))
	want(t, s, "0", count)
}

// TestForged gives the database contexts that are wrong in one thing each.
// They are made afresh each time, so that none is refused for its age.
func TestForged(t *testing.T) {
	w := newWorld(t)
	s, other := w.session(t), w.session(t)
	pid := s.PgConn().PID()
	ofA, ofB := func() string { return s.context(w.a, "pg:read") }, func() string { return s.context(w.b, "pg:read") }
	with := func(change func(*protect.Claims)) func() string {
		return func() string {
			c := s.claims(w.b, "pg:read")
			change(&c)
			return w.key.Context(c, pid, s.start)
		}
	}
	edit := func(change func(text string) string) func() string { return func() string { return change(ofB()) } }
	signed := func(change func(text string) string) func() string {
		return func() string { return w.key.Resign(change(ofB()), pid, s.start) }
	}
	for name, forge := range map[string]func() string{
		"empty":              func() string { return "" },
		"not a context":      func() string { return "b" },
		"of another backend": func() string { return other.context(w.b, "pg:read") },
		"of another run":     func() string { return w.key.Context(s.claims(w.b), pid, s.start.Add(-time.Microsecond)) },
		"of an unknown key":  func() string { return protect.NewKey().Context(s.claims(w.b), pid, s.start) },
		"of the zero key":    func() string { return protect.Key{}.Context(s.claims(w.b), pid, s.start) },
		"issued 3 s ago":     with(func(c *protect.Claims) { c.IssuedAt = c.IssuedAt.Add(-3 * time.Second) }),
		"issued in 10 s":     with(func(c *protect.Claims) { c.IssuedAt = c.IssuedAt.Add(10 * time.Second) }),
		"expired": with(func(c *protect.Claims) {
			c.IssuedAt, c.Expires = c.IssuedAt.Add(-time.Second), c.IssuedAt.Add(-time.Millisecond)
		}),
		"A's MAC on B":         edit(func(b string) string { return b[:106] + ofA()[106:] }),
		"an all-zero MAC":      edit(func(b string) string { return b[:106] + strings.Repeat("0", 64) + b[170:] }),
		"no MAC":               edit(func(b string) string { return b[:106] }),
		"a wider reach":        edit(func(b string) string { return b + " pg:write" }),
		"upper case":           edit(func(b string) string { return strings.ToUpper(b[:170]) + b[170:] }),
		"a trailing space":     edit(func(b string) string { return b + " " }),
		"another version":      edit(func(b string) string { return "v2" + b[2:] }),
		"not UTF-8 when cut":   edit(func(b string) string { return b[:9] + strings.Repeat("é", 90) }),
		"signed, zero tenant":  signed(func(b string) string { return b[:10] + strings.Repeat("0", 32) + b[42:] }),
		"signed, oversized":    signed(func(b string) string { return b + strings.Repeat(" x", 400) }),
		"signed, far future":   signed(func(b string) string { return b[:74] + strings.Repeat("f", 16) + b[90:] }),
		"signed, long expired": signed(func(b string) string { return b[:90] + strings.Repeat("0", 16) + b[106:] }),
	} {
		tx, err := s.Begin(t.Context())
		must(t, err)
		refused(t, tx, "42501", `SELECT isocore.enter($1)`, forge())
		must(t, tx.Rollback(t.Context()))
		if name == "empty" {
			continue // the next would be nobody, and see nothing
		}
		tx, err = s.Begin(t.Context())
		must(t, err)
		_, err = tx.Exec(t.Context(), fmt.Sprintf(`SET LOCAL isocore.ctx = '%s'`, forge()))
		must(t, err)
		for _, sql := range []string{count, `SELECT isocore.principal()`, `SELECT isocore.has_scope('pg:read')`, `SELECT isocore.may_write()`, `INSERT INTO app.docs (id) VALUES (9000)`} {
			sp, err := tx.Begin(t.Context())
			must(t, err)
			if got, code := run(t, sp, sql); code != "42501" {
				t.Errorf("%s: %s: %q, error %q", name, sql, got, code)
			}
			must(t, sp.Rollback(t.Context()))
		}
		must(t, tx.Rollback(t.Context()))
	}
	want(t, s.as(t, w.b), "100", count)
}

// TestFlippedByte alters every byte of a good context, one at a time.
func TestFlippedByte(t *testing.T) {
	w := newWorld(t)
	s := w.session(t)
	text := s.context(w.b, "pg:read", "pg:write")
	for i := range len(text) {
		altered := []byte(text)
		altered[i] ^= 1
		text = s.context(w.b, "pg:read", "pg:write") // young enough for the next round
		refused(t, s, "42501", `SELECT isocore.enter($1)`, string(altered))
	}
	want(t, s, w.b.String(), `SELECT replace(isocore.enter($1)::text, '-', '')`, text)
}

// TestOneContext: a second context in a transaction is refused, and the end of
// the transaction, however it comes, is the end of the first (holes 1 and 9).
func TestOneContext(t *testing.T) {
	w := newWorld(t)
	s := w.session(t)

	tx := s.as(t, w.b)
	_, err := tx.Exec(t.Context(), `DECLARE c CURSOR FOR SELECT body FROM app.docs`)
	must(t, err)
	refused(t, tx, "42501", `SELECT isocore.enter($1)`, s.context(w.a, "pg:read"))
	must(t, tx.Rollback(t.Context()))
	want(t, s, "0", count)

	tx = s.as(t, w.b)
	same, _ := run(t, tx, `SELECT current_setting('isocore.ctx')`)
	want(t, tx, w.b.String(), `SELECT replace(isocore.enter($1)::text, '-', '')`, same)
	refused(t, tx, "22012", `SELECT 1 / 0`)
	must(t, tx.Rollback(t.Context()))
	want(t, s, "0", count)

	outer, err := s.Begin(t.Context())
	must(t, err)
	inner, err := outer.Begin(t.Context())
	must(t, err)
	want(t, inner, w.b.String(), `SELECT replace(isocore.enter($1)::text, '-', '')`, s.context(w.b, "pg:read"))
	must(t, inner.Rollback(t.Context()))
	want(t, outer, "0", count)
	must(t, outer.Rollback(t.Context()))

	tx = s.as(t, w.b)
	_, err = tx.Exec(t.Context(), `COMMIT AND CHAIN`)
	must(t, err)
	want(t, tx, "0", count)
	must(t, tx.Rollback(t.Context()))

	_, err = s.Exec(t.Context(), fmt.Sprintf(`SET isocore.ctx = '%s'`, s.context(w.b, "pg:read"))) // the scanner would not let it
	must(t, err)
	tx, err = s.Begin(t.Context())
	must(t, err)
	refused(t, tx, "42501", `SELECT isocore.enter($1)`, s.context(w.a, "pg:read"))
	must(t, tx.Rollback(t.Context()))
}

// TestExpiry: a context that ends in mid-transaction is an error, not an empty
// table (hole 11). The clock is the server's own: we ask it until it is over.
func TestExpiry(t *testing.T) {
	w := newWorld(t)
	s := w.session(t)
	for life := 100 * time.Millisecond; life < time.Minute; life *= 2 {
		c := s.claims(w.a, "pg:read", "pg:write")
		c.Expires = c.IssuedAt.Add(life)
		tx, err := s.Begin(t.Context())
		must(t, err)
		_, code := run(t, tx, `SELECT isocore.enter($1)`, w.key.Context(c, s.PgConn().PID(), s.start))
		if code == "" {
			_, code = run(t, tx, count)
		}
		if code != "" { // over before we had begun
			must(t, tx.Rollback(t.Context()))
			continue
		}
		for over := ""; over != "true"; {
			must(t, tx.QueryRow(t.Context(), `SELECT (clock_timestamp() >= $1::timestamptz)::text`, c.Expires).Scan(&over))
		}
		refused(t, tx, "42501", `UPDATE app.docs SET body = ''`)
		must(t, tx.Rollback(t.Context()))
		return
	}
	t.Error("no context lives")
}

// TestReadOnly: the engine guarantees that a read is one, and the context can
// be given there (hole 24).
func TestReadOnly(t *testing.T) {
	w := newWorld(t)
	s := w.session(t)
	for _, sql := range []string{
		`WITH x AS (DELETE FROM app.docs RETURNING id) SELECT count(*) FROM x`,
		`COPY (DELETE FROM app.docs RETURNING id) TO STDOUT`,
		`EXPLAIN ANALYZE DELETE FROM app.docs`,
		`INSERT INTO app.docs (id) VALUES (9000)`,
	} {
		tx, err := s.BeginTx(t.Context(), pgx.TxOptions{AccessMode: pgx.ReadOnly, IsoLevel: pgx.RepeatableRead})
		must(t, err)
		want(t, tx, w.a.String(), `SELECT replace(isocore.enter($1)::text, '-', '')`, s.context(w.a, "pg:read", "pg:write"))
		want(t, tx, "100", count)
		refused(t, tx, "25006", sql)
		must(t, tx.Rollback(t.Context()))
	}
}

// TestPlans: a plan made for one tenant serves the next with the next one's rows.
func TestPlans(t *testing.T) {
	w := newWorld(t)
	s := w.session(t)
	_, err := s.Prepare(t.Context(), "own", `SELECT DISTINCT replace(tenant_id::text, '-', '') FROM app.docs WHERE id < $1`)
	must(t, err)
	for i := range 20 {
		id := w.a
		if i%2 == 1 {
			id = w.b
		}
		tx := s.as(t, id)
		var got string
		must(t, tx.QueryRow(t.Context(), "own", 50).Scan(&got))
		if got != id.String() {
			t.Fatalf("tenant %s got rows of %s", id, got)
		}
		must(t, tx.Rollback(t.Context()))
	}
}

// TestOwner: FORCE holds the owner of the tables too (hole 32).
func TestOwner(t *testing.T) {
	w := newWorld(t)
	w.do(t, `SET ROLE app_owner`)
	want(t, w.super, "0", count)
	refused(t, w.super, "42501", `INSERT INTO app.docs VALUES ($1, 1, '')`, w.a.String())
}

// TestRotation: two keys live, the third retires the first; a key that is over
// is refused; the keeper sees none of them.
func TestRotation(t *testing.T) {
	w := newWorld(t)
	s, k := w.session(t), w.connect(t, protect.Keeper, keeper)
	second, third := protect.NewKey(), protect.NewKey()
	enter := func(key protect.Key) string {
		_, code := run(t, s, `SELECT isocore.enter($1)`, key.Context(s.claims(w.a), s.PgConn().PID(), s.start))
		return code
	}
	must(t, second.Install(t.Context(), k, time.Now().Add(time.Hour)))
	if enter(w.key) != "" || enter(second) != "" {
		t.Error("two keys do not live at a time")
	}
	must(t, third.Install(t.Context(), k, time.Now().Add(time.Hour)))
	if enter(w.key) != "42501" || enter(second) != "" || enter(third) != "" {
		t.Error("the third key does not retire the first")
	}
	must(t, third.RetireAllBut(t.Context(), k))
	if enter(second) != "42501" || enter(third) != "" {
		t.Error("the last key is not alone")
	}
	w.do(t, `UPDATE isocore.key SET not_after = clock_timestamp()`)
	if enter(third) != "42501" {
		t.Error("a key that is over still signs")
	}
	for _, until := range []time.Time{time.Now().Add(-time.Second), time.Now().Add(25 * time.Hour)} {
		if protect.NewKey().Install(t.Context(), k, until) == nil {
			t.Errorf("a key was installed until %s", until)
		}
	}
	if (protect.Key{}).Install(t.Context(), k, time.Now().Add(time.Hour)) == nil {
		t.Error("the zero key was installed")
	}
	refused(t, k, "42501", `SELECT kid FROM isocore.key`)
	refused(t, k, "42501", count)
	refused(t, k, "42501", `SELECT isocore.enter('')`)
}

// TestKeyring: whoever may read everything reads no key, and tenant() still
// works (hole 13).
func TestKeyring(t *testing.T) {
	w := newWorld(t)
	s := w.session(t)
	for _, sql := range []string{`SELECT kid FROM isocore.key`, `SELECT isocore.install_key('00000000', '', '', now())`, `SELECT isocore.retire_keys('')`, `SELECT isocore_compat.lock_key('1')`} {
		refused(t, s, "42501", sql)
	}
	tx, err := w.super.Begin(t.Context())
	must(t, err)
	defer tx.Rollback(context.WithoutCancel(t.Context())) //nolint:errcheck // the test is over
	_, err = tx.Exec(t.Context(), `CREATE ROLE reads_all NOLOGIN; GRANT pg_read_all_data TO reads_all; SET LOCAL ROLE reads_all`)
	must(t, err)
	want(t, tx, "0", `SELECT count(*)::text FROM isocore.key`)
}

// TestParallel: RESTRICTED is right where SAFE loses rows (hole 10).
func TestParallel(t *testing.T) {
	w := newWorld(t)
	w.do(t, `INSERT INTO app.docs SELECT $1::uuid, i, 'x' FROM generate_series(1000, 20000) i`, w.a.UUID())
	w.do(t, `ANALYZE app.docs`)
	tx := w.session(t).as(t, w.a)
	force := "force_parallel_mode"
	if v, _ := run(t, tx, `SELECT (current_setting('server_version_num')::int >= 160000)::text`); v == "true" {
		force = "debug_parallel_query"
	}
	_, err := tx.Exec(t.Context(), `SET LOCAL `+force+` = on; SET LOCAL parallel_setup_cost = 0; SET LOCAL parallel_tuple_cost = 0; SET LOCAL min_parallel_table_scan_size = 0`)
	must(t, err)
	want(t, tx, "19101", count)
	want(t, tx, "19101", `SELECT count(isocore.tenant())::text FROM app.docs`)
	plan, _ := run(t, tx, `EXPLAIN (COSTS OFF) `+count)
	if !strings.Contains(plan, "Parallel") {
		t.Errorf("no parallel plan:\n%s", plan)
	}
}

// TestShadowing: names of pg_temp and of schemas in front do not reach into the
// functions, even if somebody grants TEMP again (hole 6).
func TestShadowing(t *testing.T) {
	w := newWorld(t)
	w.do(t, fmt.Sprintf(`GRANT TEMPORARY ON DATABASE %s TO isocore_rt`, w.name))
	s := w.session(t)
	_, err := s.Exec(t.Context(), `CREATE TEMP TABLE stolen (x text);
		CREATE FUNCTION pg_temp.steal(x anyelement) RETURNS boolean LANGUAGE sql VOLATILE AS 'INSERT INTO pg_temp.stolen VALUES ($1::pg_catalog.text) RETURNING true';
		CREATE DOMAIN pg_temp.text AS pg_catalog.text CHECK (pg_temp.steal(value));
		CREATE DOMAIN pg_temp.bytea AS pg_catalog.bytea CHECK (pg_temp.steal(value));
		CREATE DOMAIN pg_temp.uuid AS pg_catalog.uuid CHECK (pg_temp.steal(value));
		CREATE TEMP TABLE key (kid pg_catalog.text, ipad pg_catalog.bytea, opad pg_catalog.bytea, not_after timestamptz);
		CREATE FUNCTION pg_temp.sha256(pg_catalog.bytea) RETURNS pg_catalog.bytea LANGUAGE sql AS $$ SELECT ''::pg_catalog.bytea $$;
		SET search_path = pg_temp, pg_catalog`)
	must(t, err)
	tx := s.as(t, w.a)
	want(t, tx, "100", `SELECT count(*)::pg_catalog.text FROM app.docs`)
	want(t, tx, "0", `SELECT count(*)::pg_catalog.text FROM pg_temp.stolen`)
	run(t, tx, `SELECT 'own'::text`)
	want(t, tx, "own", `SELECT x FROM pg_temp.stolen`) // the trap works
}

// TestDataOfNobody: rows of the zero tenant are nobody's.
func TestDataOfNobody(t *testing.T) {
	w := newWorld(t)
	w.do(t, `INSERT INTO app.docs VALUES ('00000000-0000-0000-0000-000000000000', 1, 'of nobody')`)
	s := w.session(t)
	want(t, s, "0", count)
	tx := s.as(t, w.a)
	want(t, tx, "0", `SELECT count(*)::text FROM app.docs WHERE body = 'of nobody'`)
	refused(t, tx, "42501", `INSERT INTO app.docs (tenant_id, id) VALUES ('00000000-0000-0000-0000-000000000000', 2)`)
}

// TestHMAC compares the server's own computation with Go's, both ways.
func TestHMAC(t *testing.T) {
	w := newWorld(t)
	for range 20 {
		k := protect.NewKey()
		inner, outer := k.Pads()
		text := k.Context(protect.Claims{Tenant: tenant.New(), Principal: [16]byte{1}, IssuedAt: time.Now(), Expires: time.Now().Add(time.Hour)}, 1, time.Now())
		want(t, w.super, hmacHex(k, text), `SELECT encode(sha256($1::bytea || sha256($2::bytea || convert_to($3, 'UTF8'))), 'hex')`, outer, inner, text)
	}
}

func hmacHex(k protect.Key, text string) string { return hex.EncodeToString(hmacOf(k, text)) }

func BenchmarkTenant(b *testing.B) {
	w := newWorld(b)
	tx := w.session(b).as(b, w.a)
	if _, err := tx.Exec(b.Context(), `SELECT count(isocore.tenant()) FROM generate_series(1, 1000)`); err != nil {
		b.Fatal(err)
	}
	b.ResetTimer()
	if _, err := tx.Exec(b.Context(), `SELECT count(isocore.tenant()) FROM generate_series(1, $1)`, b.N); err != nil {
		b.Fatal(err)
	}
}
