package core

import "time"

// Hungry is a webhook whose slots stand idle although tasks have been sent away for want of one: when slots were
// reserved for them it was slower than it is now.
type Hungry struct {
	ID    string // of the webhook
	Tasks int    // what it could do in about a second
}

// Bounds of what a webhook may be given ahead of its time.
const (
	minAhead    = 2 * time.Second // what comes by itself within that is not fetched
	maxFeed     = 1000
	remindEvery = 10 * time.Second // after nothing was found
)

// pantry knows whether a webhook has tasks that come again later, and whether it would have had the time for them.
type pantry struct {
	last        time.Time // when the last of those comes again that were sent away
	empty       time.Time // when none was found
	ended, idle int       // attempts since the last sweep, and after how many of them nobody waited
}

// put notes that a task comes again at a time.
func (p *pantry) put(at time.Time) { p.last = later(p.last, at) }

// remind notes that a task has come again: there may be more, which another process has sent away, or this one before it was
// started.
func (p *pantry) remind(now time.Time) {
	if p.last.Before(now) && now.Sub(p.empty) >= remindEvery {
		p.last = now.Add(2 * minAhead)
	}
}

// end notes that an attempt has ended, and whether somebody waited.
func (p *pantry) end(waited bool) {
	p.ended++
	if !waited {
		p.idle++
	}
}

// hungry is how many tasks the webhook could do in the next second beyond what comes by itself. It is to be called once
// per sweep.
func (l *line) hungry(now time.Time) int {
	idle := 2*l.pantry.idle > l.pantry.ended || l.pantry.ended == 0 && l.active.n == 0
	l.pantry.ended, l.pantry.idle = 0, 0
	switch {
	case !idle, l.waiting() > 0, l.breaker.open(), l.live.limit == 0,
		l.rate.interval() > 0, // what is paced keeps the times that it was given
		l.pantry.last.Before(now.Add(minAhead)):
		return 0
	}
	tasks := float64(l.live.limit) * time.Second.Seconds() / l.live.each(now).Seconds()
	return min(max(int(tasks), 1), maxFeed)
}

// Fed says how many tasks were found for a webhook that was hungry.
func (s *Slots) Fed(webhook string, tasks int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if l := s.lines[webhook]; l != nil && tasks == 0 {
		l.pantry.last, l.pantry.empty = time.Time{}, s.now()
	}
}
