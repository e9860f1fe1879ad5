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

// Slots bounds how many attempts one webhook takes up at once, so that a slow one cannot take up all. A task
// that finds no free slot waits in a short line in memory, as long as its turn is expected within a second;
// otherwise it is told the time for which a slot is reserved, to come again.
type Slots struct {
	limit int
	now   func() time.Time

	mu    sync.Mutex
	lines map[string]*line
	tasks sync.WaitGroup
}

// line is what one webhook has in this process.
type line struct {
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

// NewSlots makes slots with a limit per webhook.
func NewSlots(limit int, now func() time.Time) *Slots {
	return &Slots{limit: limit, now: now, lines: make(map[string]*line)}
}

// Take runs the task as soon as the webhook has a free slot, or calls overflow with the time for which one was
// reserved. Exactly one of the two is called, in a goroutine of its own.
func (s *Slots) Take(webhook string, run func(), overflow func(at time.Time)) {
	now := s.now()
	s.mu.Lock()
	defer s.mu.Unlock()
	l := s.lines[webhook]
	if l == nil {
		l = &line{active: make(map[*slot]struct{})}
		s.lines[webhook] = l
	}
	l.used = now
	switch {
	case len(l.active) < s.limit:
		taken := &slot{since: now}
		l.active[taken] = struct{}{}
		s.tasks.Go(func() { s.work(l, taken, run) })
	case len(l.waiting) < maxLine && s.expected(l, len(l.waiting)+1, now) <= maxLineWait:
		l.waiting = append(l.waiting, job{run: run, overflow: overflow})
	default:
		at := s.reserve(l, now)
		s.tasks.Go(func() { overflow(at) })
	}
}

// work runs one task after the other in a slot until nobody waits.
func (s *Slots) work(l *line, taken *slot, run func()) {
	for run != nil {
		run()
		run = s.next(l, taken)
	}
}

// next notes how long the slot's task took and returns the one that waits longest; nil frees the slot.
func (s *Slots) next(l *line, taken *slot) func() {
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
	if len(l.waiting) == 0 {
		delete(l.active, taken)
		l.reserved = time.Time{} // there is room now: what is sent away later need not wait behind what was before
		return nil
	}
	first := l.waiting[0]
	l.waiting[0] = job{}
	l.waiting = l.waiting[1:]
	taken.since = now
	return first.run
}

// expected is how long the n-th in line will wait. When no slot has become free for a while, that while is a better
// guess than the average: so an endpoint that hangs is seen before its first time-out, and one that only answers
// some requests late is not taken for one.
func (s *Slots) expected(l *line, n int, now time.Time) time.Duration {
	each := max(l.average, leastAttempt)
	if stalled := l.stalled(now); stalled >= stallTime {
		each = max(each, stalled)
	}
	return each * time.Duration(n) / time.Duration(s.limit)
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
func (s *Slots) reserve(l *line, now time.Time) time.Time {
	start := now.Add(s.expected(l, len(l.waiting)+1, now))
	if l.reserved.After(start) {
		start = l.reserved
	}
	at := start.Add(s.expected(l, 1, now))
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
		for len(l.waiting) > 0 && s.expected(l, len(l.waiting), now) > 2*maxLineWait {
			last := len(l.waiting) - 1
			away := l.waiting[last]
			l.waiting[last] = job{}
			l.waiting = l.waiting[:last]
			at := s.reserve(l, now)
			s.tasks.Go(func() { away.overflow(at) })
		}
		if len(l.active) == 0 && now.Sub(l.used) > idleLine {
			delete(s.lines, webhook)
		}
	}
}

// Go runs a function in a goroutine that Wait waits for.
func (s *Slots) Go(f func()) { s.tasks.Go(f) }

// Wait returns when no task runs or waits any more.
func (s *Slots) Wait() { s.tasks.Wait() }
