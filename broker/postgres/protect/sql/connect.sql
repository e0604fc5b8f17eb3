-- Statements that close every database to PUBLIC, and open it again to those
-- who could already log in to it.
SELECT format('REVOKE CONNECT ON DATABASE %I FROM PUBLIC', datname)
       || coalesce((SELECT format('; GRANT CONNECT ON DATABASE %I TO %s', d.datname, string_agg(format('%I', rolname), ', ' ORDER BY rolname))
                    FROM pg_roles r
                    WHERE rolcanlogin AND NOT rolsuper AND r.oid <> d.datdba AND rolname NOT IN ('isocore_login', 'isocore_keeper')
                      AND has_database_privilege(r.oid, d.oid, 'CONNECT')
                    HAVING count(*) > 0), '')
FROM pg_database d
WHERE EXISTS (SELECT FROM aclexplode(coalesce(datacl, acldefault('d', datdba))) WHERE grantee = 0 AND privilege_type = 'CONNECT')
