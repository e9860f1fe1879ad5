-- name: InsertWebhook :exec
INSERT INTO subscription.webhook (
    id, organization, display_name, target_url, triggers, status, status_reason, status_time, generation, dialect,
    event_types, teams, filter, metadata, settings, secrets, revision, create_time, update_time
) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19);

-- name: UpdateWebhook :exec
UPDATE subscription.webhook
SET display_name  = $2,
    target_url    = $3,
    triggers      = $4,
    status        = $5,
    status_reason = $6,
    status_time   = $7,
    generation    = $8,
    dialect       = $9,
    event_types   = $10,
    teams         = $11,
    filter        = $12,
    metadata      = $13,
    settings      = $14,
    secrets       = $15,
    revision      = $16,
    update_time   = $17
WHERE id = $1;

-- name: Webhook :one
SELECT * FROM subscription.webhook WHERE id = $1 AND organization = $2;

-- name: LockWebhook :one
SELECT * FROM subscription.webhook WHERE id = $1 AND organization = $2 FOR UPDATE;

-- name: WebhooksByID :many
SELECT * FROM subscription.webhook WHERE organization = sqlc.arg(organization) AND id = ANY (sqlc.arg(ids)::uuid[]);

-- name: WebhooksAfter :many
SELECT * FROM subscription.webhook WHERE id > sqlc.arg(after) ORDER BY id LIMIT sqlc.arg(max_rows)::bigint;

-- name: DeleteWebhook :exec
DELETE FROM subscription.webhook WHERE id = $1;

-- name: HoldOrganization :one
-- Returns an organization to which nobody else can add a webhook before this transaction ends, and that nobody can
-- take away. Foreign keys to it can still be checked meanwhile.
SELECT * FROM subscription.organization WHERE id = $1 AND delete_time IS NULL FOR NO KEY UPDATE;

-- name: TriggerFacts :many
SELECT id, deprecated FROM subscription.trigger WHERE organization IN ('', sqlc.arg(organization)::text) ORDER BY id;

-- name: TriggerSample :one
SELECT sample FROM subscription.trigger
WHERE organization IN ('', sqlc.arg(organization)::text) AND id = sqlc.arg(id)
ORDER BY organization DESC
LIMIT 1;

-- name: TriggersOfOtherWebhooks :many
SELECT triggers FROM subscription.webhook WHERE organization = sqlc.arg(organization) AND id <> sqlc.arg(but);

-- name: WebhooksAtHost :many
-- Returns those whose URL may be one with the host, oldest first; the host is in lower case.
SELECT id, target_url, triggers, create_time FROM subscription.webhook
WHERE organization = sqlc.arg(organization)
  AND strpos(lower(target_url), sqlc.arg(host)::text) > 0
  AND (create_time, id) > (sqlc.arg(after_time)::timestamptz, sqlc.arg(after_id)::uuid)
ORDER BY create_time, id
LIMIT sqlc.arg(max_rows)::bigint;

-- name: WebhooksByCreatedUp :many
SELECT * FROM subscription.webhook
WHERE organization = sqlc.arg(organization)
  AND (sqlc.narg(status)::text IS NULL OR status = sqlc.narg(status)::text)
  AND (sqlc.narg(patterns)::text[] IS NULL OR triggers && sqlc.narg(patterns)::text[])
  AND (sqlc.narg(dialect)::text IS NULL OR dialect = sqlc.narg(dialect)::text)
  AND (sqlc.narg(target_url)::text IS NULL OR target_url = sqlc.narg(target_url)::text)
  AND (sqlc.narg(team)::text IS NULL OR sqlc.narg(team)::text = ANY (teams))
  AND (sqlc.narg(metadata)::jsonb IS NULL OR metadata @> sqlc.narg(metadata)::jsonb)
  AND (sqlc.narg(after_time)::timestamptz IS NULL
       OR (create_time, id) > (sqlc.narg(after_time)::timestamptz, sqlc.narg(after_id)::uuid))
ORDER BY create_time, id
LIMIT sqlc.arg(max_rows)::bigint;

-- name: WebhooksByCreatedDown :many
SELECT * FROM subscription.webhook
WHERE organization = sqlc.arg(organization)
  AND (sqlc.narg(status)::text IS NULL OR status = sqlc.narg(status)::text)
  AND (sqlc.narg(patterns)::text[] IS NULL OR triggers && sqlc.narg(patterns)::text[])
  AND (sqlc.narg(dialect)::text IS NULL OR dialect = sqlc.narg(dialect)::text)
  AND (sqlc.narg(target_url)::text IS NULL OR target_url = sqlc.narg(target_url)::text)
  AND (sqlc.narg(team)::text IS NULL OR sqlc.narg(team)::text = ANY (teams))
  AND (sqlc.narg(metadata)::jsonb IS NULL OR metadata @> sqlc.narg(metadata)::jsonb)
  AND (sqlc.narg(after_time)::timestamptz IS NULL
       OR (create_time, id) < (sqlc.narg(after_time)::timestamptz, sqlc.narg(after_id)::uuid))
