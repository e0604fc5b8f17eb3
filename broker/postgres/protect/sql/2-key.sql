-- The keys that contexts are signed with, padded for HMAC (RFC 2104):
-- mac(m) = sha256(opad || sha256(ipad || m)).
--
-- Row security admits the owner alone, whose functions are the only readers:
-- a member of pg_read_all_data may select, and sees nothing.
CREATE TABLE IF NOT EXISTS isocore.key (
    kid       text PRIMARY KEY CHECK (kid ~ '^[0-9a-f]{8}$'),
    ipad      bytea NOT NULL CHECK (octet_length(ipad) = 64),
    opad      bytea NOT NULL CHECK (octet_length(opad) = 64),
    not_after timestamptz NOT NULL,
    installed timestamptz NOT NULL DEFAULT pg_catalog.clock_timestamp()
);
ALTER TABLE isocore.key ENABLE ROW LEVEL SECURITY;
ALTER TABLE isocore.key FORCE ROW LEVEL SECURITY;
DROP POLICY IF EXISTS owner ON isocore.key;
CREATE POLICY owner ON isocore.key TO isocore_owner USING (true) WITH CHECK (true);

-- Two live at a time, so that a transaction begun under the last key ends in peace.
CREATE OR REPLACE FUNCTION isocore.install_key(kid text, ipad bytea, opad bytea, not_after timestamptz) RETURNS void
LANGUAGE plpgsql VOLATILE SECURITY DEFINER PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp AS $isocore$
BEGIN
    IF install_key.not_after IS NULL OR install_key.not_after <= clock_timestamp()
       OR install_key.not_after > clock_timestamp() + interval '1 day 1 minute' THEN
        RAISE EXCEPTION 'isocore: a key lives at most a day' USING ERRCODE = '22023';
    END IF;
    LOCK TABLE isocore.key IN SHARE ROW EXCLUSIVE MODE;
    INSERT INTO isocore.key (kid, ipad, opad, not_after)
        VALUES (install_key.kid, install_key.ipad, install_key.opad, install_key.not_after);
    DELETE FROM isocore.key k WHERE k.not_after <= clock_timestamp() OR k.kid NOT IN (
        SELECT n.kid FROM isocore.key n WHERE n.not_after > clock_timestamp() ORDER BY n.installed DESC LIMIT 2);
END
$isocore$;

CREATE OR REPLACE FUNCTION isocore.retire_keys(keep text) RETURNS integer
LANGUAGE plpgsql VOLATILE SECURITY DEFINER PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp AS $isocore$
DECLARE
    n integer;
BEGIN
    LOCK TABLE isocore.key IN SHARE ROW EXCLUSIVE MODE;
    DELETE FROM isocore.key k WHERE k.kid IS DISTINCT FROM retire_keys.keep;
    GET DIAGNOSTICS n = ROW_COUNT;
    RETURN n;
END
$isocore$;

REVOKE ALL ON TABLE isocore.installed, isocore.key FROM PUBLIC;
REVOKE ALL ON FUNCTION isocore.install_key(text, bytea, bytea, timestamptz), isocore.retire_keys(text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION isocore.install_key(text, bytea, bytea, timestamptz), isocore.retire_keys(text) TO isocore_keeper;
