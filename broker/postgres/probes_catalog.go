package postgres

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/isocore/isocore/internal/pgwire"
	"github.com/isocore/isocore/prove"
)

// closedFunctions are calls of the server's own functions that look, or reach,
// past row security. A superuser has taken them from everybody: each must be
// refused as 42501. The calls are harmless should they be open.
var closedFunctions = map[string][]string{
	"queries in a string": {
		"query_to_xml('SELECT 1', true, true, '')", "query_to_xmlschema('SELECT 1', true, true, '')", "query_to_xml_and_xmlschema('SELECT 1', true, true, '')",
		"cursor_to_xml('c', 1, true, true, '')", "cursor_to_xmlschema('c', true, true, '')", "table_to_xml('app.isocore_canary', true, true, '')",
		"table_to_xmlschema('app.isocore_canary', true, true, '')", "table_to_xml_and_xmlschema('app.isocore_canary', true, true, '')",
		"schema_to_xml('app', true, true, '')", "schema_to_xml_and_xmlschema('app', true, true, '')", "database_to_xml(true, true, '')",
		"ts_stat('SELECT to_tsvector(''a'')')", "ts_rewrite('a'::tsquery, 'SELECT ''a''::tsquery, ''b''::tsquery')",
	},
	"settings":      {"pg_catalog.set_config('application_name', 'x', true)", "setseed(0.5)"},
	"large objects": {"lo_create(0)", "lo_creat(-1)", "lo_get(1)", "lo_unlink(1)", "lo_open(1, 262144)", "lo_from_bytea(0, '')", "lo_put(1, 0, '')", "loread(0, 1)"},
	"locks": {
		"pg_catalog.pg_advisory_lock(1)", "pg_catalog.pg_try_advisory_lock(1)", "pg_catalog.pg_advisory_xact_lock(1, 2)",
		"pg_catalog.pg_try_advisory_lock_shared(1)", "pg_catalog.pg_advisory_unlock(1)", "pg_catalog.pg_advisory_unlock_all()",
		"pg_lock_status()", "pg_blocking_pids(1)", "pg_safe_snapshot_blocking_pids(1)", "isocore_compat.lock_key('1 1')",
	},
	"channels": {"pg_notify('isocore_canary', 'x')", "pg_listening_channels()", "pg_notification_queue_usage()"},
	"activity": {
		"pg_stat_get_activity(NULL)", "pg_stat_get_backend_idset()", "pg_stat_get_backend_activity(1)", "pg_stat_get_backend_pid(1)", "pg_prepared_xact()",
		"pg_prepared_statement()", "pg_cursor()", "pg_stat_get_db_numbackends(1)", "pg_stat_get_tuples_inserted('app.isocore_canary'::regclass)",
		"pg_stat_get_live_tuples('app.isocore_canary'::regclass)", "pg_stat_get_numscans('app.isocore_canary'::regclass)",
		"pg_stat_get_progress_info('VACUUM')", "pg_stat_clear_snapshot()", "pg_stat_force_next_flush()", "pg_stat_get_wal()",
		"pg_backend_pid()", "inet_client_port()",
	},
	"backends":  {"pg_terminate_backend(-1)", "pg_cancel_backend(-1)", "pg_log_backend_memory_contexts(-1)"},
	"rows":      {"currtid2('app.isocore_canary', '(0,1)')"},
	"size":      {"pg_relation_size('app.isocore_canary')", "pg_total_relation_size('app.isocore_canary')", "pg_table_size('app.isocore_canary')", "pg_indexes_size('app.isocore_canary')", "pg_database_size(current_database())", "pg_tablespace_size('pg_default')"},
	"snapshots": {"txid_current()", "txid_current_snapshot()", "txid_current_if_assigned()", "pg_current_xact_id()", "pg_current_snapshot()", "pg_export_snapshot()", "pg_xact_status('1')", "txid_status(1)", "pg_xact_commit_timestamp('1')", "pg_last_committed_xact()", "pg_get_multixact_members('1')"},
	"wal":       {"pg_current_wal_lsn()", "pg_current_wal_insert_lsn()", "pg_logical_emit_message(false, 'x', 'y')", "pg_get_replication_slots()", "pg_last_wal_replay_lsn()"},
	"server":    {"pg_read_file('PG_VERSION')", "pg_ls_dir('.')", "pg_stat_file('PG_VERSION')", "pg_reload_conf()", "pg_control_system()", "pg_hba_file_rules()", "pg_show_all_file_settings()"},
	"counters":  {"pg_sequence_last_value('pg_class'::regclass)"},
	"keyring":   {"isocore.install_key('00000000', '', '', now())"},
}

