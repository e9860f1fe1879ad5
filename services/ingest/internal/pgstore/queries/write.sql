-- name: EnsureDay :exec
SELECT ingest.ensure_day(@day::date);

-- name: DropDaysBefore :one
SELECT ingest.drop_days_before(@day::date);

-- name: InsertEvents :many
-- Returns those that were not stored before. Year 1 stands for no time.
INSERT INTO ingest.event (
    accept_time, sequence, organization, trigger, source, id, subject, time, matched_count, skipped_count, reject_rule
)
SELECT
    r.accept_time, r.sequence, r.organization, r.trigger, r.source, r.id, r.subject,
    nullif(r.time, '0001-01-01 00:00:00+00'::timestamptz), r.matched_count, r.skipped_count, r.reject_rule
FROM (
    SELECT
        unnest(@accept_time::timestamptz[]) AS accept_time,
        unnest(@sequence::bigint[]) AS sequence,
        unnest(@organization::text[]) AS organization,
        unnest(@trigger::text[]) AS trigger,
        unnest(@source::text[]) AS source,
        unnest(@id::text[]) AS id,
        unnest(@subject::text[]) AS subject,
        unnest(@time::timestamptz[]) AS time,
        unnest(@matched_count::integer[]) AS matched_count,
        unnest(@skipped_count::integer[]) AS skipped_count,
        unnest(@reject_rule::text[]) AS reject_rule
) AS r
ON CONFLICT (sequence, accept_time) DO NOTHING
RETURNING sequence, accept_time;

-- name: InsertParts :many
-- Returns those that were not stored before.
INSERT INTO ingest.event_part (accept_time, sequence, part)
SELECT unnest(@accept_time::timestamptz[]), unnest(@sequence::bigint[]), unnest(@part::integer[])
ON CONFLICT (sequence, accept_time, part) DO NOTHING
RETURNING sequence, accept_time, part;

-- name: AddMatching :exec
-- What is missed in a newer generation is counted anew; what was missed in an earlier one does not count any more. Year 1
-- stands for no time. One statement for both kinds of counts, in the order of the webhooks: two would lock each other out.
INSERT INTO ingest.webhook_matching AS m (
    webhook, organization, generation, skipped_since, skipped_count, filter_failure_count, last_failure_time, last_filter_error
)
SELECT
    r.webhook, r.organization, r.generation, nullif(r.skipped_since, '0001-01-01 00:00:00+00'::timestamptz), r.skipped_count,
    r.filter_failure_count, nullif(r.last_failure_time, '0001-01-01 00:00:00+00'::timestamptz), r.last_filter_error
FROM (
    SELECT
        unnest(@webhook::uuid[]) AS webhook,
        unnest(@organization::text[]) AS organization,
        unnest(@generation::bigint[]) AS generation,
        unnest(@skipped_since::timestamptz[]) AS skipped_since,
        unnest(@skipped_count::bigint[]) AS skipped_count,
        unnest(@filter_failure_count::bigint[]) AS filter_failure_count,
        unnest(@last_failure_time::timestamptz[]) AS last_failure_time,
        unnest(@last_filter_error::text[]) AS last_filter_error
) AS r
ON CONFLICT (webhook) DO UPDATE SET
    generation = CASE WHEN excluded.skipped_count > 0 THEN greatest(m.generation, excluded.generation) ELSE m.generation END,
    skipped_since = CASE
        WHEN excluded.skipped_count = 0 OR excluded.generation < m.generation THEN m.skipped_since
        WHEN excluded.generation > m.generation THEN excluded.skipped_since
        ELSE least(m.skipped_since, excluded.skipped_since) END,
    skipped_count = CASE
        WHEN excluded.skipped_count = 0 OR excluded.generation < m.generation THEN m.skipped_count
        WHEN excluded.generation > m.generation THEN excluded.skipped_count
        ELSE m.skipped_count + excluded.skipped_count END,
    filter_failure_count = m.filter_failure_count + excluded.filter_failure_count,
    last_filter_error = CASE
        WHEN excluded.filter_failure_count = 0 OR m.last_failure_time > excluded.last_failure_time THEN m.last_filter_error
        ELSE excluded.last_filter_error END,
    last_failure_time = greatest(m.last_failure_time, excluded.last_failure_time);

-- name: ListMatchingWebhooks :many
SELECT webhook, organization FROM ingest.webhook_matching WHERE webhook > @after
ORDER BY webhook
LIMIT @page_size;

-- name: DeleteMatching :execrows
-- Leaves those of which something was heard a moment ago: they may be newer than what is configured here.
DELETE FROM ingest.webhook_matching
WHERE webhook = ANY(@webhook::uuid[]) AND coalesce(greatest(skipped_since, last_failure_time), '-infinity') < @before::timestamptz;
