package protect_test

import (
	"context"
	"slices"
	"strings"
	"testing"

	"github.com/isocore/isocore/broker/postgres/protect"
)

// unsafe are changes to a protected, sealed database that [protect.Check] must
// find, each with a change like it that is safe.
var unsafe = []struct {
	code, severity, object, unsafe, safe string
}{
	{"no-tenant", "error", "app.plain", `GRANT SELECT (id) ON app.plain TO isocore_rt`, `GRANT SELECT (id) ON app.plain TO app_owner`},
	{"no-tenant", "error", "app.plain", `GRANT SELECT ON app.plain TO PUBLIC`, ``},
	{
		"no-tenant", "error", "app.later", `ALTER DEFAULT PRIVILEGES FOR ROLE app_owner GRANT SELECT ON TABLES TO isocore_rt; SET ROLE app_owner; CREATE TABLE app.later (id int); RESET ROLE`,
		`SET ROLE app_owner; CREATE TABLE app.later (id int); RESET ROLE`,
	},
	{
		"default-grant", "error", "default privileges of app_owner", `ALTER DEFAULT PRIVILEGES FOR ROLE app_owner IN SCHEMA app GRANT SELECT ON TABLES TO PUBLIC`,
		`ALTER DEFAULT PRIVILEGES FOR ROLE app_owner IN SCHEMA app GRANT SELECT ON TABLES TO pg_monitor`,
	},
	{"default-grant", "error", "default privileges of app_owner", `ALTER DEFAULT PRIVILEGES FOR ROLE app_owner GRANT USAGE ON SEQUENCES TO isocore_rt`, ``},
	{"row-security", "error", "app.docs", `ALTER TABLE app.docs DISABLE ROW LEVEL SECURITY`, `ALTER TABLE app.docs ENABLE ROW LEVEL SECURITY`},
	{"row-security", "error", "app.docs", `ALTER TABLE app.docs NO FORCE ROW LEVEL SECURITY`, ``},
	{"row-security", "error", "app.event_new", `ALTER TABLE app.event_new DISABLE ROW LEVEL SECURITY`, `ALTER TABLE app.plain DISABLE ROW LEVEL SECURITY`},
	{"row-security", "error", "app.event_2030", `SET ROLE app_owner; CREATE TABLE app.event_2030 (LIKE app.event INCLUDING ALL); RESET ROLE; GRANT SELECT (id) ON app.event_2030 TO isocore_rt`, ``},
	{"tenant-policy", "error", "app.docs", `DROP POLICY isocore_tenant ON app.docs`, `CREATE POLICY mine ON app.docs AS RESTRICTIVE USING (id > 0)`},
	{
		"tenant-policy", "error", "app.docs", `DROP POLICY isocore_tenant ON app.docs; CREATE POLICY isocore_tenant ON app.docs AS PERMISSIVE FOR ALL TO PUBLIC
		USING (tenant_id = (SELECT isocore.tenant())) WITH CHECK (tenant_id = (SELECT isocore.tenant()))`,
		`DROP POLICY isocore_tenant ON app.docs; CREATE POLICY isocore_tenant ON app.docs AS RESTRICTIVE FOR ALL TO PUBLIC
		USING (tenant_id = (SELECT isocore.tenant())) WITH CHECK (tenant_id = (SELECT isocore.tenant()))`,
	},
	{"tenant-policy", "error", "app.docs", `ALTER POLICY isocore_tenant ON app.docs USING (true)`, ``},
	{"tenant-policy", "error", "app.docs", `ALTER POLICY isocore_tenant ON app.docs WITH CHECK (true)`, ``},
	{"tenant-policy", "error", "app.docs", `ALTER POLICY isocore_tenant ON app.docs TO app_owner`, ``},
	{"write-policy", "error", "app.docs", `DROP POLICY isocore_delete ON app.docs`, ``},
	{"write-policy", "error", "app.docs", `ALTER POLICY isocore_update ON app.docs WITH CHECK (true)`, ``},
	{"write-policy", "error", "app.docs", `ALTER POLICY isocore_insert ON app.docs WITH CHECK (true)`, ``},
	{"permissive-policy", "warning", "app.docs", `CREATE POLICY own ON app.docs USING (true)`, `CREATE POLICY own ON app.docs TO app_owner USING (true)`},
	{"permissive-policy", "warning", "app.docs", `DROP POLICY isocore_open ON app.docs`, `DROP POLICY isocore_open ON app.docs; CREATE POLICY own ON app.docs USING (true)`},
	{"tenant-nullable", "error", "app.note", `ALTER TABLE app.note DROP CONSTRAINT note_pkey; ALTER TABLE app.note ALTER tenant_id DROP NOT NULL`, `ALTER TABLE app.note DROP CONSTRAINT note_pkey`},
	{"tenant-default", "warning", "app.docs", `ALTER TABLE app.docs ALTER tenant_id DROP DEFAULT`, ``},
	{"tenant-type", "error", "app.odd", `SET ROLE app_owner; CREATE TABLE app.odd (tenant_id text); RESET ROLE; GRANT SELECT (tenant_id) ON app.odd TO isocore_rt`, `CREATE TABLE app.odd (tenant_id text)`},
	{"table-grant", "error", "app.docs", `GRANT SELECT ON app.docs TO isocore_rt`, `GRANT DELETE ON app.docs TO isocore_rt`},
	{"table-grant", "error", "app.docs", `GRANT INSERT ON app.docs TO isocore_rt`, `GRANT INSERT (body) ON app.docs TO isocore_rt`},
	{"table-grant", "error", "app.docs", `GRANT UPDATE ON app.docs TO isocore_rt`, ``},
	{"table-grant", "error", "app.docs", `GRANT TRUNCATE ON app.docs TO isocore_rt`, ``},
	{"table-grant", "error", "app.docs", `GRANT REFERENCES ON app.docs TO isocore_rt`, ``},
	{"table-grant", "error", "app.docs", `GRANT TRIGGER ON app.docs TO isocore_rt`, ``},
	{"table-grant", "error", "app.docs", `GRANT DELETE ON app.docs TO PUBLIC`, `GRANT DELETE ON app.docs TO app_owner`},
	{"table-grant", "error", "app.event_old", `GRANT SELECT ON ALL TABLES IN SCHEMA app TO isocore_rt`, ``},
	{"column-grant", "error", "app.docs", `GRANT SELECT (xmin) ON app.docs TO isocore_rt`, `GRANT SELECT (id) ON app.docs TO isocore_rt`},
	{"column-grant", "error", "app.docs", `GRANT SELECT (body) ON app.docs TO PUBLIC`, ``},
	{"column-grant", "error", "app.docs", `GRANT REFERENCES (id) ON app.docs TO isocore_rt`, ``},
	{"column-closed", "warning", "app.docs", `ALTER TABLE app.docs ADD COLUMN later text`, `ALTER TABLE app.docs ADD COLUMN later text; GRANT SELECT (later) ON app.docs TO isocore_rt`},
	{"role-grant", "error", "app.plain", `GRANT SELECT (id) ON app.plain TO isocore_login`, ``},
	{"role-grant", "error", "app.plain", `GRANT SELECT ON app.plain TO isocore_keeper`, ``},
	{"index-lead", "error", "app.docs", `CREATE INDEX ON app.docs (body)`, `CREATE INDEX ON app.docs (tenant_id, body)`},
	{"index-lead", "error", "app.docs", `CREATE UNIQUE INDEX ON app.docs (id, tenant_id)`, `CREATE UNIQUE INDEX ON app.docs (tenant_id, body, id)`},
	{"index-lead", "error", "app.docs", `CREATE INDEX ON app.docs (lower(body))`, `CREATE INDEX ON app.docs (tenant_id, lower(body))`},
	{"index-lead", "error", "app.note", `ALTER TABLE app.note DROP CONSTRAINT note_pkey; ALTER TABLE app.note ADD PRIMARY KEY (id)`, ``},
	{"index-lead", "error", "app.event_new", `CREATE INDEX ON app.event_new (at)`, `CREATE INDEX ON app.plain (secret)`},
	{
		"foreign-key", "error", "app.note", `TRUNCATE app.docs CASCADE; ALTER TABLE app.docs ADD UNIQUE (id); ALTER TABLE app.note ADD FOREIGN KEY (doc) REFERENCES app.docs (id)`,
		`ALTER TABLE app.note ADD FOREIGN KEY (tenant_id, doc) REFERENCES app.docs (tenant_id, id)`,
	},
	{"foreign-key", "error", "app.note", `ALTER TABLE app.note ADD other uuid; ALTER TABLE app.note ADD FOREIGN KEY (other, doc) REFERENCES app.docs (tenant_id, id)`, ``},
	{"foreign-key", "warning", "app.note", `ALTER TABLE app.note ADD FOREIGN KEY (doc) REFERENCES app.plain (id)`, ``},
	{"index-leakproof", "note", "app.docs", `ALTER TABLE app.docs ADD n numeric; CREATE INDEX ON app.docs (tenant_id, n)`, `CREATE INDEX docs_id ON app.docs (tenant_id, id)`},
	{"shared-sequence", "note", "app.docs", `ALTER TABLE app.docs ADD n int GENERATED ALWAYS AS IDENTITY`, ``},
	{"serial-column", "warning", "app.docs", `ALTER TABLE app.docs ADD n serial`, `ALTER TABLE app.docs ADD n int GENERATED ALWAYS AS IDENTITY`},
	{"sequence-grant", "error", "app.counter", `CREATE SEQUENCE app.counter; GRANT SELECT ON SEQUENCE app.counter TO isocore_rt`, `CREATE SEQUENCE app.counter`},
	{"sequence-grant", "error", "app.counter", `CREATE SEQUENCE app.counter; GRANT UPDATE ON SEQUENCE app.counter TO PUBLIC`, ``},
	{"sequence-grant", "warning", "app.counter", `CREATE SEQUENCE app.counter; GRANT USAGE ON SEQUENCE app.counter TO isocore_rt`, ``},
	{
		"never-granted", "error", "app.sums", `CREATE MATERIALIZED VIEW app.sums AS SELECT tenant_id, count(*) FROM app.docs GROUP BY 1; GRANT SELECT ON app.sums TO isocore_rt`,
		`CREATE MATERIALIZED VIEW app.sums AS SELECT tenant_id, count(*) FROM app.docs GROUP BY 1`,
	},
	{"never-granted", "error", "app.far", `CREATE FOREIGN DATA WRAPPER w; CREATE SERVER s FOREIGN DATA WRAPPER w; CREATE FOREIGN TABLE app.far (tenant_id uuid) SERVER s; GRANT SELECT (tenant_id) ON app.far TO isocore_rt`, ``},
	{"foreign-server", "error", "s", `CREATE FOREIGN DATA WRAPPER w; CREATE SERVER s FOREIGN DATA WRAPPER w; GRANT USAGE ON FOREIGN SERVER s TO isocore_rt`, `CREATE FOREIGN DATA WRAPPER w; CREATE SERVER s FOREIGN DATA WRAPPER w`},
	{"view", "error", "app.v", `CREATE VIEW app.v AS SELECT * FROM app.docs; GRANT SELECT ON app.v TO isocore_rt`, `CREATE VIEW app.v WITH (security_invoker) AS SELECT * FROM app.docs; GRANT SELECT ON app.v TO isocore_rt`},
	{
		"view", "error", "app.v", `SET ROLE app_owner; CREATE VIEW app.v AS SELECT * FROM app.plain; GRANT SELECT ON app.v TO isocore_rt; RESET ROLE`,
		`SET ROLE app_owner; CREATE VIEW app.v AS SELECT * FROM app.plain; RESET ROLE`,
	},
	{"view", "error", "app.v", `SET ROLE app_owner; CREATE VIEW app.u AS SELECT * FROM app.plain; CREATE VIEW app.v AS SELECT * FROM app.u; GRANT SELECT ON app.v TO isocore_rt; RESET ROLE`, ``},
	{"view", "warning", "app.v", `SET ROLE app_owner; CREATE VIEW app.v AS SELECT * FROM app.docs; GRANT SELECT ON app.v TO isocore_rt; RESET ROLE`, ``},
	{
		"definer", "error", "app.f()", `CREATE FUNCTION app.f() RETURNS bigint LANGUAGE sql STABLE SECURITY DEFINER AS 'SELECT count(*) FROM app.docs'`,
		`CREATE FUNCTION app.f() RETURNS bigint LANGUAGE sql STABLE AS 'SELECT count(*) FROM app.docs'`,
	},
	{
		"definer", "warning", "app.f()", `SET ROLE app_owner; CREATE FUNCTION app.f() RETURNS bigint LANGUAGE sql STABLE SECURITY DEFINER AS 'SELECT count(*) FROM app.docs'; GRANT EXECUTE ON FUNCTION app.f() TO isocore_rt; RESET ROLE`,
		`SET ROLE app_owner; CREATE FUNCTION app.f() RETURNS bigint LANGUAGE sql STABLE SECURITY DEFINER AS 'SELECT count(*) FROM app.docs'; RESET ROLE`,
	},
	{"volatile", "warning", "app.f()", `CREATE FUNCTION app.f() RETURNS int LANGUAGE sql VOLATILE AS 'SELECT 1'`, `CREATE FUNCTION app.f() RETURNS int LANGUAGE sql STABLE AS 'SELECT 1'`},
	{
		"trigger", "warning", "app.docs", `CREATE FUNCTION app.f() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER AS 'BEGIN RETURN NEW; END'; CREATE TRIGGER t BEFORE INSERT ON app.docs EXECUTE FUNCTION app.f()`,
		`CREATE FUNCTION app.f() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END'; CREATE TRIGGER t BEFORE INSERT ON app.docs EXECUTE FUNCTION app.f()`,
	},
	{"rule", "warning", "app.docs", `CREATE RULE r AS ON DELETE TO app.docs DO ALSO INSERT INTO app.plain VALUES (old.id, old.body)`, `CREATE RULE r AS ON DELETE TO app.plain DO INSTEAD NOTHING`},
	{"setting", "warning", "log_parameter_max_length", `SET LOCAL log_statement = 'all'; SET LOCAL log_parameter_max_length = -1`, `SET LOCAL log_statement = 'all'; SET LOCAL log_parameter_max_length = 0`},
	{"setting", "error", "standard_conforming_strings", ``, `SET LOCAL standard_conforming_strings = off`}, // of this session only
	{"extension", "error", "public.dblink(text)", `CREATE EXTENSION dblink SCHEMA public`, ``},
	{
		"extension", "error", "public.pg_stat_statements", `CREATE EXTENSION pg_stat_statements SCHEMA public`,
		`CREATE EXTENSION pg_stat_statements SCHEMA public; REVOKE ALL ON ALL TABLES IN SCHEMA public FROM PUBLIC; REVOKE ALL ON ALL FUNCTIONS IN SCHEMA public FROM PUBLIC`,
	},
	{"extension", "error", "public.gen_random_bytes(integer)", ``, `CREATE EXTENSION pgcrypto SCHEMA public`},
	{"function", "error", "isocore.tenant()", `ALTER FUNCTION isocore.tenant() PARALLEL SAFE`, `ALTER FUNCTION isocore.tenant() PARALLEL RESTRICTED`},
	{"function", "error", "isocore.tenant()", `ALTER FUNCTION isocore.tenant() SET search_path = ''`, ``},
	{"function", "error", "isocore.tenant()", `ALTER FUNCTION isocore.tenant() RESET search_path`, ``},
	{"function", "error", "isocore.tenant()", `ALTER FUNCTION isocore.tenant() VOLATILE`, ``},
	{"function", "error", "isocore.tenant()", `ALTER FUNCTION isocore.tenant() SECURITY INVOKER`, ``},
	{"function", "error", "isocore.tenant()", `ALTER FUNCTION isocore.tenant() LEAKPROOF`, ``},
	{"function", "error", "isocore.tenant()", `ALTER FUNCTION isocore.tenant() OWNER TO app_owner`, ``},
	{"function", "error", "isocore.tenant()", `CREATE OR REPLACE FUNCTION isocore.tenant() RETURNS uuid LANGUAGE plpgsql STABLE SECURITY DEFINER PARALLEL RESTRICTED
		SET search_path = pg_catalog, pg_temp AS 'BEGIN RETURN current_setting(''app.tenant'')::uuid; END'`, ``},
	{"function", "error", "isocore.install_key(text, bytea, bytea, timestamp with time zone)", `GRANT EXECUTE ON FUNCTION isocore.install_key(text, bytea, bytea, timestamptz) TO isocore_rt`, ``},
	{"function", "error", "isocore_compat.set_config(text, text, boolean)", `DROP FUNCTION isocore_compat.set_config(text, text, boolean)`, ``},
	{"function", "error", "isocore_compat.now()", `CREATE FUNCTION isocore_compat.now() RETURNS int LANGUAGE sql AS 'SELECT 1'`, ``},
	{"foreign-object", "error", "isocore_compat.docs", `CREATE TABLE isocore_compat.docs (id int)`, ``},
	{"keyring", "error", "isocore.key", `ALTER TABLE isocore.key NO FORCE ROW LEVEL SECURITY`, ``},
	{"keyring", "error", "isocore.key", `CREATE POLICY more ON isocore.key USING (true)`, ``},
	{"keyring", "error", "isocore.key", `GRANT SELECT (kid) ON isocore.key TO isocore_keeper`, ``},
	{"keyring", "error", "isocore.key", `ALTER TABLE isocore.key OWNER TO app_owner`, ``},
	{"schema-owner", "error", "isocore", `ALTER SCHEMA isocore OWNER TO app_owner`, ``},
	{"schema-create", "error", "app", `GRANT CREATE ON SCHEMA app TO isocore_rt`, `GRANT CREATE ON SCHEMA app TO app_owner`},
	{"schema-create", "error", "public", `GRANT CREATE ON SCHEMA public TO PUBLIC`, ``},
	{"schema-create", "error", "{db}", `GRANT CREATE ON DATABASE {db} TO PUBLIC`, ``},
	{"role", "error", "isocore_rt", `ALTER ROLE isocore_rt BYPASSRLS`, ``},
	{"role", "error", "isocore_rt", `ALTER ROLE isocore_rt LOGIN`, ``},
	{"role", "error", "isocore_login", `ALTER ROLE isocore_login SUPERUSER`, ``},
	{"role", "error", "isocore_login", `ALTER ROLE isocore_login INHERIT`, ``},
	{"role", "error", "isocore_keeper", `ALTER ROLE isocore_keeper CREATEROLE`, ``},
	{"role", "error", "app_owner", `ALTER ROLE app_owner BYPASSRLS`, ``},
	{"membership", "error", "isocore_rt", `GRANT app_owner TO isocore_rt`, ``},
	{"membership", "error", "isocore_login", `GRANT pg_read_all_stats TO isocore_login`, ``},
	{"membership", "error", "app_owner", `GRANT isocore_owner TO app_owner`, ``},
	{"membership", "error", "isocore_login", `REVOKE isocore_rt FROM isocore_login`, ``},
	{"membership", "error", "isocore_login", `GRANT isocore_rt TO isocore_login WITH ADMIN OPTION`, ``},
	{"ownership", "error", "isocore_rt", `ALTER TABLE app.plain OWNER TO isocore_rt`, ``},
	{"role-setting", "error", "isocore_login", `ALTER ROLE isocore_login SET default_transaction_read_only = on`, ``},
	{"role-setting", "error", "isocore_login", `ALTER ROLE isocore_login SET temp_file_limit = '2GB'`, `ALTER ROLE isocore_login SET temp_file_limit = 1048576`},
	{"role-setting", "error", "isocore_login", `ALTER ROLE isocore_login SET search_path = pg_temp`, ``},
	{"role-setting", "error", "isocore_login", `ALTER ROLE isocore_login IN DATABASE {db} SET search_path = app, pg_catalog`, ``},
	{"role-setting", "error", "isocore_rt", `ALTER ROLE isocore_rt SET work_mem = '2GB'`, ``},
	{"role-setting", "warning", "isocore_login", `ALTER ROLE isocore_login IN DATABASE {db} RESET search_path`, ``},
	{"database-setting", "error", "every session", `ALTER DATABASE {db} SET isocore.ctx = 'x'`, `ALTER DATABASE {db} SET work_mem = '4MB'`},
	{"database-setting", "error", "every session", `ALTER DATABASE {db} SET standard_conforming_strings = off`, ``},
	{"parameter-grant", "error", "session_replication_role", `GRANT SET ON PARAMETER session_replication_role TO isocore_rt`, ``},
	{"reads-all", "warning", "app_owner", `GRANT pg_read_all_data TO app_owner`, ``},
	{"createrole", "warning", "app_owner", `ALTER ROLE app_owner CREATEROLE`, ``},
	{"bypass", "note", "backs_up", `CREATE ROLE backs_up BYPASSRLS`, `CREATE ROLE backs_up`},
}

