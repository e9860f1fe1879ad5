-- name: NextRevision :one
UPDATE subscription.revision SET value = value + 1 RETURNING value;

-- name: Revision :one
SELECT value FROM subscription.revision;

-- name: AppendFeed :exec
INSERT INTO subscription.feed (revision, change, create_time) VALUES ($1, $2, $3);

-- name: FeedAfter :many
SELECT revision, change FROM subscription.feed
WHERE revision > sqlc.arg(after)
ORDER BY revision
LIMIT sqlc.arg(max_rows)::bigint;

-- name: TrimFeed :execrows
-- Only ever a prefix goes, whatever the clocks of those who wrote the entries said.
DELETE FROM subscription.feed AS f
WHERE f.revision <= (SELECT max(old.revision) FROM subscription.feed AS old WHERE old.create_time < sqlc.arg(before));

-- name: Notify :exec
SELECT pg_notify('subscription_feed', sqlc.arg(revision)::text);

-- name: LockStart :exec
SELECT pg_advisory_xact_lock(sqlc.arg(key));
