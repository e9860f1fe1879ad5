-- name: EnsureDay :exec
SELECT delivery.ensure_day(@day::date);

-- name: DropDaysBefore :one
SELECT delivery.drop_days_before(@day::date);

-- name: UpsertDeliveries :exec
-- The state of a delivery is what its newest record says, in whatever order records are stored. Year 1 stands
-- for no time.
INSERT INTO delivery.delivery AS d (
    accepted_on, id, organization, webhook, trigger, event_source, event_id, event_sequence, accept_time,
    state, reason, attempt_count, update_time, next_attempt_time
)
SELECT
    r.accepted_on, r.id, r.organization, r.webhook, r.trigger, r.event_source, r.event_id, r.event_sequence,
    r.accept_time, r.state, r.reason, r.attempt_count, r.update_time,
    nullif(r.next_attempt_time, '0001-01-01 00:00:00+00'::timestamptz)
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
        unnest(@next_attempt_time::timestamptz[]) AS next_attempt_time
) AS r
ON CONFLICT (accepted_on, id) DO UPDATE SET
    state             = excluded.state,
    reason            = excluded.reason,
    attempt_count     = greatest(d.attempt_count, excluded.attempt_count),
    update_time       = excluded.update_time,
    next_attempt_time = excluded.next_attempt_time
WHERE excluded.update_time >= d.update_time;

-- name: InsertAttempts :many
-- Returns those that were not stored before.
INSERT INTO delivery.attempt (
    accepted_on, delivery, id, number, start_time, duration_ns, request_url, request_headers, request_body,
    status_code, response_headers, response_body, response_truncated, error_class, error_message,
    next_attempt_time
)
SELECT
    r.accepted_on, r.delivery, r.id, r.number, r.start_time, r.duration_ns, r.request_url, r.request_headers,
    r.request_body, r.status_code, r.response_headers, r.response_body, r.response_truncated, r.error_class,
    r.error_message, nullif(r.next_attempt_time, '0001-01-01 00:00:00+00'::timestamptz)
FROM (
    SELECT
        unnest(@accepted_on::date[]) AS accepted_on,
        unnest(@delivery::uuid[]) AS delivery,
        unnest(@id::uuid[]) AS id,
        unnest(@number::integer[]) AS number,
        unnest(@start_time::timestamptz[]) AS start_time,
        unnest(@duration_ns::bigint[]) AS duration_ns,
        unnest(@request_url::text[]) AS request_url,
        unnest(@request_headers::jsonb[]) AS request_headers,
        unnest(@request_body::bytea[]) AS request_body,
        unnest(@status_code::integer[]) AS status_code,
        unnest(@response_headers::jsonb[]) AS response_headers,
        unnest(@response_body::bytea[]) AS response_body,
        unnest(@response_truncated::boolean[]) AS response_truncated,
        unnest(@error_class::text[]) AS error_class,
        unnest(@error_message::text[]) AS error_message,
        unnest(@next_attempt_time::timestamptz[]) AS next_attempt_time
) AS r
ON CONFLICT (accepted_on, delivery, id) DO NOTHING
RETURNING id;
