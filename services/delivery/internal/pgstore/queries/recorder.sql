-- name: Lease :one
-- Takes or renews the lease. No row: somebody else has it.
UPDATE delivery.recorder SET
    holder = @holder,
    lease_until = now() + make_interval(secs => @seconds::float8),
    position = CASE WHEN stream_created = @stream_created THEN position ELSE 0 END,
    stream_created = @stream_created
WHERE holder = @holder OR lease_until < now()
RETURNING position;

-- name: ReleaseLease :exec
UPDATE delivery.recorder SET lease_until = '-infinity' WHERE holder = @holder;

-- name: AdvanceRecorder :execrows
-- Takes in what follows `before`, unless somebody else has done so.
UPDATE delivery.recorder SET position = @position, lease_until = now() + make_interval(secs => @seconds::float8)
WHERE holder = @holder AND position = @before;

-- name: DeliveryStates :many
-- What became of deliveries before the records that are being taken in.
SELECT d.id, d.state FROM delivery.delivery d
JOIN (SELECT unnest(@accepted_on::date[]) AS accepted_on, unnest(@id::uuid[]) AS id) k
    ON d.accepted_on = k.accepted_on AND d.id = k.id;

-- name: DropPending :exec
-- Ends what waited for a webhook that is gone. What is recorded later of an attempt that was under way counts.
UPDATE delivery.delivery
SET state = @dropped, reason = @reason, update_time = @at, next_attempt_time = NULL, version = version | 1
WHERE webhook = @webhook AND state = @pending AND state <> 2; -- as the index has it

-- name: Health :many
-- Each webhook is named once. A comparison with a list of them would be made row by row.
SELECT h.* FROM delivery.webhook_health h
JOIN (SELECT unnest(@webhook::uuid[]) AS webhook) k ON h.webhook = k.webhook;

-- name: LockHealth :many
-- Each webhook is named once.
SELECT h.* FROM delivery.webhook_health h
JOIN (SELECT unnest(@webhook::uuid[]) AS webhook) k ON h.webhook = k.webhook
ORDER BY h.webhook
FOR UPDATE OF h;

-- name: DeleteHealth :exec
DELETE FROM delivery.webhook_health WHERE webhook = @webhook;

-- name: GetHealth :one
SELECT * FROM delivery.webhook_health WHERE webhook = @webhook AND organization = @organization;

-- name: FailingHealth :many
-- Webhooks that fail for a time and have not reached the last stage, or for which that was not yet taken, by id.
SELECT * FROM delivery.webhook_health
WHERE failing_since IS NOT NULL AND webhook > @after
  AND CASE WHEN reached < @last_stage::smallint THEN cardinality(failing_deliveries) >= 3 ELSE reached <> reported END
ORDER BY webhook
LIMIT @page_size;

-- name: DueHealth :many
SELECT * FROM delivery.webhook_health WHERE reached <> reported AND webhook > @after
ORDER BY webhook
LIMIT @page_size;

-- name: PutHealth :exec
-- Year 1 stands for no time. Deliveries are separated by spaces.
INSERT INTO delivery.webhook_health (
    webhook, organization, generation, consecutive_failures, failing_since, failing_deliveries, last_success_time,
    last_failure_time, last_status, last_error_class, reached, reported, reason
)
SELECT
    r.webhook, r.organization, r.generation, r.consecutive_failures,
    nullif(r.failing_since, '0001-01-01 00:00:00+00'::timestamptz), string_to_array(r.failing_deliveries, ' '),
    nullif(r.last_success_time, '0001-01-01 00:00:00+00'::timestamptz),
    nullif(r.last_failure_time, '0001-01-01 00:00:00+00'::timestamptz),
    r.last_status, r.last_error_class, r.reached, r.reported, r.reason
FROM (
    SELECT
        unnest(@webhook::uuid[]) AS webhook,
        unnest(@organization::text[]) AS organization,
        unnest(@generation::bigint[]) AS generation,
        unnest(@consecutive_failures::bigint[]) AS consecutive_failures,
        unnest(@failing_since::timestamptz[]) AS failing_since,
        unnest(@failing_deliveries::text[]) AS failing_deliveries,
        unnest(@last_success_time::timestamptz[]) AS last_success_time,
        unnest(@last_failure_time::timestamptz[]) AS last_failure_time,
        unnest(@last_status::integer[]) AS last_status,
        unnest(@last_error_class::text[]) AS last_error_class,
        unnest(@reached::smallint[]) AS reached,
        unnest(@reported::smallint[]) AS reported,
        unnest(@reason::text[]) AS reason
) AS r
ON CONFLICT (webhook) DO UPDATE SET
    organization         = excluded.organization,
    generation           = excluded.generation,
    consecutive_failures = excluded.consecutive_failures,
    failing_since        = excluded.failing_since,
    failing_deliveries   = excluded.failing_deliveries,
    last_success_time    = excluded.last_success_time,
    last_failure_time    = excluded.last_failure_time,
    last_status          = excluded.last_status,
    last_error_class     = excluded.last_error_class,
    reached              = excluded.reached,
    reported             = excluded.reported,
    reason               = excluded.reason;

-- name: MarkHealthReported :exec
UPDATE delivery.webhook_health SET reported = reported | @level::smallint
WHERE webhook = @webhook AND generation = @generation AND reached & @level::smallint <> 0;

-- name: ClosedCounts :many
-- Which of these counts have been closed.
SELECT c.webhook, c.reason, c.minute FROM delivery.dead_letter_count c
JOIN (
    SELECT unnest(@webhook::uuid[]) AS webhook, unnest(@reason::text[]) AS reason, unnest(@minute::timestamptz[]) AS minute
) k ON c.webhook = k.webhook AND c.reason = k.reason AND c.minute = k.minute
WHERE c.closed;

-- name: AddCounts :execrows
-- Fewer rows than counts: one of them was closed in between.
INSERT INTO delivery.dead_letter_count AS c (webhook, reason, minute, organization, count, closed, reported)
SELECT r.webhook, r.reason, r.minute, r.organization, r.count, false, false
FROM (
    SELECT
        unnest(@webhook::uuid[]) AS webhook,
        unnest(@reason::text[]) AS reason,
        unnest(@minute::timestamptz[]) AS minute,
        unnest(@organization::text[]) AS organization,
        unnest(@count::bigint[]) AS count
) AS r
ON CONFLICT (webhook, reason, minute) DO UPDATE SET count = c.count + excluded.count
WHERE NOT c.closed;

-- name: CloseCounts :exec
UPDATE delivery.dead_letter_count SET closed = true WHERE NOT closed AND NOT reported AND minute <= @newest;

-- name: DueCounts :many
SELECT * FROM delivery.dead_letter_count WHERE closed AND NOT reported
ORDER BY minute, webhook, reason
LIMIT @page_size;

-- name: MarkCountsReported :exec
UPDATE delivery.dead_letter_count c SET reported = true
FROM (
    SELECT unnest(@webhook::uuid[]) AS webhook, unnest(@reason::text[]) AS reason, unnest(@minute::timestamptz[]) AS minute
) k
WHERE c.webhook = k.webhook AND c.reason = k.reason AND c.minute = k.minute;

-- name: DeleteCounts :exec
DELETE FROM delivery.dead_letter_count WHERE reported AND minute < @before;
