//go:build ignore

// Generate writes the verdict lists of one major version from a freshly
// initialised server of it:
//
//	go run generate.go 'host=/run/pg user=postgres dbname=template1'
//
// The rules stand below, first match first. What no rule names is written as
// unclassified and fails the run: somebody has to think about it.
package main

import (
	"bytes"
	"context"
	"fmt"
	"log"
	"os"
	"regexp"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5"
)

// A rule gives one verdict to the functions whose bare name matches names and
// whose volatility is one of volatility.
type rule struct {
	group, verdict, volatility, names string
}

const every = "isv"

var rules = []rule{
	// Denied by name, whatever they are marked as.
	{"settings", "revoke", every, `set_config|pg_reload_conf`},
	{"locks", "revoke", every, `pg_(try_)?advisory_.*`},
	{"large-objects", "revoke", every, `lo_.*|loread|lowrite`},
	{"channels", "revoke", every, `pg_notify|pg_listening_channels|pg_notification_queue_usage`},
	{"runs-text", "revoke", every, `(query|cursor|table|schema|database)_to_xml.*|ts_stat`}, // ts_rewrite(tsquery, text): below
	{"past-policy", "revoke", every, `currtid2?|pg_nextoid|pg_get_multixact_members`},
	{"backend", "revoke", every, `pg_backend_pid`}, // process ids come in a row: the gap between two counts the sessions of others
	{"activity", "revoke", every, `inet_client_port|pg_stat_.*|pg_lock_status|pg_blocking_pids|pg_safe_snapshot_blocking_pids|pg_isolation_test_session_is_blocked|pg_prepared_xact|pg_prepared_statement|pg_cursor`},
	{"signals", "revoke", every, `pg_(cancel|terminate)_backend|pg_rotate_logfile.*|pg_log_backend_memory_contexts`},
	{"size", "revoke", every, `pg_(database|tablespace|relation|table|indexes|total_relation)_size`},
	{"counters", "revoke", every, `txid_(current|current_if_assigned|current_snapshot|status)|pg_current_xact_id.*|pg_current_snapshot|pg_xact_.*|pg_last_committed_xact|pg_export_snapshot|mxid_age|pg_sequence_last_value`}, // age(xid): below
	{"wal", "revoke", every, `pg_current_wal_.*|pg_last_(wal|xact)_.*|pg_wal_(?:replay)_.*|pg_is_wal_replay_paused|pg_get_wal_.*|pg_walfile_.*|pg_logical_.*|pg_.*replication.*|pg_promote|pg_create_restore_point|pg_switch_wal`},
	{"randomness", "revoke", every, `setseed`}, // lets one tenant choose the next one's random()
	{"sequences-write", "revoke", every, `setval`},
	{"server", "revoke", every, `pg_control_.*|pg_conf_load_time|pg_tablespace_(location|databases)|pg_relation_file.*|pg_filenode_relation|pg_read_file_old|pg_get_publication_tables`},
	{"maintenance", "revoke", every, `brin_(de)?summarize_.*|gin_clean_pending_list|pg_import_system_collations|pg_extension_config_dump|pg_stop_making_pinned_objects|binary_upgrade_.*|amvalidate|pg_(database_)?collation_actual_version|fmgr_.*_validator|plpgsql_validator`},
	{"event-triggers", "revoke", every, `pg_event_trigger_.*`},

	// Immutable functions compute, and look at nothing.
	{"pure", "allow", "i", `.*`},

	// Stable ones, each group looked at.
	{"type-io", "allow", "s", `.*(_in|_out|_recv|_send)|reg\w+(in|out)|(bpchar|cstring|name|text|varchar)(recv|send)|aclitem(in|out)|to_reg\w+|regclass`},
	{"text", "allow", "s", `anytextcat|textanycat|concat(_ws)?|convert(_from|_to)?|format|length|quote_(literal|nullable)|array_to_string|pg_(char_to_encoding|encoding_to_char|client_encoding)|getdatabaseencoding|pg_collation_for|xml|xml_is_well_formed|overlaps|money|numeric`},
	{"time", "allow", "s", `date(_.*)?|time(_.*|stamp.*|tz|zone)?|interval_pl_timestamptz|extract|generate_series|in_range|make_timestamptz|now|(statement|transaction)_timestamp|to_(char|date|number|timestamp)|age`}, // age(xid): below
	{"json", "allow", "s", `jsonb?_.*|row_to_json|to_jsonb?|array_to_json`},
	{"text-search", "allow", "s", `get_current_ts_config|(phraseto_|plainto_|to_|websearch_to_)ts(query|vector)|ts_(debug|headline|match_t[qt]|parse|token_type)`},
	{"enum", "allow", "s", `enum_(first|last|range)`},
	{"catalog", "allow", "s", `aclexplode|(col_|obj_|shobj_)description|format_type|oidvectortypes|pg_\w+_is_visible|pg_column_(is_updatable|size|compression)|pg_describe_object|pg_get_(catalog_foreign_keys|constraintdef|expr|function\w*|indexdef|keywords|object_address|partition_constraintdef|partkeydef|replica_identity_index|ruledef|serial_sequence|statisticsobjdef\w*|triggerdef|userbyid|viewdef)|pg_identify_object\w*|pg_index(am)?_\w*has_property|pg_indexam_has_property|pg_relation_is_(publishable|updatable)|pg_sequence_parameters|pg_settings_get_flags|pg_options_to_table|pg_available_\w+|pg_extension_update_paths|pg_typeof|pg_timezone_\w+|pg_mcv_list_items|_pg_index_position`},
	{"privileges", "allow", "s", `has_\w+_privilege|pg_has_role|row_security_active`},
	{"session", "allow", "s", `current_(database|schemas?|setting|user)|session_user|getpgusername|pg_my_temp_schema|pg_is_other_temp_schema|inet_(client_addr|server_addr|server_port)|pg_postmaster_start_time|pg_show_all_settings|pg_trigger_depth|version`},

	// Volatile ones: the few that are needed.
	{"clock-and-chance", "allow", "v", `clock_timestamp|timeofday|random|gen_random_uuid`},
	{"sequences", "allow", "v", `nextval|currval|lastval`}, // by the privileges of the sequence; lastval of this backend, which is reset
	{"waiting", "allow", "v", `pg_sleep(_for|_until)?`},    // bounded by the statement's time limit
	{"structure", "allow", "v", `pg_partition_(tree|ancestors)|current_query|pg_is_in_recovery|pg_jit_available`},
}

