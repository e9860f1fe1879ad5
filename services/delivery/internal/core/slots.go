package core

import (
	"sync"
	"time"
)

// Bounds of what waits in this process for a slot of its webhook.
const (
	maxLine     = 5000
	maxLineWait = time.Second
)

// idleLine is how long a line is remembered, with what it knows about the speed of its webhook, after its last
// task.
const idleLine = 10 * time.Minute

// maxReservation bounds how far ahead a slot is reserved.
const maxReservation = time.Hour

// leastAttempt is what an attempt is expected to take at least: also while nothing is known of a webhook, what does
// not fit into its line must not come again all at once.
const leastAttempt = time.Millisecond

// Slots bounds how many attempts one webhook takes up at once, so that a slow one cannot take up all, and how many it
// begins per second. A task that finds no free slot waits in a short line in memory, as long as its turn is expected
// within a second; otherwise it is told the time for which a slot is reserved, to come again.
type Slots struct {
	most int
	now  func() time.Time

	mu    sync.Mutex
	lines map[string]*line
	tasks sync.WaitGroup
}

// line is what one webhook has in this process.
type line struct {
	limit    int // what it was last given
	rate     rate
	active   map[*slot]struct{}
	waiting  []job
	average  time.Duration // moving average of how long an attempt takes
	reserved time.Time     // the latest time for which a slot was reserved
	freed    time.Time     // when an attempt last ended
	used     time.Time
}

type slot struct{ since time.Time }

type job struct {
	run      func()
	overflow func(at time.Time)
}

// NewSlots makes slots. A webhook has at most this many, whatever its limits say.
func NewSlots(most int, now func() time.Time) *Slots {
	return &Slots{most: most, now: now, lines: make(map[string]*line)}
}

// Take runs the task as soon as the webhook has a free slot, or calls overflow with the time for which one was
// reserved. Exactly one of the two is called, in a goroutine of its own. The limits are in force from now on.
func (s *Slots) Take(webhook string, limits Limits, run func(), overflow func(at time.Time)) {
	now := s.now()
	s.mu.Lock()
	defer s.mu.Unlock()
	l := s.lines[webhook]
	if l == nil {
		l = &line{active: make(map[*slot]struct{})}
		s.lines[webhook] = l
	}
	l.used = now
	if l.set(s.share(limits), now) {
		s.shed(l, now)
	}
	switch {
	case len(l.active) < l.limit && len(l.waiting) == 0 && l.rate.wait(1, now) <= maxLineWait:
		s.begin(l, job{run: run, overflow: overflow}, now)
	case len(l.waiting) < maxLine && l.expected(len(l.waiting)+1, now) <= maxLineWait:
		l.waiting = append(l.waiting, job{run: run, overflow: overflow})
		for len(l.active) < l.limit && len(l.waiting) > 0 { // its limit has been raised
			s.begin(l, l.pop(), now)
		}
	default:
		at := l.reserve(now)
		s.tasks.Go(func() { overflow(at) })
	}
}

// share is this process's part of a webhook's limits.
func (s *Slots) share(limits Limits) Limits {
	if limits.Concurrency <= 0 || limits.Concurrency > s.most {
		limits.Concurrency = s.most
	}
	return limits
}

// set puts limits in force, and reports whether they are others than before.
func (l *line) set(limits Limits, now time.Time) bool {
	if l.limit == limits.Concurrency && l.rate.perSecond == limits.Rate {
		return false
	}
	l.limit = limits.Concurrency
	l.rate.set(limits.Rate, now)
	l.reserved = time.Time{} // what was reserved under other limits says nothing
	return true
}

// pop takes the one that waits longest out of the line.
func (l *line) pop() job {
	first := l.waiting[0]
	l.waiting[0] = job{}
	l.waiting = l.waiting[1:]
	return first
}

// begin gives a task a slot of its own.
func (s *Slots) begin(l *line, j job, now time.Time) {
	wait := l.rate.take(now)
	taken := &slot{since: now.Add(wait)}
	l.active[taken] = struct{}{}
	s.tasks.Go(func() { s.work(l, taken, j.run, wait) })
}

