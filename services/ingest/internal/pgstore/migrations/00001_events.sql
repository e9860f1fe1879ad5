-- +goose Up

-- The index of what EVENTS keeps, partitioned by the UTC day on which EVENTS stored the event, so that what is too old
-- goes by dropping a table. A stream that was made anew begins again with sequence 1: the time tells such events apart.
-- Pages are read from the newest partition on, and from each index in its order.
CREATE TABLE ingest.event (
    accept_time   timestamptz NOT NULL,
    sequence      bigint      NOT NULL,
    organization  text        COLLATE "C" NOT NULL,
    trigger       text        COLLATE "C" NOT NULL,
    source        text        COLLATE "C" NOT NULL,
    id            text        COLLATE "C" NOT NULL,
    subject       text        COLLATE "C" NOT NULL,
    time          timestamptz,
    matched_count integer     NOT NULL,
    skipped_count integer     NOT NULL,
    reject_rule   text        NOT NULL,
    erase_time    timestamptz,
    PRIMARY KEY (sequence, accept_time)
) PARTITION BY RANGE (accept_time);

CREATE INDEX event_newest ON ingest.event (organization, accept_time, sequence);
CREATE INDEX event_trigger ON ingest.event (organization, trigger, accept_time, sequence);
CREATE INDEX event_subject ON ingest.event (organization, subject, accept_time, sequence) WHERE subject <> '';
CREATE INDEX event_id ON ingest.event (organization, id, accept_time, sequence);
CREATE INDEX event_source ON ingest.event (organization, source, accept_time, sequence);
-- A source may hardly ever publish what others publish all the time.
CREATE INDEX event_trigger_source ON ingest.event (organization, trigger, source, accept_time, sequence);

-- Parts of notes that were counted, beside the first of each event, which is counted when its event is stored.
CREATE TABLE ingest.event_part (
    accept_time timestamptz NOT NULL,
    sequence    bigint      NOT NULL,
    part        integer     NOT NULL,
    PRIMARY KEY (sequence, accept_time, part)
) PARTITION BY RANGE (accept_time);

-- How events have matched a webhook: what it has missed in one generation, and how often its filter has failed.
CREATE TABLE ingest.webhook_matching (
    webhook              uuid        PRIMARY KEY,
    organization         text        NOT NULL,
    generation           bigint      NOT NULL, -- in which it has missed what is counted here
    skipped_since        timestamptz,
    skipped_count        bigint      NOT NULL,
    filter_failure_count bigint      NOT NULL,
    last_failure_time    timestamptz,
    last_filter_error    text        NOT NULL
);
CREATE INDEX webhook_matching_organization ON ingest.webhook_matching (organization);

-- Makes the partitions of a day, unless they exist. Several callers may do so at once.
-- +goose StatementBegin
CREATE FUNCTION ingest.ensure_day(day date) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    parent text;
    child  text;
BEGIN
    PERFORM pg_advisory_xact_lock(hashtext('meetwire.ingest.partitions'));
    FOREACH parent IN ARRAY ARRAY['event', 'event_part'] LOOP
        child := parent || '_' || to_char(day, 'YYYYMMDD');
        IF to_regclass('ingest.' || child) IS NULL THEN
            EXECUTE format('CREATE TABLE ingest.%I PARTITION OF ingest.%I FOR VALUES FROM (%L) TO (%L)', child, parent,
                day::timestamp AT TIME ZONE 'UTC', (day + 1)::timestamp AT TIME ZONE 'UTC');
        END IF;
    END LOOP;
END $$;
-- +goose StatementEnd

-- Drops the partitions of all days before the given one and returns how many tables went.
-- +goose StatementBegin
CREATE FUNCTION ingest.drop_days_before(day date) RETURNS integer LANGUAGE plpgsql AS $$
DECLARE
    child   text;
    dropped integer := 0;
BEGIN
    PERFORM pg_advisory_xact_lock(hashtext('meetwire.ingest.partitions'));
    FOR child IN
        SELECT c.relname
        FROM pg_inherits i
        JOIN pg_class c ON c.oid = i.inhrelid
        JOIN pg_class p ON p.oid = i.inhparent
        JOIN pg_namespace n ON n.oid = p.relnamespace
        WHERE n.nspname = 'ingest' AND p.relname IN ('event', 'event_part')
          AND right(c.relname, 8) < to_char(day, 'YYYYMMDD')
        ORDER BY p.relname, c.relname -- event, then event_part: writers lock them in this order, too
    LOOP
        EXECUTE format('DROP TABLE ingest.%I', child);
        dropped := dropped + 1;
    END LOOP;
    RETURN dropped;
END $$;
-- +goose StatementEnd

-- +goose Down
DROP FUNCTION ingest.drop_days_before(date);
DROP FUNCTION ingest.ensure_day(date);
DROP TABLE ingest.webhook_matching;
DROP TABLE ingest.event_part;
DROP TABLE ingest.event;
