-- The roles, and others that matter. $4: the settings of the login role in
-- every database.
/*reach*/, ours AS (
    SELECT * FROM pg_roles WHERE rolname IN ('isocore_owner', 'isocore_rt', 'isocore_login', 'isocore_keeper')
), setting AS (
    SELECT s.setrole, s.setdatabase, c AS text, split_part(c, '=', 1) AS name
    FROM pg_db_role_setting s CROSS JOIN LATERAL unnest(s.setconfig) c
    WHERE s.setdatabase IN (0, (SELECT oid FROM pg_database WHERE datname = current_database()))
)
SELECT 'role', 'error', rolname, 'has ' || concat_ws(', ', CASE WHEN rolsuper THEN 'superuser' END, CASE WHEN rolbypassrls THEN 'bypassrls' END,
           CASE WHEN rolcreaterole THEN 'createrole' END, CASE WHEN rolcreatedb THEN 'createdb' END, CASE WHEN rolreplication THEN 'replication' END,
           CASE WHEN rolinherit THEN 'inherit' END, CASE WHEN rolcanlogin <> (rolname IN ('isocore_login', 'isocore_keeper')) THEN 'the wrong login' END),
       'isocore protect'
FROM ours
WHERE rolsuper OR rolbypassrls OR rolcreaterole OR rolcreatedb OR rolreplication OR rolinherit OR rolcanlogin <> (rolname IN ('isocore_login', 'isocore_keeper'))
UNION ALL
SELECT 'role', 'error', rolname, 'row security does not hold it, and it owns the application''s tables', 'isocore protect'
FROM pg_roles WHERE rolname = 'app_owner' AND (rolsuper OR rolbypassrls)
UNION ALL
SELECT 'membership', 'error', m.member::regrole::text, format('is a member of %s', m.roleid::regrole), format('REVOKE %s FROM %s', m.roleid::regrole, m.member::regrole)
FROM pg_auth_members m
WHERE (m.member IN (SELECT oid FROM ours) OR m.roleid IN (SELECT oid FROM ours))
  AND NOT (m.roleid = 'isocore_rt'::regrole AND m.member = 'isocore_login'::regrole AND NOT m.admin_option)
  AND NOT (m.admin_option AND current_setting('server_version_num')::int >= 160000 AND m.member NOT IN (SELECT oid FROM ours)) -- what creating a role leaves
UNION ALL
SELECT 'membership', 'error', 'isocore_login', 'is not a member of isocore_rt', 'isocore protect'
WHERE NOT EXISTS (SELECT FROM pg_auth_members WHERE roleid = 'isocore_rt'::regrole AND member = 'isocore_login'::regrole)
UNION ALL
SELECT DISTINCT 'ownership', 'error', refobjid::regrole::text,
       format('owns %s', CASE WHEN d.dbid IN (0, (SELECT oid FROM pg_database WHERE datname = current_database())) THEN pg_describe_object(d.classid, d.objid, d.objsubid) ELSE 'something in another database' END),
       format('REASSIGN OWNED BY %s TO app_owner', refobjid::regrole)
FROM pg_shdepend d
WHERE refclassid = 'pg_authid'::regclass AND deptype = 'o' AND refobjid IN ('isocore_rt'::regrole, 'isocore_login'::regrole, 'isocore_keeper'::regrole)
UNION ALL
SELECT 'role-setting', 'error', setrole::regrole::text, format('has a setting that is not ours: %s', name), format('ALTER ROLE %s RESET %s', setrole::regrole, name)
FROM setting
WHERE setrole IN (SELECT oid FROM ours)
  AND NOT (setrole = 'isocore_login'::regrole AND (setdatabase = 0 AND text = ANY ($4::text[]) OR setdatabase <> 0 AND text = 'search_path=' || (SELECT text FROM path)))
UNION ALL
SELECT 'role-setting', 'warning', 'isocore_login', 'does not have the search path of this database', 'isocore protect'
WHERE NOT EXISTS (SELECT FROM setting WHERE setrole = 'isocore_login'::regrole AND setdatabase <> 0 AND text = 'search_path=' || (SELECT text FROM path))
UNION ALL
SELECT 'database-setting', 'error', 'every session', format('starts with a setting that is not ours: %s', name), format('ALTER ROLE ALL RESET %s, or ALTER DATABASE %I RESET %1$s', name, current_database())
FROM setting
WHERE setrole = 0 AND name ~* '^(isocore\..*|role|session_authorization|standard_conforming_strings|row_security|session_preload_libraries|local_preload_libraries)$'
UNION ALL
SELECT 'parameter-grant', 'error', parname, format('%s may set it', CASE a.grantee WHEN 0 THEN 'PUBLIC' ELSE a.grantee::regrole::text END), format('REVOKE ALL ON PARAMETER %s FROM PUBLIC, isocore_rt, isocore_login', parname)
FROM pg_parameter_acl p CROSS JOIN LATERAL aclexplode(p.paracl) a
WHERE a.grantee = 0 OR a.grantee IN (SELECT oid FROM ours)
UNION ALL
SELECT 'reads-all', 'warning', m.member::regrole::text, format('is a member of %s: every table''s grants are its own', m.roleid::regrole), ''
FROM pg_auth_members m
WHERE m.roleid IN ('pg_read_all_data'::regrole, 'pg_write_all_data'::regrole)
UNION ALL
SELECT 'createrole', 'warning', rolname, 'may make itself a member of isocore_owner and read the keys', ''
FROM pg_roles WHERE rolcreaterole AND NOT rolsuper AND current_setting('server_version_num')::int < 160000
UNION ALL
SELECT 'bypass', 'note', rolname, 'is not held by row security', ''
FROM pg_roles WHERE rolbypassrls AND NOT rolsuper AND rolname NOT IN (SELECT rolname FROM ours)
