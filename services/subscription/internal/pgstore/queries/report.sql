-- name: ClaimDeadLetterReports :many
-- Those of the counts that were not reported before, and whose webhooks exist.
INSERT INTO subscription.dead_letter_report (webhook, reason, minute, create_time)
SELECT w.id, given.reason, given.minute, sqlc.arg(now)::timestamptz
FROM (
    SELECT unnest(sqlc.arg(organizations)::text[]) AS organization, unnest(sqlc.arg(webhooks)::uuid[]) AS webhook,
           unnest(sqlc.arg(reasons)::text[]) AS reason, unnest(sqlc.arg(minutes)::timestamptz[]) AS minute
) AS given
JOIN subscription.webhook AS w ON w.id = given.webhook AND w.organization = given.organization
JOIN subscription.organization AS o ON o.id = w.organization AND o.delete_time IS NULL
ORDER BY w.id, given.reason, given.minute
ON CONFLICT DO NOTHING
RETURNING webhook, reason, minute;

-- name: WebhookNames :many
SELECT id, organization, display_name FROM subscription.webhook WHERE id = ANY (sqlc.arg(ids)::uuid[]);

-- name: TrimDeadLetterReports :execrows
DELETE FROM subscription.dead_letter_report WHERE create_time < sqlc.arg(before);
