-- name: GetDelivery :one
-- An event that is accepted again after days makes the same delivery again, on another day: the latest counts.
SELECT * FROM delivery.delivery WHERE id = @id AND organization = @organization
ORDER BY accepted_on DESC
LIMIT 1;

-- name: PlanForValues :exec
-- Lists are planned for the values that they are asked with: which index is the best depends on them. Indexes are read in
-- the order of the list, until a page is full: a bitmap would have to find everything first.
SELECT set_config('plan_cache_mode', 'force_custom_plan', true), set_config('enable_bitmapscan', 'off', true);

-- name: ListDeliveries :many
-- Newest events first. The first page begins below the greatest possible sequence.
SELECT * FROM delivery.delivery
WHERE organization = @organization
  AND (event_sequence, id) < (@before_sequence::bigint, @before_id::uuid)
  AND (sqlc.narg('webhook')::uuid IS NULL OR webhook = sqlc.narg('webhook'))
  AND (sqlc.narg('trigger')::text IS NULL OR trigger = sqlc.narg('trigger'))
  AND (sqlc.narg('event_source')::text IS NULL OR event_source = sqlc.narg('event_source'))
  AND (sqlc.narg('event_id')::text IS NULL OR event_id = sqlc.narg('event_id'))
  AND (sqlc.narg('event_sequence')::bigint IS NULL OR event_sequence = sqlc.narg('event_sequence'))
  AND (sqlc.narg('state')::smallint IS NULL OR state = sqlc.narg('state'))
  AND (sqlc.narg('last_status_code')::integer IS NULL OR last_status_code = sqlc.narg('last_status_code'))
  AND (sqlc.narg('last_error_class')::text IS NULL OR last_error_class = sqlc.narg('last_error_class'))
  AND (sqlc.narg('since')::timestamptz IS NULL
       OR accept_time >= sqlc.narg('since') AND accepted_on >= (sqlc.narg('since')::timestamptz AT TIME ZONE 'UTC')::date)
  AND (sqlc.narg('until')::timestamptz IS NULL
       OR accept_time < sqlc.narg('until')
          AND accepted_on <= ((sqlc.narg('until')::timestamptz - interval '1 microsecond') AT TIME ZONE 'UTC')::date)
ORDER BY event_sequence DESC, id DESC
LIMIT @page_size;

-- name: ListAttempts :many
-- Without a payload that is not kept any more.
SELECT
    sqlc.embed(a),
    coalesce(p.request_headers, '[]')::text AS request_headers,
    coalesce(p.request_body, '')::bytea AS request_body,
    coalesce(p.response_headers, '[]')::text AS response_headers,
    coalesce(p.response_body, '')::bytea AS response_body
FROM delivery.attempt a
LEFT JOIN delivery.attempt_payload p ON p.accepted_on = a.accepted_on AND p.delivery = a.delivery AND p.id = a.id
WHERE a.accepted_on = @accepted_on AND a.delivery = @delivery
  AND (a.start_time, a.id) > (@after_time::timestamptz, @after_id::uuid)
ORDER BY a.start_time, a.id
LIMIT @page_size;

-- name: ListAllAttempts :many
-- Those of all deliveries of an organization, the newest first. The first page begins below a time that is yet to come, or
-- where the asked time ends: of two bounds at the same end, the index might begin at the wrong one.
SELECT * FROM delivery.attempt
WHERE organization = @organization
  AND (start_time, id) < (@before_time::timestamptz, @before_id::uuid)
  AND (sqlc.narg('webhook')::uuid IS NULL OR webhook = sqlc.narg('webhook'))
  AND (sqlc.narg('status_code')::integer IS NULL OR status_code = sqlc.narg('status_code'))
  AND (sqlc.narg('error_class')::text IS NULL OR error_class = sqlc.narg('error_class'))
  AND (NOT @failed::boolean OR error_class <> '')
  AND (NOT @succeeded::boolean OR error_class = '')
  AND (sqlc.narg('since')::timestamptz IS NULL OR start_time >= sqlc.narg('since'))
ORDER BY start_time DESC, id DESC
LIMIT @page_size;

-- name: AttemptHours :many
SELECT hour, error_class, bucket, count FROM delivery.attempt_hour
WHERE webhook = @webhook AND organization = @organization AND hour >= @since AND hour < @until
ORDER BY hour, bucket;

-- name: DeadLetterHours :many
SELECT hour, count FROM delivery.dead_letter_hour
WHERE webhook = @webhook AND organization = @organization AND hour >= @since AND hour < @until
ORDER BY hour;
