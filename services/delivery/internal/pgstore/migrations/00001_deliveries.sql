-- +goose Up

-- Both tables are partitioned by the UTC day on which EVENTS stored the event, so that a delivery, which never
-- changes its day, stays in one partition, and what is too old goes by dropping a table.
CREATE TABLE delivery.delivery (
    accepted_on       date        NOT NULL,
    id                uuid        NOT NULL,
    organization      text        NOT NULL,
    webhook           uuid        NOT NULL,
    trigger           text        NOT NULL,
    event_source      text        NOT NULL,
    event_id          text        NOT NULL,
    event_sequence    bigint      NOT NULL,
    accept_time       timestamptz NOT NULL,
    state             smallint    NOT NULL,
    reason            text        NOT NULL,
    attempt_count     integer     NOT NULL,
    update_time       timestamptz NOT NULL,
    next_attempt_time timestamptz,
    PRIMARY KEY (accepted_on, id)
) PARTITION BY RANGE (accepted_on);

CREATE INDEX delivery_id ON delivery.delivery (id);
CREATE INDEX delivery_newest ON delivery.delivery (organization, event_sequence DESC, id DESC);
CREATE INDEX delivery_webhook ON delivery.delivery (webhook, event_sequence DESC, id DESC);
CREATE INDEX delivery_event ON delivery.delivery (organization, event_id);

CREATE TABLE delivery.attempt (
    accepted_on        date        NOT NULL,
    delivery           uuid        NOT NULL,
    id                 uuid        NOT NULL,
    number             integer     NOT NULL,
    start_time         timestamptz NOT NULL,
    duration_ns        bigint      NOT NULL,
    request_url        text        NOT NULL,
    request_headers    jsonb       NOT NULL,
    request_body       bytea       NOT NULL,
    status_code        integer     NOT NULL,
    response_headers   jsonb       NOT NULL,
    response_body      bytea       NOT NULL,
    response_truncated boolean     NOT NULL,
    error_class        text        NOT NULL,
    error_message      text        NOT NULL,
    next_attempt_time  timestamptz,
    PRIMARY KEY (accepted_on, delivery, id)
) PARTITION BY RANGE (accepted_on);

-- Makes the partitions of a day, unless they exist. Several callers may do so at once.
-- +goose StatementBegin
CREATE FUNCTION delivery.ensure_day(day date) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    parent text;
    child  text;
BEGIN
    PERFORM pg_advisory_xact_lock(hashtext('meetwire.delivery.partitions'));
    FOREACH parent IN ARRAY ARRAY['delivery', 'attempt'] LOOP
        child := parent || '_' || to_char(day, 'YYYYMMDD');
        IF to_regclass('delivery.' || child) IS NULL THEN
            EXECUTE format('CREATE TABLE delivery.%I PARTITION OF delivery.%I FOR VALUES FROM (%L) TO (%L)',
                child, parent, day, day + 1);
        END IF;
    END LOOP;
END $$;
-- +goose StatementEnd

-- Drops the partitions of all days before the given one and returns how many tables went.
-- +goose StatementBegin
CREATE FUNCTION delivery.drop_days_before(day date) RETURNS integer LANGUAGE plpgsql AS $$
DECLARE
    child   text;
    dropped integer := 0;
BEGIN
    PERFORM pg_advisory_xact_lock(hashtext('meetwire.delivery.partitions'));
    FOR child IN
        SELECT c.relname
        FROM pg_inherits i
        JOIN pg_class c ON c.oid = i.inhrelid
        JOIN pg_class p ON p.oid = i.inhparent
        JOIN pg_namespace n ON n.oid = p.relnamespace
        WHERE n.nspname = 'delivery' AND p.relname IN ('delivery', 'attempt')
          AND right(c.relname, 8) < to_char(day, 'YYYYMMDD')
        ORDER BY p.relname DESC -- delivery, then attempt: writers lock them in this order, too
    LOOP
        EXECUTE format('DROP TABLE delivery.%I', child);
        dropped := dropped + 1;
    END LOOP;
    RETURN dropped;
END $$;
-- +goose StatementEnd

-- +goose Down
DROP FUNCTION delivery.drop_days_before(date);
DROP FUNCTION delivery.ensure_day(date);
DROP TABLE delivery.attempt;
DROP TABLE delivery.delivery;
