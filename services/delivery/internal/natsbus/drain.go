package natsbus

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/meetwire/meetwire/pkg/bus"
	"github.com/meetwire/meetwire/services/delivery/internal/core"
)

// Bounds of a drain: how many timers are read at once, and how many of them are moved at once.
const (
	drainBatch   = 512
	drainWorkers = 32
)

// CancelTimers removes everything that waits for a webhook.
func (q *Queue) CancelTimers(ctx context.Context, organization, webhook string) error {
	err := q.retries.Purge(ctx, jetstream.WithPurgeSubject(bus.RetryTimersFilter(organization, webhook)))
	if err != nil {
		return fmt.Errorf("cancel timers: %w", err)
	}
	return nil
}

// Drain gives everything that waits for a webhook to bury, and removes each timer after that, by its sequence: one
// that was set anew in between stays. It ends when nothing waits any more or still reports false. Interrupted and
// called again, it goes on with what is left; what was buried twice by then is one dead letter.
func (q *Queue) Drain(
	ctx context.Context, organization, webhook string, still func() bool,
	bury func(ctx context.Context, task *core.Task, replaces string) error,
) (moved int, err error) {
	return q.drain(ctx, bus.RetryTimersFilter(organization, webhook), func(uint64) bool { return true }, still, bury)
}

// DrainShare is Drain for one of several processes that are all told to drain a webhook, with its rank among them. Each
// begins with a part of its own, so that together they are faster than one; then it looks at all that is left, which is
// that of a process that has died or is slow.
func (q *Queue) DrainShare(
	ctx context.Context, organization, webhook string, rank, count int, still func() bool,
	bury func(ctx context.Context, task *core.Task, replaces string) error,
) (moved int, err error) {
	if count > 1 && rank >= 0 && rank < count {
		own := func(sequence uint64) bool { return sequence%uint64(count) == uint64(rank) } //nolint:gosec // G115: checked above
		if moved, err = q.drain(ctx, bus.RetryTimersFilter(organization, webhook), own, still, bury); err != nil {
			return moved, err
		}
	}
	left, err := q.Drain(ctx, organization, webhook, still, bury)
	return moved + left, err
}

// drain drains those timers on the subjects of a filter that are selected by their sequence.
func (q *Queue) drain(
	ctx context.Context, filter string, selected func(sequence uint64) bool, still func() bool,
	bury func(ctx context.Context, task *core.Task, replaces string) error,
) (moved int, err error) {
	var next uint64 = 1
	for still() {
		timers, err := q.timers.Batch(ctx, filter, next, drainBatch)
		if err != nil || len(timers) == 0 {
			return moved, err
		}
		next = timers[len(timers)-1].Sequence + 1
		timers = slices.DeleteFunc(timers, func(timer bus.StoredMsg) bool { return !selected(timer.Sequence) })
		n, err := q.drainBatch(ctx, timers, still, bury)
		moved += n
		if err != nil {
			return moved, err
		}
	}
	return moved, nil
}

// drainBatch moves timers, several at once, and returns how many it has moved and the first failure.
func (q *Queue) drainBatch(
	ctx context.Context, timers []bus.StoredMsg, still func() bool,
	bury func(ctx context.Context, task *core.Task, replaces string) error,
) (int, error) {
	var moved atomic.Int64
	var failure error
	var once sync.Once
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	work := make(chan bus.StoredMsg)
	var workers sync.WaitGroup
	for range drainWorkers {
		workers.Go(func() {
			for timer := range work {
				if ctx.Err() != nil || !still() {
					continue
				}
				buried, err := q.moveTimer(ctx, timer, bury)
				if err != nil {
					once.Do(func() { failure = err })
					cancel()
				}
				if buried {
					moved.Add(1)
				}
			}
		})
	}
	for _, timer := range timers {
		work <- timer
	}
	close(work)
	workers.Wait()
	return int(moved.Load()), failure
}

// moveTimer buries what waits, and reports whether it did.
func (q *Queue) moveTimer(
	ctx context.Context, timer bus.StoredMsg, bury func(ctx context.Context, task *core.Task, replaces string) error,
) (buried bool, err error) {
	task, err := decode(timer.Header, timer.Header.Get(bus.HeaderLane), timer.Data)
	if err != nil {
		// Nobody but delivery sets timers. One that it cannot read must not keep the others from moving.
		q.logger.ErrorContext(ctx, "timer cannot be read and is left as it is", "sequence", timer.Sequence, "error", err)
		return false, nil
	}
	// Since the batch was read it may have been canceled, or have fired.
	if still, err := q.waits(ctx, timer.Sequence); err != nil || !still {
		return false, err
	}
	if err := bury(ctx, task, bus.ReplacementMsgID(bus.StreamRetries, timer.Sequence)); err != nil {
		return false, err
	}
	err = q.persist(ctx, "remove a timer", func(ctx context.Context) error {
		_, err := q.removeTimer(ctx, timer.Sequence)
		return err
	})
	return err == nil, err
}

// waits reports whether a timer is still there.
func (q *Queue) waits(ctx context.Context, sequence uint64) (bool, error) {
	limited, cancel := context.WithTimeout(ctx, attemptTime)
	defer cancel()
	_, err := q.retries.GetMsg(limited, sequence)
	if errors.Is(err, jetstream.ErrMsgNotFound) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("look for timer %d: %w", sequence, err)
	}
	return true, nil
}

// removeTimer removes a timer by its sequence. It reports false when it was not there any more: it has fired, or somebody
// else has removed it.
func (q *Queue) removeTimer(ctx context.Context, sequence uint64) (removed bool, err error) {
	return removeMsg(ctx, q.retries, sequence)
}

// removeMsg removes a message, and reports whether it was there. One whose removal was not answered, and which is gone
// then, was removed by this call.
func removeMsg(ctx context.Context, stream jetstream.Stream, sequence uint64) (removed bool, err error) {
	err = stream.DeleteMsg(ctx, sequence)
	if err == nil {
		return true, nil
	}
	if _, missing := stream.GetMsg(ctx, sequence); errors.Is(missing, jetstream.ErrMsgNotFound) {
		return !errors.Is(err, jetstream.ErrMsgDeleteUnsuccessful), nil
	}
	return false, err
}
