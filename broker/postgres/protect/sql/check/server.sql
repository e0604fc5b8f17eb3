-- The server. On its own and first: the rest asks for roles and columns that
-- an unfit server does not have.
SELECT 'setting', 'error', name, format('is %s, not %s', setting, want), ''
FROM pg_settings JOIN (VALUES ('standard_conforming_strings', 'on'), ('server_encoding', 'UTF8')) AS w(n, want) ON n = name
WHERE CASE source WHEN 'session' THEN reset_val ELSE setting END <> want
UNION ALL
SELECT 'setting', 'warning', name, 'prepared transactions outlive their session, and every tenant can end them', 'max_prepared_transactions = 0'
FROM pg_settings WHERE name = 'max_prepared_transactions' AND setting <> '0'
UNION ALL
SELECT 'setting', 'warning', p.name, 'statements are logged with their parameters: contexts, keys and data', 'log_parameter_max_length = 0'
FROM pg_settings p, pg_settings s, pg_settings d
WHERE p.name = 'log_parameter_max_length' AND s.name = 'log_statement' AND d.name = 'log_min_duration_statement'
  AND p.setting <> '0' AND (s.setting = 'all' OR d.setting <> '-1')
