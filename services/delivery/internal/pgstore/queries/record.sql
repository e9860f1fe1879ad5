-- name: EnsureDay :exec
SELECT delivery.ensure_day(@day::date);

-- name: DropDaysBefore :one
SELECT delivery.drop_days_before(@day::date);

-- name: UpsertDeliveries :exec
-- The state of a delivery is what the record of its highest version says, and of several with the same the one that is
-- stored last: clocks differ. An end without an attempt may not know of the last one, after which a worker has died. An
-- event that is accepted again on the same day has a life of its own. Year 1 stands for no time, the status -1 for no
-- attempt among the records.
INSERT INTO delivery.delivery AS d (
    accepted_on, id, organization, webhook, trigger, event_source, event_id, event_sequence, accept_time,
    state, reason, attempt_count, update_time, next_attempt_time, last_status_code, last_error_class,
    version
)
SELECT
    r.accepted_on, r.id, r.organization, r.webhook, r.trigger, r.event_source, r.event_id, r.event_sequence,
    r.accept_time, r.state, r.reason, r.attempt_count, r.update_time,
    nullif(r.next_attempt_time, '0001-01-01 00:00:00+00'::timestamptz), nullif(r.last_status_code, -1),
    CASE WHEN r.last_status_code >= 0 THEN r.last_error_class END, r.version
FROM (
    SELECT
        unnest(@accepted_on::date[]) AS accepted_on,
        unnest(@id::uuid[]) AS id,
        unnest(@organization::text[]) AS organization,
        unnest(@webhook::uuid[]) AS webhook,
        unnest(@trigger::text[]) AS trigger,
        unnest(@event_source::text[]) AS event_source,
        unnest(@event_id::text[]) AS event_id,
        unnest(@event_sequence::bigint[]) AS event_sequence,
        unnest(@accept_time::timestamptz[]) AS accept_time,
        unnest(@state::smallint[]) AS state,
        unnest(@reason::text[]) AS reason,
        unnest(@attempt_count::integer[]) AS attempt_count,
        unnest(@update_time::timestamptz[]) AS update_time,
        unnest(@next_attempt_time::timestamptz[]) AS next_attempt_time,
        unnest(@last_status_code::integer[]) AS last_status_code,
        unnest(@last_error_class::text[]) AS last_error_class,
        unnest(@version::bigint[]) AS version
) AS r
ON CONFLICT (accepted_on, id) DO UPDATE SET
    event_sequence    = excluded.event_sequence,
    accept_time       = excluded.accept_time,
    state             = excluded.state,
    reason            = excluded.reason,
    attempt_count     = CASE
        WHEN excluded.event_sequence = d.event_sequence THEN greatest(d.attempt_count, excluded.attempt_count)
        ELSE excluded.attempt_count
    END,
    update_time       = excluded.update_time,
    next_attempt_time = excluded.next_attempt_time,
    last_status_code  = coalesce(excluded.last_status_code, d.last_status_code),
    last_error_class  = coalesce(excluded.last_error_class, d.last_error_class),
    version           = excluded.version
WHERE (excluded.event_sequence, excluded.version + CASE WHEN excluded.version % 2 = 1 AND excluded.state > 2 THEN 2 ELSE 0 END)
    >= (d.event_sequence, d.version);

-- name: InsertAttempts :many
-- Returns those that were not stored before.
INSERT INTO delivery.attempt (
    accepted_on, delivery, id, number, start_time, duration_ns, request_url, status_code, response_truncated, error_class,
    error_message, next_attempt_time, organization, webhook, trigger, event_id, dns_ns, connect_ns, tls_ns, first_byte_ns,
    remote_address, request_truncated
)
SELECT
    r.accepted_on, r.delivery, r.id, r.number, r.start_time, r.duration_ns, r.request_url, r.status_code,
    r.response_truncated, r.error_class, r.error_message,
    nullif(r.next_attempt_time, '0001-01-01 00:00:00+00'::timestamptz), r.organization, r.webhook, r.trigger, r.event_id,
    r.dns_ns, r.connect_ns, r.tls_ns, r.first_byte_ns, r.remote_address, r.request_truncated
FROM (
    SELECT
        unnest(@accepted_on::date[]) AS accepted_on,
        unnest(@delivery::uuid[]) AS delivery,
        unnest(@id::uuid[]) AS id,
        unnest(@number::integer[]) AS number,
        unnest(@start_time::timestamptz[]) AS start_time,
        unnest(@duration_ns::bigint[]) AS duration_ns,
        unnest(@request_url::text[]) AS request_url,
        unnest(@status_code::integer[]) AS status_code,
        unnest(@response_truncated::boolean[]) AS response_truncated,
        unnest(@error_class::text[]) AS error_class,
        unnest(@error_message::text[]) AS error_message,
        unnest(@next_attempt_time::timestamptz[]) AS next_attempt_time,
        unnest(@organization::text[]) AS organization,
        unnest(@webhook::uuid[]) AS webhook,
        unnest(@trigger::text[]) AS trigger,
        unnest(@event_id::text[]) AS event_id,
        unnest(@dns_ns::bigint[]) AS dns_ns,
        unnest(@connect_ns::bigint[]) AS connect_ns,
        unnest(@tls_ns::bigint[]) AS tls_ns,
        unnest(@first_byte_ns::bigint[]) AS first_byte_ns,
        unnest(@remote_address::text[]) AS remote_address,
        unnest(@request_truncated::boolean[]) AS request_truncated
) AS r
ON CONFLICT (accepted_on, delivery, id) DO NOTHING
RETURNING id;

-- name: InsertPayloads :exec
INSERT INTO delivery.attempt_payload (
    accepted_on, delivery, id, request_headers, request_body, response_headers, response_body
)
SELECT
    unnest(@accepted_on::date[]),
    unnest(@delivery::uuid[]),
    unnest(@id::uuid[]),
    unnest(@request_headers::text[]),
    unnest(@request_body::bytea[]),
    unnest(@response_headers::text[]),
    unnest(@response_body::bytea[])
ON CONFLICT (accepted_on, delivery, id) DO NOTHING;

-- name: EmptyPayloadsBefore :one
SELECT delivery.empty_payloads_before(@day::date);

-- name: AddAttemptHours :exec
INSERT INTO delivery.attempt_hour AS h (webhook, hour, error_class, bucket, organization, count)
SELECT
    unnest(@webhook::uuid[]),
    unnest(@hour::timestamptz[]),
    unnest(@error_class::text[]),
    unnest(@bucket::smallint[]),
    unnest(@organization::text[]),
    unnest(@count::bigint[])
ON CONFLICT (webhook, hour, error_class, bucket) DO UPDATE SET count = h.count + excluded.count;

-- name: AddDeadLetterHours :exec
INSERT INTO delivery.dead_letter_hour AS h (webhook, hour, organization, count)
SELECT unnest(@webhook::uuid[]), unnest(@hour::timestamptz[]), unnest(@organization::text[]), unnest(@count::bigint[])
ON CONFLICT (webhook, hour) DO UPDATE SET count = h.count + excluded.count;

-- name: DropHours :exec
WITH attempts AS (DELETE FROM delivery.attempt_hour a WHERE a.hour < @before)
DELETE FROM delivery.dead_letter_hour d WHERE d.hour < @before;
