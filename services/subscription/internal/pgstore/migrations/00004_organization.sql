-- +goose Up

-- What a plan comes to (webhooks_available, record_retention_ns) is stored with the organization, so that a snapshot
-- needs no plans; the start of the service compares it with the configured plans. An empty plan: not assigned yet, the
-- start does it. secrets are the organization's signing secrets, the newest first: [{sealed, create_time, expire_time}],
-- encrypted with organizations/{id} as associated data. version counts the changes, for the etag.
ALTER TABLE subscription.organization
    ADD COLUMN plan                     text             COLLATE "C" NOT NULL DEFAULT '',
    ADD COLUMN webhooks_available       boolean          NOT NULL DEFAULT true,
    ADD COLUMN record_retention_ns      bigint,
    ADD COLUMN webhook_defaults         jsonb            NOT NULL DEFAULT '{}',
    ADD COLUMN quota_events_per_second  double precision,
    ADD COLUMN quota_burst              integer,
    ADD COLUMN client_id                bigint           NOT NULL DEFAULT 0,
    ADD COLUMN secrets                  jsonb            NOT NULL DEFAULT '[]',
    ADD COLUMN version                  bigint           NOT NULL DEFAULT 1,
    ADD COLUMN update_time              timestamptz,
    ADD CHECK (num_nulls(quota_events_per_second, quota_burst) IN (0, 2)),
    ADD CHECK (jsonb_typeof(secrets) = 'array' AND jsonb_array_length(secrets) <= 10);
UPDATE subscription.organization SET update_time = create_time;
ALTER TABLE subscription.organization ALTER COLUMN update_time SET NOT NULL;
CREATE INDEX organization_by_plan ON subscription.organization (plan, id) WHERE delete_time IS NULL;

-- Parts of an organization's members. version counts the changes, for the etag.
CREATE TABLE subscription.team (
    organization text        COLLATE "C" NOT NULL REFERENCES subscription.organization (id),
    id           text        COLLATE "C" NOT NULL CHECK (id ~ '^[a-z0-9][a-z0-9_-]{0,62}$'),
    display_name text        NOT NULL,
    version      bigint      NOT NULL DEFAULT 1,
    create_time  timestamptz NOT NULL,
    update_time  timestamptz NOT NULL,
    PRIMARY KEY (organization, id)
);

-- Triggers of the platform have no organization, an organization's own begin with custom. The ones that are there
-- already came with the program.
ALTER TABLE subscription.trigger
    ADD COLUMN organization     text    COLLATE "C" NOT NULL DEFAULT '',
    ADD COLUMN deprecated       boolean NOT NULL DEFAULT false,
    ADD COLUMN schema_warn_only boolean NOT NULL DEFAULT false,
    ADD COLUMN built_in         boolean NOT NULL DEFAULT true,
    ADD COLUMN operational      boolean NOT NULL DEFAULT false,
    ADD COLUMN version          bigint  NOT NULL DEFAULT 1,
    ADD CHECK ((organization <> '') = (id LIKE 'custom.%')),
    ADD CHECK (organization = '' OR NOT (built_in OR operational)),
    DROP CONSTRAINT trigger_pkey,
    ADD PRIMARY KEY (organization, id);
DROP INDEX subscription.trigger_by_group;
CREATE INDEX trigger_by_group ON subscription.trigger (organization, group_name, id);

-- +goose Down
DROP INDEX subscription.trigger_by_group;
DELETE FROM subscription.trigger WHERE organization <> '';
ALTER TABLE subscription.trigger
    DROP COLUMN version,
    DROP COLUMN operational,
    DROP COLUMN built_in,
    DROP COLUMN schema_warn_only,
    DROP COLUMN deprecated,
    DROP COLUMN organization,
    ADD PRIMARY KEY (id);
CREATE INDEX trigger_by_group ON subscription.trigger (group_name, id);
DROP TABLE subscription.team;
DROP INDEX subscription.organization_by_plan;
ALTER TABLE subscription.organization
    DROP COLUMN update_time,
    DROP COLUMN version,
    DROP COLUMN secrets,
    DROP COLUMN client_id,
    DROP COLUMN quota_burst,
    DROP COLUMN quota_events_per_second,
    DROP COLUMN webhook_defaults,
    DROP COLUMN record_retention_ns,
    DROP COLUMN webhooks_available,
    DROP COLUMN plan;
