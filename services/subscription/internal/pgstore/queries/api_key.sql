-- name: InsertAPIKey :exec
INSERT INTO subscription.api_key (id, organization, display_name, role, secret_sha256, bootstrap, create_time)
VALUES ($1, $2, $3, $4, $5, $6, $7);

-- name: APIKey :one
SELECT * FROM subscription.api_key WHERE id = $1;

-- name: BootstrapAPIKeys :many
SELECT * FROM subscription.api_key WHERE bootstrap;

-- name: OrganizationAPIKeysAfter :many
SELECT * FROM subscription.api_key
WHERE organization = sqlc.arg(organization)::text
  AND (create_time, id) > (sqlc.arg(after_time)::timestamptz, sqlc.arg(after_id)::text COLLATE "C")
ORDER BY create_time, id
LIMIT sqlc.arg(max_rows)::bigint;

-- name: APIKeysAfter :many
SELECT * FROM subscription.api_key WHERE id > sqlc.arg(after) ORDER BY id LIMIT sqlc.arg(max_rows)::bigint;

-- name: DeleteOrganizationAPIKey :execrows
DELETE FROM subscription.api_key WHERE id = sqlc.arg(id) AND organization = sqlc.arg(organization)::text;

-- name: DeleteAPIKey :exec
DELETE FROM subscription.api_key WHERE id = $1;
