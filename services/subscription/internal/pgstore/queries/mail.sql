-- name: InsertMail :execrows
-- One per webhook and reason in an hour, and one for what began to fail at one time.
INSERT INTO subscription.mail (id, organization, webhook, reason, hour, recipients, alert, next_time, create_time)
SELECT sqlc.arg(id)::uuid, sqlc.arg(organization)::text, sqlc.arg(webhook)::uuid, sqlc.arg(reason)::text,
       sqlc.arg(hour)::timestamptz, sqlc.arg(recipients)::text[], sqlc.arg(alert)::jsonb,
       sqlc.arg(now)::timestamptz, sqlc.arg(now)::timestamptz
WHERE NOT EXISTS (
    SELECT FROM subscription.mail AS m
    WHERE m.webhook = sqlc.arg(webhook)::uuid AND m.reason = sqlc.arg(reason)::text
      AND m.create_time > sqlc.arg(now)::timestamptz - interval '1 hour'
)
ON CONFLICT DO NOTHING;

-- name: TakeMail :many
-- Takes over what is due until a time: who does not end it by then has died.
UPDATE subscription.mail AS m
SET attempts = m.attempts + 1, next_time = sqlc.arg(until)
WHERE m.id IN (
    SELECT due.id FROM subscription.mail AS due
    WHERE due.next_time <= sqlc.arg(now)::timestamptz
    ORDER BY due.next_time, due.id
    LIMIT sqlc.arg(max_rows)::bigint
    FOR UPDATE SKIP LOCKED
)
RETURNING *;

-- name: SettleMail :execrows
-- Without a next time it is sent, or given up.
UPDATE subscription.mail
SET next_time = sqlc.narg(next_time)::timestamptz, recipients = sqlc.arg(recipients)::text[]
WHERE id = sqlc.arg(id) AND attempts = sqlc.arg(attempts);

-- name: TrimMail :execrows
DELETE FROM subscription.mail WHERE create_time < sqlc.arg(before) AND next_time IS NULL;
