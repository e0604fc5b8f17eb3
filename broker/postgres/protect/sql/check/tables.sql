-- Who may touch the tables, and what holds them.
/*reach*/
SELECT 'no-tenant', 'error', name, format('tenants may use it, and it has no column %s', $2), format('REVOKE ALL ON %s FROM PUBLIC, isocore_rt', name)
FROM reach WHERE granted AND relkind IN ('r', 'p') AND tenant IS NULL
UNION ALL
SELECT 'never-granted', 'error', name, CASE relkind WHEN 'm' THEN 'a materialized view' ELSE 'a foreign table' END || ' knows no row security, and tenants may use it',
       format('REVOKE ALL ON %s FROM PUBLIC, isocore_rt', name)
FROM reach WHERE granted AND relkind IN ('m', 'f')
UNION ALL
SELECT 'row-security', 'error', name, 'tenants may use it, and row security is not ' || CASE WHEN relrowsecurity THEN 'forced' ELSE 'enabled' END, 'isocore protect'
FROM reach WHERE granted AND relkind IN ('r', 'p') AND NOT (relrowsecurity AND relforcerowsecurity)
UNION ALL
SELECT 'tenant-policy', 'error', r.name, 'the restrictive policy isocore_tenant is missing or not as it must be', 'isocore protect'
FROM reach r LEFT JOIN policies p ON p.oid = r.oid
WHERE r.granted AND r.relkind IN ('r', 'p') AND r.tenant IS NOT NULL AND NOT coalesce(p.tenant, false)
UNION ALL
SELECT 'write-policy', 'error', r.name, 'the restrictive policies isocore_insert, isocore_update and isocore_delete are missing or not as they must be', 'isocore protect'
FROM reach r LEFT JOIN policies p ON p.oid = r.oid
WHERE r.granted AND r.relkind IN ('r', 'p') AND r.tenant IS NOT NULL AND NOT coalesce(p.insert AND p.update AND p.delete, false)
UNION ALL
SELECT 'permissive-policy', 'warning', r.name,
       CASE WHEN p.own THEN 'isocore_open makes the permissive policies of the application void' ELSE 'no permissive policy: nobody sees a row' END, 'isocore protect'
FROM reach r LEFT JOIN policies p ON p.oid = r.oid
WHERE r.granted AND r.relkind IN ('r', 'p') AND r.tenant IS NOT NULL AND coalesce(p.open, false) = coalesce(p.own, false)
UNION ALL
SELECT 'tenant-nullable', 'error', name, format('column %s may be NULL', $2), 'isocore protect'
FROM reach WHERE granted AND relkind IN ('r', 'p') AND NOT tenant_not_null
UNION ALL
SELECT 'tenant-default', 'warning', name, format('column %s does not default to isocore.tenant()', $2), 'isocore protect'
FROM reach WHERE granted AND relkind IN ('r', 'p') AND tenant IS NOT NULL AND tenant_default IS DISTINCT FROM 'isocore.tenant()'
UNION ALL
SELECT 'table-grant', 'error', r.name,
       format('%s has %s on the whole table: it shows ctid and xmin, or passes row security', CASE a.grantee WHEN 0 THEN 'PUBLIC' ELSE 'isocore_rt' END,
              string_agg(a.privilege_type, ', ' ORDER BY a.privilege_type)),
       'isocore protect'
FROM reach r CROSS JOIN LATERAL aclexplode(r.relacl) a
WHERE r.relkind IN ('r', 'p') AND (a.grantee = 0 OR a.grantee = 'isocore_rt'::regrole AND a.privilege_type <> 'DELETE')
GROUP BY r.name, a.grantee
UNION ALL
SELECT DISTINCT 'column-grant', 'error', r.name, format('%s has %s on column %I', CASE a.grantee WHEN 0 THEN 'PUBLIC' ELSE 'isocore_rt' END, a.privilege_type, t.attname), 'isocore protect'
FROM reach r
JOIN pg_attribute t ON t.attrelid = r.oid
CROSS JOIN LATERAL aclexplode(t.attacl) a
WHERE a.grantee = 0 OR a.grantee = 'isocore_rt'::regrole AND (t.attnum < 0 OR a.privilege_type = 'REFERENCES')
UNION ALL
SELECT DISTINCT 'role-grant', 'error', r.name, format('%s has a grant of its own', a.grantee::regrole), format('REVOKE ALL ON %s FROM %s', r.name, a.grantee::regrole)
FROM reach r
CROSS JOIN LATERAL (SELECT grantee FROM aclexplode(r.relacl)
                    UNION SELECT e.grantee FROM pg_attribute t, aclexplode(t.attacl) e WHERE t.attrelid = r.oid) a
WHERE a.grantee IN ('isocore_login'::regrole, 'isocore_keeper'::regrole)
UNION ALL
SELECT 'column-closed', 'warning', r.name, format('columns without a grant, so that SELECT * fails: %s', string_agg(format('%I', t.attname), ', ' ORDER BY t.attnum)), 'isocore protect'
FROM reach r
JOIN pg_attribute t ON t.attrelid = r.oid AND t.attnum > 0 AND NOT t.attisdropped
WHERE r.granted AND r.relkind IN ('r', 'p') AND NOT has_column_privilege('isocore_rt', r.oid, t.attnum, 'SELECT')
GROUP BY r.name
UNION ALL
SELECT 'sequence-grant', CASE WHEN has_sequence_privilege('isocore_rt', oid, 'SELECT, UPDATE') THEN 'error' ELSE 'warning' END, name,
       CASE WHEN has_sequence_privilege('isocore_rt', oid, 'SELECT, UPDATE') THEN 'a tenant may set or read the counter of all' ELSE 'a tenant may use up the counter of all' END,
       'make the column an identity, which takes no grant'
FROM sequence WHERE has_sequence_privilege('isocore_rt', oid, 'SELECT, UPDATE, USAGE')
UNION ALL
SELECT DISTINCT 'default-grant', 'error', format('default privileges of %s', d.defaclrole::regrole),
       format('a new object of kind %s %swould be open to %s before anybody protects it', d.defaclobjtype, coalesce('in schema ' || quote_ident(n.nspname) || ' ', ''),
              CASE a.grantee WHEN 0 THEN 'PUBLIC' ELSE a.grantee::regrole::text END),
       'isocore protect'
FROM pg_default_acl d
LEFT JOIN pg_namespace n ON n.oid = d.defaclnamespace
CROSS JOIN LATERAL aclexplode(d.defaclacl) a
WHERE d.defaclobjtype IN ('r', 'S', 'n') AND a.grantee IN (0, 'isocore_rt'::regrole, 'isocore_login'::regrole, 'isocore_keeper'::regrole)
