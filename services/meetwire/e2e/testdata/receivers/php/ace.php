<?php

// A receiver of ACE Meetings' webhooks: the page's snippet for PHP. PHP has the headers of requests under names of its
// own: HTTP_X_ACE_SIGNATURE.

require __DIR__ . '/report.php';

$secret = getenv('SECRET');

$hash = base64_encode(hash_hmac('sha256', file_get_contents('php://input'), $secret, true));
if ($hash == ($_SERVER['HTTP_X_ACE_SIGNATURE'] ?? '')) {
    $event = json_decode(file_get_contents('php://input'), true, 512, JSON_THROW_ON_ERROR);
    accept(['event' => $event['event'], 'eventId' => $event['id'], 'time' => $event['created_at'], 'meeting' => $event['data']['id']]);
} else {
    reject('x-ace-signature is not that of the body');
}
