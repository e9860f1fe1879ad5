-- +goose Up

-- How far RECORDS has been taken in, and by whom: one row, which every batch changes in its own transaction. So each
-- record counts once, in the order of the stream, whichever instance takes it in.
CREATE TABLE delivery.recorder (
    one            boolean     PRIMARY KEY DEFAULT true CONSTRAINT recorder_is_one CHECK (one),
    position       bigint      NOT NULL, -- sequence of the last record that was taken in
    stream_created timestamptz NOT NULL, -- tells a stream that was made anew, whose sequences begin again
    holder         uuid        NOT NULL,
    lease_until    timestamptz NOT NULL
);
INSERT INTO delivery.recorder (position, stream_created, holder, lease_until)
VALUES (0, '-infinity', '00000000-0000-0000-0000-000000000000', '-infinity');

CREATE TABLE delivery.webhook_health (
    webhook              uuid        PRIMARY KEY,
    organization         text        NOT NULL,
    generation           bigint      NOT NULL,
    consecutive_failures bigint      NOT NULL,
    failing_since        timestamptz,
    failing_deliveries   text[]      NOT NULL, -- the first different ones since then, three at most
    last_success_time    timestamptz,
    last_failure_time    timestamptz,
    last_status          integer     NOT NULL,
    last_error_class     text        NOT NULL,
    reached              smallint    NOT NULL, -- stages, one bit each
    reported             smallint    NOT NULL, -- of them, what subscription has acknowledged
    reason               text        NOT NULL
);
CREATE INDEX webhook_health_due ON delivery.webhook_health (webhook) WHERE reached <> reported;
CREATE INDEX webhook_health_failing ON delivery.webhook_health (webhook) WHERE failing_since IS NOT NULL;
CREATE INDEX webhook_health_organization ON delivery.webhook_health (organization);

CREATE TABLE delivery.dead_letter_count (
    webhook      uuid        NOT NULL,
    reason       text        NOT NULL,
    minute       timestamptz NOT NULL,
    organization text        NOT NULL,
    count        bigint      NOT NULL,
    closed       boolean     NOT NULL, -- being reported: it does not change any more
    reported     boolean     NOT NULL,
    PRIMARY KEY (webhook, reason, minute)
);
CREATE INDEX dead_letter_count_due ON delivery.dead_letter_count (minute) WHERE NOT reported;
CREATE INDEX dead_letter_count_old ON delivery.dead_letter_count (minute) WHERE reported;
CREATE INDEX dead_letter_count_organization ON delivery.dead_letter_count (organization);

-- +goose Down
DROP TABLE delivery.dead_letter_count;
DROP TABLE delivery.webhook_health;
DROP TABLE delivery.recorder;
