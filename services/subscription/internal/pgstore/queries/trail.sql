-- name: InsertAuditEntry :exec
INSERT INTO subscription.audit_log (
    id, organization, create_time, actor, role, action, resource, address, forwarded_for, user_agent, before, after
) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12);

-- name: InsertAuditEntryOnce :exec
-- Does nothing when there is an entry with this id.
INSERT INTO subscription.audit_log (
    id, organization, create_time, actor, role, action, resource, address, forwarded_for, user_agent, before, after
) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12)
ON CONFLICT (id) DO NOTHING;

-- name: ClaimRequest :execrows
-- Waits for another transaction that claims the same id.
INSERT INTO subscription.request (organization, request_id, method, fingerprint, resource, create_time)
VALUES ($1, $2, $3, $4, $5, $6)
ON CONFLICT DO NOTHING;

-- name: Request :one
SELECT * FROM subscription.request WHERE organization = $1 AND request_id = $2;

-- name: TrimRequests :execrows
DELETE FROM subscription.request WHERE create_time < sqlc.arg(before);

-- name: InsertOutbox :execrows
-- The same event twice is stored once.
INSERT INTO subscription.outbox (organization, trigger, event_id, data, create_time)
VALUES ($1, $2, $3, $4, $5)
ON CONFLICT DO NOTHING;
