-- What exists: partners, their tenants, whose tokens are believed, who came
-- with one, and the wrapped keys. Nothing here is ever deleted: what is over
-- stays as a row in state 'gone', so that no id is used twice.

-- +goose Up
CREATE TABLE standing_version (
    one boolean PRIMARY KEY DEFAULT true CHECK (one),
    n   bigint  NOT NULL
);
INSERT INTO standing_version (n) VALUES (1);

-- +goose StatementBegin
CREATE FUNCTION bump() RETURNS bigint LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    now_at bigint;
BEGIN
    -- The lock on this row is held until commit, so versions become visible in
    -- their order: who has read up to n has missed nothing before n.
    UPDATE public.standing_version SET n = n + 1 RETURNING n INTO now_at;
    PERFORM pg_notify('isocore_standing', now_at::text);
    RETURN now_at;
END $$;
-- +goose StatementEnd

-- +goose StatementBegin
CREATE FUNCTION bump_after() RETURNS trigger LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    PERFORM public.bump();
    RETURN NULL;
END $$;
-- +goose StatementEnd

-- +goose StatementBegin
CREATE FUNCTION bump_row() RETURNS trigger LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    NEW.changed := public.bump();
    RETURN NEW;
END $$;
-- +goose StatementEnd

-- +goose StatementBegin
CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    RAISE EXCEPTION 'nothing is deleted from %: its ids are never used again', TG_TABLE_NAME USING ERRCODE = '23001';
END $$;
-- +goose StatementEnd

-- +goose StatementBegin
CREATE FUNCTION keep() RETURNS trigger LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    fixed text;
BEGIN
    FOREACH fixed IN ARRAY TG_ARGV LOOP
        IF to_jsonb(NEW) -> fixed IS DISTINCT FROM to_jsonb(OLD) -> fixed THEN
            RAISE EXCEPTION '%.% never changes', TG_TABLE_NAME, fixed USING ERRCODE = '23001';
        END IF;
    END LOOP;
    IF to_jsonb(OLD) ->> 'state' IN ('gone', 'destroyed') THEN
        RAISE EXCEPTION 'what is over in % stays over', TG_TABLE_NAME USING ERRCODE = '23001';
    END IF;
    RETURN NEW;
END $$;
-- +goose StatementEnd

CREATE TABLE partner (
    id      uuid PRIMARY KEY CHECK (id <> '00000000-0000-0000-0000-000000000000'),
    name    text NOT NULL CHECK (name ~ '^[a-z0-9][a-z0-9-]{0,38}[a-z0-9]$'),
    state   text NOT NULL DEFAULT 'active' CHECK (state IN ('active', 'suspended', 'gone')),
    created timestamptz NOT NULL
);
CREATE UNIQUE INDEX partner_name ON partner (name) WHERE state <> 'gone';

CREATE TABLE tenant (
    id      uuid PRIMARY KEY CHECK (id <> '00000000-0000-0000-0000-000000000000'),
    partner uuid NOT NULL REFERENCES partner,
    name    text NOT NULL CHECK (name ~ '^[a-z0-9][a-z0-9-]{0,38}[a-z0-9]$'),
    state   text NOT NULL DEFAULT 'active' CHECK (state IN ('active', 'suspended', 'leaving', 'gone')),
    region  text NOT NULL DEFAULT '',
    created timestamptz NOT NULL,
    gone    timestamptz,
    CHECK ((state = 'gone') = (gone IS NOT NULL))
);
CREATE UNIQUE INDEX tenant_name ON tenant (partner, name) WHERE state <> 'gone';

CREATE TABLE issuer (
    id        uuid PRIMARY KEY CHECK (id <> '00000000-0000-0000-0000-000000000000'),
    url       text NOT NULL CHECK (url <> ''),
    preset    text NOT NULL DEFAULT '',
    jwks      jsonb NOT NULL,
    audiences text[] NOT NULL DEFAULT '{}',
    algs      text[] NOT NULL DEFAULT '{}',
    typ       text[] NOT NULL DEFAULT '{}',
    tenant_at text NOT NULL DEFAULT '',
    state     text NOT NULL DEFAULT 'active' CHECK (state IN ('active', 'gone'))
);
CREATE UNIQUE INDEX issuer_url ON issuer (url) WHERE state <> 'gone';

