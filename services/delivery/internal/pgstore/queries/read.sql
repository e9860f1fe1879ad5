-- name: GetDelivery :one
-- An event that is accepted again after days makes the same delivery again, on another day: the latest counts.
SELECT * FROM delivery.delivery WHERE id = @id AND organization = @organization
ORDER BY accepted_on DESC
LIMIT 1;

-- name: ListDeliveries :many
-- Newest events first. The first page begins below the greatest possible sequence.
SELECT * FROM delivery.delivery
WHERE organization = @organization
  AND (event_sequence, id) < (@before_sequence::bigint, @before_id::uuid)
  AND (sqlc.narg('webhook')::uuid IS NULL OR webhook = sqlc.narg('webhook'))
  AND (sqlc.narg('trigger')::text IS NULL OR trigger = sqlc.narg('trigger'))
  AND (sqlc.narg('event_source')::text IS NULL OR event_source = sqlc.narg('event_source'))
  AND (sqlc.narg('event_id')::text IS NULL OR event_id = sqlc.narg('event_id'))
  AND (sqlc.narg('state')::smallint IS NULL OR state = sqlc.narg('state'))
ORDER BY event_sequence DESC, id DESC
LIMIT @page_size;

-- name: ListAttempts :many
SELECT a.* FROM delivery.attempt a
WHERE a.accepted_on = @accepted_on AND a.delivery = @delivery
  AND (a.start_time, a.id) > (@after_time::timestamptz, @after_id::uuid)
ORDER BY a.start_time, a.id
LIMIT @page_size;