// exact rules go before all others: one of several functions of a name.
var exact = map[string]rule{
	"ts_rewrite(tsquery, text)": {"runs-text", "revoke", every, ""},
	"age(xid)":                  {"counters", "revoke", every, ""},
}

// views decides about what PUBLIC may select from in pg_catalog. Tables and
// views that say how the database is built are allowed.
var views = []rule{
	{"activity", "revoke", "", `pg_stat_.*|pg_statio_.*|pg_locks|pg_cursors|pg_prepared_statements|pg_prepared_xacts|pg_replication_.*`},
	{"large-objects", "revoke", "", `pg_largeobject.*`},
	{"subscriptions", "revoke", "", `pg_subscription(_rel)?`}, // of the whole server, and where its log is
	{"counters", "revoke", "", `pg_sequences`},
	{"server", "revoke", "", `pg_publication_tables|pg_replication_origin`},
	{"statistics", "allow", "", `pg_stats.*`}, // rows of tables under row security are left out by the server
	{"session", "allow", "", `pg_settings|pg_db_role_setting|pg_timezone_.*|pg_available_.*`},
	{"structure", "allow", "", `pg_(aggregate|am|amop|amproc|attrdef|attribute|auth_members|cast|class|collation|constraint|conversion|database|default_acl|depend|description|enum|event_trigger|extension|foreign_data_wrapper|foreign_server|foreign_table|group|index|indexes|inherits|init_privs|language|matviews|namespace|opclass|operator|opfamily|parameter_acl|partitioned_table|policies|policy|proc|publication|publication_namespace|publication_rel|range|rewrite|roles|rules|seclabel|seclabels|sequence|shdepend|shdescription|shseclabel|statistic_ext|tables|tablespace|transform|trigger|ts_config|ts_config_map|ts_dict|ts_parser|ts_template|type|user|user_mappings|views)`},
}

func main() {
	log.SetFlags(0)
	ctx := context.Background()
	conn, err := pgx.Connect(ctx, os.Args[1])
	check(err)
	defer conn.Close(ctx)
	_, err = conn.Exec(ctx, "SET search_path = pg_catalog")
	check(err)
	var major int
	check(conn.QueryRow(ctx, "SELECT current_setting('server_version_num')::int / 10000").Scan(&major))
	unclassified := functions(ctx, conn, major) + relations(ctx, conn, major)
	if unclassified > 0 {
		log.Fatalf("%d unclassified", unclassified)
	}
}