ORDER BY create_time DESC, id DESC
LIMIT sqlc.arg(max_rows)::bigint;

-- name: WebhooksByUpdatedUp :many
SELECT * FROM subscription.webhook
WHERE organization = sqlc.arg(organization)
  AND (sqlc.narg(status)::text IS NULL OR status = sqlc.narg(status)::text)
  AND (sqlc.narg(patterns)::text[] IS NULL OR triggers && sqlc.narg(patterns)::text[])
  AND (sqlc.narg(dialect)::text IS NULL OR dialect = sqlc.narg(dialect)::text)
  AND (sqlc.narg(target_url)::text IS NULL OR target_url = sqlc.narg(target_url)::text)
  AND (sqlc.narg(team)::text IS NULL OR sqlc.narg(team)::text = ANY (teams))
  AND (sqlc.narg(metadata)::jsonb IS NULL OR metadata @> sqlc.narg(metadata)::jsonb)
  AND (sqlc.narg(after_time)::timestamptz IS NULL
       OR (update_time, id) > (sqlc.narg(after_time)::timestamptz, sqlc.narg(after_id)::uuid))
ORDER BY update_time, id
LIMIT sqlc.arg(max_rows)::bigint;

-- name: WebhooksByUpdatedDown :many
SELECT * FROM subscription.webhook
WHERE organization = sqlc.arg(organization)
  AND (sqlc.narg(status)::text IS NULL OR status = sqlc.narg(status)::text)
  AND (sqlc.narg(patterns)::text[] IS NULL OR triggers && sqlc.narg(patterns)::text[])
  AND (sqlc.narg(dialect)::text IS NULL OR dialect = sqlc.narg(dialect)::text)
  AND (sqlc.narg(target_url)::text IS NULL OR target_url = sqlc.narg(target_url)::text)
  AND (sqlc.narg(team)::text IS NULL OR sqlc.narg(team)::text = ANY (teams))
  AND (sqlc.narg(metadata)::jsonb IS NULL OR metadata @> sqlc.narg(metadata)::jsonb)
  AND (sqlc.narg(after_time)::timestamptz IS NULL
       OR (update_time, id) < (sqlc.narg(after_time)::timestamptz, sqlc.narg(after_id)::uuid))
ORDER BY update_time DESC, id DESC
LIMIT sqlc.arg(max_rows)::bigint;

-- name: WebhooksByNameUp :many
SELECT * FROM subscription.webhook
WHERE organization = sqlc.arg(organization)
  AND (sqlc.narg(status)::text IS NULL OR status = sqlc.narg(status)::text)
  AND (sqlc.narg(patterns)::text[] IS NULL OR triggers && sqlc.narg(patterns)::text[])
  AND (sqlc.narg(dialect)::text IS NULL OR dialect = sqlc.narg(dialect)::text)
  AND (sqlc.narg(target_url)::text IS NULL OR target_url = sqlc.narg(target_url)::text)
  AND (sqlc.narg(team)::text IS NULL OR sqlc.narg(team)::text = ANY (teams))
  AND (sqlc.narg(metadata)::jsonb IS NULL OR metadata @> sqlc.narg(metadata)::jsonb)
  AND (sqlc.narg(after_name)::text IS NULL
       OR (display_name, id) > (sqlc.narg(after_name)::text, sqlc.narg(after_id)::uuid))
ORDER BY display_name, id
LIMIT sqlc.arg(max_rows)::bigint;

-- name: WebhooksByNameDown :many
SELECT * FROM subscription.webhook
WHERE organization = sqlc.arg(organization)
  AND (sqlc.narg(status)::text IS NULL OR status = sqlc.narg(status)::text)
  AND (sqlc.narg(patterns)::text[] IS NULL OR triggers && sqlc.narg(patterns)::text[])
  AND (sqlc.narg(dialect)::text IS NULL OR dialect = sqlc.narg(dialect)::text)
  AND (sqlc.narg(target_url)::text IS NULL OR target_url = sqlc.narg(target_url)::text)
  AND (sqlc.narg(team)::text IS NULL OR sqlc.narg(team)::text = ANY (teams))
  AND (sqlc.narg(metadata)::jsonb IS NULL OR metadata @> sqlc.narg(metadata)::jsonb)
  AND (sqlc.narg(after_name)::text IS NULL
       OR (display_name, id) < (sqlc.narg(after_name)::text, sqlc.narg(after_id)::uuid))
ORDER BY display_name DESC, id DESC
LIMIT sqlc.arg(max_rows)::bigint;
