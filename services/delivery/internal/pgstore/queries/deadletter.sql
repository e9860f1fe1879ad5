-- name: SentSince :many
-- Deliveries of which something is known that came after they became dead letters: it is later than a time, and knows of
-- as many attempts. One that has succeeded with more attempts needs no time to tell.
SELECT d.id FROM delivery.delivery d
JOIN (
    SELECT
        unnest(@accepted_on::date[]) AS accepted_on,
        unnest(@id::uuid[]) AS id,
        unnest(@version::bigint[]) AS version,
        unnest(@since::timestamptz[]) AS since
) k ON d.accepted_on = k.accepted_on AND d.id = k.id
WHERE (d.state <> @dead_lettered::smallint AND d.version >= k.version AND d.update_time > k.since)
    OR (d.state = @succeeded::smallint AND d.version > k.version);

-- name: ExpireDeadLetters :execrows
-- What became a dead letter before a time is none any more: nobody has replayed it.
UPDATE delivery.delivery d SET state = @dropped::smallint, reason = @reason
FROM (
    SELECT e.accepted_on, e.id FROM delivery.delivery e
    WHERE e.state = 3 AND e.update_time < @before
    ORDER BY e.update_time
    LIMIT @batch_size
    FOR UPDATE SKIP LOCKED
) old
WHERE d.accepted_on = old.accepted_on AND d.id = old.id;
