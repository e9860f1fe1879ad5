-- Long work, with the schema's name in the place of SCHEMA: a service copies this into a migration of its own.
CREATE TABLE SCHEMA.operation (
    id              uuid             PRIMARY KEY,
    organization    text             COLLATE "C" NOT NULL, -- empty: of the installation
    type            text             NOT NULL,
    target          text             NOT NULL,
    state           text             NOT NULL CHECK (state IN ('running', 'succeeded', 'failed', 'canceled')),
    parameters      jsonb            NOT NULL, -- what it was asked for
    progress        jsonb            NOT NULL, -- where it goes on
    dry_run         boolean          NOT NULL,
    rate            double precision NOT NULL, -- things affected per second at most; 0: no limit
    total_count     bigint           NOT NULL DEFAULT 0,
    processed_count bigint           NOT NULL DEFAULT 0,
    affected_count  bigint           NOT NULL DEFAULT 0,
    skipped_count   bigint           NOT NULL DEFAULT 0,
    repeat_count    bigint           NOT NULL DEFAULT 0,
    error_reason    text             NOT NULL DEFAULT '',
    error_message   text             NOT NULL DEFAULT '',
    -- Counts how often it was taken over: what an instance writes that has lost its lease is void.
    take            bigint           NOT NULL DEFAULT 0,
    -- Failed tries in a row, which decide how long the next one waits.
    failures        integer          NOT NULL DEFAULT 0,
    lease_time      timestamptz      NOT NULL, -- until then an instance works on it
    request_id      text             COLLATE "C", -- NULL: none, or it is forgotten
    request_sum     bytea            NOT NULL DEFAULT '', -- of what was asked for under that id
    create_time     timestamptz      NOT NULL,
    update_time     timestamptz      NOT NULL,
    end_time        timestamptz
);
CREATE INDEX operation_by_organization ON SCHEMA.operation (organization, create_time, id);
CREATE INDEX operation_by_time ON SCHEMA.operation (create_time, id);
CREATE INDEX operation_running ON SCHEMA.operation (lease_time, id) WHERE state = 'running';
CREATE INDEX operation_ended ON SCHEMA.operation (end_time) WHERE end_time IS NOT NULL;
CREATE UNIQUE INDEX operation_by_request ON SCHEMA.operation (organization, request_id) WHERE request_id IS NOT NULL;
