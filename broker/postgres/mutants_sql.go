//go:build mutant

package postgres

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5"

	"github.com/isocore/isocore/prove"
)

// tenantPolicyBack is the tenant policy as protect writes it.
const tenantPolicyBack = "DROP POLICY IF EXISTS isocore_tenant ON " + canaryTable + "; CREATE POLICY isocore_tenant ON " + canaryTable +
	" AS RESTRICTIVE FOR ALL TO PUBLIC USING (tenant_id = (SELECT isocore.tenant())) WITH CHECK (tenant_id = (SELECT isocore.tenant()))"

// columnsBack takes a grant on the whole canary table back.
const columnsBack = "REVOKE SELECT ON " + canaryTable + " FROM isocore_rt; GRANT SELECT (tenant_id, id, body) ON " + canaryTable + " TO isocore_rt"

// An edit replaces a part of a function's text, which must be there.
type edit struct{ from, to string }

// The parts of the check of a context.
var (
	withoutMAC   = edit{"= substr(raw, 107, 64)", "IS DISTINCT FROM ''::bytea"}
	withoutPast  = edit{">= convert_to(encode(timestamptz_send(transaction_timestamp() - interval '2 seconds'), 'hex'), 'UTF8')", "IS NOT NULL"}
	anyBackend   = edit{"int4send(pg_backend_pid())", "int4send(any_backend.pid)"}
	anyBackendIf = edit{"IF (convert_to(", "IF (SELECT bool_or(convert_to("}
	anyBackendTo = edit{") IS NOT TRUE THEN", ") FROM isocore.mutant_backends() AS any_backend(pid)) IS NOT TRUE THEN"}
	secondEnter  = edit{"was <> '' AND was IS DISTINCT FROM enter.ctx", "false"}
)

// sql applies and mends by statements of the superuser.
func (l *Lab) sql(apply, undo string) change {
	return func(ctx context.Context) (func(context.Context) error, error) {
		if _, err := l.Super.Exec(ctx, apply); err != nil {
			return nil, fmt.Errorf("%s: %w", apply, err)
		}
		return func(ctx context.Context) error {
			_, err := l.Super.Exec(ctx, undo)
			return err
		}, nil
	}
}

// function edits the text of a function.
func (l *Lab) function(signature string, edits ...edit) change {
	return func(ctx context.Context) (func(context.Context) error, error) {
		var was string
		if err := l.Super.QueryRow(ctx, "SELECT pg_get_functiondef($1::regprocedure)", signature).Scan(&was); err != nil {
			return nil, err
		}
		is := was
		for _, e := range edits {
			if strings.Count(is, e.from) != 1 {
				return nil, fmt.Errorf("%s: %q does not stand there once", signature, e.from)
			}
			is = strings.ReplaceAll(is, e.from, e.to)
		}
		return l.sql(is, was)(ctx)
	}
}

// backends makes the function that lists every backend's process id.
func (l *Lab) backends() change {
	return l.sql(`CREATE FUNCTION isocore.mutant_backends() RETURNS SETOF integer LANGUAGE sql STABLE SECURITY DEFINER AS 'SELECT pid FROM pg_stat_get_activity(NULL)';
		GRANT EXECUTE ON FUNCTION isocore.mutant_backends() TO PUBLIC`, "DROP FUNCTION isocore.mutant_backends()")
}

const grantSetConfig, revokeSetConfig = "GRANT EXECUTE ON FUNCTION pg_catalog.set_config(text, text, boolean) TO PUBLIC",
	"REVOKE EXECUTE ON FUNCTION pg_catalog.set_config(text, text, boolean) FROM PUBLIC"

// A weakening is a mutant of the database in two texts of SQL. In them {} is
// the canary table.
type weakening struct {
	name        string
	rows        []string
	by          string // the probe; "" is all of the rows'
	canary      bool
	apply, undo string
}

// The rows and probes that mutants of the database name most.
var (
	selects = []string{"Execute select"}
	writes  = []string{"Execute insert", "Execute update", "Execute delete", "Execute merge", "Execute with write", "Execute copy write to stdout"}
)

