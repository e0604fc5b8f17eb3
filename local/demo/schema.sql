-- The example application's tables: a clinic network and an advisory firm live
-- in the same ones. Every table has tenant_id, and every key, foreign key and
-- index leads with it. Ids are given by the application: a sequence would tell
-- one tenant how much the others write. isocore protect adds the rest: the
-- default of tenant_id, row security and the grants.

CREATE SCHEMA app AUTHORIZATION app_owner;
SET LOCAL ROLE app_owner;

CREATE TYPE app.task_state AS ENUM ('open', 'waiting', 'done');

-- Shared by every kind of tenant.

CREATE TABLE app.person (
	tenant_id   uuid   NOT NULL,
	id          bigint NOT NULL,
	external_no text   NOT NULL, -- patient or client number, from 100001 in every tenant
	name        text   NOT NULL,
	born        date   NOT NULL,
	PRIMARY KEY (tenant_id, id),
	UNIQUE (tenant_id, external_no)
);

CREATE TABLE app.document (
	tenant_id uuid        NOT NULL,
	id        uuid        NOT NULL,
	person_id bigint      NOT NULL,
	kind      text        NOT NULL,
	title     text        NOT NULL,
	body      text        NOT NULL,
	author    text        NOT NULL,
	keywords  text[]      NOT NULL,
	created   timestamptz NOT NULL,
	PRIMARY KEY (tenant_id, id),
	FOREIGN KEY (tenant_id, person_id) REFERENCES app.person (tenant_id, id)
);
CREATE INDEX ON app.document (tenant_id, person_id, created);
CREATE INDEX ON app.document (tenant_id, kind, created);

CREATE TABLE app.label (
	tenant_id uuid NOT NULL,
	id        int  NOT NULL,
	name      text NOT NULL,
	PRIMARY KEY (tenant_id, id),
	UNIQUE (tenant_id, name)
);

CREATE TABLE app.document_label (
	tenant_id   uuid NOT NULL,
	document_id uuid NOT NULL,
	label_id    int  NOT NULL,
	PRIMARY KEY (tenant_id, document_id, label_id),
	FOREIGN KEY (tenant_id, document_id) REFERENCES app.document (tenant_id, id),
	FOREIGN KEY (tenant_id, label_id) REFERENCES app.label (tenant_id, id)
);
CREATE INDEX ON app.document_label (tenant_id, label_id);

CREATE TABLE app.message (
	tenant_id   uuid        NOT NULL,
	id          bigint      NOT NULL,
	document_id uuid        NOT NULL,
	sender      text        NOT NULL,
	body        text        NOT NULL,
	sent        timestamptz NOT NULL,
	PRIMARY KEY (tenant_id, id),
	FOREIGN KEY (tenant_id, document_id) REFERENCES app.document (tenant_id, id)
);
CREATE INDEX ON app.message (tenant_id, document_id, sent);

CREATE TABLE app.task (
	tenant_id   uuid           NOT NULL,
	id          bigint         NOT NULL,
	document_id uuid           NOT NULL,
	title       text           NOT NULL,
	state       app.task_state NOT NULL DEFAULT 'open',
	assignee    text           NOT NULL,
	due         date           NOT NULL,
	PRIMARY KEY (tenant_id, id),
	FOREIGN KEY (tenant_id, document_id) REFERENCES app.document (tenant_id, id)
);
CREATE INDEX ON app.task (tenant_id, document_id);
CREATE INDEX ON app.task (tenant_id, due);

-- A clinic's.

CREATE TABLE app.encounter (
	tenant_id uuid        NOT NULL,
	id        bigint      NOT NULL,
	person_id bigint      NOT NULL,
	ward      text        NOT NULL,
	reason    text        NOT NULL,
	vitals    jsonb       NOT NULL,
	started   timestamptz NOT NULL,
	ended     timestamptz,
	PRIMARY KEY (tenant_id, id),
	FOREIGN KEY (tenant_id, person_id) REFERENCES app.person (tenant_id, id)
);
CREATE INDEX ON app.encounter (tenant_id, person_id, started);

CREATE TABLE app.medication (
	tenant_id    uuid          NOT NULL,
	id           bigint        NOT NULL,
	encounter_id bigint        NOT NULL,
	name         text          NOT NULL,
	dose_mg      numeric(8, 2) NOT NULL CHECK (dose_mg > 0),
	times_a_day  smallint      NOT NULL CHECK (times_a_day BETWEEN 1 AND 6),
	started      date          NOT NULL,
	stopped      date,
	PRIMARY KEY (tenant_id, id),
	FOREIGN KEY (tenant_id, encounter_id) REFERENCES app.encounter (tenant_id, id)
);
CREATE INDEX ON app.medication (tenant_id, encounter_id);

-- An advisory firm's.

CREATE TABLE app.account (
	tenant_id uuid   NOT NULL,
	id        bigint NOT NULL,
	person_id bigint NOT NULL,
	number    text   NOT NULL,
	kind      text   NOT NULL,
	currency  text   NOT NULL CHECK (currency ~ '^[A-Z]{3}$'),
	opened    date   NOT NULL,
	PRIMARY KEY (tenant_id, id),
	UNIQUE (tenant_id, number),
	FOREIGN KEY (tenant_id, person_id) REFERENCES app.person (tenant_id, id)
);
CREATE INDEX ON app.account (tenant_id, person_id);

CREATE TABLE app.holding (
	tenant_id  uuid           NOT NULL,
	id         bigint         NOT NULL,
	account_id bigint         NOT NULL,
	instrument text           NOT NULL,
	quantity   numeric(18, 4) NOT NULL,
	unit_cost  numeric(18, 4) NOT NULL,
	PRIMARY KEY (tenant_id, id),
	UNIQUE (tenant_id, account_id, instrument),
	FOREIGN KEY (tenant_id, account_id) REFERENCES app.account (tenant_id, id)
);

CREATE TABLE app.trade (
	tenant_id  uuid           NOT NULL,
	id         bigint         NOT NULL,
	holding_id bigint         NOT NULL,
	side       text           NOT NULL CHECK (side IN ('buy', 'sell')),
	quantity   numeric(18, 4) NOT NULL CHECK (quantity > 0),
	price      numeric(18, 4) NOT NULL CHECK (price > 0),
	executed   timestamptz    NOT NULL,
	PRIMARY KEY (tenant_id, id),
	FOREIGN KEY (tenant_id, holding_id) REFERENCES app.holding (tenant_id, id)
);
CREATE INDEX ON app.trade (tenant_id, holding_id, executed);

CREATE TABLE app.suitability (
	tenant_id   uuid  NOT NULL,
	id          uuid  NOT NULL,
	account_id  bigint NOT NULL,
	profile     text  NOT NULL,
	answers     jsonb NOT NULL,
	assessed    date  NOT NULL,
	valid_until date  NOT NULL,
	PRIMARY KEY (tenant_id, id),
	FOREIGN KEY (tenant_id, account_id) REFERENCES app.account (tenant_id, id)
);
CREATE INDEX ON app.suitability (tenant_id, account_id, assessed);

RESET ROLE;
