-- name: GetEvent :one
-- The latest counts, should a stream that was made anew have begun again with sequence 1.
SELECT * FROM ingest.event WHERE sequence = @sequence AND organization = @organization
ORDER BY accept_time DESC
LIMIT 1;

-- name: ListEvents :many
-- Newest first; the first page begins below a time that is yet to come. One query for each index, each with its own plan:
-- a plan that must do for all filters would read all that an organization has.
SELECT * FROM ingest.event
WHERE organization = @organization
  AND accept_time <= @before_time::timestamptz
  AND (accept_time, sequence) < (@before_time::timestamptz, @before_sequence::bigint)
  AND accept_time >= @from_time::timestamptz
ORDER BY accept_time DESC, sequence DESC
LIMIT @page_size;

-- name: ListEventsByTrigger :many
SELECT * FROM ingest.event
WHERE organization = @organization
  AND trigger = @trigger
  AND accept_time <= @before_time::timestamptz
  AND (accept_time, sequence) < (@before_time::timestamptz, @before_sequence::bigint)
  AND accept_time >= @from_time::timestamptz
ORDER BY accept_time DESC, sequence DESC
LIMIT @page_size;

-- name: ListEventsByTriggerAndSource :many
SELECT * FROM ingest.event
WHERE organization = @organization
  AND trigger = @trigger
  AND source = @source
  AND accept_time <= @before_time::timestamptz
  AND (accept_time, sequence) < (@before_time::timestamptz, @before_sequence::bigint)
  AND accept_time >= @from_time::timestamptz
ORDER BY accept_time DESC, sequence DESC
LIMIT @page_size;

-- name: ListEventsBySource :many
SELECT * FROM ingest.event
WHERE organization = @organization
  AND source = @source
  AND accept_time <= @before_time::timestamptz
  AND (accept_time, sequence) < (@before_time::timestamptz, @before_sequence::bigint)
  AND accept_time >= @from_time::timestamptz
ORDER BY accept_time DESC, sequence DESC
LIMIT @page_size;

-- name: ListEventsByID :many
SELECT * FROM ingest.event
WHERE organization = @organization
  AND id = @id
  AND accept_time <= @before_time::timestamptz
  AND (accept_time, sequence) < (@before_time::timestamptz, @before_sequence::bigint)
  AND accept_time >= @from_time::timestamptz
  AND (sqlc.narg('trigger')::text IS NULL OR trigger = sqlc.narg('trigger'))
  AND (sqlc.narg('source')::text IS NULL OR source = sqlc.narg('source'))
  AND (sqlc.narg('subject')::text IS NULL OR subject = sqlc.narg('subject'))
ORDER BY accept_time DESC, sequence DESC
LIMIT @page_size;

-- name: ListEventsBySubject :many
SELECT * FROM ingest.event
WHERE organization = @organization
  AND subject = @subject
  AND subject <> ''
  AND accept_time <= @before_time::timestamptz
  AND (accept_time, sequence) < (@before_time::timestamptz, @before_sequence::bigint)
  AND accept_time >= @from_time::timestamptz
  AND (sqlc.narg('trigger')::text IS NULL OR trigger = sqlc.narg('trigger'))
  AND (sqlc.narg('source')::text IS NULL OR source = sqlc.narg('source'))
ORDER BY accept_time DESC, sequence DESC
LIMIT @page_size;

-- name: GetMatching :one
SELECT * FROM ingest.webhook_matching WHERE webhook = @webhook AND organization = @organization;

-- name: PurgeEvents :execrows
-- Removes some events of an organization.
DELETE FROM ingest.event e USING (
    SELECT p.sequence, p.accept_time FROM ingest.event p WHERE p.organization = @organization
    LIMIT @batch_size
) gone
WHERE e.sequence = gone.sequence AND e.accept_time = gone.accept_time;

-- name: PurgeMatching :execrows
DELETE FROM ingest.webhook_matching WHERE organization = @organization;

-- name: EraseEvents :execrows
-- Removes what is known of events but their ids and times.
UPDATE ingest.event SET subject = '', erase_time = @erase_time
WHERE organization = @organization AND sequence = ANY(@sequence::bigint[]) AND erase_time IS NULL;
