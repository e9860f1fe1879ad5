package core

import (
	"sync"
	"time"
)

// Slots bounds how many attempts one webhook takes up at once, so that a slow one cannot take up all, and how many it
// begins per second, and it leaves alone a webhook that only fails. A task that finds no free slot waits in a short
// line in memory, as long as its turn is expected within a second; otherwise it is told the time for which a slot is
// reserved, to come again.
//
// Tasks of the lane bulk stand behind those that are live: of a webhook, and of the process, they have at most half of
// the slots, and none that a live task waits for but every tenth; so a live task waits for no more of them than are
// under way, and each of them has its turn some day.
type Slots struct {
	most  int // of one webhook
	total int // of all together
	lent  int // messages of one webhook that may wait at the broker, over all processes
	now   func() time.Time

	mu         sync.Mutex
	share                     // of this process
	former     []formerShare  // that limit what it has
	exceeded   map[string]int // by webhook: by how many attempts the others are above their shares
	lines      map[string]*line
	live, bulk class
	passed     int // live attempts since the last one of the lane bulk
	opened     uint64
	hands      hands
}

// Defaults of what options change.
const (
	defaultTotal = 4096
	defaultLent  = 200
)

// Option changes Slots.
type Option func(*Slots)

// WithTotal bounds the attempts of all webhooks together.
func WithTotal(total int) Option { return func(s *Slots) { s.total = total } }

// WithHands has goroutines kept for so long while they have nothing to do.
func WithHands(keep time.Duration) Option { return func(s *Slots) { s.hands.keep = keep } }

// WithLent bounds the messages of one webhook that wait at the broker to be given out again, see Lend.
func WithLent(lent int) Option { return func(s *Slots) { s.lent = lent } }

// NewSlots makes slots. A webhook has at most this many, whatever its limits say.
func NewSlots(most int, now func() time.Time, options ...Option) *Slots {
	s := &Slots{most: most, total: defaultTotal, lent: defaultLent, now: now, share: share{count: 1}, lines: make(map[string]*line)}
	for _, option := range options {
		option(s)
	}
	return s
}

// Verdict is what an attempt says about its webhook.
type Verdict uint8

// The verdicts of attempts.
const (
	VerdictNone    Verdict = iota // there was no attempt, or it says nothing about the receiver
	VerdictSuccess                // the receiver took it
	VerdictFailure                // it failed
	VerdictTimeout                // it took too long
)

// Turn is a task that asks for a slot. Exactly one of Run and Away is called, in a goroutine of its own.
type Turn struct {
	Delivery string
	// Endpoint and Generation say what the webhook points to and how often it was enabled. When that changes, nothing
	// of what is known of it says anything any more.
	Endpoint   string
	Generation int64
	// Reserved is set when a slot was reserved for this time: the turn goes before those that come now, and waits.
	Reserved bool
	// Bulk is set for tasks of the lane bulk.
	Bulk bool
	Run  func() Verdict
	// Away tells the time for which a slot was reserved. The turn is to come again then.
	Away func(at time.Time)

	probe bool
}

// Take runs the task as soon as the webhook has a free slot, or sends it away. The limits are in force from now on.
func (s *Slots) Take(webhook string, limits Limits, turn Turn) {
	now := s.now()
	s.mu.Lock()
	defer s.mu.Unlock()
	l := s.lines[webhook]
	if l == nil {
		l = newLine(webhook)
		s.lines[webhook] = l
	}
	l.used = now
	if l.changed(turn) {
		s.acquit(l)
	}
	s.limit(l, limits, now)
	r := l.row(turn.Bulk)
	if r.limit == 0 {
		s.away(r, turn, now) // to another process
		return
	}
	if turn.Reserved {
		l.pantry.remind(now)
	}
	switch l.breaker.admit(turn.Delivery, now) {
	case admitProbe:
		if r.free() && l.rate.wait(1, now) <= maxLineWait && s.room(r) {
			turn.probe, l.breaker.probing = true, true
			s.begin(r, turn, now)
			return
		}
		s.away(r, turn, now)
	case admitNone:
		s.away(r, turn, now)
	default:
		s.admit(r, turn, now)
	}
}

// admit gives a turn a slot, or a place in the line, or sends it away.
func (s *Slots) admit(r *row, turn Turn, now time.Time) {
	first := r.waiting() == 0 && (!r.bulk || r.line.live.waiting() == 0)
	switch {
	case first && r.free() && r.line.rate.wait(1, now) <= maxLineWait && s.room(r):
		s.begin(r, turn, now)
	case turn.Reserved && len(r.due) < r.longest() && r.expected(len(r.due)+1, now) < 2*maxLineWait:
		r.due = append(r.due, turn)
		s.enqueue(r.line, now)
	case r.waiting() < r.longest() && r.expected(r.waiting()+1, now) <= maxLineWait:
		r.fresh = append(r.fresh, turn)
		s.enqueue(r.line, now)
	default:
		s.away(r, turn, now)
	}
}

// away reserves a later slot for a turn and tells it.
func (s *Slots) away(r *row, turn Turn, now time.Time) {
	at := r.reserve(now, s.count)
	r.line.breaker.waits(turn.Delivery, at, now)
	if r.limit > 0 { // else it is for another process, which knows how busy the webhook is
		r.line.pantry.put(at)
	}
	s.hands.run(func() { turn.Away(at) })
}

// begin gives a turn a slot of its own.
func (s *Slots) begin(r *row, turn Turn, now time.Time) {
	taken := new(slot)
	wait := s.occupy(r, taken, turn, now)
	s.hands.run(func() { s.work(taken, wait) })
}

