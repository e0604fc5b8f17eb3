package demo

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/isocore/isocore/local/localtest"
	"github.com/isocore/isocore/secret"
)

func TestMain(m *testing.M) { localtest.Main(m) }

func TestDataAreTheSameForEver(t *testing.T) {
	t.Parallel()
	want := map[Kind]string{
		Clinic:   "db0f5b68d4c61c62",
		Clinic2:  "409684dcc33100ca",
		Advisory: "617aba33ce6879b4",
	}
	for _, kind := range Kinds {
		tables, err := generate(kind)
		if err != nil {
			t.Fatal(err)
		}
		h := sha256.New()
		for _, table := range tables {
			fmt.Fprintln(h, table.name, table.columns)
			for _, row := range table.rows {
				fmt.Fprintln(h, row...)
			}
		}
		if got := hex.EncodeToString(h.Sum(nil)[:8]); got != want[kind] {
			t.Errorf("%s: the data are %s, and were %s", kind, got, want[kind])
		}
	}
}

func TestTextsAreWhole(t *testing.T) {
	t.Parallel()
	for _, kind := range Kinds {
		tables, err := generate(kind)
		if err != nil {
			t.Fatal(err)
		}
		for _, table := range tables {
			for _, row := range table.rows {
				for i, v := range row {
					s, text := v.(string)
					if text && table.columns[i] != "vitals" && table.columns[i] != "answers" && (s == "" || strings.ContainsAny(s, "{}%")) {
						t.Fatalf("%s.%s: %q", table.name, table.columns[i], s)
					}
				}
			}
		}
	}
}

func TestUnknownKind(t *testing.T) {
	t.Parallel()
	for _, kind := range []Kind{"", "Clinic", "clinic3"} {
		if err := Load(t.Context(), nil, kind, nil); err == nil {
			t.Errorf("there are data for %q", kind)
		}
	}
}

// prepare makes the tables in a new database, with stand-ins for what isocore
// protect adds: a default of tenant_id that follows the role, and row security.
// It returns connections as one tenant each.
func prepare(t *testing.T, kinds ...Kind) (super *pgx.Conn, tenants map[Kind]*pgx.Conn) {
	t.Helper()
	database := localtest.Database(t)
	super = localtest.Super(t, database)
	exec(t, super, "DO $$ BEGIN CREATE ROLE app_owner NOLOGIN; EXCEPTION WHEN duplicate_object OR unique_violation THEN END $$")
	exec(t, super, "ALTER DATABASE "+database+" OWNER TO app_owner")
	for range 2 {
		if err := Create(t.Context(), super); err != nil {
			t.Fatal(err)
		}
	}
	exec(t, super, `CREATE FUNCTION public.tenant() RETURNS uuid LANGUAGE sql STABLE AS $$ SELECT md5(current_user)::uuid $$;
		DO $$ DECLARE t regclass; BEGIN
			FOR t IN SELECT oid FROM pg_class WHERE relnamespace = 'app'::regnamespace AND relkind = 'r' LOOP
				EXECUTE format('ALTER TABLE %s ALTER tenant_id SET DEFAULT public.tenant(), ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY', t);
				EXECUTE format('CREATE POLICY p ON %s USING (tenant_id = public.tenant()) WITH CHECK (tenant_id = public.tenant())', t);
			END LOOP;
		END $$`)
	tenants = map[Kind]*pgx.Conn{}
	for _, kind := range kinds {
		role := database + "_" + string(kind)
		exec(t, super, "CREATE ROLE "+role+" LOGIN PASSWORD 'of this test'; GRANT USAGE ON SCHEMA app TO "+role+"; GRANT SELECT, INSERT ON ALL TABLES IN SCHEMA app TO "+role)
		conn, err := pgx.Connect(t.Context(), localtest.Postgres(t).DSN(role, secret.New("of this test"), database).Reveal())
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = conn.Close(context.Background()) })
		tenants[kind] = conn
	}
	return super, tenants
}

func exec(t *testing.T, conn *pgx.Conn, sql string) {
	t.Helper()
	if _, err := conn.Exec(t.Context(), sql); err != nil {
		t.Fatalf("%.60s: %v", sql, err)
	}
}

func list(t *testing.T, conn *pgx.Conn, sql string) []string {
	t.Helper()
	rows, err := conn.Query(t.Context(), sql)
	if err != nil {
		t.Fatalf("%.60s: %v", sql, err)
	}
	s, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		t.Fatalf("%.60s: %v", sql, err)
	}
	return s
}