const (
	byEverything = "everything that can be read"
	byShape      = "the lock as the catalog shows it"
	byPrivileges = "privileges"
)

// weakenings are those of row security, grants and what can be reached.
var weakenings = []weakening{
	{"tenant() is not pinned", selects, byShape, false, "ALTER FUNCTION isocore.tenant() RESET search_path", "ALTER FUNCTION isocore.tenant() SET search_path = pg_catalog, pg_temp"},
	{"has_scope() is a superuser's", selects, byShape, false, "ALTER FUNCTION isocore.has_scope(text) OWNER TO CURRENT_USER", "ALTER FUNCTION isocore.has_scope(text) OWNER TO isocore_owner"},
	{"tenant() may run in workers", selects, byShape, false, "ALTER FUNCTION isocore.tenant() PARALLEL SAFE", "ALTER FUNCTION isocore.tenant() PARALLEL RESTRICTED"},

	{"no row security", []string{"Execute select", "Execute table", "Execute copy to stdout", "Execute delete"}, "", true, "ALTER TABLE {} DISABLE ROW LEVEL SECURITY", "ALTER TABLE {} ENABLE ROW LEVEL SECURITY"},
	{"the tenant policy is permissive", []string{"Execute values", "Execute with", "Execute with write", "Execute merge"}, "", true, "DROP POLICY isocore_tenant ON {}; CREATE POLICY isocore_tenant ON {} USING (tenant_id = (SELECT isocore.tenant()))", tenantPolicyBack},
	{"the tenant policy is one of reading alone", []string{"Execute insert"}, "", false, "DROP POLICY isocore_tenant ON {}; CREATE POLICY isocore_tenant ON {} AS RESTRICTIVE FOR SELECT USING (tenant_id = (SELECT isocore.tenant()))", tenantPolicyBack},
	{"the tenant policy is not for everybody", []string{"Execute declare", "Execute fetch"}, "", true, "ALTER POLICY isocore_tenant ON {} TO isocore_owner", tenantPolicyBack},
	{"the tenant policy checks no new rows", []string{"Execute insert", "Execute update"}, "", false, "ALTER POLICY isocore_tenant ON {} WITH CHECK (true)", tenantPolicyBack},
	{"the tenant policy hides no rows", []string{"Execute select for update", "Execute update", "Execute copy write to stdout"}, "", true, "ALTER POLICY isocore_tenant ON {} USING (true)", tenantPolicyBack},
	{"the runtime role is above row security", selects, byEverything, true, "ALTER ROLE isocore_rt BYPASSRLS", "ALTER ROLE isocore_rt NOBYPASSRLS"},
	{"no FORCE", selects, byShape, false, "ALTER TABLE {} NO FORCE ROW LEVEL SECURITY", "ALTER TABLE {} FORCE ROW LEVEL SECURITY"},
	{"no FORCE, and a view of the owner's", selects, byEverything, true, "ALTER TABLE {} NO FORCE ROW LEVEL SECURITY; CREATE VIEW app.mutant AS SELECT * FROM {}; ALTER VIEW app.mutant OWNER TO app_owner; GRANT SELECT ON app.mutant TO isocore_rt", "DROP VIEW app.mutant; ALTER TABLE {} FORCE ROW LEVEL SECURITY"},
	{"a unique index over all tenants", []string{"Execute insert"}, "Execute insert tells B's row from none", false, "CREATE UNIQUE INDEX mutant ON {} (id) WHERE id % 1000 BETWEEN 500 AND 899", "DROP INDEX app.mutant"},
	{"an index over all tenants", selects, byShape, false, "CREATE INDEX mutant ON {} (id)", "DROP INDEX app.mutant"},

	{"a view of a superuser's", selects, byEverything, true, "CREATE VIEW app.mutant AS SELECT * FROM {}; GRANT SELECT ON app.mutant TO isocore_rt", "DROP VIEW app.mutant"},
	{"a table nobody protected", selects, byEverything, true, "CREATE TABLE app.mutant AS SELECT '{canary}'::text AS body; GRANT SELECT ON app.mutant TO isocore_rt", "DROP TABLE app.mutant"},
	{"a table granted to everybody", selects, byEverything, true, "CREATE TABLE app.mutant AS SELECT '{canary}'::text AS body; GRANT SELECT (body) ON app.mutant TO PUBLIC", "DROP TABLE app.mutant"},
	{"a materialized view", selects, byEverything, true, "CREATE MATERIALIZED VIEW app.mutant AS SELECT '{canary}'::text AS body; GRANT SELECT ON app.mutant TO isocore_rt", "DROP MATERIALIZED VIEW app.mutant"},
	{"a definer function of a superuser's", selects, byShape, false, "CREATE FUNCTION app.mutant() RETURNS bigint LANGUAGE sql SECURITY DEFINER AS 'SELECT count(*) FROM {}'; GRANT EXECUTE ON FUNCTION app.mutant() TO isocore_rt", "DROP FUNCTION app.mutant()"},
	{"a grant on the whole table", selects, "system columns", false, "GRANT SELECT ON {} TO isocore_rt", columnsBack},
	{"the keyring is readable", selects, "relations of the server and of isocore", false, "GRANT SELECT ON isocore.key TO isocore_rt; CREATE POLICY mutant ON isocore.key TO isocore_rt USING (true)", "REVOKE ALL ON isocore.key FROM isocore_rt; DROP POLICY mutant ON isocore.key"},
	{"tenants may retire keys", selects, byPrivileges, false, "GRANT EXECUTE ON FUNCTION isocore.retire_keys(text) TO isocore_rt", "REVOKE EXECUTE ON FUNCTION isocore.retire_keys(text) FROM isocore_rt"},
	{"TRUNCATE granted", selects, byPrivileges, false, "GRANT TRUNCATE ON {} TO isocore_rt", "REVOKE TRUNCATE ON {} FROM isocore_rt"},
	{"REFERENCES granted", selects, byPrivileges, false, "GRANT REFERENCES ON {} TO isocore_rt", "REVOKE REFERENCES ON {} FROM isocore_rt"},
	{"TRIGGER granted", selects, byPrivileges, false, "GRANT TRIGGER ON {} TO isocore_rt", "REVOKE TRIGGER ON {} FROM isocore_rt"},
	{"CREATE in the schema granted", selects, byPrivileges, false, "GRANT CREATE ON SCHEMA app TO isocore_rt", "REVOKE CREATE ON SCHEMA app FROM isocore_rt"},
	{"plpgsql granted", selects, byPrivileges, false, "GRANT USAGE ON LANGUAGE plpgsql TO isocore_rt", "REVOKE USAGE ON LANGUAGE plpgsql FROM isocore_rt"},
	{"everybody's data granted", selects, byPrivileges, false, "GRANT pg_read_all_data TO isocore_rt", "REVOKE pg_read_all_data FROM isocore_rt"},
	{"the runtime role may make roles", selects, byPrivileges, false, "ALTER ROLE isocore_rt CREATEROLE", "ALTER ROLE isocore_rt NOCREATEROLE"},
	{"a sequence can be set", selects, byPrivileges, false, "CREATE SEQUENCE app.mutant; GRANT UPDATE ON SEQUENCE app.mutant TO isocore_rt", "DROP SEQUENCE app.mutant"},
	{"default privileges", selects, byPrivileges, false, "ALTER DEFAULT PRIVILEGES FOR ROLE app_owner IN SCHEMA app GRANT SELECT ON TABLES TO isocore_rt", "ALTER DEFAULT PRIVILEGES FOR ROLE app_owner IN SCHEMA app REVOKE SELECT ON TABLES FROM isocore_rt"},
}

