-- +goose Up

-- Who has changed what. Each entry is written in the transaction of its change.
CREATE TABLE subscription.audit_log (
    id            uuid        PRIMARY KEY, -- UUIDv7
    organization  text        COLLATE "C" REFERENCES subscription.organization (id), -- NULL: of the installation
    create_time   timestamptz NOT NULL,
    actor         text        COLLATE "C" NOT NULL,
    role          integer     NOT NULL,
    action        text        COLLATE "C" NOT NULL,
    resource      text        COLLATE "C" NOT NULL,
    address       text        NOT NULL,
    forwarded_for text        NOT NULL,
    user_agent    text        NOT NULL,
    before        jsonb,
    after         jsonb
);
CREATE INDEX audit_log_by_organization ON subscription.audit_log (organization, create_time, id);
CREATE INDEX audit_log_by_time ON subscription.audit_log (create_time, id);
CREATE INDEX audit_log_by_resource ON subscription.audit_log (resource, create_time, id);

-- +goose StatementBegin
CREATE FUNCTION subscription.refuse_audit_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    -- An entry goes only together with its organization.
    IF TG_OP = 'DELETE' AND EXISTS (
        SELECT FROM subscription.organization AS o WHERE o.id = OLD.organization AND o.delete_time IS NOT NULL
    ) THEN
        RETURN OLD;
    END IF;
    RAISE EXCEPTION 'the audit log is append-only' USING ERRCODE = 'restrict_violation';
END
$$;
-- +goose StatementEnd
CREATE TRIGGER audit_log_append_only BEFORE UPDATE OR DELETE ON subscription.audit_log
    FOR EACH ROW EXECUTE FUNCTION subscription.refuse_audit_change();
CREATE TRIGGER audit_log_keep BEFORE TRUNCATE ON subscription.audit_log
    FOR EACH STATEMENT EXECUTE FUNCTION subscription.refuse_audit_change();

-- What a request id has made, so that a repeated request makes nothing (aip.dev/155). Kept for a day.
CREATE TABLE subscription.request (
    organization text        COLLATE "C" NOT NULL, -- empty: of the installation
    request_id   uuid        NOT NULL,
    method       text        NOT NULL,
    fingerprint  bytea       NOT NULL, -- SHA-256 of the request without its id and its secrets
    resource     text        NOT NULL, -- id of what it has made
    create_time  timestamptz NOT NULL,
    PRIMARY KEY (organization, request_id)
);
CREATE INDEX request_by_time ON subscription.request (create_time);

-- Events about Meetwire itself that are to be published, in this order.
CREATE TABLE subscription.outbox (
    position     bigint      GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    organization text        COLLATE "C" NOT NULL REFERENCES subscription.organization (id),
    trigger      text        NOT NULL,
    event_id     text        NOT NULL,
    data         jsonb       NOT NULL,
    create_time  timestamptz NOT NULL,
    UNIQUE (organization, event_id)
);

-- E-mails that are to be sent, or were: one per webhook, reason and hour.
CREATE TABLE subscription.mail (
    id            uuid        PRIMARY KEY,
    organization  text        COLLATE "C" NOT NULL REFERENCES subscription.organization (id),
    webhook       uuid        NOT NULL,
    reason        text        NOT NULL,
    hour          timestamptz NOT NULL,
    recipients    text[]      NOT NULL,
    alert         jsonb       NOT NULL, -- what the text is made of
    attempts      integer     NOT NULL DEFAULT 0,
    next_time     timestamptz, -- of the next attempt; NULL: none, it is sent or given up
    create_time   timestamptz NOT NULL,
    UNIQUE (webhook, reason, hour)
);
CREATE INDEX mail_due ON subscription.mail (next_time) WHERE next_time IS NOT NULL;

-- Long work.
CREATE TABLE subscription.operation (
    id              uuid        PRIMARY KEY,
    organization    text        COLLATE "C", -- NULL: of the installation
    type            text        NOT NULL,
    target          text        NOT NULL,
    state           text        NOT NULL CHECK (state IN ('running', 'succeeded', 'failed', 'canceled')),
    parameters      jsonb       NOT NULL, -- what it was asked for
    progress        jsonb       NOT NULL, -- where it goes on
    processed_count bigint      NOT NULL DEFAULT 0,
    affected_count  bigint      NOT NULL DEFAULT 0,
    error_reason    text        NOT NULL DEFAULT '',
    error_message   text        NOT NULL DEFAULT '',
    lease_time      timestamptz NOT NULL, -- until then an instance works on it
    create_time     timestamptz NOT NULL,
    update_time     timestamptz NOT NULL,
    end_time        timestamptz
);
CREATE INDEX operation_by_organization ON subscription.operation (organization, create_time, id);
CREATE INDEX operation_by_time ON subscription.operation (create_time, id);
CREATE INDEX operation_running ON subscription.operation (lease_time) WHERE state = 'running';

ALTER TABLE subscription.api_key ADD COLUMN expire_time timestamptz, ADD COLUMN last_use_time timestamptz;

-- +goose Down
ALTER TABLE subscription.api_key DROP COLUMN expire_time, DROP COLUMN last_use_time;
DROP TABLE subscription.operation;
DROP TABLE subscription.mail;
DROP TABLE subscription.outbox;
DROP TABLE subscription.request;
DROP TABLE subscription.audit_log;
DROP FUNCTION subscription.refuse_audit_change;
