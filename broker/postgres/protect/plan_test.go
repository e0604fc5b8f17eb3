package protect_test

import (
	"context"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/isocore/isocore/broker/postgres/protect"
	"github.com/isocore/isocore/local/localtest"
	"github.com/isocore/isocore/secret"
	"github.com/jackc/pgx/v5"
)

// TestPlanAgain: where everything is done there is nothing to do, and what
// somebody undid is done again, until the doctor is content.
func TestPlanAgain(t *testing.T) {
	w := newWorld(t)
	steps, findings, err := protect.Plan(t.Context(), w.super, w.options)
	must(t, err)
	if len(steps) != 0 || protect.Errors(findings) != nil {
		t.Errorf("after Apply: %v %v", steps, findings)
	}
	for _, undo := range []string{
		`GRANT SELECT ON app.plain TO PUBLIC`,
		`GRANT ALL ON app.docs TO isocore_rt, PUBLIC`,
		`GRANT SELECT (xmin) ON app.docs TO isocore_rt`,
		`REVOKE SELECT (body) ON app.docs FROM isocore_rt`,
		`REVOKE DELETE ON app.docs FROM isocore_rt`,
		`ALTER TABLE app.docs ADD COLUMN later text`,
		`ALTER TABLE app.docs NO FORCE ROW LEVEL SECURITY`,
		`ALTER TABLE app.docs DISABLE ROW LEVEL SECURITY`,
		`DROP POLICY isocore_tenant ON app.docs; DROP POLICY isocore_open ON app.docs; DROP POLICY isocore_update ON app.docs`,
		`ALTER POLICY isocore_tenant ON app.docs USING (true)`,
		`CREATE POLICY own ON app.docs USING (true)`,
		`ALTER TABLE app.docs ALTER tenant_id DROP DEFAULT`,
		`CREATE TABLE app.more (tenant_id uuid, id int)`,
		`CREATE TABLE app.event_2040 (LIKE app.event INCLUDING ALL); GRANT SELECT ON app.event_2040 TO PUBLIC`,
		`CREATE VIEW app.v AS SELECT * FROM app.docs; GRANT SELECT ON app.v TO isocore_rt`,
		`CREATE VIEW app.v WITH (security_invoker = true) AS SELECT * FROM app.docs`,
		`CREATE MATERIALIZED VIEW app.m AS SELECT * FROM app.docs; GRANT SELECT ON app.m TO isocore_rt`,
		`CREATE SEQUENCE app.s; GRANT SELECT, UPDATE ON SEQUENCE app.s TO isocore_rt`,
		`CREATE FUNCTION app.f() RETURNS int LANGUAGE sql VOLATILE AS 'SELECT 1'`,
		`CREATE FUNCTION app.f() RETURNS int LANGUAGE sql STABLE AS 'SELECT 1'; REVOKE ALL ON FUNCTION app.f() FROM PUBLIC`,
		`CREATE FUNCTION app.f() RETURNS int LANGUAGE sql STABLE SECURITY DEFINER AS 'SELECT 1'`,
		`CREATE PROCEDURE app.p() LANGUAGE sql AS 'SELECT 1'`,
		`CREATE EXTENSION dblink SCHEMA public`,
		`CREATE EXTENSION tablefunc SCHEMA public`,
		`ALTER DEFAULT PRIVILEGES FOR ROLE app_owner GRANT ALL ON TABLES TO isocore_rt`,
		`ALTER DEFAULT PRIVILEGES FOR ROLE app_owner IN SCHEMA app GRANT ALL ON SEQUENCES TO PUBLIC`,
		`ALTER DEFAULT PRIVILEGES FOR ROLE app_owner GRANT EXECUTE ON FUNCTIONS TO PUBLIC`,
		`GRANT CREATE ON SCHEMA app, public TO PUBLIC, isocore_rt; GRANT CREATE ON DATABASE {db} TO isocore_rt`,
		`REVOKE USAGE ON SCHEMA app FROM isocore_rt`,
		`ALTER ROLE isocore_login IN DATABASE {db} RESET search_path`,
	} {
		undo = strings.ReplaceAll(undo, "{db}", w.name)
		tx, err := w.super.Begin(t.Context())
		must(t, err)
		_, err = tx.Exec(t.Context(), undo)
		must(t, err)
		steps, _, err := protect.ApplyIn(t.Context(), tx, w.options)
		if err != nil || len(steps) == 0 {
			t.Errorf("%s: %d steps, %v", undo, len(steps), err)
		}
		findings, err := protect.CheckIn(t.Context(), tx, w.options)
		must(t, err)
		for _, f := range findings {
			if f.Severity != protect.Note {
				t.Errorf("%s: %v", undo, f)
			}
		}
		must(t, tx.Rollback(t.Context()))
	}
}