CREATE TABLE issuer_tenant (
    issuer uuid NOT NULL REFERENCES issuer,
    value  text NOT NULL,
    tenant uuid NOT NULL REFERENCES tenant,
    PRIMARY KEY (issuer, value)
);

CREATE TABLE principal (
    id      uuid PRIMARY KEY CHECK (id <> '00000000-0000-0000-0000-000000000000'),
    tenant  uuid NOT NULL REFERENCES tenant,
    issuer  uuid NOT NULL REFERENCES issuer,
    sub     text NOT NULL CHECK (sub <> ''),
    changed bigint NOT NULL, -- the standing_version that brought it
    UNIQUE (tenant, issuer, sub)
);
CREATE UNIQUE INDEX principal_changed ON principal (changed);

-- The operator's own log has the key of the zero tenant, who is in no table.
CREATE TABLE tenant_key (
    tenant  uuid NOT NULL,
    purpose text NOT NULL CHECK (purpose <> ''),
    version integer NOT NULL CHECK (version > 0),
    kek     text NOT NULL,
    wrapped bytea,
    state   text NOT NULL CHECK (state IN ('current', 'retired', 'destroyed')),
    changed bigint NOT NULL,
    PRIMARY KEY (tenant, purpose, version),
    CHECK ((state = 'destroyed') = (wrapped IS NULL))
);
CREATE UNIQUE INDEX tenant_key_current ON tenant_key (tenant, purpose) WHERE state = 'current';

CREATE TRIGGER bump AFTER INSERT OR UPDATE ON partner FOR EACH ROW EXECUTE FUNCTION bump_after();
CREATE TRIGGER bump AFTER INSERT OR UPDATE ON tenant FOR EACH ROW EXECUTE FUNCTION bump_after();
CREATE TRIGGER bump AFTER INSERT OR UPDATE ON issuer FOR EACH ROW EXECUTE FUNCTION bump_after();
CREATE TRIGGER bump AFTER INSERT OR UPDATE OR DELETE ON issuer_tenant FOR EACH ROW EXECUTE FUNCTION bump_after();
CREATE TRIGGER bump BEFORE INSERT ON principal FOR EACH ROW EXECUTE FUNCTION bump_row();
CREATE TRIGGER bump BEFORE INSERT OR UPDATE ON tenant_key FOR EACH ROW EXECUTE FUNCTION bump_row();

CREATE TRIGGER keep BEFORE UPDATE ON partner FOR EACH ROW EXECUTE FUNCTION keep('id', 'name', 'created');
CREATE TRIGGER keep BEFORE UPDATE ON tenant FOR EACH ROW EXECUTE FUNCTION keep('id', 'partner', 'name', 'created');
CREATE TRIGGER keep BEFORE UPDATE ON issuer FOR EACH ROW EXECUTE FUNCTION keep('id', 'url');
CREATE TRIGGER keep BEFORE UPDATE ON principal FOR EACH ROW EXECUTE FUNCTION keep('id', 'tenant', 'issuer', 'sub', 'changed');
CREATE TRIGGER keep BEFORE UPDATE ON tenant_key FOR EACH ROW EXECUTE FUNCTION keep('tenant', 'purpose', 'version');

CREATE TRIGGER refuse BEFORE DELETE OR TRUNCATE ON partner FOR EACH STATEMENT EXECUTE FUNCTION refuse();
CREATE TRIGGER refuse BEFORE DELETE OR TRUNCATE ON tenant FOR EACH STATEMENT EXECUTE FUNCTION refuse();
CREATE TRIGGER refuse BEFORE DELETE OR TRUNCATE ON issuer FOR EACH STATEMENT EXECUTE FUNCTION refuse();
CREATE TRIGGER refuse BEFORE DELETE OR TRUNCATE ON principal FOR EACH STATEMENT EXECUTE FUNCTION refuse();
CREATE TRIGGER refuse BEFORE DELETE OR TRUNCATE ON tenant_key FOR EACH STATEMENT EXECUTE FUNCTION refuse();
CREATE TRIGGER refuse BEFORE DELETE OR TRUNCATE ON standing_version FOR EACH STATEMENT EXECUTE FUNCTION refuse();
