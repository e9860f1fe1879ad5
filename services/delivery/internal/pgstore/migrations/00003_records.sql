-- +goose Up

-- What attempts sent and got is kept by itself: it may have to go earlier than the rest, and lists need not read past it.
CREATE TABLE delivery.attempt_payload (
    accepted_on      date  NOT NULL,
    delivery         uuid  NOT NULL,
    id               uuid  NOT NULL,
    request_headers  text  NOT NULL, -- JSON: pairs of name and value. Nobody asks for one of them
    request_body     bytea NOT NULL,
    response_headers text  NOT NULL,
    response_body    bytea NOT NULL,
    PRIMARY KEY (accepted_on, delivery, id)
) PARTITION BY RANGE (accepted_on);
-- Where Postgres was built with it, LZ4 compresses bodies in a fraction of the time.
-- +goose StatementBegin
DO $$
BEGIN
    IF EXISTS (SELECT FROM pg_settings WHERE name = 'default_toast_compression' AND 'lz4' = ANY (enumvals)) THEN
        ALTER TABLE delivery.attempt_payload
            ALTER COLUMN request_headers SET COMPRESSION lz4,
            ALTER COLUMN request_body SET COMPRESSION lz4,
            ALTER COLUMN response_headers SET COMPRESSION lz4,
            ALTER COLUMN response_body SET COMPRESSION lz4;
    END IF;
END $$;
-- +goose StatementEnd

-- Makes the partitions of a day, unless they exist. Several callers may do so at once.
-- +goose StatementBegin
CREATE OR REPLACE FUNCTION delivery.ensure_day(day date) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    parent text;
    child  text;
BEGIN
    PERFORM pg_advisory_xact_lock(hashtext('meetwire.delivery.partitions'));
    FOREACH parent IN ARRAY ARRAY['delivery', 'attempt', 'attempt_payload'] LOOP
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
CREATE OR REPLACE FUNCTION delivery.drop_days_before(day date) RETURNS integer LANGUAGE plpgsql AS $$
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
        WHERE n.nspname = 'delivery' AND p.relname IN ('delivery', 'attempt', 'attempt_payload')
          AND right(c.relname, 8) < to_char(day, 'YYYYMMDD')
        -- delivery, attempt, attempt_payload: writers lock them in this order, too
        ORDER BY p.relname = 'delivery' DESC, p.relname, c.relname
    LOOP
        EXECUTE format('DROP TABLE delivery.%I', child);
        dropped := dropped + 1;
    END LOOP;
    RETURN dropped;
END $$;
-- +goose StatementEnd

-- Empties the payloads of all days before the given one and returns of how many days. Their partitions stay, so that
-- a late record still finds its own.
-- +goose StatementBegin
CREATE FUNCTION delivery.empty_payloads_before(day date) RETURNS integer LANGUAGE plpgsql AS $$
DECLARE
    child   text;
    filled  boolean;
    emptied integer := 0;
BEGIN
    PERFORM pg_advisory_xact_lock(hashtext('meetwire.delivery.partitions'));
    FOR child IN
        SELECT c.relname
        FROM pg_inherits i
        JOIN pg_class c ON c.oid = i.inhrelid
        WHERE i.inhparent = 'delivery.attempt_payload'::regclass AND right(c.relname, 8) < to_char(day, 'YYYYMMDD')
        ORDER BY c.relname
    LOOP
        EXECUTE format('SELECT EXISTS (SELECT FROM delivery.%I)', child) INTO filled;
        IF filled THEN
            EXECUTE format('TRUNCATE delivery.%I', child);
            emptied := emptied + 1;
        END IF;
    END LOOP;
    RETURN emptied;
END $$;
-- +goose StatementEnd

-- +goose StatementBegin
DO $$
DECLARE
    day date;
BEGIN
    FOR day IN SELECT DISTINCT accepted_on FROM delivery.attempt LOOP
        PERFORM delivery.ensure_day(day);
    END LOOP;
END $$;
-- +goose StatementEnd
INSERT INTO delivery.attempt_payload
SELECT accepted_on, delivery, id, request_headers::text, request_body, response_headers::text, response_body FROM delivery.attempt;

