package core

import (
	"slices"
	"time"
)

// bulkEvery is how often tasks of the lane bulk have a slot that a live task waits for: every tenth. Were live tasks
// always first, a webhook that live traffic keeps busy would never get to the end of a replay.
const bulkEvery = 10

// row is the tasks of one webhook that are live, or those of the lane bulk, which stand behind all that are live: they
// have fewer slots, and reservations and messages at the broker of their own.
type row struct {
	line     *line
	bulk     bool
	limit    int         // this process's share
	active   int         // attempts under way
	due      []Turn      // who waits and has a reservation,
	fresh    []Turn      // and who waits and has none
	queued   bool        // it waits for a slot of the process,
	starved  time.Time   // since then
	reserved time.Time   // the latest time for which a slot was reserved
	lent     []time.Time // until when messages wait at the broker
}

// waiting is how many wait.
func (r *row) waiting() int { return len(r.due) + len(r.fresh) }

// longest is how many may wait.
func (r *row) longest() int {
	if r.bulk {
		return maxLine / 2
	}
	return maxLine
}

// free reports whether the webhook has a slot for the row. Of the lane bulk only one at a time waits for the rate.
func (r *row) free() bool {
	return !r.line.full() && (!r.bulk || r.active < r.limit && r.line.pacing == nil)
}

// goes reports whether the next of the row may have a slot, as far as its webhook is concerned.
func (r *row) goes() bool {
	return r.waiting() > 0 && r.free() && (!r.bulk || r.line.live.waiting() == 0 || r.line.owes())
}

// pop takes out the one whose turn it is.
func (r *row) pop() Turn {
	from := &r.due
	if len(*from) == 0 {
		from = &r.fresh
	}
	first := (*from)[0]
	(*from)[0] = Turn{}
	*from = (*from)[1:]
	return first
}

// cut takes out all but the first so many, in their order.
func (r *row) cut(stay int) []Turn {
	due := min(stay, len(r.due))
	fresh := stay - due
	rest := slices.Concat(r.due[due:], r.fresh[fresh:])
	clear(r.due[due:])
	clear(r.fresh[fresh:])
	r.due, r.fresh = r.due[:due], r.fresh[:fresh]
	return rest
}

// crowded reports whether live tasks overflow: those of the lane bulk have every tenth slot then, and no more.
func (r *row) crowded(now time.Time) bool { return r.bulk && r.line.live.reserved.After(now) }

// expected is how long the n-th in line will wait. When no slot has become free for a while, that while is a better
// guess than the average: so an endpoint that hangs is seen before its first time-out, and one that only answers
// some requests late is not taken for one.
func (r *row) expected(n int, now time.Time) time.Duration {
	slots := r.limit
	if r.crowded(now) {
		n, slots = (n-1)*bulkEvery+max(bulkEvery-r.line.passed, 1), r.line.live.limit
	}
	return max(r.each(now)*time.Duration(n)/time.Duration(slots), r.line.rate.wait(n, now))
}

// apart is the time between the beginnings of two of the row.
func (r *row) apart(now time.Time) time.Duration {
	n, slots := 1, r.limit
	if r.crowded(now) {
		n, slots = bulkEvery, r.line.live.limit
	}
	interval := min(r.line.rate.interval(), maxReservation)
	return max(r.each(now)*time.Duration(n)/time.Duration(slots), interval*time.Duration(n))
}

// each is what an attempt is expected to take.
func (r *row) each(now time.Time) time.Duration {
	each := max(r.line.average, leastAttempt)
	if stalled := r.stalled(now); stalled >= stallTime {
		each = max(each, stalled)
	}
	return each
}

// stalled is how long no slot has become free while all that were taken have been, or how long the row has had no
// slot of the process.
func (r *row) stalled(now time.Time) time.Duration {
	since := now
	switch {
	case r.line.active.first != nil:
		since = r.line.active.first.since
	case r.queued:
		since = r.starved
	}
	if r.line.freed.After(since) {
		since = r.line.freed
	}
	return max(now.Sub(since), 0)
}

// reserve returns a time at which the row is expected to have a slot, later for each call until that would be
// too far ahead. Any of the processes may get what comes again then, so the times are as far apart as the slots of all
// of them: if others have as much to send away, some will be sent away once more, but none has slots that nobody takes.
func (r *row) reserve(now time.Time, processes int) time.Time {
	if r.limit == 0 {
		// It is not known here how busy the webhook is: somebody else will tell.
		r.reserved = later(now, r.reserved).Add(strangerSpacing)
		return r.reserved
	}
	start := now.Add(r.expected(r.waiting()+1, now))
	apart := r.apart(now) / time.Duration(processes)
	if breaker := &r.line.breaker; breaker.open() {
		start = later(start, breaker.next(now))
		apart = max(apart, r.spacing(start))
	}
	at := later(start, r.reserved).Add(apart) // also the first: one that comes too early is only sent away once more
	if limit := now.Add(maxReservation); at.After(limit) {
		at = limit
	}
	r.reserved = at
	return at
}

// spacing is the least time between two that were sent away by a breaker and come again after a time.
func (r *row) spacing(start time.Time) time.Duration {
	if r.line.rate.interval() > 0 || r.reserved.After(start.Add(breakerSpread)) {
		return lateBreakerSpacing
	}
	return breakerSpacing
}

func later(a, b time.Time) time.Time {
	if b.After(a) {
		return b
	}
	return a
}

// lentNow is how many messages wait at the broker.
func (r *row) lentNow(now time.Time) int {
	r.lent = slices.DeleteFunc(r.lent, func(at time.Time) bool { return !at.After(now) })
	return len(r.lent)
}
