-- What is to be done, in order, so that nothing is open before it is
-- protected: place, object, statement, reason. What is as it should be is
-- left out. $4: the functions of the application that were looked at.
/*reach*/, target AS ( -- tables that tenants shall use
    SELECT r.*, p.tenant AS tenant_policy, p.insert, p.update, p.delete, p.open, p.own,
           EXISTS (SELECT FROM pg_policy WHERE polrelid = r.oid AND polname = 'isocore_open') AS has_open,
           a.public, a.excess, c.list AS columns,
           a.public OR a.excess OR c.closed OR NOT has_table_privilege('isocore_rt', r.oid, 'DELETE') AS regrant
    FROM reach r
    LEFT JOIN policies p ON p.oid = r.oid
    CROSS JOIN LATERAL (
        SELECT coalesce(bool_or(grantee = 0), false) AS public,
               coalesce(bool_or(grantee = 'isocore_rt'::regrole AND (attnum < 0 OR attnum IS NULL AND privilege_type <> 'DELETE' OR privilege_type = 'REFERENCES')), false) AS excess
        FROM (SELECT grantee, privilege_type, NULL::int2 AS attnum FROM aclexplode(r.relacl)
              UNION ALL SELECT e.grantee, e.privilege_type, t.attnum FROM pg_attribute t, aclexplode(t.attacl) e WHERE t.attrelid = r.oid) e) a
    CROSS JOIN LATERAL (
        SELECT string_agg(format('%I', attname), ', ' ORDER BY attnum) AS list,
               bool_or(NOT (has_column_privilege('isocore_rt', r.oid, attnum, 'SELECT') AND has_column_privilege('isocore_rt', r.oid, attnum, 'INSERT')
                            AND has_column_privilege('isocore_rt', r.oid, attnum, 'UPDATE'))) AS closed
        FROM pg_attribute WHERE attrelid = r.oid AND attnum > 0 AND NOT attisdropped) c
    WHERE r.listed AND r.relkind IN ('r', 'p') AND r.tenant_type = 'uuid'::regtype
), named AS ( -- functions, and whether tenants shall call them
    SELECT f.*, CASE WHEN prosecdef THEN name = ANY ($4::text[]) AND proowner NOT IN (SELECT oid FROM above)
                     WHEN dangerous THEN false
                     ELSE provolatile <> 'v' OR computes OR name = ANY ($4) END AS wanted
    FROM function f WHERE NOT is_trigger
)
SELECT 1, format('%I', nspname), format('REVOKE CREATE ON SCHEMA %I FROM PUBLIC, isocore_rt, isocore_login, isocore_keeper', nspname), 'what a tenant creates in a search path shadows other names'
FROM pg_namespace n
WHERE nspname !~ '^pg_(toast|temp)' AND (has_schema_privilege('isocore_rt', n.oid, 'CREATE') OR has_schema_privilege('isocore_login', n.oid, 'CREATE') OR has_schema_privilege('isocore_keeper', n.oid, 'CREATE'))
UNION ALL
SELECT 1, format('%I', datname), format('REVOKE CREATE ON DATABASE %I FROM PUBLIC, isocore_rt, isocore_login', datname), 'tenants create no schemas'
FROM pg_database d
WHERE datname = current_database() AND (has_database_privilege('isocore_rt', d.oid, 'CREATE') OR has_database_privilege('isocore_login', d.oid, 'CREATE'))
UNION ALL
SELECT DISTINCT 1, format('default privileges of %s', d.defaclrole::regrole),
       format('ALTER DEFAULT PRIVILEGES FOR ROLE %s%s REVOKE ALL ON %s FROM PUBLIC, isocore_rt, isocore_login, isocore_keeper', d.defaclrole::regrole, coalesce(' IN SCHEMA ' || quote_ident(n.nspname), ''),
              CASE d.defaclobjtype WHEN 'r' THEN 'TABLES' WHEN 'S' THEN 'SEQUENCES' ELSE 'SCHEMAS' END),
       'what nobody protected yet is closed'
FROM pg_default_acl d LEFT JOIN pg_namespace n ON n.oid = d.defaclnamespace CROSS JOIN LATERAL aclexplode(d.defaclacl) a
WHERE d.defaclobjtype IN ('r', 'S', 'n') AND a.grantee IN (0, 'isocore_rt'::regrole, 'isocore_login'::regrole, 'isocore_keeper'::regrole)
UNION ALL
SELECT 1, 'default privileges of app_owner', 'ALTER DEFAULT PRIVILEGES FOR ROLE app_owner REVOKE EXECUTE ON FUNCTIONS FROM PUBLIC', 'a function nobody has looked at is closed'
WHERE NOT EXISTS (SELECT FROM pg_default_acl WHERE defaclrole = 'app_owner'::regrole AND defaclobjtype = 'f' AND defaclnamespace = 0
                  AND NOT EXISTS (SELECT FROM aclexplode(defaclacl) WHERE grantee = 0))
UNION ALL
SELECT 2, name, format('REVOKE ALL ON %s FROM PUBLIC, isocore_rt', name),
       CASE WHEN relkind IN ('m', 'f') THEN 'row security does not work on it' WHEN relkind = 'v' THEN 'not a security_invoker view of a listed schema' ELSE 'not a table of tenants, or not in a listed schema' END
FROM reach r
WHERE granted AND NOT (relkind = 'v' AND listed AND invoker) AND oid NOT IN (SELECT oid FROM target)
UNION ALL
SELECT 2, name, format('REVOKE SELECT, UPDATE ON SEQUENCE %s FROM PUBLIC, isocore_rt', name), 'a tenant would set the counter of all'
FROM sequence WHERE has_sequence_privilege('isocore_rt', oid, 'SELECT, UPDATE')
UNION ALL
SELECT 2, name, format('REVOKE ALL ON ROUTINE %s FROM PUBLIC, isocore_rt', name),
       CASE WHEN prosecdef THEN 'it runs with the rights of ' || proowner::regrole WHEN dangerous THEN 'it runs text as SQL, or looks past row security' ELSE 'volatile code nobody has looked at' END
