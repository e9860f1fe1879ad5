-- Events that wait to be published to Meetwire. A published one is deleted.
CREATE TABLE IF NOT EXISTS {table} (
    position     bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, -- the order within an organization
    organization text        NOT NULL,
    trigger      text        NOT NULL,
    source       text        NOT NULL,
    id           text        NOT NULL,
    subject      text        NOT NULL,
    time         timestamptz NOT NULL,
    data         text        NOT NULL, -- JSON, to the byte as it is published
    extensions   jsonb       NOT NULL,
    traceparent  text        NOT NULL,
    tracestate   text        NOT NULL,
    written_at   timestamptz NOT NULL DEFAULT now(),
    parked_at    timestamptz,          -- set: the stream refuses it for good; NULL again: it is tried again
    error        text                  -- why
) WITH (autovacuum_vacuum_scale_factor = 0.01); -- rows come and go
