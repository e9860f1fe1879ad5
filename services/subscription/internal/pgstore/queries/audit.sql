-- name: AuditEntriesBefore :many
-- What is NULL is not asked for; without an organization: those of all, and of the installation.
SELECT * FROM subscription.audit_log
WHERE (sqlc.narg(organization)::text IS NULL OR organization = sqlc.narg(organization)::text)
  AND (sqlc.narg(actor)::text IS NULL OR actor = sqlc.narg(actor)::text)
  AND (sqlc.narg(action)::text IS NULL OR action = sqlc.narg(action)::text)
  AND (sqlc.narg(resource)::text IS NULL OR resource = sqlc.narg(resource)::text)
  AND (sqlc.narg(from_time)::timestamptz IS NULL OR create_time >= sqlc.narg(from_time)::timestamptz)
  AND (create_time, id) < (sqlc.arg(before_time)::timestamptz, sqlc.arg(before_id)::uuid)
ORDER BY create_time DESC, id DESC
LIMIT sqlc.arg(max_rows)::bigint;
