-- Views and functions, which may run with the rights of others. $4: the
-- functions of the application that were looked at.
/*reach*/, base(view, oid) AS ( -- what a view reads, through other views
    SELECT v.oid, d.refobjid
    FROM rel v JOIN pg_rewrite w ON w.ev_class = v.oid
    JOIN pg_depend d ON d.classid = 'pg_rewrite'::regclass AND d.objid = w.oid AND d.refclassid = 'pg_class'::regclass AND d.refobjid <> v.oid
    WHERE v.relkind = 'v'
    UNION
    SELECT b.view, d.refobjid
    FROM base b JOIN pg_rewrite w ON w.ev_class = b.oid
    JOIN pg_depend d ON d.classid = 'pg_rewrite'::regclass AND d.objid = w.oid AND d.refclassid = 'pg_class'::regclass AND d.refobjid <> b.oid
), definer_view AS (
    SELECT v.name, v.relowner, string_agg(r.name, ', ' ORDER BY r.name) FILTER (WHERE r.oid NOT IN (SELECT oid FROM safe)) AS unsafe
    FROM rel v
    LEFT JOIN base b ON b.view = v.oid
    LEFT JOIN rel r ON r.oid = b.oid AND r.relkind <> 'v'
    WHERE v.relkind = 'v' AND v.granted AND NOT v.invoker
    GROUP BY v.oid, v.name, v.relowner
)
SELECT 'view', CASE WHEN unsafe IS NOT NULL OR relowner IN (SELECT oid FROM above) THEN 'error' ELSE 'warning' END, name,
       format('tenants read it with the rights of %s', relowner::regrole)
       || CASE WHEN relowner IN (SELECT oid FROM above) THEN ', whom row security does not hold' ELSE '' END
       || coalesce(', and it shows unprotected ' || unsafe, ''),
       format('ALTER VIEW %s SET (security_invoker = true)', name)
FROM definer_view
UNION ALL
SELECT 'definer', CASE WHEN proowner IN (SELECT oid FROM above) THEN 'error' ELSE 'warning' END, name,
       format('tenants run it with the rights of %s', proowner::regrole) || CASE WHEN proowner IN (SELECT oid FROM above) THEN ', whom row security does not hold' ELSE '' END,
       'make it SECURITY INVOKER, or revoke it'
FROM function
WHERE granted AND prosecdef AND (proowner IN (SELECT oid FROM above) OR name <> ALL ($4::text[]))
UNION ALL
SELECT 'extension', 'error', name, format('tenants may run it: extension %s runs text as SQL, or looks past row security', extname), format('REVOKE ALL ON FUNCTION %s FROM PUBLIC, isocore_rt', name)
FROM function WHERE granted AND dangerous
UNION ALL
SELECT 'extension', 'error', r.name, format('tenants may read it: extension %s shows what others do', e.extname), format('REVOKE ALL ON %s FROM PUBLIC, isocore_rt', r.name)
FROM reach r
JOIN pg_depend d ON d.classid = 'pg_class'::regclass AND d.objid = r.oid AND d.refclassid = 'pg_extension'::regclass AND d.deptype = 'e'
JOIN pg_extension e ON e.oid = d.refobjid
WHERE r.granted
UNION ALL
SELECT 'volatile', 'warning', name, 'tenants may run it: code nobody has looked at', 'name it in the options, or revoke it'
FROM function
WHERE granted AND provolatile = 'v' AND NOT prosecdef AND NOT dangerous AND NOT computes AND NOT is_trigger AND name <> ALL ($4) AND has_schema_privilege('isocore_rt', nspname, 'USAGE')
UNION ALL
SELECT 'foreign-server', 'error', srvname, 'tenants may reach another server through it', format('REVOKE ALL ON FOREIGN SERVER %I FROM PUBLIC, isocore_rt', srvname)
FROM pg_foreign_server WHERE has_server_privilege('isocore_rt', oid, 'USAGE')
UNION ALL
SELECT DISTINCT 'trigger', 'warning', r.name, format('a tenant''s write runs %I with the rights of %s', p.proname, p.proowner::regrole), 'make the function SECURITY INVOKER'
FROM reach r JOIN pg_trigger t ON t.tgrelid = r.oid AND NOT t.tgisinternal JOIN pg_proc p ON p.oid = t.tgfoid
WHERE r.reached AND p.prosecdef
UNION ALL
SELECT 'rule', 'warning', r.name, format('rule %I runs with the rights of %s', w.rulename, r.relowner::regrole), 'use a trigger'
FROM reach r JOIN pg_rewrite w ON w.ev_class = r.oid
WHERE r.reached AND w.ev_type <> '1'
