-- name: InsertTrigger :exec
INSERT INTO subscription.trigger (
    organization, id, display_name, description, group_name, schema, sample,
    deprecated, schema_warn_only, built_in, operational, version, create_time, update_time
) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14);

-- name: UpdateTrigger :exec
UPDATE subscription.trigger
SET display_name     = $3,
    description      = $4,
    group_name       = $5,
    schema           = $6,
    sample           = $7,
    deprecated       = $8,
    schema_warn_only = $9,
    built_in         = $10,
    operational      = $11,
    version          = $12,
    update_time      = $13
WHERE organization = $1 AND id = $2;

-- name: DeleteTrigger :exec
DELETE FROM subscription.trigger WHERE organization = $1 AND id = $2;

-- name: Trigger :one
SELECT * FROM subscription.trigger WHERE organization = $1 AND id = $2;

-- name: LockTrigger :one
SELECT * FROM subscription.trigger WHERE organization = $1 AND id = $2 FOR UPDATE;

-- name: LockPlatformTriggers :many
SELECT * FROM subscription.trigger
WHERE organization = '' AND id = ANY (sqlc.arg(ids)::text[])
ORDER BY id
FOR UPDATE;

-- name: ShareTriggers :many
-- Returns which of the ids are triggers that an organization knows, which nobody can take away before this transaction
-- ends.
SELECT id FROM subscription.trigger
WHERE organization IN ('', sqlc.arg(organization)::text) AND id = ANY (sqlc.arg(ids)::text[])
ORDER BY organization, id
FOR KEY SHARE;

-- name: TriggersAfter :many
SELECT * FROM subscription.trigger
WHERE (organization, id) > (sqlc.arg(after_organization)::text COLLATE "C", sqlc.arg(after_id)::text COLLATE "C")
ORDER BY organization, id
LIMIT sqlc.arg(max_rows)::bigint;

-- name: TriggersByGroupAfter :many
SELECT * FROM subscription.trigger
WHERE organization IN ('', sqlc.arg(organization))
  AND (group_name, id) > (sqlc.arg(after_group)::text COLLATE "C", sqlc.arg(after_id)::text COLLATE "C")
  AND (sqlc.narg(group_name)::text IS NULL OR group_name = sqlc.narg(group_name))
  AND (sqlc.narg(deprecated)::boolean IS NULL OR deprecated = sqlc.narg(deprecated))
  AND (sqlc.narg(built_in)::boolean IS NULL OR built_in = sqlc.narg(built_in))
  AND (sqlc.narg(operational)::boolean IS NULL OR operational = sqlc.narg(operational))
ORDER BY group_name, id
LIMIT sqlc.arg(max_rows)::bigint;

-- name: WebhooksAskingFor :many
-- The first of the webhooks that ask for one of the given triggers or groups, and how many there are in all. Those of
-- an organization's own triggers are its own.
SELECT organization, id, display_name, count(*) OVER () AS total FROM subscription.webhook
WHERE triggers && sqlc.arg(asked)::text[]
  AND (sqlc.arg(organization)::text = '' OR organization = sqlc.arg(organization)::text)
ORDER BY organization, create_time, id
LIMIT sqlc.arg(max_rows)::bigint;
