package natsbus

import (
	"context"
	"errors"
	"fmt"
	"hash/crc32"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/meetwire/meetwire/pkg/bus"
	"github.com/meetwire/meetwire/services/delivery/internal/core"
)

// Bounds of what is done with many timers.
const (
	// scanBatch is how many are read with one request, and removed with one after a drain.
	scanBatch = 4096
	// drainBatch is how many of them are looked at once more with one request, directly before they are moved, and
	// drainParts for how many such parts that is done at once.
	drainBatch = 512
	drainParts = 2
	// drainWorkers is with how many of a part something is done at once.
	drainWorkers = 128
	// drainTime is how long it may take to move a part: less than it takes until an erasure looks once more for what
	// was under way.
	drainTime = 20 * time.Second
)

// Bury makes a dead letter of what waits in a timer, whose message has the id replaces.
type Bury func(ctx context.Context, task *core.Task, replaces string) error

// CancelTimers removes everything that waits for a webhook.
func (q *Queue) CancelTimers(ctx context.Context, organization, webhook string) error {
	err := q.retries.Purge(ctx, jetstream.WithPurgeSubject(bus.RetryTimersFilter(organization, webhook)))
	if err != nil {
		return fmt.Errorf("cancel timers: %w", err)
	}
	return nil
}

// Drain gives everything that waits for a webhook to bury, and removes it after that, by its sequence: what was set anew
// in between stays. It ends when nothing waits any more or still reports false. Interrupted and called again, it goes on
// with what is left; what was buried twice by then is one dead letter.
func (q *Queue) Drain(ctx context.Context, organization, webhook string, still func() bool, bury Bury) (moved int, err error) {
	return q.newDrain(organization, webhook, still, bury).run(ctx)
}

func (q *Queue) newDrain(organization, webhook string, still func() bool, bury Bury) *drain {
	return &drain{Queue: q, filter: bus.RetryTimersFilter(organization, webhook), size: scanBatch, still: still, bury: bury}
}

// A drain that is looked on gets no further when the first timer has been the same for lookTime. It is looked at each
// lookTick.
const (
	lookTime = 10 * time.Second
	lookTick = 200 * time.Millisecond
)

// LookOn is for several processes that are all told to drain a webhook, with the rank of this one among them: one, not the
// same for every webhook, is to begin at once, and the others look on while that gets further. It reports whether there is
// nothing left to do; otherwise this process is to drain what is left: it is the one, or that has died or is too busy.
func (q *Queue) LookOn(ctx context.Context, organization, webhook string, rank, count int, still func() bool) (done bool, err error) {
	if count < 2 || rank < 0 || rank >= count || firstRank(webhook, count) == rank {
		return false, nil
	}
	var first uint64
	for since := q.now(); still(); {
		now, err := q.firstTimer(ctx, bus.RetryTimersFilter(organization, webhook))
		switch {
		case err != nil || now == 0:
			return err == nil, err
		case now != first:
			first, since = now, q.now()
		case q.now().Sub(since) >= lookTime:
			return false, nil
		}
		if err := wait(ctx, lookTick); err != nil {
			return false, err
		}
	}
	return true, nil
}

// firstRank is which of several processes begins with a webhook.
func firstRank(webhook string, count int) int {
	return int(crc32.ChecksumIEEE([]byte(webhook)) % uint32(count)) //nolint:gosec // G115: a count of processes
}

// firstTimer returns the sequence of the first timer that matches a filter; 0: there is none.
func (q *Queue) firstTimer(ctx context.Context, filter string) (uint64, error) {
	limited, cancel := context.WithTimeout(ctx, attemptTime)
	defer cancel()
	msg, err := q.scanned.GetMsg(limited, 1, jetstream.WithGetMsgSubject(filter))
	if errors.Is(err, jetstream.ErrMsgNotFound) {
		return 0, nil
	}
	if err != nil {
		return 0, fmt.Errorf("look for timers: %w", err)
	}
	return msg.Sequence, nil
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
