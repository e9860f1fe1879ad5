-- +goose Up
ALTER TABLE subscription.operation
    -- Counts how often it was taken over: what an instance writes that has lost its lease is void.
    ADD COLUMN take     bigint  NOT NULL DEFAULT 0,
    -- Failed tries in a row, which decide how long the next one waits.
    ADD COLUMN failures integer NOT NULL DEFAULT 0;

-- Which dead letters were announced, so that a repeated report announces nothing. Kept for a week.
CREATE TABLE subscription.dead_letter_report (
    webhook     uuid        NOT NULL,
    reason      text        COLLATE "C" NOT NULL,
    minute      timestamptz NOT NULL,
    create_time timestamptz NOT NULL,
    PRIMARY KEY (webhook, reason, minute)
);
CREATE INDEX dead_letter_report_by_time ON subscription.dead_letter_report (create_time);

CREATE INDEX mail_by_time ON subscription.mail (create_time);
CREATE INDEX audit_log_by_actor ON subscription.audit_log (actor, create_time, id);

-- +goose Down
DROP INDEX subscription.audit_log_by_actor;
DROP INDEX subscription.mail_by_time;
DROP TABLE subscription.dead_letter_report;
ALTER TABLE subscription.operation DROP COLUMN take, DROP COLUMN failures;
