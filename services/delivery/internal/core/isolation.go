package core

import "time"

// BreakerState says whether a webhook is left alone.
type BreakerState uint8

// The states of a webhook's breaker.
const (
	BreakerClosed   BreakerState = iota // attempts are made
	BreakerOpen                         // no attempts are made
	BreakerHalfOpen                     // one attempt is, or may be, made to see how it is
)

// Isolation is how one process treats one webhook at the moment.
type Isolation struct {
	Active        int           // attempts under way
	BulkActive    int           // of them, those of the lane bulk
	Waiting       int           // tasks in its line
	BulkWaiting   int           // of them, those of the lane bulk, which stand behind the others
	Lent          int           // messages that wait at the broker
	Limits        Limits        // this process's share of what it is configured with
	Average       time.Duration // moving average of how long an attempt takes
	ReservedUntil time.Time     // the latest time for which a slot was reserved; zero: none is
	BulkReserved  time.Time     // the same for the lane bulk, which ReservedUntil leaves out
	Suspect       bool          // its last attempt timed out
	Failures      int           // consecutive ones
	Breaker       BreakerState
	OpenUntil     time.Time // when the next probe may be made; zero: the breaker is closed
}

// State returns how this process treats a webhook. False: it has had nothing to do for it for a while.
func (s *Slots) State(webhook string) (Isolation, bool) {
	now := s.now()
	s.mu.Lock()
	defer s.mu.Unlock()
	l := s.lines[webhook]
	if l == nil {
		return Isolation{}, false
	}
	return Isolation{
		Active:        l.active.n,
		BulkActive:    l.bulk.active,
		Waiting:       l.waiting(),
		BulkWaiting:   l.bulk.waiting(),
		Lent:          l.live.lentNow(now) + l.bulk.lentNow(now),
		Limits:        Limits{Concurrency: l.live.limit, Rate: l.rate.perSecond},
		Average:       l.average,
		ReservedUntil: l.live.reservedUntil(now),
		BulkReserved:  l.bulk.reservedUntil(now),
		Suspect:       l.suspect,
		Failures:      l.breaker.failures,
		Breaker:       l.breaker.state(now),
		OpenUntil:     l.breaker.until,
	}, true
}

// reservedUntil is the latest time for which a slot was reserved; zero: none is.
func (r *row) reservedUntil(now time.Time) time.Time {
	if !r.reserved.After(now) {
		return time.Time{}
	}
	return r.reserved
}

// state is what a breaker does at a time.
func (b *breaker) state(now time.Time) BreakerState {
	switch {
	case !b.open():
		return BreakerClosed
	case b.probing || !now.Before(b.until):
		return BreakerHalfOpen
	}
	return BreakerOpen
}

// Load is what one process has to do.
type Load struct {
	Active      int    // attempts under way
	Bulk        int    // of them, those of the lane bulk
	Suspects    int    // of them, those of webhooks whose last attempt timed out
	Waiting     int    // tasks in lines
	Lent        int    // messages that wait at the broker
	BreakerOpen int    // webhooks that are left alone now
	Opened      uint64 // how often a breaker has opened
}

// Load returns what this process has to do at the moment.
func (s *Slots) Load() Load {
	now := s.now()
	s.mu.Lock()
	defer s.mu.Unlock()
	load := Load{Active: s.active(), Bulk: s.bulk.active, Suspects: s.suspects(), Opened: s.opened}
	for _, l := range s.lines {
		load.Waiting += l.waiting()
		load.Lent += l.live.lentNow(now) + l.bulk.lentNow(now)
		if l.breaker.open() {
			load.BreakerOpen++
		}
	}
	return load
}