// TestCheck makes each unsafe change in a transaction of its own, and looks for
// the one finding; the safe change must not bring it.
func TestCheck(t *testing.T) {
	w := newWorld(t)
	clean, err := protect.Check(t.Context(), w.connect(t, protect.Keeper, keeper), w.options) // a login that reads catalogs only
	must(t, err)
	for _, f := range clean {
		if f.Severity != protect.Note {
			t.Errorf("before any change: %v", f)
		}
	}
	for _, u := range unsafe {
		object := strings.ReplaceAll(u.object, "{db}", w.name)
		if u.unsafe != "" {
			findings, ok := w.checkAfter(t, u.unsafe)
			if ok && !slices.ContainsFunc(findings, func(f protect.Finding) bool {
				return f.Code == u.code && f.Object == object && f.Severity.String() == u.severity && f.Text != ""
			}) {
				t.Errorf("%s\nfinds %v, not %s: %s: %s", u.unsafe, findings, u.severity, u.code, object)
			}
		}
		if u.safe == "" {
			continue
		}
		findings, ok := w.checkAfter(t, u.safe)
		if ok && slices.ContainsFunc(findings, func(f protect.Finding) bool { return f.Code == u.code && f.Object == object }) {
			t.Errorf("%s\nfinds %v", u.safe, findings)
		}
	}
}

