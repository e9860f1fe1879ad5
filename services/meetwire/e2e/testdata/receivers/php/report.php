<?php

// What every receiver here shares: it says on its output, one JSON object a line, what it made of each request. It
// checks nothing.

function say(array $line): void
{
    file_put_contents('php://stdout', json_encode($line, JSON_UNESCAPED_SLASHES | JSON_UNESCAPED_UNICODE) . "\n");
}

function accept(array $read): void
{
    say(['id' => $_SERVER['HTTP_WEBHOOK_ID'], 'agent' => $_SERVER['HTTP_USER_AGENT'], 'type' => $_SERVER['CONTENT_TYPE'], 'accepted' => true] + $read);
    http_response_code(204);
}

function reject(string $reason): void
{
    say(['id' => $_SERVER['HTTP_WEBHOOK_ID'], 'accepted' => false, 'reason' => $reason]);
    http_response_code(401);
}
