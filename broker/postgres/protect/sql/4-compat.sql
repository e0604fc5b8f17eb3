-- What drivers need of the functions the seal revokes, made safe. The schema
-- stands before pg_catalog in the runtime search path, so an unqualified call
-- lands here.

-- A closed list of harmless settings: nothing of isocore, no role, no
-- search_path, no limit of time or memory, nothing with a dot. Messages below
-- NOTICE tell of what the whole server shares, transaction numbers above all.
CREATE OR REPLACE FUNCTION isocore_compat.set_config(setting_name text, new_value text, is_local boolean) RETURNS text
LANGUAGE plpgsql VOLATILE SECURITY DEFINER PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp AS $isocore$
BEGIN
    IF setting_name IS NULL OR lower(setting_name) NOT IN (
        'application_name', 'array_nulls', 'bytea_output', 'client_min_messages', 'datestyle',
        'default_text_search_config', 'extra_float_digits', 'intervalstyle', 'jit', 'quote_all_identifiers',
        'timezone', 'xmlbinary', 'xmloption') THEN
        RAISE EXCEPTION 'isocore: this setting may not be set' USING ERRCODE = '42501';
    END IF;
    IF lower(setting_name) = 'client_min_messages' AND (lower(new_value) IN ('notice', 'warning', 'error')) IS NOT TRUE THEN
        RAISE EXCEPTION 'isocore: client_min_messages may only be notice, warning or error' USING ERRCODE = '42501';
    END IF;
    RETURN set_config(setting_name, new_value, is_local);
END
$isocore$;

-- Advisory locks in 64 slots of the tenant's own: 58 bits of a hash over the
-- tenant, then 6 of one over the shape of the key and the key. The server keeps
-- all locks in one table of a fixed size: without the slots one tenant could
-- fill it for everybody, and by what still fits count the locks of others.
-- However it asks, by session or by transaction, a tenant never holds more than
-- 64 of them; to lock a slot again takes no room. So two keys of one tenant may
-- share a slot, and then wait for each other: more exclusion than asked for,
-- never less, as long as each unlocks only what it has locked.
CREATE OR REPLACE FUNCTION isocore_compat.lock_key(key text) RETURNS bigint
LANGUAGE plpgsql STABLE SECURITY DEFINER PARALLEL RESTRICTED SET search_path = pg_catalog, pg_temp AS $isocore$
DECLARE
    id uuid := isocore.tenant();
BEGIN
    IF id IS NULL THEN
        RAISE EXCEPTION 'isocore: an advisory lock needs a tenant' USING ERRCODE = '42501';
    END IF;
    RETURN (('x' || substr(encode(sha256(convert_to('isocore.lock' || id::text, 'UTF8')), 'hex'), 1, 16))::bit(64)::bigint & (-64)::bigint)
        | (get_byte(sha256(convert_to(key, 'UTF8')), 0) & 63)::bigint;
END
$isocore$;

CREATE OR REPLACE FUNCTION isocore_compat.pg_advisory_lock(key bigint) RETURNS void
LANGUAGE plpgsql VOLATILE SECURITY DEFINER PARALLEL UNSAFE STRICT SET search_path = pg_catalog, pg_temp AS $isocore$
BEGIN
    PERFORM pg_advisory_lock(isocore_compat.lock_key('1 ' || key::text));
END
$isocore$;

CREATE OR REPLACE FUNCTION isocore_compat.pg_advisory_lock(key1 integer, key2 integer) RETURNS void
LANGUAGE plpgsql VOLATILE SECURITY DEFINER PARALLEL UNSAFE STRICT SET search_path = pg_catalog, pg_temp AS $isocore$
BEGIN
    PERFORM pg_advisory_lock(isocore_compat.lock_key('2 ' || key1::text || ' ' || key2::text));
END
$isocore$;

CREATE OR REPLACE FUNCTION isocore_compat.pg_advisory_lock_shared(key bigint) RETURNS void
LANGUAGE plpgsql VOLATILE SECURITY DEFINER PARALLEL UNSAFE STRICT SET search_path = pg_catalog, pg_temp AS $isocore$
BEGIN
    PERFORM pg_advisory_lock_shared(isocore_compat.lock_key('1 ' || key::text));
END
$isocore$;

