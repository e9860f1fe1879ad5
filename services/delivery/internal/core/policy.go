package core

import (
	"math/rand/v2"
	"time"
)

// Policy says when a failed attempt is repeated: after fixed Delays, or else, when there are none, by
// exponential backoff.
type Policy struct {
	Delays     []time.Duration
	MaxRetries int
	FirstDelay time.Duration
	Factor     float64
	MaxDelay   time.Duration
	Jitter     float64 // part of the delay by which it varies, in both directions
	// GiveUpAge ends the retries of a delivery whose event is older; 0: never.
	GiveUpAge time.Duration
}

// TooOld reports whether at a time an event, stored when it was accepted, is older than the policy retries.
func (p Policy) TooOld(accepted, at time.Time) bool {
	return p.GiveUpAge > 0 && at.Sub(accepted) > p.GiveUpAge
}

// Next returns how long to wait after a failed attempt, or false when that was the last one. Attempts is how
// many have been made, at least 1.
func (p Policy) Next(attempts int) (time.Duration, bool) {
	delay, ok := p.base(attempts)
	if !ok {
		return 0, false
	}
	if p.Jitter > 0 {
		delay += time.Duration(float64(delay) * p.Jitter * (2*rand.Float64() - 1)) //nolint:gosec // G404: spreading load needs no secrecy
	}
	return delay, true
}

// base is the delay before jitter.
func (p Policy) base(attempts int) (time.Duration, bool) {
	if len(p.Delays) > 0 {
		if attempts > len(p.Delays) {
			return 0, false
		}
		return p.Delays[attempts-1], true
	}
	if attempts > p.MaxRetries {
		return 0, false
	}
	delay := float64(p.FirstDelay)
	for range attempts - 1 {
		delay *= p.Factor
		if delay >= float64(p.MaxDelay) {
			return p.MaxDelay, true
		}
	}
	return min(time.Duration(delay), p.MaxDelay), true
}
