-- The context of a transaction is the setting isocore.ctx. Anybody may write
-- it; only what a key of ours signed for this backend, this run of the server,
-- this moment is believed. Layout: see Key.Context.
--
-- Unset is nobody: NULL. Anything else that does not verify is an error, not
-- zero rows: half a transaction that silently sees nothing corrupts data.
--
-- No EXCEPTION clause (a subtransaction breaks parallel plans), no other
-- language (SQL functions cost ten times as much), PARALLEL RESTRICTED (a
-- worker has another pid), one RAISE (its line number tells nothing).

CREATE OR REPLACE FUNCTION isocore.tenant() RETURNS uuid
LANGUAGE plpgsql STABLE SECURITY DEFINER PARALLEL RESTRICTED SET search_path = pg_catalog, pg_temp AS $isocore$
DECLARE
    ctx       text := current_setting('isocore.ctx', true);
    inner_pad bytea;
    outer_pad bytea;
    raw       bytea;
BEGIN
/*verify: NULL*/
    RETURN encode(substr(raw, 11, 32), 'escape')::uuid;
END
$isocore$;

CREATE OR REPLACE FUNCTION isocore.principal() RETURNS uuid
LANGUAGE plpgsql STABLE SECURITY DEFINER PARALLEL RESTRICTED SET search_path = pg_catalog, pg_temp AS $isocore$
DECLARE
    ctx       text := current_setting('isocore.ctx', true);
    inner_pad bytea;
    outer_pad bytea;
    raw       bytea;
BEGIN
/*verify: NULL*/
    RETURN encode(substr(raw, 43, 32), 'escape')::uuid;
END
$isocore$;

CREATE OR REPLACE FUNCTION isocore.has_scope(want text) RETURNS boolean
LANGUAGE plpgsql STABLE SECURITY DEFINER PARALLEL RESTRICTED SET search_path = pg_catalog, pg_temp AS $isocore$
DECLARE
    ctx       text := current_setting('isocore.ctx', true);
    inner_pad bytea;
    outer_pad bytea;
    raw       bytea;
BEGIN
/*verify: false*/
    RETURN coalesce(want <> '' AND strpos(want, ' ') = 0
        AND strpos(' ' || substr(ctx, 171) || ' ', ' ' || want || ' ') > 0, false);
END
$isocore$;

CREATE OR REPLACE FUNCTION isocore.may_write() RETURNS boolean
LANGUAGE plpgsql STABLE SECURITY DEFINER PARALLEL RESTRICTED SET search_path = pg_catalog, pg_temp AS $isocore$
DECLARE
    ctx       text := current_setting('isocore.ctx', true);
    inner_pad bytea;
    outer_pad bytea;
    raw       bytea;
BEGIN
/*verify: false*/
    IF strpos(' ' || substr(ctx, 171) || ' ', ' pg:write ') = 0 THEN
        RAISE EXCEPTION 'isocore: this token may not write' USING ERRCODE = '42501';
    END IF;
    RETURN true;
END
$isocore$;

-- One context a transaction: a cursor opened under one must not be read under
-- the next. The setting is local, so that its end is the transaction's.
CREATE OR REPLACE FUNCTION isocore.enter(ctx text) RETURNS uuid
LANGUAGE plpgsql VOLATILE SECURITY DEFINER PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp AS $isocore$
DECLARE
    was text := current_setting('isocore.ctx', true);
    id  uuid;
BEGIN
    IF was <> '' AND was IS DISTINCT FROM enter.ctx THEN
        RAISE EXCEPTION 'isocore: this transaction has a context' USING ERRCODE = '42501';
    END IF;
    PERFORM set_config('isocore.ctx', enter.ctx, true);
    id := isocore.tenant();
    IF id IS NULL THEN
        RAISE EXCEPTION 'isocore: the tenant context is not valid' USING ERRCODE = '42501';
    END IF;
    RETURN id;
END
$isocore$;

REVOKE ALL ON FUNCTION isocore.tenant(), isocore.principal(), isocore.has_scope(text), isocore.may_write(), isocore.enter(text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION isocore.tenant(), isocore.principal(), isocore.has_scope(text), isocore.may_write() TO isocore_rt, app_owner;
GRANT EXECUTE ON FUNCTION isocore.enter(text) TO isocore_rt;