CREATE OR REPLACE FUNCTION isocore_compat.pg_advisory_lock_shared(key1 integer, key2 integer) RETURNS void
LANGUAGE plpgsql VOLATILE SECURITY DEFINER PARALLEL UNSAFE STRICT SET search_path = pg_catalog, pg_temp AS $isocore$
BEGIN
    PERFORM pg_advisory_lock_shared(isocore_compat.lock_key('2 ' || key1::text || ' ' || key2::text));
END
$isocore$;

CREATE OR REPLACE FUNCTION isocore_compat.pg_try_advisory_lock(key bigint) RETURNS boolean
LANGUAGE plpgsql VOLATILE SECURITY DEFINER PARALLEL UNSAFE STRICT SET search_path = pg_catalog, pg_temp AS $isocore$
BEGIN
    RETURN pg_try_advisory_lock(isocore_compat.lock_key('1 ' || key::text));
END
$isocore$;

CREATE OR REPLACE FUNCTION isocore_compat.pg_try_advisory_lock(key1 integer, key2 integer) RETURNS boolean
LANGUAGE plpgsql VOLATILE SECURITY DEFINER PARALLEL UNSAFE STRICT SET search_path = pg_catalog, pg_temp AS $isocore$
BEGIN
    RETURN pg_try_advisory_lock(isocore_compat.lock_key('2 ' || key1::text || ' ' || key2::text));
END
$isocore$;

CREATE OR REPLACE FUNCTION isocore_compat.pg_try_advisory_lock_shared(key bigint) RETURNS boolean
LANGUAGE plpgsql VOLATILE SECURITY DEFINER PARALLEL UNSAFE STRICT SET search_path = pg_catalog, pg_temp AS $isocore$
BEGIN
    RETURN pg_try_advisory_lock_shared(isocore_compat.lock_key('1 ' || key::text));
END
$isocore$;

CREATE OR REPLACE FUNCTION isocore_compat.pg_try_advisory_lock_shared(key1 integer, key2 integer) RETURNS boolean
LANGUAGE plpgsql VOLATILE SECURITY DEFINER PARALLEL UNSAFE STRICT SET search_path = pg_catalog, pg_temp AS $isocore$
BEGIN
    RETURN pg_try_advisory_lock_shared(isocore_compat.lock_key('2 ' || key1::text || ' ' || key2::text));
END
$isocore$;

CREATE OR REPLACE FUNCTION isocore_compat.pg_advisory_xact_lock(key bigint) RETURNS void
LANGUAGE plpgsql VOLATILE SECURITY DEFINER PARALLEL UNSAFE STRICT SET search_path = pg_catalog, pg_temp AS $isocore$
BEGIN
    PERFORM pg_advisory_xact_lock(isocore_compat.lock_key('1 ' || key::text));
END
$isocore$;

CREATE OR REPLACE FUNCTION isocore_compat.pg_advisory_xact_lock(key1 integer, key2 integer) RETURNS void
LANGUAGE plpgsql VOLATILE SECURITY DEFINER PARALLEL UNSAFE STRICT SET search_path = pg_catalog, pg_temp AS $isocore$
BEGIN
    PERFORM pg_advisory_xact_lock(isocore_compat.lock_key('2 ' || key1::text || ' ' || key2::text));
END
$isocore$;

CREATE OR REPLACE FUNCTION isocore_compat.pg_advisory_xact_lock_shared(key bigint) RETURNS void
LANGUAGE plpgsql VOLATILE SECURITY DEFINER PARALLEL UNSAFE STRICT SET search_path = pg_catalog, pg_temp AS $isocore$
BEGIN
    PERFORM pg_advisory_xact_lock_shared(isocore_compat.lock_key('1 ' || key::text));
END
$isocore$;

CREATE OR REPLACE FUNCTION isocore_compat.pg_advisory_xact_lock_shared(key1 integer, key2 integer) RETURNS void
LANGUAGE plpgsql VOLATILE SECURITY DEFINER PARALLEL UNSAFE STRICT SET search_path = pg_catalog, pg_temp AS $isocore$
BEGIN
    PERFORM pg_advisory_xact_lock_shared(isocore_compat.lock_key('2 ' || key1::text || ' ' || key2::text));
END
$isocore$;