// closedRelations may not be read by tenants.
var closedRelations = []string{
	"isocore.key", "isocore.installed", "pg_stat_activity", "pg_stat_ssl", "pg_stat_gssapi", "pg_locks", "pg_prepared_xacts", "pg_prepared_statements", "pg_cursors",
	"pg_stat_user_tables", "pg_stat_all_tables", "pg_statio_user_tables", "pg_stat_database", "pg_stat_bgwriter", "pg_stat_wal", "pg_stat_xact_all_tables",
	"pg_replication_slots", "pg_stat_replication", "pg_sequences", "pg_authid", "pg_shadow", "pg_largeobject", "pg_largeobject_metadata", "pg_statistic",
	"pg_file_settings", "pg_hba_file_rules", "pg_user_mapping", "pg_stat_progress_vacuum", "pg_shmem_allocations", "pg_backend_memory_contexts",
	"pg_subscription", "pg_subscription_rel",
}

// groupRefs say where an attack by a group of functions is known from.
var groupRefs = map[string][]string{
	"queries in a string": {"postgres.md 4", "postgres.md 5", "holes 5"}, "settings": {"postgres.md 6", "holes 3", "holes 25"},
	"large objects": {"postgres.md 11"}, "locks": {"postgres.md 20"}, "channels": {"postgres.md 12"}, "activity": {"postgres.md 13", "holes 25", "holes 29"},
	"backends": {"postgres.md 14", "holes 5"}, "rows": {"holes 20"}, "size": {"postgres.md 17"}, "snapshots": {"holes 29"}, "wal": {"holes 29"},
	"server": {"holes 29"}, "counters": {"holes 26"}, "keyring": {"holes 13"},
}

// functionAttacks call each group of functions.
func functionAttacks() []attack {
	var all []attack
	for _, group := range slices.Sorted(maps.Keys(closedFunctions)) {
		k := attack{
			name: "functions: " + group, rows: []string{"Execute select"}, refs: groupRefs[group], class: prove.CanaryOnly,
			what: "Call each of the server's functions of this group; all are taken from tenants.",
			run:  func(c *act) (*prove.Finding, error) { return c.closed("SELECT %s", closedFunctions[group]) },
		}
		if group != "keyring" && group != "server" {
			k.grade = Sealed
		}
		all = append(all, k)
	}
	return all
}