// TestPlanRefuses: what no statement of ours can mend changes nothing.
func TestPlanRefuses(t *testing.T) {
	w := newWorld(t)
	for code, sql := range map[string]string{
		"index-lead":  `CREATE TABLE app.bad (tenant_id uuid, id int PRIMARY KEY)`,
		"tenant-type": `CREATE TABLE app.bad (tenant_id text)`,
		"foreign-key": `CREATE TABLE app.worse (tenant_id uuid, id int, UNIQUE (tenant_id, id)); CREATE TABLE app.bad (tenant_id uuid, t uuid, id int, FOREIGN KEY (t, id) REFERENCES app.worse (tenant_id, id))`,
	} {
		tx, err := w.super.Begin(t.Context())
		must(t, err)
		_, err = tx.Exec(t.Context(), sql)
		must(t, err)
		steps, findings, err := protect.ApplyIn(t.Context(), tx, w.options)
		if err == nil || !strings.Contains(err.Error(), code) || !strings.Contains(err.Error(), "app.bad") || !slices.ContainsFunc(findings, func(f protect.Finding) bool { return f.Code == code && f.Hint != "" }) {
			t.Errorf("%s: %v, %v, %v", code, steps, findings, err)
		}
		must(t, tx.Rollback(t.Context()))
	}
	o := w.options
	o.Schemas = []string{"app", "nowhere"}
	if _, _, err := protect.Apply(t.Context(), w.super, o); err == nil || !strings.Contains(err.Error(), "nowhere") {
		t.Errorf("a schema that is not there: %v", err)
	}
	w.do(t, `CREATE TABLE app.holed (tenant_id uuid); INSERT INTO app.holed VALUES (NULL)`)
	if _, _, err := protect.Apply(t.Context(), w.super, w.options); err == nil || !strings.Contains(err.Error(), "app.holed") {
		t.Errorf("rows of nobody: %v", err)
	}
}

// TestOptions: names that are not an application's.
func TestOptions(t *testing.T) {
	for _, o := range []protect.Options{
		{Schemas: []string{"pg_catalog"}},
		{Schemas: []string{"isocore"}},
		{Schemas: []string{"isocore_compat"}},
		{Schemas: []string{"information_schema"}},
		{Schemas: []string{""}},
		{Schemas: []string{"a\x00"}},
		{Column: strings.Repeat("x", 64)},
	} {
		if err := protect.Install(t.Context(), nil, o); err == nil {
			t.Errorf("%+v was taken", o)
		}
		if _, _, err := protect.Plan(t.Context(), nil, o); err == nil {
			t.Errorf("%+v was taken", o)
		}
		if _, err := protect.Check(t.Context(), nil, o); err == nil {
			t.Errorf("%+v was taken", o)
		}
	}
	w := newOpenWorld(t)
	o := w.options
	o.LoginPassword = secret.New("pass\nword")
	if err := protect.Install(t.Context(), w.super, o); err == nil || strings.Contains(err.Error(), "pass\n") {
		t.Errorf("a password with a newline: %v", err)
	}
}

// TestNoSchemas: without application schemas there is still something to check.
func TestNoSchemas(t *testing.T) {
	w := newWorld(t)
	steps, findings, err := protect.Plan(t.Context(), w.super, protect.Options{})
	must(t, err)
	if len(steps) == 0 || protect.Errors(findings) != nil { // the grants in app are to be taken back
		t.Errorf("%v %v", steps, findings)
	}
	findings, err = protect.Check(t.Context(), w.super, protect.Options{})
	must(t, err)
	if !slices.ContainsFunc(findings, func(f protect.Finding) bool { return f.Code == "role-setting" }) {
		t.Errorf("%v", findings)
	}
}

// TestNotNewer: an older program leaves a newer schema alone.
func TestNotNewer(t *testing.T) {
	w := newOpenWorld(t)
	w.do(t, `UPDATE isocore.installed SET version = version + 1`)
	if err := protect.Install(t.Context(), w.super, w.options); err == nil || !strings.Contains(err.Error(), "newer") {
		t.Errorf("installed: %v", err)
	}
}