CREATE OR REPLACE FUNCTION isocore_compat.pg_try_advisory_xact_lock(key bigint) RETURNS boolean
LANGUAGE plpgsql VOLATILE SECURITY DEFINER PARALLEL UNSAFE STRICT SET search_path = pg_catalog, pg_temp AS $isocore$
BEGIN
    RETURN pg_try_advisory_xact_lock(isocore_compat.lock_key('1 ' || key::text));
END
$isocore$;

CREATE OR REPLACE FUNCTION isocore_compat.pg_try_advisory_xact_lock(key1 integer, key2 integer) RETURNS boolean
LANGUAGE plpgsql VOLATILE SECURITY DEFINER PARALLEL UNSAFE STRICT SET search_path = pg_catalog, pg_temp AS $isocore$
BEGIN
    RETURN pg_try_advisory_xact_lock(isocore_compat.lock_key('2 ' || key1::text || ' ' || key2::text));
END
$isocore$;

CREATE OR REPLACE FUNCTION isocore_compat.pg_try_advisory_xact_lock_shared(key bigint) RETURNS boolean
LANGUAGE plpgsql VOLATILE SECURITY DEFINER PARALLEL UNSAFE STRICT SET search_path = pg_catalog, pg_temp AS $isocore$
BEGIN
    RETURN pg_try_advisory_xact_lock_shared(isocore_compat.lock_key('1 ' || key::text));
END
$isocore$;

CREATE OR REPLACE FUNCTION isocore_compat.pg_try_advisory_xact_lock_shared(key1 integer, key2 integer) RETURNS boolean
LANGUAGE plpgsql VOLATILE SECURITY DEFINER PARALLEL UNSAFE STRICT SET search_path = pg_catalog, pg_temp AS $isocore$
BEGIN
    RETURN pg_try_advisory_xact_lock_shared(isocore_compat.lock_key('2 ' || key1::text || ' ' || key2::text));
END
$isocore$;

CREATE OR REPLACE FUNCTION isocore_compat.pg_advisory_unlock(key bigint) RETURNS boolean
LANGUAGE plpgsql VOLATILE SECURITY DEFINER PARALLEL UNSAFE STRICT SET search_path = pg_catalog, pg_temp AS $isocore$
BEGIN
    RETURN pg_advisory_unlock(isocore_compat.lock_key('1 ' || key::text));
END
$isocore$;

CREATE OR REPLACE FUNCTION isocore_compat.pg_advisory_unlock(key1 integer, key2 integer) RETURNS boolean
LANGUAGE plpgsql VOLATILE SECURITY DEFINER PARALLEL UNSAFE STRICT SET search_path = pg_catalog, pg_temp AS $isocore$
BEGIN
    RETURN pg_advisory_unlock(isocore_compat.lock_key('2 ' || key1::text || ' ' || key2::text));
END
$isocore$;

CREATE OR REPLACE FUNCTION isocore_compat.pg_advisory_unlock_shared(key bigint) RETURNS boolean
LANGUAGE plpgsql VOLATILE SECURITY DEFINER PARALLEL UNSAFE STRICT SET search_path = pg_catalog, pg_temp AS $isocore$
BEGIN
    RETURN pg_advisory_unlock_shared(isocore_compat.lock_key('1 ' || key::text));
END
$isocore$;

CREATE OR REPLACE FUNCTION isocore_compat.pg_advisory_unlock_shared(key1 integer, key2 integer) RETURNS boolean
LANGUAGE plpgsql VOLATILE SECURITY DEFINER PARALLEL UNSAFE STRICT SET search_path = pg_catalog, pg_temp AS $isocore$
BEGIN
    RETURN pg_advisory_unlock_shared(isocore_compat.lock_key('2 ' || key1::text || ' ' || key2::text));
END
$isocore$;

-- Locks of this backend only, by nature; a backend is reset between tenants.
CREATE OR REPLACE FUNCTION isocore_compat.pg_advisory_unlock_all() RETURNS void
LANGUAGE plpgsql VOLATILE SECURITY DEFINER PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp AS $isocore$
BEGIN
    PERFORM pg_advisory_unlock_all();
END
$isocore$;

REVOKE ALL ON ALL FUNCTIONS IN SCHEMA isocore_compat FROM PUBLIC;
GRANT EXECUTE ON ALL FUNCTIONS IN SCHEMA isocore_compat TO isocore_rt;
REVOKE ALL ON FUNCTION isocore_compat.lock_key(text) FROM isocore_rt;
