package natsbus

import (
	"context"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/meetwire/meetwire/pkg/bus"
)

// feedAhead is how far off a timer must be to be made due before its time.
const feedAhead = time.Second

// Feed makes deliveries due now that wait because their webhook had no slot for them, those that have waited longest
// first, and returns how many: up to so many, of those before all that are the part of this process, of which rank and
// count tell. The others may not know that there is anything to be had. Retries and what is parked keep their time.
func (q *Queue) Feed(ctx context.Context, webhook string, tasks, rank, count int) (int, error) {
	filter := bus.RetryTimersFilter(bus.AnyToken, webhook)
	var fed atomic.Int64
	enough := func() bool { return int(fed.Load()) >= tasks }
	feed := func(ctx context.Context, timer bus.StoredMsg) error {
		if enough() {
			return nil
		}
		done, err := q.feed(ctx, &timer)
		if done {
			fed.Add(1)
		}
		return err
	}
	for from, read := uint64(1), 0; !enough() && read < 2*tasks*count; {
		timers, err := q.timers.Batch(ctx, filter, from, min(tasks*count, drainBatch))
		if err != nil {
			return int(fed.Load()), fmt.Errorf("read what waits for a webhook: %w", err)
		}
		if len(timers) == 0 {
			break
		}
		read += len(timers)
		from = timers[len(timers)-1].Sequence + 1
		own, others := divide(timers, rank, count)
		for _, part := range [...][]bus.StoredMsg{own, others} {
			if err := several(ctx, part, feed); err != nil {
				return int(fed.Load()), err
			}
		}
	}
	return int(fed.Load()), nil
}

// divide tells the timers that are the part of one process of several from those of the others.
func divide(timers []bus.StoredMsg, rank, count int) (own, others []bus.StoredMsg) {
	for _, timer := range timers {
		if timer.Sequence%uint64(count) == uint64(rank) { //nolint:gosec // G115: a share
			own = append(own, timer)
		} else {
			others = append(others, timer)
		}
	}
	return own, others
}

// feed makes one timer due. It reports false for one that keeps its time, or was fired or changed in between.
func (q *Queue) feed(ctx context.Context, msg *bus.StoredMsg) (bool, error) {
	timer := q.timer(ctx, msg)
	if timer == nil || timer.Parked || timer.Task.SlotAt.IsZero() || timer.Due.Before(q.now().Add(feedAhead)) {
		return false, nil
	}
	timer.Task.SlotAt = q.now() // it goes before those that come now
	limited, cancel := context.WithTimeout(ctx, attemptTime)
	defer cancel()
	return q.replace(limited, timer.subject, timer.Sequence, timer.Task)
}