// TestNames: nothing depends on names being plain, and the functions named in
// the options are open.
func TestNames(t *testing.T) {
	w := newOpenWorld(t)
	w.do(t, `CREATE SCHEMA "My ""App"; CREATE SCHEMA "user";
		CREATE TABLE "My ""App"."T%s" ("select" uuid, "a, b" int, PRIMARY KEY ("select", "a, b"));
		CREATE TABLE "user"."order" ("select" uuid);
		CREATE FUNCTION "user"."do it"(int, text) RETURNS int LANGUAGE sql VOLATILE AS 'SELECT $1';
		CREATE FUNCTION "user".other(timestamptz) RETURNS int LANGUAGE sql VOLATILE AS 'SELECT 1';
		CREATE VIEW "user"."v w" AS SELECT 1 AS x; GRANT SELECT ON "user"."v w" TO PUBLIC`)
	o := protect.Options{Schemas: []string{`My "App`, "user"}, Column: "select", Functions: []string{`"user"."do it"(integer, text)`}}
	_, _, err := protect.Apply(t.Context(), w.super, o)
	must(t, err)
	findings, err := protect.Check(t.Context(), w.super, o)
	must(t, err)
	must(t, protect.Errors(slices.DeleteFunc(findings, func(f protect.Finding) bool { return strings.HasPrefix(f.Object, "app.") })))
	must(t, protect.Seal(t.Context(), w.super))
	tx := w.session(t).as(t, w.a)
	want(t, tx, "1", `INSERT INTO "T%s" ("a, b") VALUES (1) RETURNING "a, b"::text`)
	want(t, tx, "3", `SELECT "do it"(3, '')::text`)
	want(t, tx, `isocore_compat, pg_catalog, "My ""App", "user", pg_temp`, `SHOW search_path`)
	refused(t, tx, "42501", `SELECT other(now())`)
}

// TestManaged: without a superuser everything but the seal can be done, and
// the grade says so.
func TestManaged(t *testing.T) {
	w := newOpenWorld(t) // the roles, made by a superuser for this process
	name := localtest.Database(t)
	super := localtest.Super(t, name)
	exec := func(sql string) {
		t.Helper()
		_, err := super.Exec(context.WithoutCancel(t.Context()), sql)
		must(t, err)
	}
	password := secret.New("only for this test")
	exec(`CREATE ROLE managed LOGIN CREATEROLE PASSWORD '` + password.Reveal() + `'; GRANT app_owner TO managed; ALTER DATABASE ` + name + ` OWNER TO managed`)
	t.Cleanup(func() { exec(`REASSIGN OWNED BY managed TO isocore_admin; DROP OWNED BY managed; DROP ROLE managed`) })
	conn, err := pgx.Connect(t.Context(), localtest.Postgres(t).DSN("managed", password, name).Reveal())
	must(t, err)
	t.Cleanup(func() { _ = conn.Close(context.WithoutCancel(t.Context())) })

	o := protect.Options{Schemas: []string{"app"}, KeeperPassword: keeper, LoginPassword: login}
	for range 2 {
		must(t, protect.Install(t.Context(), conn, o))
	}
	_, err = conn.Exec(t.Context(), `CREATE SCHEMA app AUTHORIZATION app_owner; SET ROLE app_owner; CREATE TABLE app.docs (tenant_id uuid, id int, PRIMARY KEY (tenant_id, id)); RESET ROLE`)
	must(t, err)
	for range 2 {
		_, _, err = protect.Apply(t.Context(), conn, o)
		must(t, err)
	}
	findings, err := protect.Check(t.Context(), conn, o)
	must(t, err)
	must(t, protect.Errors(findings))
	isSealed, findings, err := protect.Grade(t.Context(), conn)
	must(t, err)
	if isSealed || len(findings) < 250 {
		t.Errorf("sealed %v, with %d findings", isSealed, len(findings))
	}
	if protect.Seal(t.Context(), conn) == nil {
		t.Error("sealed without a superuser")
	}
	m := &world{name: name, key: w.key, a: w.a}
	must(t, m.key.Install(t.Context(), m.connect(t, protect.Keeper, keeper), time.Now().Add(time.Hour)))
	s := m.session(t)
	want(t, s.as(t, w.a), "7", `INSERT INTO app.docs (id) VALUES (7) RETURNING id::text`)
	want(t, s, "f", `SELECT pg_has_role('managed', 'isocore_owner', 'MEMBER')`)
}