ALTER TABLE delivery.delivery
    -- of the last attempt; NULL: there was none
    ADD COLUMN last_status_code integer,
    ADD COLUMN last_error_class text,
    -- How far it has come in its life: twice the attempts, and one more for what followed without another.
    ADD COLUMN version bigint NOT NULL DEFAULT 0;
UPDATE delivery.delivery SET version = 2 * attempt_count;
UPDATE delivery.delivery d SET last_status_code = a.status_code, last_error_class = a.error_class
FROM (
    SELECT DISTINCT ON (accepted_on, delivery) accepted_on, delivery, status_code, error_class FROM delivery.attempt
    ORDER BY accepted_on, delivery, start_time DESC, id DESC
) a
WHERE a.accepted_on = d.accepted_on AND a.delivery = d.id;
-- With the id first, the key also finds a delivery of which the day is not known.
ALTER TABLE delivery.delivery DROP CONSTRAINT delivery_pkey;
ALTER TABLE delivery.delivery ADD PRIMARY KEY (id, accepted_on);
DROP INDEX delivery.delivery_id;
CREATE INDEX delivery_trigger ON delivery.delivery (organization, trigger, event_sequence DESC, id DESC);
-- A webhook may hardly ever get what others get all the time.
CREATE INDEX delivery_webhook_trigger ON delivery.delivery (webhook, trigger, event_sequence DESC, id DESC);
CREATE INDEX delivery_source ON delivery.delivery (organization, event_source, event_sequence DESC, id DESC);
-- What most deliveries have needs no index: a page of it is found among the newest.
CREATE INDEX delivery_state ON delivery.delivery (organization, state, event_sequence DESC, id DESC) WHERE state <> 2;
-- What is asked for of dead letters. Few rows are in these.
CREATE INDEX delivery_webhook_state ON delivery.delivery (webhook, state, event_sequence DESC, id DESC) WHERE state <> 2;
CREATE INDEX delivery_state_status ON delivery.delivery (organization, state, last_status_code, event_sequence DESC, id DESC)
    WHERE state <> 2;
CREATE INDEX delivery_state_class ON delivery.delivery (organization, state, last_error_class, event_sequence DESC, id DESC)
    WHERE state <> 2;
CREATE INDEX delivery_status ON delivery.delivery (organization, last_status_code, event_sequence DESC, id DESC)
    WHERE last_status_code <> 200;
CREATE INDEX delivery_class ON delivery.delivery (organization, last_error_class, event_sequence DESC, id DESC)
    WHERE last_error_class <> '';

ALTER TABLE delivery.attempt
    DROP COLUMN request_headers,
    DROP COLUMN request_body,
    DROP COLUMN response_headers,
    DROP COLUMN response_body,
    ADD COLUMN organization   text   NOT NULL DEFAULT '',
    ADD COLUMN webhook        uuid   NOT NULL DEFAULT '00000000-0000-0000-0000-000000000000',
    ADD COLUMN trigger        text   NOT NULL DEFAULT '',
    ADD COLUMN event_id       text   NOT NULL DEFAULT '',
    -- 0: it did not happen
    ADD COLUMN dns_ns         bigint NOT NULL DEFAULT 0,
    ADD COLUMN connect_ns     bigint NOT NULL DEFAULT 0,
    ADD COLUMN tls_ns         bigint NOT NULL DEFAULT 0,
    ADD COLUMN first_byte_ns  bigint NOT NULL DEFAULT 0,
    ADD COLUMN remote_address text   NOT NULL DEFAULT '',
    ADD COLUMN request_truncated boolean NOT NULL DEFAULT false;
UPDATE delivery.attempt a
SET organization = d.organization, webhook = d.webhook, trigger = d.trigger, event_id = d.event_id
FROM delivery.delivery d
WHERE d.accepted_on = a.accepted_on AND d.id = a.delivery;
ALTER TABLE delivery.attempt
    ALTER COLUMN organization DROP DEFAULT,
    ALTER COLUMN webhook      DROP DEFAULT,
    ALTER COLUMN trigger      DROP DEFAULT,
    ALTER COLUMN event_id     DROP DEFAULT;