// catalogAttacks are those on what the database itself forbids.
var catalogAttacks = []attack{
	{
		name: "relations of the server and of isocore", rows: []string{"Execute select", "Execute table"}, class: prove.Passive, grade: Sealed,
		refs: []string{"postgres.md 13", "postgres.md 17", "holes 3", "holes 13", "holes 25", "holes 27", "holes 30"},
		what: "Read the keyring, what others are doing and how much there is of everything.",
		run: func(c *act) (*prove.Finding, error) {
			return c.closed("SELECT count(*) FROM %s", closedRelations)
		},
	},
	{
		name: "system columns", rows: []string{"Execute select"}, class: prove.Passive, refs: []string{"holes 20", "holes 21"},
		what: "Read ctid, xmin and their like, which tell of others' rows.",
		run:  (*act).systemColumns,
	},
	{
		name: "everything that can be read", rows: []string{"Execute select"}, class: prove.Passive,
		refs: []string{"holes 2", "holes 31", "holes 33", "museum 21", "museum 22", "museum 35", "postgres.md 17"},
		what: "Find every relation of the application that A may select from, and look for B's canary in each.",
		run:  (*act).readEverything,
	},
	{
		name: "privileges", rows: []string{"Execute select"}, class: prove.Passive,
		refs: []string{"holes 6", "holes 13", "holes 26", "holes 31", "holes 33", "postgres.md 9", "postgres.md 15", "museum 22"},
		what: "Ask the catalog for any privilege, membership or attribute that a tenant must not have.",
		run:  func(c *act) (*prove.Finding, error) { return c.nothing(privileges) },
	},
	{
		name: "the lock as the catalog shows it", rows: []string{"Execute select"}, class: prove.Passive,
		refs: []string{"holes 2", "holes 6", "holes 10", "holes 22", "holes 27", "holes 31", "holes 35", "museum 21", "postgres.md 16"},
		what: "Ask the catalog for a table in reach without its row security, a key that does not lead with the tenant, a function of ours that is not pinned.",
		run:  func(c *act) (*prove.Finding, error) { return c.nothing(lockShape) },
	},
	{
		name: "write with a token that reads", rows: []string{"Execute insert", "Execute update", "Execute delete", "Execute merge", "Execute with write", "Execute copy write to stdout", "Execute select for update", "Execute set constraints"},
		class: prove.CanaryOnly, refs: []string{"holes 24", "build.md R7"},
		what: "With a token of reach pg:read, write in each way there is, and ask the database itself whether it would let it.",
		run:  (*act).readOnly,
	},
	{
		name: "rows of nobody", rows: []string{"Execute insert", "Execute update"}, class: prove.CanaryOnly,
		refs: []string{"museum 09", "museum 24"},
		what: "Write rows with no tenant, the zero tenant and another's.",
		run:  (*act).nobody,
	},
	{
		name: "advisory locks are a tenant's own", rows: []string{"Execute select"}, class: prove.CanaryOnly, alone: true, refs: []string{"postgres.md 20"},
		what: "Hold an advisory lock as B, and take the one of the same number as A.",
		run:  (*act).advisory,
	},
}

// systemColumns reads each of them.
func (c *act) systemColumns() (*prove.Finding, error) {
	var columns []string
	for _, column := range []string{"ctid", "xmin", "xmax", "cmin", "cmax", "tableoid"} {
		columns = append(columns, column+" FROM "+canaryTable+" LIMIT 1")
	}
	return c.closed("SELECT %s", columns)
}

// closed asks for things that must be refused for want of privilege.
func (c *act) closed(format string, things []string) (*prove.Finding, error) {
	for _, thing := range things {
		text := fmt.Sprintf(format, thing)
		got, err := c.a.query("%s", text)
		if err != nil {
			return nil, err
		}
		if got.code() == "42501" || got.code() == "42883" || got.code() == "42P01" {
			continue // refused, or not there at all in this version
		}
		f := &prove.Finding{Row: Name + "/Execute select", Got: fmt.Sprintf("%s answers %.200s", text, got), Want: "permission denied", Evidence: got.String()}
		if leak := c.leaks("Execute select", text, got); leak != nil {
			f = leak
		}
		return f, nil
	}
	return nil, nil
}

// A question is one to the catalog that must be answered with no row.
type question struct{ what, text string }

