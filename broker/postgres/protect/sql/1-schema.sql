-- What belongs to isocore_owner starts out closed to everybody else.
ALTER DEFAULT PRIVILEGES FOR ROLE isocore_owner REVOKE EXECUTE ON FUNCTIONS FROM PUBLIC;

REVOKE ALL ON SCHEMA isocore, isocore_compat FROM PUBLIC;
GRANT USAGE ON SCHEMA isocore TO isocore_rt, isocore_keeper, app_owner;
GRANT USAGE ON SCHEMA isocore_compat TO isocore_rt;

CREATE TABLE IF NOT EXISTS isocore.installed (
    only_one boolean PRIMARY KEY DEFAULT true CHECK (only_one),
    version  integer NOT NULL,
    at       timestamptz NOT NULL DEFAULT pg_catalog.clock_timestamp()
);
