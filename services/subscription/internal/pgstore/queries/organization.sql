-- name: InsertOrganization :exec
INSERT INTO subscription.organization (id, display_name, allow_http, create_time) VALUES ($1, $2, $3, $4);

-- name: Organization :one
SELECT * FROM subscription.organization WHERE id = $1 AND delete_time IS NULL;

-- name: OrganizationsAfter :many
SELECT * FROM subscription.organization
WHERE id > sqlc.arg(after) AND delete_time IS NULL
ORDER BY id
LIMIT sqlc.arg(max_rows)::bigint;

-- name: ShareOrganization :one
-- Returns an organization that nobody can take away before this transaction ends.
SELECT * FROM subscription.organization WHERE id = $1 AND delete_time IS NULL FOR SHARE;
