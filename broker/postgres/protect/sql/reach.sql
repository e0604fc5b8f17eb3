WITH RECURSIVE under(root, oid) AS ( -- a table is under itself and under what it is a partition or a child of
    SELECT oid, oid FROM pg_class WHERE relkind IN ('r', 'p', 'v', 'm', 'f')
    UNION
    SELECT u.root, i.inhrelid FROM under u JOIN pg_inherits i ON i.inhparent = u.oid
), rel AS (
    SELECT c.oid, c.relname, n.nspname, c.relkind, c.relowner, c.relrowsecurity, c.relforcerowsecurity, c.relacl,
           format('%I.%I', n.nspname, c.relname) AS name,
           a.attnum AS tenant, a.atttypid AS tenant_type, a.attnotnull AS tenant_not_null,
           (SELECT pg_get_expr(d.adbin, d.adrelid) FROM pg_attrdef d WHERE d.adrelid = c.oid AND d.adnum = a.attnum) AS tenant_default,
           coalesce(c.reloptions::text ~ 'security_invoker=(true|on|1|yes)', false) AS invoker,
           format('(%I = ( SELECT isocore.tenant() AS tenant))', $2::text) AS is_own,
           n.nspname = ANY ($1::text[]) AS listed,
           has_any_column_privilege('isocore_rt', c.oid, 'SELECT, INSERT, UPDATE, REFERENCES')
               OR has_table_privilege('isocore_rt', c.oid, 'DELETE, TRUNCATE, TRIGGER') AS granted
    FROM pg_class c
    JOIN pg_namespace n ON n.oid = c.relnamespace
    LEFT JOIN pg_attribute a ON a.attrelid = c.oid AND a.attname = $2 AND NOT a.attisdropped
    WHERE c.relkind IN ('r', 'p', 'v', 'm', 'f')
      AND n.nspname NOT IN ('pg_catalog', 'information_schema', 'isocore', 'isocore_compat') AND n.nspname !~ '^pg_(toast|temp)'
), reach AS ( -- what tenants can reach, and, when planning, what they shall
    SELECT rel.*,
           EXISTS (SELECT FROM under u JOIN rel r ON r.oid = u.root
                   WHERE u.oid = rel.oid AND (r.granted OR ($3::boolean AND r.listed AND r.tenant IS NOT NULL))) AS reached
    FROM rel
), policies AS ( -- ours, as they must be
    SELECT p.polrelid AS oid,
           bool_or(p.polname = 'isocore_tenant' AND NOT p.polpermissive AND p.polcmd = '*' AND p.polroles = '{0}'
               AND pg_get_expr(p.polqual, p.polrelid) = r.is_own AND pg_get_expr(p.polwithcheck, p.polrelid) = r.is_own) AS tenant,
           bool_or(p.polname = 'isocore_insert' AND NOT p.polpermissive AND p.polcmd = 'a' AND p.polroles = '{0}' AND p.polqual IS NULL
               AND pg_get_expr(p.polwithcheck, p.polrelid) = '( SELECT isocore.may_write() AS may_write)') AS insert,
           bool_or(p.polname = 'isocore_update' AND NOT p.polpermissive AND p.polcmd = 'w' AND p.polroles = '{0}' AND p.polwithcheck IS NULL
               AND pg_get_expr(p.polqual, p.polrelid) = '( SELECT isocore.may_write() AS may_write)') AS update,
           bool_or(p.polname = 'isocore_delete' AND NOT p.polpermissive AND p.polcmd = 'd' AND p.polroles = '{0}'
               AND pg_get_expr(p.polqual, p.polrelid) = '( SELECT isocore.may_write() AS may_write)') AS delete,
           bool_or(p.polname = 'isocore_open' AND p.polpermissive AND p.polcmd = '*' AND p.polroles = '{0}' AND p.polwithcheck IS NULL
               AND pg_get_expr(p.polqual, p.polrelid) = 'true') AS open,
           bool_or(p.polname <> 'isocore_open' AND p.polpermissive
               AND (0 = ANY (p.polroles) OR 'isocore_rt'::regrole::oid = ANY (p.polroles))) AS own
    FROM pg_policy p JOIN rel r ON r.oid = p.polrelid
    GROUP BY p.polrelid
), safe AS ( -- tables that row security keeps apart for everybody but a superuser
    SELECT r.oid FROM rel r JOIN policies p ON p.oid = r.oid
    WHERE r.relkind IN ('r', 'p') AND r.relrowsecurity AND r.relforcerowsecurity AND p.tenant AND r.tenant_not_null
), above AS ( -- roles that row security does not hold
    SELECT oid FROM pg_roles WHERE rolsuper OR rolbypassrls
), function AS ( -- the application's and the extensions'
    SELECT p.oid, p.proowner, p.prosecdef, p.provolatile, p.prorettype IN ('trigger'::regtype, 'event_trigger'::regtype) AS is_trigger, n.nspname, e.extname,
           format('%I.%I(%s)', n.nspname, p.proname, oidvectortypes(p.proargtypes)) AS name,
           has_function_privilege('isocore_rt', p.oid, 'EXECUTE') AS granted,
           coalesce(e.extname IN ('btree_gin', 'btree_gist', 'citext', 'cube', 'earthdistance', 'fuzzystrmatch', 'hstore', 'intarray', 'isn', 'ltree',
               'pg_trgm', 'pgcrypto', 'seg', 'unaccent', 'uuid-ossp', 'vector'), false) AS computes,
           p.provolatile <> 'i' AND coalesce(e.extname IN ('dblink', 'postgres_fdw', 'file_fdw', 'tablefunc', 'xml2', 'adminpack', 'lo', 'pageinspect',
               'pg_buffercache', 'pg_freespacemap', 'pg_prewarm', 'pg_stat_statements', 'pg_visibility', 'pg_walinspect', 'pgrowlocks', 'pgstattuple', 'amcheck'), false) AS dangerous
    FROM pg_proc p
    JOIN pg_namespace n ON n.oid = p.pronamespace
    LEFT JOIN pg_depend d ON d.classid = 'pg_proc'::regclass AND d.objid = p.oid AND d.refclassid = 'pg_extension'::regclass AND d.deptype = 'e'
    LEFT JOIN pg_extension e ON e.oid = d.refobjid
    WHERE n.nspname NOT IN ('pg_catalog', 'information_schema', 'isocore', 'isocore_compat') AND n.nspname !~ '^pg_(toast|temp)'
), sequence AS MATERIALIZED ( -- apart, for has_sequence_privilege fails on anything else
    SELECT c.oid, format('%I.%I', n.nspname, c.relname) AS name
    FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
    WHERE c.relkind = 'S' AND n.nspname !~ '^pg_'
), path(text) AS ( -- the runtime search path
    SELECT concat_ws(', ', 'isocore_compat', 'pg_catalog', (SELECT string_agg(quote_ident(s), ', ' ORDER BY n) FROM unnest($1) WITH ORDINALITY AS u(s, n)), 'pg_temp')
)
