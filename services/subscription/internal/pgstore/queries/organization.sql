-- name: InsertOrganization :exec
INSERT INTO subscription.organization (
    id, display_name, allow_http, plan, webhooks_available, record_retention_ns, webhook_defaults,
    quota_events_per_second, quota_burst, client_id, secrets, version, create_time, update_time
) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14);

-- name: UpdateOrganization :exec
UPDATE subscription.organization
SET display_name            = $2,
    allow_http              = $3,
    plan                    = $4,
    webhooks_available      = $5,
    record_retention_ns     = $6,
    webhook_defaults        = $7,
    quota_events_per_second = $8,
    quota_burst             = $9,
    client_id               = $10,
    secrets                 = $11,
    version                 = $12,
    update_time             = $13
WHERE id = $1;

-- name: Organization :one
SELECT * FROM subscription.organization WHERE id = $1 AND delete_time IS NULL;

-- name: OrganizationsAfter :many
SELECT * FROM subscription.organization
WHERE id > sqlc.arg(after) AND delete_time IS NULL
ORDER BY id
LIMIT sqlc.arg(max_rows)::bigint;

-- name: OrganizationsOfPlanAfter :many
SELECT * FROM subscription.organization
WHERE plan = sqlc.arg(plan) AND id > sqlc.arg(after) AND delete_time IS NULL
ORDER BY id
LIMIT sqlc.arg(max_rows)::bigint;

-- name: ShareOrganization :one
-- Returns an organization that nobody can change or take away before this transaction ends.
SELECT * FROM subscription.organization WHERE id = $1 AND delete_time IS NULL FOR SHARE;

-- name: LockOrganization :one
-- Returns an organization that only this transaction can change, and under which nobody else can make anything.
SELECT * FROM subscription.organization WHERE id = $1 AND delete_time IS NULL FOR UPDATE;

-- name: LockOrganizationsToResolve :many
-- Returns organizations of a plan for which something else than what it comes to is stored.
SELECT * FROM subscription.organization
WHERE delete_time IS NULL
  AND plan = sqlc.arg(plan)
  AND (webhooks_available, record_retention_ns) IS DISTINCT FROM
      (sqlc.arg(webhooks_available)::boolean, sqlc.narg(record_retention_ns)::bigint)
ORDER BY id
LIMIT sqlc.arg(max_rows)::bigint
FOR UPDATE;

-- name: LockOrganizationsWithoutPlan :many
SELECT * FROM subscription.organization
WHERE delete_time IS NULL AND plan = ''
ORDER BY id
LIMIT sqlc.arg(max_rows)::bigint
FOR UPDATE;

-- name: ResolvePlan :exec
UPDATE subscription.organization
SET plan                = sqlc.arg(plan),
    webhooks_available  = sqlc.arg(webhooks_available),
    record_retention_ns = sqlc.narg(record_retention_ns)
WHERE id = ANY (sqlc.arg(ids)::text[]);

-- name: MarkOrganizationDeleted :exec
-- What is left is the slug.
UPDATE subscription.organization
SET delete_time = sqlc.arg(now)::timestamptz, update_time = sqlc.arg(now)::timestamptz,
    display_name = '', webhook_defaults = '{}', secrets = '[]', client_id = 0,
    quota_events_per_second = NULL, quota_burst = NULL, version = version + 1
WHERE id = sqlc.arg(id);

-- name: DeleteOrganizationWebhooks :many
DELETE FROM subscription.webhook WHERE organization = $1 RETURNING id;

-- name: DeleteOrganizationTriggers :many
DELETE FROM subscription.trigger WHERE organization = $1 AND organization <> '' RETURNING id;

-- name: DeleteOrganizationKeys :many
DELETE FROM subscription.api_key WHERE organization = sqlc.arg(organization)::text RETURNING id;

-- name: DeleteOrganizationTeams :exec
DELETE FROM subscription.team WHERE organization = $1;
