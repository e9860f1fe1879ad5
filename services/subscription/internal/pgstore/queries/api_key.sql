-- name: InsertAPIKey :exec
INSERT INTO subscription.api_key (id, organization, display_name, role, secret_sha256, bootstrap, create_time, expire_time)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8);

-- name: APIKey :one
-- The keys of an organization that is gone are gone with it, also before their rows are.
SELECT k.* FROM subscription.api_key AS k
WHERE k.id = $1
  AND NOT EXISTS (SELECT FROM subscription.organization AS o WHERE o.id = k.organization AND o.delete_time IS NOT NULL);

-- name: OrganizationAPIKey :one
SELECT * FROM subscription.api_key WHERE id = sqlc.arg(id) AND organization = sqlc.arg(organization)::text;

-- name: BootstrapAPIKeys :many
SELECT * FROM subscription.api_key WHERE bootstrap;

-- name: OrganizationAPIKeysAfter :many
SELECT * FROM subscription.api_key
WHERE organization = sqlc.arg(organization)::text
  AND (create_time, id) > (sqlc.arg(after_time)::timestamptz, sqlc.arg(after_id)::text COLLATE "C")
ORDER BY create_time, id
LIMIT sqlc.arg(max_rows)::bigint;

-- name: APIKeysAfter :many
SELECT k.* FROM subscription.api_key AS k
WHERE k.id > sqlc.arg(after)
  AND NOT EXISTS (SELECT FROM subscription.organization AS o WHERE o.id = k.organization AND o.delete_time IS NOT NULL)
ORDER BY k.id
LIMIT sqlc.arg(max_rows)::bigint;

-- name: DeleteOrganizationAPIKey :one
DELETE FROM subscription.api_key
WHERE id = sqlc.arg(id) AND organization = sqlc.arg(organization)::text
RETURNING *;

-- name: DeleteAPIKey :exec
DELETE FROM subscription.api_key WHERE id = $1;

-- name: TouchAPIKeys :execrows
-- Only ever forward. The rows are locked in one order, so that two who do this do not wait for each other.
UPDATE subscription.api_key AS k
SET last_use_time = u.used
FROM (
    SELECT given.id, given.used
    FROM (SELECT unnest(sqlc.arg(ids)::text[]) AS id, unnest(sqlc.arg(times)::timestamptz[]) AS used) AS given
    JOIN subscription.api_key AS known ON known.id = given.id
    WHERE known.last_use_time IS NULL OR known.last_use_time < given.used
    ORDER BY given.id
    FOR UPDATE OF known
) AS u
WHERE k.id = u.id;
