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
	Jitter     float64 // part of the delay by which it varies, in both directions, up to MaxDelay
	// GiveUpAge ends the retries of a delivery whose event is older; 0: never.
	GiveUpAge time.Duration
}

// TooOld reports whether at a time a run, which began when its event was accepted or with a replay, is older than the
// policy retries.
func (p Policy) TooOld(began, at time.Time) bool {
	return p.GiveUpAge > 0 && at.Sub(began) > p.GiveUpAge
}

// Bounds of the wait after an attempt that has failed for a reason of our own: it is as long as the run has lasted.
const (
	minOwnWait = 5 * time.Second
	maxOwnWait = 5 * time.Minute
	ownJitter  = 0.2
)

// repeat returns when an attempt of a task that has failed is repeated, or else the reason why it is not.
func (p Policy) repeat(task *Task, attempt *Attempt) (at time.Time, reason string) {
	ended := attempt.StartedAt.Add(attempt.Duration)
	if own(attempt.ErrorClass) {
		task.AttemptBase++
		at = ended.Add(vary(min(max(ended.Sub(task.began()), minOwnWait), maxOwnWait), ownJitter))
	} else {
		delay, again := p.Next(task.Run())
		if !again {
			return time.Time{}, ReasonAttemptsExhausted
		}
		at = ended.Add(max(delay, attempt.RetryDelay(ended)))
	}
	if p.TooOld(task.began(), at) {
		return time.Time{}, ReasonGaveUpAge
	}
	return at, ""
}

// Next returns how long to wait after a failed attempt, or false when that was the last one. Attempts is how
// many have been made, at least 1.
func (p Policy) Next(attempts int) (time.Duration, bool) {
	delay, ok := p.base(attempts)
	if !ok {
		return 0, false
	}
	delay = vary(delay, p.Jitter)
	if beyond := delay - p.MaxDelay; beyond > 0 && len(p.Delays) == 0 {
		delay -= 2 * beyond // as far below the greatest delay, so that those that wait for so long are spread as well
	}
	return delay, true
}

// vary makes a delay longer or shorter by at most a part of it.
func vary(delay time.Duration, part float64) time.Duration {
	return delay + time.Duration(float64(delay)*part*(2*rand.Float64()-1)) //nolint:gosec // G404: spreading load needs no secrecy
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
