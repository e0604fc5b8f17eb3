-- What is outside the database. $1: the settings of the login role.
SELECT 'unsealed', 'warning', 'isocore_login', format('the setting %s is missing in every database', s), 'seal it, as a superuser'
FROM unnest($1::text[]) s
WHERE NOT EXISTS (SELECT FROM pg_db_role_setting WHERE setrole = 'isocore_login'::regrole AND setdatabase = 0 AND s = ANY (setconfig))
UNION ALL
SELECT 'connect', 'warning', datname, 'the login role of the broker may connect to this database, where nothing of isocore is', format('REVOKE CONNECT ON DATABASE %I FROM PUBLIC', datname)
FROM pg_database d
WHERE datallowconn AND datname <> current_database()
  AND EXISTS (SELECT FROM aclexplode(coalesce(datacl, acldefault('d', datdba))) WHERE grantee = 0 AND privilege_type = 'CONNECT')