// lockMutants are those of the database's side.
func (l *Lab) lockMutants() []prove.Mutant {
	all := l.contextMutants()
	fill := strings.NewReplacer("{}", canaryTable, "{canary}", l.Target.B.Canary)
	for _, w := range weakenings {
		m := prove.Mutant{Name: w.name, Rows: onRows(w.rows...), Canary: w.canary, Apply: l.sql(fill.Replace(w.apply), fill.Replace(w.undo))}
		if w.by != "" {
			m.By = byProbe(w.by)
		}
		all = append(all, m)
	}
	for _, p := range []string{"TEMPORARY", "CREATE"} {
		all = append(all, prove.Mutant{Name: p + " on the database granted", Rows: onRows(selects...), By: byProbe(byPrivileges), Apply: l.database(p)})
	}
	return append(all, prove.Mutant{
		Name: "tenant() checks no start of the server", Rows: onRows(selects...),
		Equivalent: "a context of another run of the server has another pid as well, unless that comes again: no client can bring that about",
	}, prove.Mutant{
		Name: "tenant() checks no end of the token", Rows: onRows(selects...),
		Equivalent: "the broker refuses, or ends, whatever would begin after it, and a context begins no second transaction",
	})
}

// contextMutants are those of the functions. Where two locks stand one behind
// the other, the first is opened so that the second is on its own.
func (l *Lab) contextMutants() []prove.Mutant {
	forge, replay := byProbe("forge the context"), byProbe("replay B's context")
	open := l.sql(grantSetConfig, revokeSetConfig)
	compat := l.function("isocore_compat.set_config(text,text,boolean)", edit{"setting_name IS NULL OR lower", "false AND lower"})
	noMAC := l.function("isocore.tenant()", withoutMAC)
	anyPID := both(l.backends(), l.function("isocore.tenant()", anyBackend, anyBackendIf, anyBackendTo))
	anyTime := both(l.backends(), l.function("isocore.tenant()", anyBackend, anyBackendIf, anyBackendTo, withoutPast))
	enters := l.function("isocore.enter(text)", secondEnter)
	mutant := func(name string, rows []string, by []string, canary bool, apply change) prove.Mutant {
		return prove.Mutant{Name: name, Rows: onRows(rows...), By: by, Canary: canary, Apply: apply}
	}
	return []prove.Mutant{
		mutant("set_config granted back", selects, forge, false, open),
		mutant("tenant() checks no MAC", selects, forge, true, both(open, noMAC)),
		mutant("tenant() checks no pid", selects, replay, true, both(open, anyPID)),
		mutant("tenant() checks no pid and no time", selects, byProbe("replay B's context later"), true, both(open, anyTime)),
		mutant("enter() takes a second context, of any backend", selects, replay, true, both(anyPID, enters)),
		mutant("enter() takes a second context, without a MAC", selects, forge, true, both(noMAC, enters)),
		mutant("enter() takes a second context, with a cursor open", selects, byProbe("a second context in one transaction"), false, both(anyPID, enters)),
		mutant("set_config for drivers sets everything", selects, byProbe("set_config of the compatibility schema"), false, compat),
		mutant("set_config for drivers sets a context without a MAC", selects, forge, true, both(compat, noMAC)),
		mutant("pg_settings can be updated", []string{"Execute select", "Execute update"}, byProbe("a statement that is read otherwise"), false,
			both(open, l.sql("GRANT UPDATE ON pg_settings TO isocore_rt", "REVOKE UPDATE ON pg_settings FROM isocore_rt"))),
		mutant("may_write() is always true", writes, byProbe("write with a token that reads"), false, l.function("isocore.may_write()", edit{"IF strpos(", "IF false AND strpos("})),
		mutant("lock keys without the tenant", selects, byProbe("advisory locks are a tenant's own"), false, l.function("isocore_compat.lock_key(text)", edit{" || id::text", ""})),
		mutant("lock keys without end", selects, byProbe("advisory locks are few"), false, l.function("isocore_compat.lock_key(text)", edit{"(get_byte(sha256(convert_to(key, 'UTF8')), 0) & 63)::bigint", "abs(hashtext(key)::bigint)"})),
		mutant("set_config for drivers sets DEBUG", selects, byProbe("notices of how the server works"), false, l.function("isocore_compat.set_config(text,text,boolean)", edit{"IF lower(setting_name) = 'client_min_messages' AND", "IF false AND"})),
	}
}

