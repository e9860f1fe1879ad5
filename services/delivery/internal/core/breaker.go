package core

import "time"

// When a webhook is left alone, and for how long: twice as long after each probe that fails.
const (
	breakerFailures = 5
	minBreakerOpen  = time.Second
	maxBreakerOpen  = time.Minute
)

// probeWait is for how long those who come while a probe is under way are sent away at most.
const probeWait = 5 * time.Second

// Those who were sent away by a breaker must not come again all at once, only to be sent away again: while one probes the
// others only cost, and many webhooks may have begun to fail at the same moment. When the webhook works again they are
// hastened (see Hungry), unless it has a rate: then they keep their times. Behind the first minute of them they are closer
// together: a time that is far ahead can make a delivery too old, and none may be more than maxReservation ahead.
const (
	breakerSpacing     = 50 * time.Millisecond
	lateBreakerSpacing = 5 * time.Millisecond
	breakerSpread      = time.Minute
)

// A breaker remembers a few of the deliveries that wait, each for a while after it should have come again: it may
// have gone to another process.
const (
	maxRemembered = 8
	rememberTime  = time.Minute
)

// breaker keeps requests from a webhook that only fails: it opens after some consecutive failures, and lets one
// attempt at a time through to see whether that is still so: after a while, or as soon as a delivery is due that is the
// only one known to wait, so that its schedule is never shifted. A success closes it.
type breaker struct {
	failures int
	until    time.Time     // zero: it is closed
	backoff  time.Duration // for how long it was last opened
	probing  bool
	waiting  map[string]time.Time // deliveries, and when they come again
}

// admission is what a breaker says to a turn.
type admission uint8

const (
	admitAll admission = iota
	admitProbe
	admitNone
)

// open reports whether attempts are kept from the webhook.
func (b *breaker) open() bool { return !b.until.IsZero() }

// admit says what a delivery that is due may do. One that may be a probe becomes one by setting probing.
func (b *breaker) admit(delivery string, now time.Time) admission {
	switch {
	case !b.open():
		return admitAll
	case b.probing:
		return admitNone
	case !now.Before(b.until), b.alone(delivery, now):
		return admitProbe
	}
	return admitNone
}

// next is when it makes sense for somebody to come again.
func (b *breaker) next(now time.Time) time.Time {
	if b.probing || !now.Before(b.until) {
		return now.Add(min(b.backoff, probeWait))
	}
	return b.until
}

// ended notes how an attempt ended, and reports whether it has opened the breaker.
func (b *breaker) ended(delivery string, verdict Verdict, probe bool, now time.Time) (opened bool) {
	if probe {
		b.probing = false
	}
	switch verdict {
	case VerdictNone:
		return false
	case VerdictSuccess:
		*b = breaker{probing: b.probing}
		return false
	}
	b.failures++
	switch {
	case b.open() && probe:
		b.backoff = min(2*b.backoff, maxBreakerOpen)
		b.until = now.Add(b.backoff)
	case !b.open() && b.failures >= breakerFailures:
		b.backoff = minBreakerOpen
		b.until = now.Add(b.backoff)
		opened = true
	}
	b.waits(delivery, now, now)
	return opened
}

// waits notes until when a delivery waits; the zero time: it has ended. Of a webhook that works nothing is kept.
func (b *breaker) waits(delivery string, until, now time.Time) {
	if until.IsZero() {
		delete(b.waiting, delivery)
		return
	}
	if b.failures == 0 {
		return
	}
	if _, known := b.waiting[delivery]; !known && len(b.waiting) >= maxRemembered {
		for other, at := range b.waiting {
			if stale(at, now) {
				delete(b.waiting, other)
			}
		}
		if len(b.waiting) >= maxRemembered {
			return
		}
	}
	if b.waiting == nil {
		b.waiting = make(map[string]time.Time)
	}
	b.waiting[delivery] = until
}

// stale reports whether a delivery that was to come again at a time has probably gone elsewhere.
func stale(at, now time.Time) bool { return now.Sub(at) > rememberTime }

// alone reports whether no other delivery is known to wait.
func (b *breaker) alone(delivery string, now time.Time) bool {
	for other, at := range b.waiting {
		if other != delivery && !stale(at, now) {
			return false
		}
	}
	return true
}
