-- Identity providers: whose tokens are believed at the edge, and which of their
-- organisations is which tenant. The trust domain's own issuer is not one, and
-- becomes none.

-- +goose Up
ALTER TABLE issuer
    ALTER COLUMN jwks DROP NOT NULL,
    ADD COLUMN provider     boolean  NOT NULL DEFAULT false,
    ADD COLUMN jwks_uri     text     NOT NULL DEFAULT '', -- where its keys are published, if they are not in jwks
    ADD COLUMN ca           text     NOT NULL DEFAULT '', -- certificates, in PEM, that it is trusted by
    ADD COLUMN private      boolean  NOT NULL DEFAULT false,
    ADD COLUMN tenant_shape text     NOT NULL DEFAULT '',
    ADD COLUMN subject_at   text     NOT NULL DEFAULT '',
    ADD COLUMN parties      text[]   NOT NULL DEFAULT '{}',
    ADD COLUMN reach        text[]   NOT NULL DEFAULT '{}',
    ADD COLUMN lifetime     interval NOT NULL DEFAULT '0',
    ADD CONSTRAINT issuer_keys CHECK ((jwks IS NULL) = (jwks_uri <> '')),
    ADD CONSTRAINT issuer_audience CHECK (NOT provider OR cardinality(audiences) > 0),
    ADD CONSTRAINT issuer_own CHECK (provider OR (jwks_uri = '' AND cardinality(reach) = 0));

ALTER TABLE issuer_tenant
    ADD CONSTRAINT issuer_tenant_value CHECK (value COLLATE "C" ~ '^[!-~]{1,128}$');

DROP TRIGGER keep ON issuer;
CREATE TRIGGER keep BEFORE UPDATE ON issuer FOR EACH ROW EXECUTE FUNCTION keep('id', 'url', 'provider');

-- A value that is to be another tenant's is unbound first. Rows of issuer_tenant
-- may go, for they have no id; one by one, so that every node hears of it.
CREATE TRIGGER keep BEFORE UPDATE ON issuer_tenant FOR EACH ROW EXECUTE FUNCTION keep('issuer', 'value', 'tenant');
CREATE TRIGGER refuse BEFORE TRUNCATE ON issuer_tenant FOR EACH STATEMENT EXECUTE FUNCTION refuse();
