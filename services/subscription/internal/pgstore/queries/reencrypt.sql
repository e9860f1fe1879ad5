-- name: LockOrganizationsAfter :many
SELECT * FROM subscription.organization
WHERE id > sqlc.arg(after) AND delete_time IS NULL
ORDER BY id
LIMIT sqlc.arg(max_rows)::bigint
FOR NO KEY UPDATE;

-- name: ResealOrganization :exec
-- The same secrets in another form are no change that anybody would be told of.
UPDATE subscription.organization SET secrets = $2 WHERE id = $1;

-- name: LockWebhooksAfter :many
SELECT * FROM subscription.webhook
WHERE id > sqlc.arg(after)
ORDER BY id
LIMIT sqlc.arg(max_rows)::bigint
FOR NO KEY UPDATE;

-- name: ResealWebhook :exec
UPDATE subscription.webhook SET secrets = $2, settings = $3 WHERE id = $1;

-- name: ForgetFeed :execrows
-- The newest entry stays, so that who has it needs nothing else.
DELETE FROM subscription.feed WHERE revision < (SELECT value FROM subscription.revision);