// privileges are those that a tenant must not have.
var privileges = []question{
	{"the role is more than a tenant's", "SELECT rolname FROM pg_roles WHERE rolname IN (current_user, session_user) AND (rolsuper OR rolbypassrls OR rolcreaterole OR rolcreatedb OR rolreplication)"},
	{"a membership", "SELECT r.rolname FROM pg_roles r WHERE pg_has_role(current_user, r.oid, 'MEMBER') AND r.rolname <> current_user"},
	{"TEMPORARY or CREATE on the database", "SELECT p FROM (VALUES ('TEMPORARY'), ('CREATE')) v(p) WHERE has_database_privilege(current_database(), p)"},
	{"CREATE on a schema", "SELECT nspname FROM pg_namespace WHERE nspname !~ '^pg_(toast|temp)' AND has_schema_privilege(oid, 'CREATE')"},
	{"a language", "SELECT lanname FROM pg_language WHERE lanname NOT IN ('sql', 'internal', 'c') AND lanpltrusted AND has_language_privilege(oid, 'USAGE')"},
	{"a privilege on a whole table", `SELECT c.oid::regclass, p FROM pg_class c JOIN pg_namespace n ON n.oid = relnamespace, unnest(ARRAY['SELECT', 'INSERT', 'UPDATE', 'TRUNCATE', 'REFERENCES', 'TRIGGER']) p
		WHERE relkind IN ('r', 'p', 'f', 'm') AND nspname NOT IN ('pg_catalog', 'information_schema', 'pg_toast') AND has_table_privilege(c.oid, p)`},
	{"a function of ours that is for the keeper", `SELECT oid::regprocedure FROM pg_proc WHERE pronamespace = 'isocore'::regnamespace AND has_function_privilege(oid, 'EXECUTE')
		AND proname NOT IN ('tenant', 'principal', 'has_scope', 'may_write', 'enter')`},
	{"a sequence", "SELECT oid::regclass FROM pg_class WHERE CASE relkind WHEN 'S' THEN has_sequence_privilege(oid, 'SELECT, UPDATE') END"},
	{"default privileges", "SELECT defaclobjtype FROM pg_default_acl, aclexplode(defaclacl) WHERE grantee IN (0, current_user::regrole) AND defaclobjtype IN ('r', 'S', 'n')"},
	{"something owned", "SELECT oid::regclass FROM pg_class WHERE relowner IN (current_user::regrole, session_user::regrole) UNION ALL SELECT oid::regclass FROM pg_class WHERE relnamespace = pg_my_temp_schema() AND pg_my_temp_schema() <> 0"},
	{"a write to the catalog", "SELECT oid::regclass FROM pg_class WHERE relnamespace = 'pg_catalog'::regnamespace AND relkind IN ('r', 'v') AND has_table_privilege(oid, 'INSERT, UPDATE, DELETE, TRUNCATE')"},
}

