-- The schemas isocore and isocore_compat, against what this program installs.
-- $4 to $8: signature, volatility, parallel mark, body, and who may call it.
/*reach*/, want AS (
    SELECT * FROM unnest($4::text[], $5::text[], $6::text[], $7::text[], $8::text[]) AS t(name, volatility, parallel, body, callers)
), have AS (
    SELECT p.*, n.nspname || '.' || p.proname || '(' || oidvectortypes(p.proargtypes) || ')' AS name,
           (SELECT string_agg(who, ' ' ORDER BY who COLLATE "C")
            FROM (SELECT CASE grantee WHEN 0 THEN 'PUBLIC' ELSE grantee::regrole::text END AS who
                  FROM aclexplode(coalesce(p.proacl, acldefault('f', p.proowner))) WHERE grantee <> p.proowner) c) AS callers
    FROM pg_proc p JOIN pg_namespace n ON n.oid = p.pronamespace
    WHERE n.nspname IN ('isocore', 'isocore_compat')
), compared AS (
    SELECT coalesce(w.name, h.name) AS name, w.name IS NULL AS foreign, h.name IS NULL AS missing, concat_ws(', ',
               CASE WHEN h.proowner <> 'isocore_owner'::regrole THEN 'owner' END,
               CASE WHEN h.proconfig IS DISTINCT FROM '{"search_path=pg_catalog, pg_temp"}' THEN 'settings' END,
               CASE WHEN NOT h.prosecdef OR h.proleakproof OR h.prolang <> (SELECT oid FROM pg_language WHERE lanname = 'plpgsql') THEN 'security' END,
               CASE WHEN h.provolatile::text <> w.volatility THEN 'volatility' END,
               CASE WHEN h.proparallel::text <> w.parallel THEN 'parallel mark' END,
               CASE WHEN h.callers IS DISTINCT FROM w.callers THEN 'who may call it' END,
               CASE WHEN h.prosrc <> w.body THEN 'body' END) AS difference
    FROM want w FULL JOIN have h ON h.name = w.name
)
SELECT 'function', 'error', name, CASE WHEN missing THEN 'is missing' WHEN "foreign" THEN 'is not ours' ELSE 'is altered: ' || difference END, 'isocore protect'
FROM compared WHERE missing OR "foreign" OR difference <> ''
UNION ALL
SELECT 'keyring', 'error', 'isocore.key', 'the keys are not closed: ' || concat_ws(', ',
           CASE WHEN c.oid IS NULL THEN 'the table is missing' END,
           CASE WHEN c.relowner <> 'isocore_owner'::regrole THEN 'owner' END,
           CASE WHEN NOT (c.relrowsecurity AND c.relforcerowsecurity) THEN 'row security' END,
           CASE WHEN p.bad OR p.n <> 1 THEN 'policies' END,
           CASE WHEN a.others THEN 'grants' END), 'isocore protect'
FROM (SELECT max(r.oid::bigint)::oid AS oid FROM pg_class r JOIN pg_namespace n ON n.oid = r.relnamespace WHERE n.nspname = 'isocore' AND r.relname = 'key') k
LEFT JOIN pg_class c ON c.oid = k.oid
CROSS JOIN LATERAL (SELECT count(*) AS n, bool_or(polroles <> ARRAY['isocore_owner'::regrole::oid]) AS bad FROM pg_policy WHERE polrelid = c.oid) p
CROSS JOIN LATERAL (SELECT bool_or(grantee <> c.relowner) AS others FROM (
    SELECT grantee FROM aclexplode(c.relacl)
    UNION SELECT e.grantee FROM pg_attribute t, aclexplode(t.attacl) e WHERE t.attrelid = c.oid) g) a
WHERE c.oid IS NULL OR c.relowner <> 'isocore_owner'::regrole OR NOT (c.relrowsecurity AND c.relforcerowsecurity) OR p.n <> 1 OR p.bad OR a.others
UNION ALL
SELECT 'foreign-object', 'error', format('%I.%I', n.nspname, c.relname), 'is not ours', format('drop it: nothing but ours belongs into %I', n.nspname)
FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE n.nspname IN ('isocore', 'isocore_compat') AND c.relkind IN ('r', 'p', 'v', 'm', 'f', 'S') AND (n.nspname, c.relname) NOT IN (('isocore', 'key'), ('isocore', 'installed'))
UNION ALL
SELECT 'schema-owner', 'error', nspname, format('belongs to %s', nspowner::regrole), 'ALTER SCHEMA ... OWNER TO isocore_owner'
FROM pg_namespace WHERE nspname IN ('isocore', 'isocore_compat') AND nspowner <> 'isocore_owner'::regrole
UNION ALL
SELECT 'schema-create', 'error', nspname, format('%s may create in it what shadows other names', r.rolname), format('REVOKE CREATE ON SCHEMA %I FROM PUBLIC, %I', nspname, r.rolname)
FROM pg_namespace n, pg_roles r
WHERE r.rolname IN ('isocore_rt', 'isocore_login', 'isocore_keeper') AND nspname !~ '^pg_(toast|temp)' AND has_schema_privilege(r.oid, n.oid, 'CREATE')
UNION ALL
SELECT 'schema-create', 'error', datname, 'tenants may create schemas', format('REVOKE CREATE ON DATABASE %I FROM PUBLIC, isocore_rt', datname)
FROM pg_database d WHERE datname = current_database() AND (has_database_privilege('isocore_rt', d.oid, 'CREATE') OR has_database_privilege('isocore_login', d.oid, 'CREATE'))