CREATE INDEX attempt_newest ON delivery.attempt (organization, start_time DESC, id DESC);
CREATE INDEX attempt_webhook ON delivery.attempt (webhook, start_time DESC, id DESC);
CREATE INDEX attempt_failed ON delivery.attempt (organization, start_time DESC, id DESC) WHERE error_class <> '';
CREATE INDEX attempt_class ON delivery.attempt (organization, error_class, start_time DESC, id DESC) WHERE error_class <> '';
CREATE INDEX attempt_status ON delivery.attempt (organization, status_code, start_time DESC, id DESC) WHERE status_code <> 200;
CREATE INDEX attempt_webhook_failed ON delivery.attempt (webhook, start_time DESC, id DESC) WHERE error_class <> '';
CREATE INDEX attempt_class_status ON delivery.attempt (organization, error_class, status_code, start_time DESC, id DESC)
    WHERE error_class <> '';

-- How the attempts of a webhook went that began in an hour: how many of each class took how long.
CREATE TABLE delivery.attempt_hour (
    webhook      uuid        NOT NULL,
    hour         timestamptz NOT NULL,
    error_class  text        NOT NULL, -- empty: success
    bucket       smallint    NOT NULL, -- of durations
    organization text        NOT NULL,
    count        bigint      NOT NULL,
    PRIMARY KEY (webhook, hour, error_class, bucket)
);
CREATE INDEX attempt_hour_organization ON delivery.attempt_hour (organization);
CREATE INDEX attempt_hour_old ON delivery.attempt_hour (hour);

CREATE TABLE delivery.dead_letter_hour (
    webhook      uuid        NOT NULL,
    hour         timestamptz NOT NULL,
    organization text        NOT NULL,
    count        bigint      NOT NULL,
    PRIMARY KEY (webhook, hour)
);
CREATE INDEX dead_letter_hour_organization ON delivery.dead_letter_hour (organization);
CREATE INDEX dead_letter_hour_old ON delivery.dead_letter_hour (hour);

-- +goose Down
DROP TABLE delivery.dead_letter_hour;
DROP TABLE delivery.attempt_hour;
DROP INDEX delivery.attempt_class_status, delivery.attempt_webhook_failed, delivery.attempt_status, delivery.attempt_class,
    delivery.attempt_failed, delivery.attempt_webhook, delivery.attempt_newest;
DROP INDEX delivery.delivery_class, delivery.delivery_status, delivery.delivery_state_class, delivery.delivery_state_status,
    delivery.delivery_webhook_state, delivery.delivery_state, delivery.delivery_source,
    delivery.delivery_webhook_trigger, delivery.delivery_trigger;
CREATE INDEX delivery_id ON delivery.delivery (id);
ALTER TABLE delivery.delivery DROP CONSTRAINT delivery_pkey;
ALTER TABLE delivery.delivery ADD PRIMARY KEY (accepted_on, id);
ALTER TABLE delivery.delivery DROP COLUMN version, DROP COLUMN last_error_class, DROP COLUMN last_status_code;
ALTER TABLE delivery.attempt
    DROP COLUMN request_truncated,
    DROP COLUMN remote_address,
    DROP COLUMN first_byte_ns,
    DROP COLUMN tls_ns,
    DROP COLUMN connect_ns,
    DROP COLUMN dns_ns,
    DROP COLUMN event_id,
    DROP COLUMN trigger,
    DROP COLUMN webhook,
    DROP COLUMN organization,
    ADD COLUMN request_headers  jsonb NOT NULL DEFAULT '[]',
    ADD COLUMN request_body     bytea NOT NULL DEFAULT '',
    ADD COLUMN response_headers jsonb NOT NULL DEFAULT '[]',
    ADD COLUMN response_body    bytea NOT NULL DEFAULT '';
UPDATE delivery.attempt a
SET request_headers = p.request_headers::jsonb, request_body = p.request_body,
    response_headers = p.response_headers::jsonb, response_body = p.response_body
FROM delivery.attempt_payload p
WHERE p.accepted_on = a.accepted_on AND p.delivery = a.delivery AND p.id = a.id;
DROP FUNCTION delivery.empty_payloads_before(date);
DROP TABLE delivery.attempt_payload;
-- +goose StatementBegin
CREATE OR REPLACE FUNCTION delivery.ensure_day(day date) RETURNS void LANGUAGE plpgsql AS $$
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
