package core

import (
	"hash/fnv"
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

// stallTime is how long no slot may become free before that means anything.
const stallTime = maxLineWait / 4

// strangerSpacing is how far apart tasks come again that a process sends away because it has no slots of their webhook.
const strangerSpacing = 4 * time.Millisecond

// line is what one webhook has in this process. All but the breaker is guarded by Slots.
type line struct {
	webhook    string
	offset     int    // spreads what cannot be divided evenly over the processes
	configured Limits // of the webhook
	part       int    // this process's share of its concurrency, also while others exceed theirs
	rate       rate
	breaker    breaker
	active     slotList
	live, bulk row
	passed     int           // live attempts since the last one of the lane bulk
	pacing     *slot         // the one that waits until the rate has something left for the lane bulk
	suspect    bool          // its last attempt timed out
	average    time.Duration // moving average of how long an attempt takes
	freed      time.Time     // when an attempt last ended
	used       time.Time
	pantry     pantry
	endpoint   string // what it points to,
	generation int64  // and how often it was enabled
}

func newLine(webhook string) *line {
	hash := fnv.New32a()
	_, _ = hash.Write([]byte(webhook)) // never fails
	l := &line{webhook: webhook, offset: int(hash.Sum32() >> 1)}
	l.live.line = l
	l.bulk.line, l.bulk.bulk = l, true
	return l
}

// row is where tasks of the lane bulk belong, or the others.
func (l *line) row(bulk bool) *row {
	if bulk {
		return &l.bulk
	}
	return &l.live
}

// full reports whether all slots of the webhook are taken.
func (l *line) full() bool { return l.active.n >= l.live.limit }

// waiting is how many wait.
func (l *line) waiting() int { return l.live.waiting() + l.bulk.waiting() }

// owes reports whether it is the turn of the lane bulk, though live tasks wait.
func (l *line) owes() bool { return l.passed >= bulkEvery-1 }

// start gives a slot the next time that the rate allows, and returns how long to wait for it.
func (l *line) start(taken *slot, now time.Time) time.Duration {
	l.passed++
	if taken.row.bulk {
		l.passed = 0
	}
	wait := l.rate.take(now)
	taken.since = now.Add(wait)
	return wait
}

// changed forgets what is known of the webhook when it is not what it was any more, and reports that.
func (l *line) changed(turn Turn) bool {
	if l.endpoint == turn.Endpoint && l.generation == turn.Generation {
		return false
	}
	l.endpoint, l.generation = turn.Endpoint, turn.Generation
	l.breaker = breaker{probing: l.breaker.probing}
	l.suspect, l.average = false, 0
	l.unreserve()
	return true
}

// unreserve forgets for when slots were reserved.
func (l *line) unreserve() { l.live.reserved, l.bulk.reserved = time.Time{}, time.Time{} }

// set puts limits in force, the second for the lane bulk, and reports whether they are others than before.
func (l *line) set(configured, share, bulk Limits) bool {
	l.configured = configured
	if l.live.limit == share.Concurrency && l.bulk.limit == bulk.Concurrency && l.rate.perSecond == share.Rate {
		return false
	}
	l.live.limit, l.bulk.limit = share.Concurrency, bulk.Concurrency
	l.rate.set(share.Rate)
	l.unreserve() // what was reserved under other limits says nothing
	return true
}

// relax forgets reservations when there is room: what is sent away later need not wait behind what was sent away
// before.
func (l *line) relax() {
	if l.live.waiting() > 0 || l.rate.interval() > 0 || l.breaker.open() {
		return
	}
	l.live.reserved = time.Time{}
	if l.bulk.waiting() == 0 && l.bulk.active < l.bulk.limit {
		l.bulk.reserved = time.Time{}
	}
}

// ended notes how long an attempt took, and how it ended.
func (l *line) ended(taken *slot, verdict Verdict, now time.Time) {
	l.used, l.freed = now, now
	if verdict == VerdictNone {
		return
	}
	l.suspect = verdict == VerdictTimeout
	took := now.Sub(taken.since)
	if l.average == 0 {
		l.average = took
	} else {
		l.average += (took - l.average) / 8
	}
}

// slot is an attempt that is under way, or waits for the webhook's rate.
type slot struct {
	row        *row
	since      time.Time // when the attempt begins
	asked      time.Time // since when it waits for the rate
	suspect    bool      // it counts as one of a webhook whose last attempt timed out
	turn       Turn
	prev, next *slot
}

// slotList is the slots that are taken, those that were taken first in front.
type slotList struct {
	first, last *slot
	n           int
}

func (s *slotList) add(taken *slot) {
	taken.prev, taken.next = s.last, nil
	if s.last != nil {
		s.last.next = taken
	} else {
		s.first = taken
	}
	s.last = taken
	s.n++
}

func (s *slotList) remove(taken *slot) {
	if taken.prev != nil {
		taken.prev.next = taken.next
	} else {
		s.first = taken.next
	}
	if taken.next != nil {
		taken.next.prev = taken.prev
	} else {
		s.last = taken.prev
	}
	taken.prev, taken.next = nil, nil
	s.n--
}

// renew puts a slot that was taken anew at the end.
func (s *slotList) renew(taken *slot) {
	s.remove(taken)
	s.add(taken)
}
