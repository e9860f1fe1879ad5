-- name: CountEvents :one
-- Events of an organization of a time range that are still there.
SELECT count(*) FROM ingest.event
WHERE organization = @organization AND accept_time >= @from_time AND accept_time < @before_time AND erase_time IS NULL;

-- name: FindNamedEvents :many
-- The events of these sequences, and whatever else was stored of the same source and id: it is the same event. What could
-- not be read has none of both, and is the same as nothing else.
SELECT DISTINCT e.sequence FROM ingest.event n
JOIN ingest.event e ON e.organization = n.organization AND e.id = n.id AND e.source = n.source
WHERE n.organization = @organization AND n.sequence = ANY(@sequences::bigint[]) AND (n.id <> '' OR e.sequence = n.sequence)
  AND e.erase_time IS NULL
  AND e.sequence > @after AND e.sequence <= @until
ORDER BY e.sequence
LIMIT @page_size;

-- name: FindEventsByID :many
SELECT DISTINCT sequence FROM ingest.event
WHERE organization = @organization AND id = @id AND erase_time IS NULL AND sequence > @after AND sequence <= @until
ORDER BY sequence
LIMIT @page_size;

-- name: FindEventsBySubject :many
SELECT DISTINCT sequence FROM ingest.event
WHERE organization = @organization AND subject = @subject AND subject <> '' AND erase_time IS NULL
  AND sequence > @after AND sequence <= @until
ORDER BY sequence
LIMIT @page_size;

-- name: ForgetFilterErrors :exec
-- Why a filter could not tell may quote what the event said.
UPDATE ingest.webhook_matching SET last_filter_error = '' WHERE organization = @organization AND last_filter_error <> '';

-- name: ForgetSubject :exec
-- What an erasure was asked for may be about a person, too.
UPDATE ingest.operation SET parameters = parameters - 'subject' WHERE id = @id;
