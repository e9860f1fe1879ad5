-- The attempts of the deliveries of one day.
INSERT INTO {{table}} (
    accepted_on, delivery, id, number, start_time, duration_ns, request_url, status_code, response_truncated, error_class,
    error_message, organization, webhook, trigger, event_id, dns_ns, connect_ns, tls_ns, first_byte_ns, remote_address
)
SELECT
    d.accepted_on, d.id, md5(d.event_sequence || ' ' || number)::uuid, number,
    d.accept_time + (number - 1) * interval '2 minutes', 30000000, 'https://example.com/hooks/' || d.webhook,
    CASE WHEN number = d.attempt_count OR d.state = 3 THEN d.last_status_code ELSE 503 END, false,
    CASE WHEN number = d.attempt_count OR d.state = 3 THEN d.last_error_class ELSE 'status' END,
    '', d.organization, d.webhook, d.trigger, d.event_id, 0, 0, 0, 20000000, '192.0.2.1:443'
FROM {{deliveries}} AS d, generate_series(1, d.attempt_count) AS number;