// work runs one turn after the other in a slot until nobody waits, each when the webhook's rate allows it: that is
// within a few seconds.
func (s *Slots) work(taken *slot, wait time.Duration) {
	for again := true; again; {
		verdict := VerdictNone
		if s.await(taken, wait) {
			verdict = taken.turn.Run()
		}
		wait, again = s.next(taken, verdict)
	}
}

// await waits for the webhook's rate. It reports false when that would take too long: then the turn was sent away.
func (s *Slots) await(taken *slot, wait time.Duration) bool {
	stays := true
	for wait > 0 && stays {
		<-time.After(wait)
		if !taken.row.bulk {
			return true
		}
		wait, stays = s.pace(taken)
	}
	return stays
}

// pace gives a turn of the lane bulk a time that the webhook's rate has left, and otherwise has it wait again, or sends
// it away and reports false.
func (s *Slots) pace(taken *slot) (wait time.Duration, stays bool) {
	now := s.now()
	s.mu.Lock()
	defer s.mu.Unlock()
	l := taken.row.line
	if l.pacing != taken {
		return 0, true // it has had its time since it began to wait
	}
	wait = l.rate.wait(1, now)
	switch {
	case wait == 0, l.owes() && wait <= 2*maxLineWait:
		l.pacing = nil
		wait = l.start(taken, now)
		s.enqueue(l, now)
	case wait <= maxLineWait && now.Sub(taken.asked) < 2*maxLineWait:
		taken.since = now.Add(wait)
	default:
		l.pacing = nil
		s.away(taken.row, taken.turn, now)
		return 0, false
	}
	l.active.renew(taken)
	return wait, true
}

// next notes how the slot's turn went, and gives the slot to the one that waits longest, with how long it still must.
// It reports false when the slot is free.
func (s *Slots) next(taken *slot, verdict Verdict) (time.Duration, bool) {
	now := s.now()
	s.mu.Lock()
	defer s.mu.Unlock()
	l := taken.row.line
	l.ended(taken, verdict, now)
	if l.breaker.ended(taken.turn.Delivery, verdict, taken.turn.probe, now) {
		s.opened++
	}
	if l.breaker.open() {
		s.sendAll(l, now)
	}
	s.acquit(l)
	s.vacate(taken)
	l.relax()
	l.pantry.end(l.waiting() > 0)
	r := s.follower(l)
	if r == nil || s.contended(r) {
		s.enqueue(l, now)
		return 0, false
	}
	wait := s.occupy(r, taken, r.pop(), now)
	s.enqueue(l, now)
	return wait, true
}

// follower is the row of a line that a slot goes to that has become free, or none.
func (s *Slots) follower(l *line) *row {
	for _, r := range [...]*row{&l.bulk, &l.live} {
		if r.goes() && s.room(r) {
			return r
		}
	}
	return nil
}

// Sweep sends away those whose turn has turned out to be too far off, and forgets webhooks that are idle. It returns
// those that could do more than what was sent away before comes back to them. It is to be called about once a second.
func (s *Slots) Sweep() (hungry []Hungry) {
	now := s.now()
	s.mu.Lock()
	defer s.mu.Unlock()
	grown := s.forgetFormer(now)
	for webhook, l := range s.lines {
		if grown {
			s.limit(l, l.configured, now)
		}
		s.shed(l, now)
		if tasks := l.hungry(now); tasks > 0 {
			hungry = append(hungry, Hungry{ID: webhook, Tasks: tasks})
		}
		if l.active.n == 0 && !l.live.queued && !l.bulk.queued && now.Sub(l.used) > idleLine {
			delete(s.lines, webhook)
		}
	}
	return hungry
}

// shed sends away those whose turn has turned out to be too far off, the first to come again first: behind those that
// stay, and those for whom slots have been reserved before.
func (s *Slots) shed(l *line, now time.Time) {
	for _, r := range [...]*row{&l.live, &l.bulk} {
		stay := r.waiting()
		for stay > 0 && (r.limit == 0 || r.expected(stay, now) > 2*maxLineWait) {
			stay--
		}
		for _, turn := range r.cut(stay) {
			s.away(r, turn, now)
		}
	}
}

// sendAll sends away everybody who waits, the first to come again first.
func (s *Slots) sendAll(l *line, now time.Time) {
	for _, r := range [...]*row{&l.live, &l.bulk} {
		for _, turn := range r.cut(0) {
			s.away(r, turn, now)
		}
	}
}

// Lend reports whether a message of a webhook, of the lane bulk or another, may wait at the broker until a time, and
// then counts it: each takes up a place of the consumer that all webhooks share. The lane bulk has consumers of its
// own, so what it takes up is its own, too.
func (s *Slots) Lend(webhook string, bulk bool, at time.Time) bool {
	now := s.now()
	s.mu.Lock()
	defer s.mu.Unlock()
	l := s.lines[webhook]
	if l == nil {
		return false
	}
	r := l.row(bulk)
	if r.lentNow(now) >= max(s.lent/s.count, 1) {
		return false
	}
	r.lent = append(r.lent, at)
	return true
}

// Waits says until when a delivery that failed waits; the zero time: it has ended.
func (s *Slots) Waits(webhook, delivery string, until time.Time) {
	now := s.now()
	s.mu.Lock()
	defer s.mu.Unlock()
	if l := s.lines[webhook]; l != nil {
		l.breaker.waits(delivery, until, now)
	}
}

// Go runs a function in a goroutine that Wait waits for.
func (s *Slots) Go(f func()) { s.hands.run(f) }

// Wait returns when no task runs or waits any more.
func (s *Slots) Wait() { s.hands.wait() }
