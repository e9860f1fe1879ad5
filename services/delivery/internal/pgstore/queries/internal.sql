-- name: CountDeliveries :one
-- What has become of the deliveries of one event.
SELECT
    count(*) FILTER (WHERE state = @pending::smallint)       AS pending,
    count(*) FILTER (WHERE state = @succeeded::smallint)     AS succeeded,
    count(*) FILTER (WHERE state = @dead_lettered::smallint) AS dead_lettered,
    count(*) FILTER (WHERE state = @dropped::smallint)       AS dropped
FROM delivery.delivery
WHERE organization = @organization AND event_sequence = @event_sequence;

-- name: FindDeliveries :many
-- An event that is accepted again after days makes the same delivery again, on another day: the latest counts.
SELECT DISTINCT ON (id) id, state, attempt_count FROM delivery.delivery
WHERE organization = @organization AND id = ANY(@ids::uuid[])
ORDER BY id, accepted_on DESC;

-- name: Recorded :one
-- How far RECORDS has been taken in; of a stream that was made anew, nothing.
SELECT (CASE WHEN stream_created = @stream_created THEN position ELSE 0 END)::bigint FROM delivery.recorder;

-- name: EraseAttempts :one
-- Removes what may tell what an event said: the receiver's answers, and what went wrong, may quote it.
WITH erased AS (
    SELECT d.accepted_on, d.id FROM delivery.delivery d
    WHERE d.organization = @organization AND d.event_sequence = ANY(@event_sequences::bigint[])
), payloads AS (
    DELETE FROM delivery.attempt_payload p USING erased e WHERE p.accepted_on = e.accepted_on AND p.delivery = e.id
    RETURNING 1
), messages AS (
    UPDATE delivery.attempt a SET error_message = '' FROM erased e
    WHERE a.accepted_on = e.accepted_on AND a.delivery = e.id AND a.error_message <> ''
    RETURNING 1
)
SELECT ((SELECT count(*) FROM payloads) + (SELECT count(*) FROM messages))::bigint;
