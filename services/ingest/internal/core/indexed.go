package core

import "time"

// Indexed is what the index knows of an event.
type Indexed struct {
	Sequence     uint64 // in EVENTS
	Organization string
	Trigger      string
	Source       string
	ID           string
	Subject      string
	Time         time.Time // zero: the publisher said none
	Accepted     time.Time // when EVENTS stored it, in microseconds
	Matched      int32     // webhooks that got a delivery
	Skipped      int32     // webhooks that would have, had they not been paused
	RejectRule   string    // empty: it was not rejected
	Erased       time.Time // zero: it was not
}

// Matching is how events have matched a webhook.
type Matching struct {
	Generation        int64     // of the webhook, in which it missed what is counted here
	SkippedSince      time.Time // zero: it missed none
	Skipped           int64
	FilterFailures    int64
	LastFilterFailure time.Time // zero: never
	LastFilterError   string
}

// Kept is an event as EVENTS keeps it.
type Kept struct {
	Sequence     uint64
	Organization string
	Trigger      string // that the subject names
	Header       map[string][]string
	Body         []byte    // as published
	Accepted     time.Time // when EVENTS stored it
}