FROM named WHERE granted AND NOT wanted AND (nspname = ANY ($1) OR has_schema_privilege('isocore_rt', nspname, 'USAGE'))
UNION ALL
SELECT 3, name, format('REVOKE ALL ON %s FROM PUBLIC', name), 'grants go to isocore_rt alone'
FROM target WHERE public
UNION ALL
SELECT 3, name, format('REVOKE ALL ON %s FROM isocore_rt', name), 'a grant on the whole table shows ctid and xmin, or passes row security'
FROM target WHERE excess
UNION ALL
SELECT 4, name, format('ALTER TABLE %s ALTER COLUMN %I SET NOT NULL', name, $2), 'a row of nobody is a row nobody can find'
FROM target WHERE NOT tenant_not_null
UNION ALL
SELECT 4, name, format('ALTER TABLE %s ALTER COLUMN %I SET DEFAULT isocore.tenant()', name, $2), 'the application need not name the tenant'
FROM target WHERE tenant_default IS DISTINCT FROM 'isocore.tenant()'
UNION ALL
SELECT 5, name, format('ALTER TABLE %s ENABLE ROW LEVEL SECURITY', name), 'the tenant policy holds' FROM target WHERE NOT relrowsecurity
UNION ALL
SELECT 5, name, format('ALTER TABLE %s FORCE ROW LEVEL SECURITY', name), 'it holds the owner too' FROM target WHERE NOT relforcerowsecurity
UNION ALL
SELECT 6, name, format('DROP POLICY IF EXISTS isocore_tenant ON %1$s; CREATE POLICY isocore_tenant ON %1$s AS RESTRICTIVE FOR ALL TO PUBLIC '
                       'USING (%2$I = (SELECT isocore.tenant())) WITH CHECK (%2$I = (SELECT isocore.tenant()))', name, $2), 'restrictive, so that no other policy widens it'
FROM target WHERE NOT coalesce(tenant_policy, false)
UNION ALL
SELECT 6, name, format('DROP POLICY IF EXISTS isocore_insert ON %1$s; CREATE POLICY isocore_insert ON %1$s AS RESTRICTIVE FOR INSERT TO PUBLIC WITH CHECK ((SELECT isocore.may_write()))', name), 'a token without pg:write only reads'
FROM target WHERE NOT coalesce(insert, false)
UNION ALL
SELECT 6, name, format('DROP POLICY IF EXISTS isocore_update ON %1$s; CREATE POLICY isocore_update ON %1$s AS RESTRICTIVE FOR UPDATE TO PUBLIC USING ((SELECT isocore.may_write()))', name), 'a token without pg:write only reads'
FROM target WHERE NOT coalesce(update, false)
UNION ALL
SELECT 6, name, format('DROP POLICY IF EXISTS isocore_delete ON %1$s; CREATE POLICY isocore_delete ON %1$s AS RESTRICTIVE FOR DELETE TO PUBLIC USING ((SELECT isocore.may_write()))', name), 'a token without pg:write only reads'
FROM target WHERE NOT coalesce(delete, false)
UNION ALL
SELECT 6, name, format('DROP POLICY isocore_open ON %s', name), 'the application has permissive policies of its own'
FROM target WHERE own AND has_open
UNION ALL
SELECT 6, name, format('DROP POLICY IF EXISTS isocore_open ON %1$s; CREATE POLICY isocore_open ON %1$s AS PERMISSIVE FOR ALL TO PUBLIC USING (true)', name), 'without a permissive policy nobody sees anything'
FROM target WHERE NOT coalesce(own, false) AND NOT coalesce(open, false)
UNION ALL
SELECT 7, format('%I', nspname), format('GRANT USAGE ON SCHEMA %I TO isocore_rt', nspname), 'tenants use it'
FROM pg_namespace n WHERE nspname = ANY ($1) AND NOT has_schema_privilege('isocore_rt', n.oid, 'USAGE')
UNION ALL
SELECT 7, name, format('GRANT SELECT (%1$s), INSERT (%1$s), UPDATE (%1$s), DELETE ON %2$s TO isocore_rt', columns, name), 'by column, which hides ctid and xmin'
FROM target WHERE regrant
UNION ALL
SELECT 7, name, format('GRANT SELECT ON %s TO isocore_rt', name), 'a view that asks for its reader''s own rights'
FROM reach WHERE listed AND relkind = 'v' AND invoker AND NOT has_table_privilege('isocore_rt', oid, 'SELECT')
UNION ALL
SELECT 7, name, format('GRANT EXECUTE ON ROUTINE %s TO isocore_rt', name), CASE WHEN name = ANY ($4) THEN 'named in the options' ELSE 'it only computes and reads, with the rights of its caller' END
FROM named WHERE wanted AND NOT granted AND (nspname = ANY ($1) OR name = ANY ($4))
UNION ALL
SELECT 8, 'isocore_login', format('ALTER ROLE isocore_login IN DATABASE %I SET search_path = %s', current_database(), text), 'compatibility before pg_catalog, temporary tables last'
FROM path
WHERE NOT EXISTS (SELECT FROM pg_db_role_setting WHERE setrole = 'isocore_login'::regrole AND 'search_path=' || path.text = ANY (setconfig)
                  AND setdatabase = (SELECT oid FROM pg_database WHERE datname = current_database()))
ORDER BY 1, 2, 3
