-- name: InsertWebhook :exec
INSERT INTO subscription.webhook (
    id, organization, display_name, target_url, triggers, sealed_secrets, paused,
    max_retries, first_delay_ns, factor, max_delay_ns, jitter, timeout_ns, revision, create_time, update_time
) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16);

-- name: UpdateWebhook :exec
UPDATE subscription.webhook
SET display_name   = $2,
    target_url     = $3,
    triggers       = $4,
    sealed_secrets = $5,
    paused         = $6,
    max_retries    = $7,
    first_delay_ns = $8,
    factor         = $9,
    max_delay_ns   = $10,
    jitter         = $11,
    timeout_ns     = $12,
    revision       = $13,
    update_time    = $14
WHERE id = $1;

-- name: Webhook :one
SELECT * FROM subscription.webhook WHERE id = $1 AND organization = $2;

-- name: LockWebhook :one
SELECT * FROM subscription.webhook WHERE id = $1 AND organization = $2 FOR UPDATE;

-- name: OrganizationWebhooksAfter :many
SELECT * FROM subscription.webhook
WHERE organization = sqlc.arg(organization)
  AND (create_time, id) > (sqlc.arg(after_time)::timestamptz, sqlc.arg(after_id)::uuid)
ORDER BY create_time, id
LIMIT sqlc.arg(max_rows)::bigint;

-- name: WebhooksAfter :many
SELECT * FROM subscription.webhook WHERE id > sqlc.arg(after) ORDER BY id LIMIT sqlc.arg(max_rows)::bigint;

-- name: DeleteWebhook :exec
DELETE FROM subscription.webhook WHERE id = $1;
