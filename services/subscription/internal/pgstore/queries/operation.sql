-- name: InsertOperation :exec
INSERT INTO subscription.operation (
    id, organization, type, target, state, parameters, progress, lease_time, create_time, update_time
) VALUES ($1, $2, $3, $4, 'running', $5, '{}', sqlc.arg(now), sqlc.arg(now), sqlc.arg(now));

-- name: Operation :one
SELECT * FROM subscription.operation
WHERE id = sqlc.arg(id) AND organization IS NOT DISTINCT FROM sqlc.narg(organization)::text;

-- name: LockOperation :one
SELECT * FROM subscription.operation
WHERE id = sqlc.arg(id) AND organization IS NOT DISTINCT FROM sqlc.narg(organization)::text
FOR UPDATE;

-- name: RunningOperation :one
SELECT * FROM subscription.operation
WHERE type = sqlc.arg(type) AND target = sqlc.arg(target) AND state = 'running'
ORDER BY create_time, id
LIMIT 1;

-- name: OperationsBefore :many
-- Without an organization: those of all.
SELECT * FROM subscription.operation
WHERE (sqlc.narg(organization)::text IS NULL OR organization = sqlc.narg(organization)::text)
  AND (create_time, id) < (sqlc.arg(before_time)::timestamptz, sqlc.arg(before_id)::uuid)
ORDER BY create_time DESC, id DESC
LIMIT sqlc.arg(max_rows)::bigint;

-- name: TakeOperation :one
-- Takes over the operation that has waited longest for somebody to work on it.
UPDATE subscription.operation AS o
SET take = o.take + 1, lease_time = sqlc.arg(lease_time)
WHERE o.id = (
    SELECT due.id FROM subscription.operation AS due
    WHERE due.state = 'running' AND due.lease_time <= sqlc.arg(now)
    ORDER BY due.lease_time, due.id
    LIMIT 1
    FOR UPDATE SKIP LOCKED
)
RETURNING *;

-- name: RenewOperation :execrows
UPDATE subscription.operation SET lease_time = sqlc.arg(lease_time)
WHERE id = sqlc.arg(id) AND take = sqlc.arg(take) AND state = 'running';

-- name: HoldOperation :one
-- Makes sure that nobody stops or takes over the operation before this transaction ends.
SELECT id FROM subscription.operation
WHERE id = sqlc.arg(id) AND take = sqlc.arg(take) AND state = 'running'
FOR UPDATE;

-- name: AdvanceOperation :execrows
UPDATE subscription.operation
SET progress        = sqlc.arg(progress),
    processed_count = processed_count + sqlc.arg(processed)::bigint,
    affected_count  = affected_count + sqlc.arg(affected)::bigint,
    failures        = 0,
    error_reason    = '',
    error_message   = '',
    update_time     = sqlc.arg(now)
WHERE id = sqlc.arg(id) AND take = sqlc.arg(take) AND state = 'running';

-- name: PostponeOperation :execrows
UPDATE subscription.operation
SET lease_time    = sqlc.arg(lease_time),
    failures      = failures + sqlc.arg(failures)::integer,
    error_reason  = sqlc.arg(error_reason),
    error_message = sqlc.arg(error_message),
    update_time   = sqlc.arg(now)
WHERE id = sqlc.arg(id) AND take = sqlc.arg(take) AND state = 'running';

-- name: ReleaseOperation :execrows
UPDATE subscription.operation SET lease_time = sqlc.arg(now)
WHERE id = sqlc.arg(id) AND take = sqlc.arg(take) AND state = 'running';

-- name: EndOperation :execrows
UPDATE subscription.operation
SET state         = sqlc.arg(state),
    error_reason  = sqlc.arg(error_reason),
    error_message = sqlc.arg(error_message),
    update_time   = sqlc.arg(now)::timestamptz,
    end_time      = sqlc.arg(now)::timestamptz
WHERE id = sqlc.arg(id) AND take = sqlc.arg(take) AND state = 'running';

-- name: CancelOperation :one
UPDATE subscription.operation
SET state = 'canceled', take = take + 1, update_time = sqlc.arg(now)::timestamptz, end_time = sqlc.arg(now)::timestamptz
WHERE id = sqlc.arg(id)
RETURNING *;

-- name: ResumeOperation :one
UPDATE subscription.operation
SET state         = 'running',
    take          = take + 1,
    failures      = 0,
    error_reason  = '',
    error_message = '',
    lease_time    = sqlc.arg(now)::timestamptz,
    update_time   = sqlc.arg(now)::timestamptz,
    end_time      = NULL
WHERE id = sqlc.arg(id)
RETURNING *;

-- name: StopOtherOperations :exec
-- Removes the other operations of an organization that is gone.
DELETE FROM subscription.operation WHERE organization = sqlc.arg(organization)::text AND id <> sqlc.arg(id)::uuid;

-- name: IsOrganizationDeleted :one
SELECT EXISTS (SELECT FROM subscription.organization WHERE id = $1 AND delete_time IS NOT NULL);

-- name: RemoveEndedOperations :execrows
DELETE FROM subscription.operation AS d
WHERE d.id IN (
    SELECT r.id FROM subscription.operation AS r
    WHERE r.end_time < sqlc.arg(before)::timestamptz LIMIT sqlc.arg(max_rows)::bigint
);

-- name: RemoveOutbox :execrows
DELETE FROM subscription.outbox WHERE organization = $1;

-- name: RemoveMail :execrows
DELETE FROM subscription.mail WHERE organization = $1;

-- name: RemoveWebhooks :execrows
DELETE FROM subscription.webhook AS d
WHERE d.id IN (SELECT r.id FROM subscription.webhook AS r WHERE r.organization = $1 LIMIT sqlc.arg(max_rows)::bigint);

-- name: RemoveTriggers :execrows
DELETE FROM subscription.trigger AS d
WHERE d.organization = sqlc.arg(organization) AND d.organization <> '' AND d.id IN (
    SELECT r.id FROM subscription.trigger AS r
    WHERE r.organization = sqlc.arg(organization) LIMIT sqlc.arg(max_rows)::bigint
);

-- name: RemoveTeams :execrows
DELETE FROM subscription.team AS d
WHERE d.organization = sqlc.arg(organization) AND d.id IN (
    SELECT r.id FROM subscription.team AS r
    WHERE r.organization = sqlc.arg(organization) LIMIT sqlc.arg(max_rows)::bigint
);

-- name: RemoveAPIKeys :execrows
DELETE FROM subscription.api_key AS d
WHERE d.id IN (
    SELECT r.id FROM subscription.api_key AS r
    WHERE r.organization = sqlc.arg(organization)::text LIMIT sqlc.arg(max_rows)::bigint
);

-- name: RemoveRequests :execrows
DELETE FROM subscription.request AS d
WHERE d.organization = sqlc.arg(organization) AND d.request_id IN (
    SELECT r.request_id FROM subscription.request AS r
    WHERE r.organization = sqlc.arg(organization) LIMIT sqlc.arg(max_rows)::bigint
);

-- name: RemoveAuditEntries :execrows
DELETE FROM subscription.audit_log AS d
WHERE d.id IN (
    SELECT r.id FROM subscription.audit_log AS r
    WHERE r.organization = sqlc.arg(organization)::text LIMIT sqlc.arg(max_rows)::bigint
);

-- name: RemoveFeed :exec
-- What an organization was is in the feed up to its deletion. Watchers that are further behind begin anew.
DELETE FROM subscription.feed WHERE revision <= sqlc.arg(through);