// database grants a privilege on the database that is attacked.
func (l *Lab) database(privilege string) change {
	return func(ctx context.Context) (func(context.Context) error, error) {
		var name string
		if err := l.Super.QueryRow(ctx, "SELECT quote_ident(current_database())").Scan(&name); err != nil {
			return nil, err
		}
		on := privilege + " ON DATABASE " + name
		return l.sql("GRANT "+on+" TO isocore_rt", "REVOKE "+on+" FROM isocore_rt")(ctx)
	}
}

// closedMutants grant back, one by one, what the seal has taken from tenants.
func (l *Lab) closedMutants() []prove.Mutant {
	var all []prove.Mutant
	for _, group := range slices.Sorted(maps.Keys(closedFunctions)) {
		for _, call := range closedFunctions[group] {
			name, _, _ := strings.Cut(call, "(")
			apply := l.granted(name)
			switch name {
			case "currtid2": // the grants by column stand behind it
				apply = both(apply, l.sql("GRANT SELECT ON "+canaryTable+" TO isocore_rt", columnsBack))
			case "pg_database_size":
				apply = both(apply, l.database("CONNECT"))
			}
			all = append(all, prove.Mutant{
				Name: name + " granted back: " + call, Rows: onRows("Execute select"), By: []string{Name + ": functions: " + group}, Apply: apply,
			})
		}
	}
	for _, relation := range closedRelations {
		all = append(all, prove.Mutant{
			Name: relation + " granted back", Rows: onRows("Execute select", "Execute table"), By: []string{Name + ": relations of the server and of isocore"},
			Apply: l.readable(relation),
		})
	}
	return all
}