// lockShape are ways in which the lock would not be one.
var lockShape = []question{
	{"a table in reach without row security", `SELECT c.oid::regclass FROM pg_class c JOIN pg_namespace n ON n.oid = relnamespace
		WHERE relkind IN ('r', 'p') AND nspname NOT IN ('pg_catalog', 'information_schema') AND has_any_column_privilege(c.oid, 'SELECT, INSERT, UPDATE') AND NOT (relrowsecurity AND relforcerowsecurity)`},
	{"a table in reach without a restrictive policy", `SELECT c.oid::regclass FROM pg_class c JOIN pg_namespace n ON n.oid = relnamespace
		WHERE relkind IN ('r', 'p') AND nspname NOT IN ('pg_catalog', 'information_schema') AND has_any_column_privilege(c.oid, 'SELECT, INSERT, UPDATE')
		AND NOT EXISTS (SELECT FROM pg_policy p WHERE p.polrelid = c.oid AND NOT p.polpermissive AND p.polcmd = '*' AND p.polroles = '{0}' AND p.polqual IS NOT NULL AND p.polwithcheck IS NOT NULL)`},
	{"a canary index that does not lead with the tenant", `SELECT i.indexrelid::regclass FROM pg_index i JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attname = 'tenant_id'
		WHERE i.indrelid = 'app.isocore_canary'::regclass AND i.indkey[0] <> a.attnum`},
	{"a tenant column that may be NULL", "SELECT attnotnull FROM pg_attribute WHERE attrelid = 'app.isocore_canary'::regclass AND attname = 'tenant_id' AND NOT attnotnull"},
	{"a function of ours that is not pinned", `SELECT p.oid::regprocedure FROM pg_proc p WHERE pronamespace IN ('isocore'::regnamespace, 'isocore_compat'::regnamespace)
		AND (proconfig IS DISTINCT FROM '{"search_path=pg_catalog, pg_temp"}'::text[] OR NOT prosecdef OR proowner <> 'isocore_owner'::regrole)`},
	{"a context function that workers may run", `SELECT p.oid::regprocedure FROM pg_proc p WHERE pronamespace = 'isocore'::regnamespace
		AND proname IN ('tenant', 'principal', 'has_scope', 'may_write') AND (proparallel <> 'r' OR provolatile <> 's')`},
	{"a definer function of a role above row security", `SELECT p.oid::regprocedure FROM pg_proc p JOIN pg_roles r ON r.oid = proowner JOIN pg_namespace n ON n.oid = pronamespace
		WHERE prosecdef AND (rolsuper OR rolbypassrls) AND nspname NOT IN ('pg_catalog', 'information_schema') AND has_schema_privilege(n.oid, 'USAGE') AND has_function_privilege(p.oid, 'EXECUTE')`},
	{"a server below the floor", "SELECT v FROM (SELECT current_setting('server_version_num')::int AS v) x WHERE v < 150014 OR v BETWEEN 160000 AND 160009 OR v BETWEEN 170000 AND 170005"},
	{"the statements of others", "SELECT oid::regclass FROM pg_class WHERE relname ~ '^pg_stat_statements' AND has_table_privilege(oid, 'SELECT')"},
	{"a foreign table or materialized view in reach", "SELECT oid::regclass FROM pg_class WHERE relkind IN ('f', 'm') AND has_any_column_privilege(oid, 'SELECT')"},
}

// nothing asks questions whose answer must have no row.
func (c *act) nothing(questions []question) (*prove.Finding, error) {
	for _, q := range questions {
		got, err := c.a.query("%s", q.text)
		if err != nil {
			return nil, err
		}
		if e := got.failure(); e != nil {
			return nil, fmt.Errorf("postgres: %s: %s", q.what, e.Value(pgwire.FieldMessage))
		}
		if v := got.values(); len(v) > 0 {
			return &prove.Finding{Row: Name + "/Execute select", Got: q.what + ": " + strings.Join(v, ", "), Want: "none", Evidence: got.String()}, nil
		}
	}
	return nil, nil
}

// readEverything looks for B's canary in whatever A can read.
func (c *act) readEverything() (*prove.Finding, error) {
	got, err := c.a.query(`SELECT c.oid::regclass::text FROM pg_class c JOIN pg_namespace n ON n.oid = relnamespace
		WHERE relkind IN ('r', 'p', 'v', 'm', 'f') AND nspname NOT IN ('pg_catalog', 'information_schema') AND has_schema_privilege(n.oid, 'USAGE')
		AND has_any_column_privilege(c.oid, 'SELECT') ORDER BY 1`)
	if err != nil {
		return nil, err
	}
	relations := got.values()
	if !slices.Contains(relations, canaryTable) && !slices.Contains(relations, strings.TrimPrefix(canaryTable, "app.")) {
		return nil, errControl
	}
	for _, r := range relations {
		got, err := c.a.query("SELECT t::text FROM %s t WHERE t::text LIKE '%%%s%%' LIMIT 1", r, c.t.B.Canary)
		if err != nil {
			return nil, err
		}
		if f := c.leaks("Execute select", "SELECT FROM "+r, got); f != nil {
			return f, nil
		}
	}
	return nil, nil
}

