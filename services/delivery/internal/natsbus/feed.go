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

// minFeedBatch is how many timers are read at once at least: many may be such as keep their time.
const minFeedBatch = 32

// Feed makes deliveries due now that wait because their webhook had no slot for them, up to so many, those that have waited
// longest first, and returns how many: first of this process's part, of which rank and count tell, then of the parts of
// other processes, which may not know that there is room. Retries and what is parked keep their time.
func (q *Queue) Feed(ctx context.Context, webhook string, tasks, rank, count int) (int, error) {
	f := &feeding{
		queue: q, webhook: webhook, tasks: int64(tasks),
		most: max(2*tasks*count, drainBatch), batch: min(max(tasks*count, minFeedBatch), drainBatch),
	}
	own := func(timer *bus.StoredMsg) bool { return timer.Sequence%uint64(count) == uint64(rank) } //nolint:gosec // G115: a share
	err := f.run(ctx, own)
	if err == nil && count > 1 && !f.enough() {
		err = f.run(ctx, func(timer *bus.StoredMsg) bool { return !own(timer) })
	}
	return int(f.fed.Load()), err
}

// feeding is what is done for one webhook at a time.
type feeding struct {
	queue       *Queue
	webhook     string
	tasks       int64 // that are wanted
	most, batch int   // timers that are read, in all and at a time
	fed         atomic.Int64
}

func (f *feeding) enough() bool { return f.fed.Load() >= f.tasks }

// run makes due what waits and is of one part.
func (f *feeding) run(ctx context.Context, part func(timer *bus.StoredMsg) bool) error {
	filter := bus.RetryTimersFilter(bus.AnyToken, f.webhook)
	for from, read := uint64(1), 0; !f.enough() && read < f.most; {
		timers, err := f.queue.timers.Batch(ctx, filter, from, f.batch)
		if err != nil {
			return fmt.Errorf("read what waits for a webhook: %w", err)
		}
		if len(timers) == 0 {
			return nil
		}
		read += len(timers)
		from = timers[len(timers)-1].Sequence + 1
		err = several(ctx, timers, func(ctx context.Context, timer bus.StoredMsg) error {
			if !part(&timer) {
				return nil
			}
			return f.one(ctx, &timer)
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// one makes one timer due, unless there are enough.
func (f *feeding) one(ctx context.Context, timer *bus.StoredMsg) error {
	if f.fed.Add(1) > f.tasks { // claimed before it is known whether it can be done, as others do the same
		f.fed.Add(-1)
		return nil
	}
	done, err := f.queue.feed(ctx, timer)
	if !done {
		f.fed.Add(-1)
	}
	return err
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
	ack, err := q.replace(limited, timer.subject, timer.Sequence, timer.Task)
	return ack != nil && !ack.Duplicate, err // a duplicate was fed by another process
}
