package core

import (
	"slices"
	"time"
)

// share says which one of several processes this is, counted from 0, and how many there are. The limits are divided among
// them.
type share struct{ rank, count int }

// formerShare is a share that this process had. Until a time it has no more than that.
type formerShare struct {
	share

	until time.Time
}

// handOver is how long a process does not use what it has got more of: another one had it, and notices that it is its own
// no more, or tells that it still uses it, within two looks at the others, of half a second each, while NATS answers in time.
const handOver = 1600 * time.Millisecond

// SetShare says that this process is one of several, among which the limits are divided: which one, counted from 0, of
// how many. What it has less is in force at once, what it has more after a while, with Sweep.
func (s *Slots) SetShare(rank, count int) {
	now := s.now()
	s.mu.Lock()
	defer s.mu.Unlock()
	s.former = append(s.former, formerShare{s.share, now.Add(handOver)})
	s.share = share{rank, max(count, 1)}
	for _, l := range s.lines {
		s.limit(l, l.configured, now)
	}
}

// forgetFormer reports whether a share does not limit this process any more.
func (s *Slots) forgetFormer(now time.Time) bool {
	before := len(s.former)
	s.former = slices.DeleteFunc(s.former, func(f formerShare) bool { return !now.Before(f.until) })
	return len(s.former) < before
}

// limit puts this process's share of a webhook's limits in force.
func (s *Slots) limit(l *line, limits Limits, now time.Time) {
	live, bulk := s.divide(l, limits, s.share)
	for _, former := range s.former {
		if !now.Before(former.until) {
			continue
		}
		formerLive, formerBulk := s.divide(l, limits, former.share)
		live.Concurrency = min(live.Concurrency, formerLive.Concurrency)
		bulk.Concurrency = min(bulk.Concurrency, formerBulk.Concurrency)
	}
	l.part = live.Concurrency
	if len(s.exceeded) > 0 {
		exceeded := s.exceeded[l.webhook]
		live.Concurrency, bulk.Concurrency = max(live.Concurrency-exceeded, 0), max(bulk.Concurrency-exceeded, 0)
	}
	if l.set(limits, live, bulk) {
		s.shed(l, now)
		s.enqueue(l, now)
	}
}

// divide is what a share of a webhook's limits is, and what the lane bulk has of it.
func (s *Slots) divide(l *line, limits Limits, of share) (live, bulk Limits) {
	if limits.Concurrency <= 0 || limits.Concurrency > s.most*of.count {
		limits.Concurrency = s.most * of.count
	}
	rank := (of.rank + l.offset) % of.count
	live = limits.share(rank, of.count)
	limits.Concurrency = half(limits.Concurrency)
	return live, limits.share(rank, of.count)
}