func functions(ctx context.Context, conn *pgx.Conn, major int) (unclassified int) {
	rows, err := conn.Query(ctx, `SELECT CASE nspname WHEN 'pg_catalog' THEN '' ELSE nspname || '.' END, proname,
			format('%I(%s)', proname, oidvectortypes(proargtypes)), provolatile::text,
			proacl IS NULL OR EXISTS (SELECT FROM aclexplode(proacl) WHERE grantee = 0),
			'internal'::regtype = ANY (proargtypes) OR prorettype IN ('trigger'::regtype, 'event_trigger'::regtype, 'internal'::regtype, 'language_handler'::regtype,
				'fdw_handler'::regtype, 'index_am_handler'::regtype, 'table_am_handler'::regtype, 'tsm_handler'::regtype)
		FROM pg_proc p JOIN pg_namespace n ON n.oid = pronamespace
		WHERE nspname IN ('pg_catalog', 'information_schema')
		ORDER BY nspname <> 'pg_catalog', proname COLLATE "C", oidvectortypes(proargtypes) COLLATE "C"`)
	check(err)
	var out bytes.Buffer
	fmt.Fprintf(&out, "# The functions of PostgreSQL %d: name(arguments), volatility, verdict for PUBLIC, group.\n# Written by generate.go, where the rules stand. Reviewed: see each group there.\n", major)
	for rows.Next() {
		var prefix, name, signature, volatility string
		var public, uncallable bool
		check(rows.Scan(&prefix, &name, &signature, &volatility, &public, &uncallable))
		group, verdict := decide(name, signature, volatility, public, uncallable)
		if verdict == "unclassified" {
			unclassified++
			log.Println(volatility, signature)
		}
		fmt.Fprintf(&out, "%s%s\t%s\t%s\t%s\n", prefix, signature, volatility, verdict, group)
	}
	check(rows.Err())
	check(os.WriteFile(fmt.Sprintf("verdicts/functions-%d.txt", major), out.Bytes(), 0o644))
	return unclassified
}

func decide(name, signature, volatility string, public, uncallable bool) (group, verdict string) {
	if !public {
		return "closed", "revoke" // the server itself keeps it from PUBLIC
	}
	if uncallable {
		return "uncallable", "allow" // no statement can call it
	}
	if r, ok := exact[signature]; ok {
		return r.group, r.verdict
	}
	for _, r := range rules {
		if strings.Contains(r.volatility, volatility) && regexp.MustCompile(`^(?:`+r.names+`)$`).MatchString(name) {
			return r.group, r.verdict
		}
	}
	return "unclassified", "unclassified"
}

func relations(ctx context.Context, conn *pgx.Conn, major int) (unclassified int) {
	rows, err := conn.Query(ctx, `SELECT relname FROM pg_class
		WHERE relnamespace = 'pg_catalog'::regnamespace AND relkind IN ('r', 'v')
			AND (EXISTS (SELECT FROM aclexplode(relacl) WHERE grantee = 0 AND privilege_type = 'SELECT')
				OR EXISTS (SELECT FROM pg_attribute, aclexplode(attacl) WHERE attrelid = pg_class.oid AND grantee = 0 AND privilege_type = 'SELECT'))
		ORDER BY relname COLLATE "C"`)
	check(err)
	names, err := pgx.CollectRows(rows, pgx.RowTo[string])
	check(err)
	var out bytes.Buffer
	fmt.Fprintf(&out, "# What PUBLIC may select from in pg_catalog of PostgreSQL %d: name, verdict, group. Written by generate.go.\n", major)
	for _, name := range names {
		i := slices.IndexFunc(views, func(r rule) bool { return regexp.MustCompile(`^(?:` + r.names + `)$`).MatchString(name) })
		if i < 0 {
			unclassified++
			log.Println(name)
			continue
		}
		fmt.Fprintf(&out, "%s\t%s\t%s\n", name, views[i].verdict, views[i].group)
	}
	check(os.WriteFile(fmt.Sprintf("verdicts/relations-%d.txt", major), out.Bytes(), 0o644))
	return unclassified
}

func check(err error) {
	if err != nil {
		log.Fatal(err)
	}
}