// readOnly writes with a token that may not.
func (c *act) readOnly() (*prove.Finding, error) {
	a, err := c.enter(&c.t.A, read)
	if err != nil {
		return nil, err
	}
	before, err := a.query("%s", c.rows())
	if err != nil {
		return nil, err
	}
	for row, text := range map[string]string{
		"Execute insert":               "INSERT INTO {} (id, body) VALUES ({id}, 'x')",
		"Execute update":               "UPDATE {} SET body = 'x' WHERE id = {own}",
		"Execute delete":               "DELETE FROM {} WHERE id = {own}",
		"Execute merge":                "MERGE INTO {} USING (SELECT 1) x ON id = {own} WHEN MATCHED THEN DELETE",
		"Execute with write":           "WITH x AS (DELETE FROM {} WHERE id = {own} RETURNING 1) SELECT * FROM x",
		"Execute copy write to stdout": "COPY (DELETE FROM {} WHERE id = {own} RETURNING 1) TO STDOUT",
		"Execute select for update":    "SELECT body FROM {} WHERE id = {own} FOR UPDATE",
		"Execute set constraints":      "SET CONSTRAINTS ALL IMMEDIATE",
		"Execute select":               "SELECT isocore.may_write()",
	} {
		got, err := a.query("%s", pair{text: text}.text4(c, c.id+920))
		if err != nil {
			return nil, err
		}
		if got.code() != "42501" {
			return &prove.Finding{Row: Name + "/" + row, Got: fmt.Sprintf("%s answers %.200s", text, got), Want: "42501", Evidence: got.String()}, nil
		}
	}
	after, err := a.query("%s", c.rows())
	if err != nil {
		return nil, err
	}
	return c.differs("Execute insert", "a read after writes that were refused", after, before), nil
}

// nobody writes rows that are not A's.
func (c *act) nobody() (*prove.Finding, error) {
	for _, id := range []string{"NULL", "'00000000-0000-0000-0000-000000000000'", "'" + c.t.B.ID + "'", "gen_random_uuid()", "NULLIF('', '')::uuid"} {
		for _, text := range []string{
			"INSERT INTO {} (tenant_id, id, body) VALUES (%s, {id}, 'x')",
			"UPDATE {} SET tenant_id = %s WHERE id = {own}",
		} {
			got, err := c.a.query("%s", pair{text: fmt.Sprintf(text, id)}.text4(c, c.id+930))
			if err != nil {
				return nil, err
			}
			if code := got.code(); code != "42501" && code != "23502" {
				return &prove.Finding{Row: Name + "/Execute insert", Got: fmt.Sprintf("%s with %s answers %.200s", text, id, got), Want: "an error", Evidence: got.String()}, nil
			}
		}
	}
	got, err := c.a.query("SELECT count(*) FROM %s WHERE tenant_id IS DISTINCT FROM isocore.tenant()", canaryTable)
	if err != nil || slices.Equal(got.values(), []string{"0"}) {
		return nil, err
	}
	return &prove.Finding{Row: Name + "/Execute select", Got: "rows that are not A's", Want: "0", Evidence: got.String()}, nil
}

// advisory takes the lock that B holds the namesake of.
func (c *act) advisory() (*prove.Finding, error) {
	b, err := c.enter(&c.t.B)
	if err != nil {
		return nil, err
	}
	locks := fmt.Sprintf("SELECT pg_try_advisory_lock(%d), pg_try_advisory_lock(%d, 2), pg_try_advisory_xact_lock(%d)", c.id, c.id, c.id+1)
	// Keys share slots: B waits for those of its connections that are only just ending.
	if _, err := b.query("%s", strings.ReplaceAll(locks, "pg_try_", "pg_")); err != nil {
		return nil, err
	}
	first, err := b.query("BEGIN; %s", locks)
	if err != nil {
		return nil, err
	}
	if !slices.Equal(first.values(), []string{"t", "t", "t"}) {
		return nil, prove.Skip("no advisory locks here: %.200s", first)
	}
	got, err := c.a.query("BEGIN; %s", locks)
	if err != nil {
		return nil, err
	}
	return c.differs("Execute select", locks, got, first), nil
}
