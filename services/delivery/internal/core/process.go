package core

import (
	"slices"
	"time"
)

// class is the tasks of all webhooks that are live, or those of the lane bulk.
type class struct {
	active   int // attempts under way
	suspects int // of them, those of webhooks whose last attempt timed out
	// Rows whose webhooks have slots for them but that find none of the process, in the order in which they came.
	ready, readySuspects []*row
	turn                 bool // whose turn of the two it is
}

// half is how many of so many slots the webhooks whose last attempt timed out share, and how many the lane bulk has.
func half(slots int) int { return max(slots/2, 1) }

func (s *Slots) class(bulk bool) *class {
	if bulk {
		return &s.bulk
	}
	return &s.live
}

// active is how many attempts are under way.
func (s *Slots) active() int { return s.live.active + s.bulk.active }

// suspects is how many of them are of webhooks whose last attempt timed out.
func (s *Slots) suspects() int { return s.live.suspects + s.bulk.suspects }

// fits reports whether the process has a slot for a task.
func (s *Slots) fits(bulk, suspect bool) bool {
	switch {
	case s.active() >= s.total,
		suspect && s.suspects() >= half(s.total),
		bulk && s.bulk.active >= half(s.total),
		bulk && suspect && s.bulk.suspects >= half(half(s.total)):
		return false
	}
	return true
}

// room reports whether the process has a slot for a row.
func (s *Slots) room(r *row) bool { return s.fits(r.bulk, r.line.suspect) }

// open reports whether a row waits for a slot of the process that it may have now.
func (s *Slots) open(bulk bool) bool {
	c := s.class(bulk)
	return len(c.ready) > 0 && s.fits(bulk, false) || len(c.readySuspects) > 0 && s.fits(bulk, true)
}

// owes reports whether it is the turn of the lane bulk, though live tasks wait.
func (s *Slots) owes() bool { return s.passed >= bulkEvery-1 }

// contended reports whether other rows go before one that could go on.
func (s *Slots) contended(r *row) bool {
	return s.open(false) || s.open(true) && (r.bulk || s.owes())
}

// occupy gives a slot to the next of a row, and returns how long it must wait for the webhook's rate. A live task has
// its time at once. One of the lane bulk only has a time that nobody has wanted when it comes, unless it is its turn.
func (s *Slots) occupy(r *row, taken *slot, turn Turn, now time.Time) time.Duration {
	l, c := r.line, s.class(r.bulk)
	taken.row, taken.turn, taken.suspect, taken.asked = r, turn, l.suspect, now
	l.active.add(taken)
	r.active++
	c.active++
	if taken.suspect {
		c.suspects++
	}
	s.passed++
	if r.bulk {
		s.passed = 0
		if wait := l.rate.wait(1, now); wait > 0 && !l.owes() {
			l.pacing, taken.since = taken, now.Add(wait)
			return min(wait, maxLineWait)
		}
	}
	return l.start(taken, now)
}

// vacate takes a slot back.
func (s *Slots) vacate(taken *slot) {
	c := s.class(taken.row.bulk)
	taken.row.line.active.remove(taken)
	taken.row.active--
	c.active--
	if taken.suspect {
		c.suspects--
	}
	taken.turn = Turn{}
}

// enqueue lets the rows of a line in which somebody waits have the next free slots, and gives out those that are free.
func (s *Slots) enqueue(l *line, now time.Time) {
	s.queue(l, now)
	for s.active() < s.total {
		r := s.pick()
		if r == nil {
			return
		}
		r.queued = false
		switch {
		case !r.goes():
		case !s.room(r): // its webhook has become a suspect since
			s.push(r, now)
			continue
		default:
			s.begin(r, r.pop(), now)
		}
		s.queue(r.line, now)
	}
}

// queue puts the rows of a line that could go on at the end of those that wait for a slot of the process.
func (s *Slots) queue(l *line, now time.Time) {
	if l.live.goes() && !l.live.queued {
		s.push(&l.live, now)
	}
	if l.bulk.goes() && !l.bulk.queued {
		s.push(&l.bulk, now)
	}
}

func (s *Slots) push(r *row, now time.Time) {
	r.queued, r.starved = true, now
	c := s.class(r.bulk)
	if r.line.suspect {
		c.readySuspects = append(c.readySuspects, r)
	} else {
		c.ready = append(c.ready, r)
	}
}

// acquit lets the rows of a webhook that has become innocent since they began to wait go on waiting with the others.
func (s *Slots) acquit(l *line) {
	if l.suspect {
		return
	}
	for _, r := range [...]*row{&l.live, &l.bulk} {
		if !r.queued {
			continue
		}
		c := s.class(r.bulk)
		if i := slices.Index(c.readySuspects, r); i >= 0 {
			c.readySuspects = slices.Delete(c.readySuspects, i, i+1)
			c.ready = append(c.ready, r)
		}
	}
}

// pick takes out the row whose turn it is, or none: live ones first, but for every tenth.
func (s *Slots) pick() *row {
	live, bulk := s.open(false), s.open(true)
	if !live && !bulk {
		return nil
	}
	bulk = bulk && (!live || s.owes())
	c := s.class(bulk)
	from := &c.ready
	c.turn = !c.turn
	if len(c.readySuspects) > 0 && s.fits(bulk, true) && (c.turn || len(c.ready) == 0) {
		from = &c.readySuspects
	}
	r := (*from)[0]
	(*from)[0] = nil
	*from = (*from)[1:]
	return r
}
