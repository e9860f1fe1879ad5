-- name: UpsertTrigger :execrows
-- Touches no row when nothing differs.
INSERT INTO subscription.trigger AS t (id, display_name, description, group_name, schema, sample, create_time, update_time)
VALUES (sqlc.arg(id), sqlc.arg(display_name), sqlc.arg(description), sqlc.arg(group_name), sqlc.arg(schema), sqlc.arg(sample), sqlc.arg(now), sqlc.arg(now))
ON CONFLICT (id) DO UPDATE
SET display_name = excluded.display_name,
    description  = excluded.description,
    group_name   = excluded.group_name,
    schema       = excluded.schema,
    sample       = excluded.sample,
    update_time  = excluded.update_time
WHERE (t.display_name, t.description, t.group_name, t.schema, t.sample)
      IS DISTINCT FROM (excluded.display_name, excluded.description, excluded.group_name, excluded.schema, excluded.sample);

-- name: Trigger :one
SELECT * FROM subscription.trigger WHERE id = $1;

-- name: KnownTriggers :many
SELECT id FROM subscription.trigger WHERE id = ANY (sqlc.arg(ids)::text[]);

-- name: TriggersAfter :many
SELECT * FROM subscription.trigger WHERE id > sqlc.arg(after) ORDER BY id LIMIT sqlc.arg(max_rows)::bigint;

-- name: TriggersByGroupAfter :many
SELECT * FROM subscription.trigger
WHERE (group_name, id) > (sqlc.arg(after_group)::text COLLATE "C", sqlc.arg(after_id)::text COLLATE "C")
ORDER BY group_name, id
LIMIT sqlc.arg(max_rows)::bigint;
