<?php

// A receiver of Harmonizely's webhooks: the page's snippet for PHP, and the comparison that it describes.

require __DIR__ . '/report.php';

$secret = getenv('SECRET');
$payload = file_get_contents('php://input');

$signature = base64_encode(hash_hmac('sha256', $payload, $secret, true));
if (hash_equals($signature, $_SERVER['HTTP_WEBHOOK_SIGNATURE'] ?? '')) {
    $request = json_decode($payload, true, 512, JSON_THROW_ON_ERROR);
    $data = $request['data'];
    accept([
        'event' => $request['event'], 'eventId' => $request['uuid'], 'time' => $data['scheduled_at'], 'meeting' => $data['uuid'],
        'detail' => $data['invitee']['full_name'] . ' ' . $data['pretty_scheduled_at_in_invitee_timezone'],
    ]);
} else {
    reject('webhook-signature is not that of the payload');
}