// readable grants a relation of the server, and the functions that it calls.
func (l *Lab) readable(relation string) change {
	return func(ctx context.Context) (func(context.Context) error, error) {
		rows, err := l.Super.Query(ctx, `SELECT DISTINCT m[1] FROM pg_class c, regexp_matches(pg_get_viewdef(c.oid), '(pg_\w+)\(', 'g') m
			WHERE c.oid = $1::regclass AND relkind = 'v' AND EXISTS (SELECT FROM pg_proc p WHERE proname = m[1] AND pronamespace = 'pg_catalog'::regnamespace
			AND NOT has_function_privilege('isocore_rt', p.oid, 'EXECUTE')) ORDER BY 1`, relation)
		if err != nil {
			return nil, err
		}
		functions, err := pgx.CollectRows(rows, pgx.RowTo[string])
		if err != nil {
			return nil, err
		}
		apply := l.sql("GRANT SELECT ON "+relation+" TO isocore_rt", "REVOKE SELECT ON "+relation+" FROM isocore_rt")
		for _, f := range functions {
			apply = both(apply, l.granted(f))
		}
		return apply(ctx)
	}
}

// granted grants every function of that name to tenants.
func (l *Lab) granted(name string) change {
	return func(ctx context.Context) (func(context.Context) error, error) {
		schema, function, ok := strings.Cut(name, ".")
		if !ok {
			schema, function = "pg_catalog", name
		}
		var grant, revoke string
		err := l.Super.QueryRow(ctx, `SELECT string_agg('GRANT EXECUTE ON FUNCTION ' || f || ' TO isocore_rt', '; '), string_agg('REVOKE EXECUTE ON FUNCTION ' || f || ' FROM isocore_rt', '; ')
			FROM (SELECT format('%I.%I(%s)', nspname, proname, pg_get_function_identity_arguments(p.oid)) f FROM pg_proc p JOIN pg_namespace n ON n.oid = pronamespace
			WHERE nspname = $1 AND proname = $2 AND NOT has_function_privilege('isocore_rt', p.oid, 'EXECUTE')) x`, schema, function).Scan(&grant, &revoke)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
		return l.sql(grant, revoke)(ctx)
	}
}