func TestSchemaLeadsWithTheTenant(t *testing.T) {
	t.Parallel()
	super, _ := prepare(t)
	for what, sql := range map[string]string{
		"tables without tenant_id uuid NOT NULL first": `SELECT c.relname::text FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum = 1
			WHERE relnamespace = 'app'::regnamespace AND relkind = 'r' AND NOT (attname = 'tenant_id' AND atttypid = 'uuid'::regtype AND attnotnull)`,
		"indexes":      `SELECT x.indexrelid::regclass::text FROM pg_index x JOIN pg_class c ON c.oid = x.indrelid WHERE relnamespace = 'app'::regnamespace AND indkey[0] <> 1`,
		"foreign keys": `SELECT conname::text FROM pg_constraint WHERE connamespace = 'app'::regnamespace AND contype = 'f' AND (conkey[1] <> 1 OR confkey[1] <> 1)`,
		"foreign keys without an index": `SELECT conname::text FROM pg_constraint f WHERE connamespace = 'app'::regnamespace AND contype = 'f'
			AND NOT EXISTS (SELECT FROM pg_index x WHERE x.indrelid = f.conrelid AND (x.indkey::int2[])[0:1] = f.conkey)`,
		"other kinds of relation": `SELECT relname::text FROM pg_class WHERE relnamespace = 'app'::regnamespace AND relkind NOT IN ('r', 'i')`,
		"other owners":            `SELECT relname::text FROM pg_class WHERE relnamespace = 'app'::regnamespace AND relowner <> 'app_owner'::regrole`,
	} {
		if bad := list(t, super, sql); len(bad) > 0 {
			t.Errorf("%s: %q", what, bad)
		}
	}
	for what, sql := range map[string]string{
		"tables":       `SELECT relname::text FROM pg_class WHERE relnamespace = 'app'::regnamespace AND relkind = 'r' OFFSET 11`,
		"an enum":      `SELECT typname::text FROM pg_type WHERE typnamespace = 'app'::regnamespace AND typtype = 'e'`,
		"jsonb":        `SELECT attname::text FROM pg_attribute JOIN pg_class c ON c.oid = attrelid WHERE relnamespace = 'app'::regnamespace AND atttypid = 'jsonb'::regtype`,
		"an array":     `SELECT attname::text FROM pg_attribute JOIN pg_class c ON c.oid = attrelid WHERE relnamespace = 'app'::regnamespace AND attndims = 1`,
		"foreign keys": `SELECT conname::text FROM pg_constraint WHERE connamespace = 'app'::regnamespace AND contype = 'f'`,
	} {
		if len(list(t, super, sql)) == 0 {
			t.Errorf("there is none of: %s", what)
		}
	}
}

func TestLoad(t *testing.T) {
	t.Parallel()
	super, tenants := prepare(t, Kinds...)
	for kind, conn := range tenants {
		last, total := 0, 1
		err := Load(t.Context(), conn, kind, func(done, of int) {
			if done <= last {
				t.Errorf("%s: %d rows after %d", kind, done, last)
			}
			last, total = done, of
		})
		if err != nil || last != total {
			t.Fatalf("%s: %d of %d rows, %v", kind, last, total, err)
		}
	}
	same := func(what, sql string) {
		t.Helper()
		if got := list(t, super, "SELECT count(DISTINCT x)::text FROM (SELECT "+sql+" AS x FROM app."+what+" GROUP BY tenant_id) AS s"); got[0] != "1" {
			t.Errorf("%s: %s differs between tenants", what, sql)
		}
	}
	same("person", "string_agg(id || ' ' || external_no, ',' ORDER BY id)")
	same("document", "string_agg(id || ' ' || person_id, ',' ORDER BY id)")
	same("message", "string_agg(id::text, ',' ORDER BY id)")
	same("task", "string_agg(id::text, ',' ORDER BY id)")
	same("label", "string_agg(id::text, ',' ORDER BY id)")
	for kind, conn := range tenants {
		if got := list(t, conn, "SELECT min(external_no) || ' ' || max(external_no) || ' ' || count(*) FROM app.person"); got[0] != "100001 100400 400" {
			t.Errorf("%s: persons %q", kind, got)
		}
		if got := list(t, conn, "SELECT 'few' FROM app.document HAVING count(*) < 2000"); len(got) > 0 {
			t.Errorf("%s has too few documents", kind)
		}
		if got := list(t, conn, "SELECT body FROM app.document WHERE body NOT LIKE '["+string(kind)+", no. %' LIMIT 1"); len(got) > 0 {
			t.Errorf("%s has a document of another: %q", kind, got)
		}
	}
	if got := list(t, super, "SELECT body FROM app.document GROUP BY body HAVING count(DISTINCT tenant_id) > 1 LIMIT 1"); len(got) > 0 {
		t.Errorf("two tenants share a text: %q", got)
	}
}

func TestLoadIsResumed(t *testing.T) {
	t.Parallel()
	_, tenants := prepare(t, Clinic)
	conn := tenants[Clinic]
	stopped := errors.New("stopped here")
	ctx, cancel := context.WithCancelCause(t.Context())
	config := conn.Config()
	first, err := pgx.ConnectConfig(ctx, config)
	if err != nil {
		t.Fatal(err)
	}
	err = Load(ctx, first, Clinic, func(done, total int) {
		if done > total/2 {
			cancel(stopped)
		}
	})
	_ = first.Close(context.Background())
	if err == nil {
		t.Fatal("control: the first load was not stopped")
	}
	steps := func() (n int) {
		t.Helper()
		if err := Load(t.Context(), conn, Clinic, func(int, int) { n++ }); err != nil {
			t.Fatal(err)
		}
		return n
	}
	tables, err := generate(Clinic)
	if err != nil {
		t.Fatal(err)
	}
	if steps() <= len(tables) {
		t.Error("control: the first load was whole")
	}
	if n := steps(); n != len(tables) {
		t.Errorf("a load of what is there takes %d steps for %d tables", n, len(tables))
	}
	for _, table := range tables {
		if got := list(t, conn, "SELECT count(*)::text FROM app."+table.name); got[0] != fmt.Sprint(len(table.rows)) {
			t.Errorf("%s has %s rows, not %d", table.name, got[0], len(table.rows))
		}
	}
}

func TestStatementsDoNotNameTheTenant(t *testing.T) {
	t.Parallel()
	for _, kind := range Kinds {
		tables, err := generate(kind)
		if err != nil {
			t.Fatal(err)
		}
		for _, table := range tables {
			if strings.Contains(table.insert(2), "tenant_id") {
				t.Error(table.insert(2))
			}
		}
	}
}