// work runs one task after the other in a slot until nobody waits, each when the webhook's rate allows it: that is
// within about two seconds.
func (s *Slots) work(l *line, taken *slot, run func(), wait time.Duration) {
	for run != nil {
		if wait > 0 {
			<-time.After(wait)
		}
		run()
		run, wait = s.next(l, taken)
	}
}

// next notes how long the slot's task took and returns the one that waits longest, with how long it still must; nil
// frees the slot.
func (s *Slots) next(l *line, taken *slot) (func(), time.Duration) {
	now := s.now()
	s.mu.Lock()
	defer s.mu.Unlock()
	took := now.Sub(taken.since)
	if l.average == 0 {
		l.average = took
	} else {
		l.average += (took - l.average) / 8
	}
	l.used, l.freed = now, now
	if len(l.waiting) == 0 || len(l.active) > l.limit {
		delete(l.active, taken)
		if l.rate.interval() == 0 {
			l.reserved = time.Time{} // there is room now: what is sent away later need not wait behind what was before
		}
		return nil, 0
	}
	wait := l.rate.take(now)
	taken.since = now.Add(wait)
	return l.pop().run, wait
}

// expected is how long the n-th in line will wait. When no slot has become free for a while, that while is a better
// guess than the average: so an endpoint that hangs is seen before its first time-out, and one that only answers
// some requests late is not taken for one.
func (l *line) expected(n int, now time.Time) time.Duration {
	return max(l.each(now)*time.Duration(n)/time.Duration(l.limit), l.rate.wait(n, now))
}

// each is what an attempt is expected to take.
func (l *line) each(now time.Time) time.Duration {
	each := max(l.average, leastAttempt)
	if stalled := l.stalled(now); stalled >= stallTime {
		each = max(each, stalled)
	}
	return each
}

// stallTime is how long no slot may become free before that means anything.
const stallTime = maxLineWait / 4

// stalled is how long no slot has become free while all that were taken have been.
func (l *line) stalled(now time.Time) time.Duration {
	since := now
	for active := range l.active {
		if active.since.Before(since) {
			since = active.since
		}
	}
	if l.freed.After(since) {
		since = l.freed
	}
	return now.Sub(since)
}

// reserve returns a time at which the webhook is expected to have a slot, later for each call until that would be
// too far ahead.
func (l *line) reserve(now time.Time) time.Time {
	start := now.Add(l.expected(len(l.waiting)+1, now))
	if l.reserved.After(start) {
		start = l.reserved
	}
	at := start.Add(max(l.each(now)/time.Duration(l.limit), l.rate.interval()))
	if limit := now.Add(maxReservation); at.After(limit) {
		at = limit
	}
	l.reserved = at
	return at
}

// Sweep sends away those whose turn has turned out to be too far off, and forgets webhooks that are idle. It is
// to be called about once a second.
func (s *Slots) Sweep() {
	now := s.now()
	s.mu.Lock()
	defer s.mu.Unlock()
	for webhook, l := range s.lines {
		s.shed(l, now)
		if len(l.active) == 0 && now.Sub(l.used) > idleLine {
			delete(s.lines, webhook)
		}
	}
}

// shed sends away those whose turn has turned out to be too far off.
func (s *Slots) shed(l *line, now time.Time) {
	for len(l.waiting) > 0 && l.expected(len(l.waiting), now) > 2*maxLineWait {
		last := len(l.waiting) - 1
		away := l.waiting[last]
		l.waiting[last] = job{}
		l.waiting = l.waiting[:last]
		at := l.reserve(now)
		s.tasks.Go(func() { away.overflow(at) })
	}
}

// Go runs a function in a goroutine that Wait waits for.
func (s *Slots) Go(f func()) { s.tasks.Go(f) }

// Wait returns when no task runs or waits any more.
func (s *Slots) Wait() { s.tasks.Wait() }
