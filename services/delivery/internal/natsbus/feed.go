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

// Feed makes deliveries due now that wait because their webhook had no slot for them, the ones that have waited longest
// first, and returns how many: up to so many of those that are the part of this process, of which rank and count tell.
// Retries and what is parked keep their time.
func (q *Queue) Feed(ctx context.Context, webhook string, tasks, rank, count int) (int, error) {
	filter := bus.RetryTimersFilter(bus.AnyToken, webhook)
	var fed atomic.Int64
	for from, read := uint64(1), 0; int(fed.Load()) < tasks && read < 2*tasks*count; {
		timers, err := q.timers.Batch(ctx, filter, from, min(tasks*count, drainBatch))
		if err != nil {
			return int(fed.Load()), fmt.Errorf("read what waits for a webhook: %w", err)
		}
		if len(timers) == 0 {
			break
		}
		read += len(timers)
		from = timers[len(timers)-1].Sequence + 1
		err = several(ctx, timers, func(ctx context.Context, timer bus.StoredMsg) error {
			if timer.Sequence%uint64(count) != uint64(rank) || int(fed.Load()) >= tasks { //nolint:gosec // G115: a share
				return nil
			}
			done, err := q.feed(ctx, &timer)
			if done {
				fed.Add(1)
			}
			return err
		})
		if err != nil {
			return int(fed.Load()), err
		}
	}
	return int(fed.Load()), nil
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
