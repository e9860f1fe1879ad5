-- name: InsertTeam :exec
INSERT INTO subscription.team (organization, id, display_name, version, create_time, update_time)
VALUES ($1, $2, $3, $4, $5, $6);

-- name: Team :one
SELECT * FROM subscription.team WHERE organization = $1 AND id = $2;

-- name: LockTeam :one
SELECT * FROM subscription.team WHERE organization = $1 AND id = $2 FOR UPDATE;

-- name: TeamsAfter :many
SELECT * FROM subscription.team
WHERE organization = sqlc.arg(organization) AND id > sqlc.arg(after)
ORDER BY id
LIMIT sqlc.arg(max_rows)::bigint;

-- name: ShareTeams :many
-- Returns which of the ids are teams, which nobody can take away before this transaction ends.
SELECT id FROM subscription.team
WHERE organization = sqlc.arg(organization) AND id = ANY (sqlc.arg(ids)::text[])
ORDER BY id
FOR KEY SHARE;

-- name: UpdateTeam :exec
UPDATE subscription.team SET display_name = $3, version = $4, update_time = $5 WHERE organization = $1 AND id = $2;

-- name: DeleteTeam :exec
DELETE FROM subscription.team WHERE organization = $1 AND id = $2;

-- name: WebhooksOfTeam :many
-- The first of the webhooks that ask for a team, and how many there are in all.
SELECT organization, id, display_name, count(*) OVER () AS total FROM subscription.webhook
WHERE organization = sqlc.arg(organization) AND sqlc.arg(team)::text = ANY (teams)
ORDER BY create_time, id
LIMIT sqlc.arg(max_rows)::bigint;
