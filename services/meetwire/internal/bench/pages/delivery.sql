-- Deliveries of one day, one of each event, to webhooks of which the first of an organization gets about a sixth.
INSERT INTO {{table}} (
    accepted_on, id, organization, webhook, trigger, event_source, event_id, event_sequence, accept_time, state, reason,
    attempt_count, update_time, next_attempt_time, last_status_code, last_error_class
)
SELECT
    {{day}}::date, md5(d.n::text)::uuid, d.organization, md5('webhook ' || d.organization || ' ' || d.webhook)::uuid,
    CASE
        WHEN d.r2 < 0.5 THEN 'meeting.booked'
        WHEN d.r2 < 0.7 THEN 'meeting.rescheduled'
        WHEN d.r2 < 0.85 THEN 'meeting.canceled'
        WHEN d.r2 < 0.95 AND d.webhook > 0 THEN 'meeting.notes_ready' -- which the first webhook does not ask for
        WHEN d.r2 < 0.9995 THEN 'contact.updated'
        WHEN d.n < {{rows}} / 10 THEN 'custom.forgotten' -- only long ago
        ELSE 'custom.rare'
    END,
    CASE WHEN d.r2 < 0.85 THEN '/bookings' WHEN d.r2 < 0.9999 THEN '/notes' ELSE '/rare' END,
    'evt-' || d.n, d.n, d.accept_time,
    CASE
        WHEN d.failure IS NOT NULL THEN 3
        WHEN d.r3 > 0.99 AND d.n > {{rows}} * 0.99 THEN 1
        WHEN d.r3 > 0.999 THEN 4
        ELSE 2
    END,
    CASE WHEN d.failure IS NOT NULL THEN 'attempts_exhausted' WHEN d.r3 > 0.999 THEN 'canceled' ELSE '' END,
    CASE WHEN d.failure IS NOT NULL THEN 5 WHEN d.r3 < 0.05 THEN 2 ELSE 1 END,
    d.accept_time + interval '10 minutes', NULL,
    CASE
        WHEN d.failure = 'status' THEN CASE WHEN d.r3 < 0.00002 THEN 418 WHEN d.r3 < 0.004 THEN 404 ELSE 500 END
        WHEN d.failure IS NOT NULL THEN 0
        WHEN d.r2 > 0.9 THEN 204
        ELSE 200
    END,
    coalesce(d.failure, '')
FROM (
    SELECT
        h.*, 'org-' || floor(50 * power(h.r1, 3)) AS organization, floor(200 * power(h.r4, 3)) AS webhook,
        CASE WHEN h.r3 < 0.01 THEN 'status' WHEN h.r3 < 0.015 THEN 'timeout' WHEN h.r3 < 0.02 THEN 'connect' END AS failure
    FROM (
        SELECT
            n,
            {{start}}::timestamptz + (n - {{from}}) * interval '1 microsecond' * {{step}} AS accept_time,
            ((hashint8(n / 5)::bigint & 2147483647) / 2147483648.0)::float AS r1,
            ((hashint8extended(n, 2) & 2147483647) / 2147483648.0)::float AS r2,
            ((hashint8extended(n, 3) & 2147483647) / 2147483648.0)::float AS r3,
            ((hashint8extended(n, 4) & 2147483647) / 2147483648.0)::float AS r4
        FROM generate_series({{first}}::bigint, {{last}}::bigint) AS n
    ) AS h
) AS d;
