-- +goose Up
CREATE SCHEMA IF NOT EXISTS subscription;

-- How many changes there have been, in one row. A transaction that changes configuration adds one to it as the
-- last lock that it takes, and holds it until its commit: so revisions are committed in their order and without
-- a gap, which a sequence could not promise. It begins at 1 because 0 is what a watcher says that has nothing.
CREATE TABLE subscription.revision (
    only_row boolean PRIMARY KEY DEFAULT true CHECK (only_row),
    value    bigint  NOT NULL CHECK (value > 0)
);
INSERT INTO subscription.revision (value) VALUES (1);

-- What each revision changed, as a serialized meetwire.config.v1.Change. Old entries are trimmed from the front.
CREATE TABLE subscription.feed (
    revision    bigint      PRIMARY KEY,
    change      bytea       NOT NULL,
    create_time timestamptz NOT NULL
);

-- Tenants. A row stays after its organization is gone (delete_time), so that a slug is never used again.
CREATE TABLE subscription.organization (
    id           text        COLLATE "C" PRIMARY KEY CHECK (id ~ '^[a-z0-9-]{1,63}$'),
    display_name text        NOT NULL,
    allow_http   boolean     NOT NULL,
    create_time  timestamptz NOT NULL,
    delete_time  timestamptz
);

-- Credentials. The key itself is nowhere, only the SHA-256 of its secret part, which has 256 random bits.
-- Keys without an organization are operators'; role numbers are those of meetwire.access.v1.Role.
CREATE TABLE subscription.api_key (
    id            text        COLLATE "C" PRIMARY KEY,
    organization  text        COLLATE "C" REFERENCES subscription.organization (id),
    display_name  text        NOT NULL,
    role          integer     NOT NULL,
    secret_sha256 bytea       NOT NULL CHECK (octet_length(secret_sha256) = 32),
    bootstrap     boolean     NOT NULL DEFAULT false,
    create_time   timestamptz NOT NULL,
    CHECK ((organization IS NULL) = (role = 1)),
    CHECK (NOT bootstrap OR role = 1)
);
CREATE INDEX api_key_by_organization ON subscription.api_key (organization, create_time, id);
-- There is at most one key that comes from the configuration of the installation.
CREATE UNIQUE INDEX api_key_bootstrap ON subscription.api_key (bootstrap) WHERE bootstrap;

-- Types of events.
CREATE TABLE subscription.trigger (
    id           text        COLLATE "C" PRIMARY KEY,
    display_name text        NOT NULL,
    description  text        NOT NULL,
    group_name   text        COLLATE "C" NOT NULL,
    schema       text        NOT NULL,
    sample       text        NOT NULL,
    create_time  timestamptz NOT NULL,
    update_time  timestamptz NOT NULL
);
CREATE INDEX trigger_by_group ON subscription.trigger (group_name, id);

-- Where events are sent. Secrets are encrypted with the AEAD keyset of the installation, the webhook's id being
-- the associated data; the newest is first. The five columns of the retry policy are set together, or none is:
-- then the default schedule is in force.
CREATE TABLE subscription.webhook (
    id             uuid        PRIMARY KEY,
    organization   text        COLLATE "C" NOT NULL REFERENCES subscription.organization (id),
    display_name   text        NOT NULL,
    target_url     text        NOT NULL,
    triggers       text[]      NOT NULL,
    sealed_secrets bytea[]     NOT NULL,
    paused         boolean     NOT NULL,
    max_retries    integer,
    first_delay_ns bigint,
    factor         double precision,
    max_delay_ns   bigint,
    jitter         double precision,
    timeout_ns     bigint      NOT NULL,
    revision       bigint      NOT NULL,
    create_time    timestamptz NOT NULL,
    update_time    timestamptz NOT NULL,
    CHECK (cardinality(triggers) > 0),
    CHECK (cardinality(sealed_secrets) > 0),
    CHECK (num_nulls(max_retries, first_delay_ns, factor, max_delay_ns, jitter) IN (0, 5))
);
CREATE INDEX webhook_by_organization ON subscription.webhook (organization, create_time, id);

-- +goose Down
DROP TABLE subscription.webhook;
DROP TABLE subscription.trigger;
DROP TABLE subscription.api_key;
DROP TABLE subscription.organization;
DROP TABLE subscription.feed;
DROP TABLE subscription.revision;
