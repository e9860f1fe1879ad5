-- name: PurgeDeliveries :one
-- Removes some deliveries of an organization whose events were accepted before a day, with their attempts.
WITH gone AS (
    SELECT d.accepted_on, d.id FROM delivery.delivery d
    WHERE d.organization = @organization AND d.accepted_on < @before
    LIMIT @batch_size
), attempts AS (
    DELETE FROM delivery.attempt a USING gone g WHERE a.accepted_on = g.accepted_on AND a.delivery = g.id RETURNING 1
), payloads AS (
    DELETE FROM delivery.attempt_payload p USING gone g WHERE p.accepted_on = g.accepted_on AND p.delivery = g.id
), deliveries AS (
    DELETE FROM delivery.delivery d USING gone g WHERE d.accepted_on = g.accepted_on AND d.id = g.id RETURNING 1
)
SELECT (SELECT count(*) FROM deliveries) AS deliveries, (SELECT count(*) FROM attempts) AS attempts;

-- name: PurgeHealth :execrows
DELETE FROM delivery.webhook_health WHERE organization = @organization;

-- name: PurgeCounts :execrows
DELETE FROM delivery.dead_letter_count WHERE organization = @organization;

-- name: PurgeHours :execrows
-- Statistics of an organization of the hours before a time.
WITH attempts AS (
    DELETE FROM delivery.attempt_hour a WHERE a.organization = @organization AND a.hour < @before RETURNING 1
), letters AS (
    DELETE FROM delivery.dead_letter_hour d WHERE d.organization = @organization AND d.hour < @before RETURNING 1
)
SELECT 1 FROM attempts UNION ALL SELECT 1 FROM letters;

-- name: TryRetentionLock :one
-- Held until the end of the transaction.
SELECT pg_try_advisory_xact_lock(hashtext('meetwire.delivery.retention'));
