-- Everything of the server's own that tenants can use: the program keeps what
-- the verdict lists allow. kind, name, volatility, full name (of other kinds:
-- the statement that closes it).
SELECT 'function', CASE nspname WHEN 'pg_catalog' THEN '' ELSE nspname || '.' END || format('%I(%s)', proname, oidvectortypes(proargtypes)),
       provolatile::text, format('ROUTINE %I.%I(%s)', nspname, proname, oidvectortypes(proargtypes))
FROM pg_proc p JOIN pg_namespace n ON n.oid = pronamespace
WHERE nspname IN ('pg_catalog', 'information_schema')
  AND (has_function_privilege('isocore_rt', p.oid, 'EXECUTE')
       OR has_function_privilege('isocore_login', p.oid, 'EXECUTE') AND p.oid <> 'pg_catalog.pg_backend_pid()'::regprocedure) -- asked before SET ROLE
UNION ALL
SELECT 'relation', relname, '', format('pg_catalog.%I', relname)
FROM pg_class c
WHERE relnamespace = 'pg_catalog'::regnamespace AND relkind IN ('r', 'v', 'm', 'f', 'p')
  AND (has_any_column_privilege('isocore_rt', c.oid, 'SELECT') OR has_any_column_privilege('isocore_login', c.oid, 'SELECT'))
UNION ALL
SELECT 'writes-catalog', relname, '', format('REVOKE INSERT, UPDATE, DELETE, TRUNCATE ON pg_catalog.%I FROM PUBLIC, isocore_rt, isocore_login', relname)
FROM pg_class c
WHERE relnamespace = 'pg_catalog'::regnamespace AND relkind IN ('r', 'v', 'm', 'f', 'p')
  AND (has_table_privilege('isocore_rt', c.oid, 'INSERT, UPDATE, DELETE, TRUNCATE')
       OR has_table_privilege('isocore_login', c.oid, 'INSERT, UPDATE, DELETE, TRUNCATE'))
UNION ALL
-- DO is code of the tenant's that no scanner reads. SQL itself has no DO.
SELECT 'language', lanname, '', format('REVOKE ALL ON LANGUAGE %I FROM PUBLIC, isocore_rt, isocore_login; GRANT USAGE ON LANGUAGE %1$I TO app_owner, isocore_owner', lanname)
FROM pg_language l
WHERE lanpltrusted AND lanname <> 'sql'
  AND (has_language_privilege('isocore_rt', l.oid, 'USAGE') OR has_language_privilege('isocore_login', l.oid, 'USAGE'))
UNION ALL
SELECT 'temporary-tables', datname, '', format('REVOKE TEMPORARY ON DATABASE %I FROM PUBLIC, isocore_rt, isocore_login; GRANT TEMPORARY ON DATABASE %1$I TO app_owner', datname)
FROM pg_database d
WHERE datname = current_database()
  AND (has_database_privilege('isocore_rt', d.oid, 'TEMPORARY') OR has_database_privilege('isocore_login', d.oid, 'TEMPORARY'))