// checkAfter makes a change, checks, and takes the change back.
func (w *world) checkAfter(t *testing.T, change string) (findings []protect.Finding, ok bool) {
	t.Helper()
	tx, err := w.super.Begin(t.Context())
	must(t, err)
	defer tx.Rollback(context.WithoutCancel(t.Context())) //nolint:errcheck // nothing of it shall stay
	if _, err := tx.Exec(t.Context(), strings.ReplaceAll(change, "{db}", w.name)); err != nil {
		if strings.Contains(err.Error(), "extension control file") {
			t.Logf("missing: %v", err)
			return nil, false
		}
		t.Fatalf("%s: %v", change, err)
	}
	findings, err = protect.CheckIn(t.Context(), tx, w.options)
	must(t, err)
	return findings, true
}

// TestCheckNothing: without the roles there is one finding, not a failure.
func TestCheckNothing(t *testing.T) {
	w := newWorld(t)
	tx, err := w.super.Begin(t.Context())
	must(t, err)
	defer tx.Rollback(context.WithoutCancel(t.Context())) //nolint:errcheck // the test is over
	_, err = tx.Exec(t.Context(), `ALTER ROLE isocore_rt RENAME TO something_else`)
	must(t, err)
	findings, err := protect.CheckIn(t.Context(), tx, w.options)
	must(t, err)
	if protect.Errors(findings) == nil || findings[len(findings)-1].Code != "not-installed" {
		t.Errorf("found %v", findings)
	}
}

// TestOurs: what the doctor expects is read from every script.
func TestOurs(t *testing.T) {
	names := protect.Named()
	if len(names) != protect.Created() || !slices.Contains(names, "isocore.install_key(text, bytea, bytea, timestamp with time zone)") {
		t.Errorf("%d of %d functions: %v", len(names), protect.Created(), names)
	}
}

// TestSupported: the floor.
func TestSupported(t *testing.T) {
	for version, want := range map[int]bool{
		0: false, 90624: false, 140019: false, 150013: false, 150014: true, 150018: true, 160009: false, 160010: true, 170005: false, 170006: true, 180000: true, 190000: true,
	} {
		if protect.Supported(version) != want {
			t.Errorf("%d: supported is %v", version, !want)
		}
	}
}
