-- Events of one day: five of each meeting, of organizations of which the first has about a quarter of all.
INSERT INTO {{table}} (accept_time, sequence, organization, trigger, source, id, subject, time, matched_count, skipped_count, reject_rule)
SELECT
    e.accept_time, e.n, 'org-' || floor(50 * power(e.r1, 3)), -- 27 % of all, then 7 %, … 0.7 %
    CASE
        WHEN e.r2 < 0.5 THEN 'meeting.booked'
        WHEN e.r2 < 0.7 THEN 'meeting.rescheduled'
        WHEN e.r2 < 0.85 THEN 'meeting.canceled'
        WHEN e.r2 < 0.95 THEN 'meeting.notes_ready'
        WHEN e.r2 < 0.9995 THEN 'contact.updated'
        WHEN e.n < {{rows}} / 10 THEN 'custom.forgotten' -- only long ago
        ELSE 'custom.rare'
    END,
    CASE WHEN e.r2 < 0.85 THEN '/bookings' WHEN e.r2 < 0.9999 THEN '/notes' ELSE '/rare' END,
    'evt-' || e.n,
    CASE WHEN e.r2 BETWEEN 0.95 AND 0.9995 THEN 'contact-' || floor(100 * e.r1) ELSE 'meeting-' || e.n / 5 END,
    e.accept_time - interval '1 second', 1, 0, ''
FROM (
    SELECT
        n,
        {{start}}::timestamptz + (n - {{from}}) * interval '1 microsecond' * {{step}} AS accept_time,
        ((hashint8(n / 5)::bigint & 2147483647) / 2147483648.0)::float AS r1,
        ((hashint8extended(n, 2) & 2147483647) / 2147483648.0)::float AS r2
    FROM generate_series({{first}}::bigint, {{last}}::bigint) AS n
) AS e;
