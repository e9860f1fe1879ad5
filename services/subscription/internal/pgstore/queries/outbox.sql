-- name: TryLock :one
-- Without waiting; held until the transaction ends.
SELECT pg_try_advisory_xact_lock(sqlc.arg(key));

-- name: LockOutbox :many
-- Events of an organization that is gone are not for publishing; they go with it.
SELECT e.* FROM subscription.outbox AS e
WHERE NOT EXISTS (SELECT FROM subscription.organization AS o WHERE o.id = e.organization AND o.delete_time IS NOT NULL)
ORDER BY e.position
LIMIT sqlc.arg(max_rows)::bigint
FOR UPDATE OF e;

-- name: DeleteOutbox :exec
DELETE FROM subscription.outbox WHERE position = ANY (sqlc.arg(positions)::bigint[]);
