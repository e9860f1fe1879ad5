package natsbus

import (
	"cmp"
	"container/heap"
	"context"
	"fmt"
	"log/slog"
	"slices"
	"time"

	"github.com/meetwire/meetwire/pkg/bus"
)

const (
	// overdue is how late a timer must be to be taken for stuck: one that came due while the storage was full is not
	// tried again by the server.
	overdue = time.Minute
	// SweepPeriod is how often overdue timers are looked for.
	SweepPeriod = 30 * time.Second
	// sweepBatch is how many timers are read at once, and sweepPause how long the server is then left alone: a
	// million are read in less than four minutes.
	sweepBatch = 512
	sweepPause = 100 * time.Millisecond
	// maxSweepFailures is how many timers cannot be rewritten before the rest is left for the next time.
	maxSweepFailures = 10
)

// Sweeper makes timers due again that should have been long ago. It reads each timer that waits for longer than a
// minute once, and remembers when it is due; after that it asks whether it is still there. One instance at a time is
// enough, and several do no harm.
type Sweeper struct {
	Queue  *Queue
	Logger *slog.Logger
	Now    func() time.Time
	// Period is how often it looks: SweepPeriod.
	Period time.Duration
	// Active reports whether this instance is the one that sweeps.
	Active func() bool
	// Rewritten, when set, is told of every timer that was stuck.
	Rewritten func()

	next    uint64 // sequence of the first message that it has not read
	waiting dueHeap
}

// waitingTimer is a timer that was there when it was read.
type waitingTimer struct {
	due      int64 // nanoseconds; a million of them are kept
	sequence uint64
}

// Run sweeps until the context ends.
func (s *Sweeper) Run(ctx context.Context) error {
	ticker := time.NewTicker(s.Period)
	defer ticker.Stop()
	for {
		if !s.Active() {
			s.next, s.waiting = 0, nil
		} else if err := s.Sweep(ctx); err != nil && ctx.Err() == nil {
			s.Logger.WarnContext(ctx, "overdue timers could not be looked for", "error", err)
		}
		select {
		case <-ctx.Done():
			return nil
		case <-ticker.C:
		}
	}
}

// Sweep looks once for overdue timers.
func (s *Sweeper) Sweep(ctx context.Context) error {
	if err := s.read(ctx); err != nil {
		return err
	}
	return s.check(ctx)
}

// read takes in the timers that were set since the last time. Those that were set within the last minute are left for
// the next time: most of them will have fired by then.
func (s *Sweeper) read(ctx context.Context) error {
	info, err := s.Queue.retries.Info(ctx)
	if err != nil {
		return fmt.Errorf("look at %s: %w", bus.StreamRetries, err)
	}
	if s.next > info.State.LastSeq+1 { // it is another stream than it was
		s.next, s.waiting = 0, nil
	}
	s.next = max(s.next, info.State.FirstSeq, 1)
	for {
		// Without a filter: with one the server counts what matches, each time.
		messages, err := s.Queue.timers.Batch(ctx, "", s.next, sweepBatch)
		if err != nil {
			return fmt.Errorf("read timers: %w", err)
		}
		for i := range messages {
			if s.Now().Sub(messages[i].Stored) < overdue {
				return nil
			}
			s.take(ctx, &messages[i])
			s.next = messages[i].Sequence + 1
		}
		if len(messages) == 0 {
			return nil
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(sweepPause):
		}
	}
}

// take notes when a timer is due.
func (s *Sweeper) take(ctx context.Context, message *bus.StoredMsg) {
	if !bus.IsRetryTimer(message.Subject) {
		return // it has fired, and waits for a worker
	}
	due, _, err := bus.RetrySchedule(message.Header)
	if err != nil {
		s.unreadable(ctx, message, err)
		return
	}
	heap.Push(&s.waiting, waitingTimer{due.UnixNano(), message.Sequence})
}

// check makes due what is there though it was due more than a minute ago.
func (s *Sweeper) check(ctx context.Context) (failure error) {
	late := s.late()
	failures := 0
	for len(late) > 0 {
		// What comes next says of all before it that they are gone.
		messages, err := s.Queue.timers.Batch(ctx, "", late[0].sequence, 1)
		if err == nil && len(messages) == 0 {
			return failure
		}
		if err != nil || failures >= maxSweepFailures {
			for _, timer := range late { // to be looked at again
				heap.Push(&s.waiting, timer)
			}
			return cmp.Or(failure, err)
		}
		late = late[gone(late, messages[0].Sequence):]
		if len(late) == 0 || late[0].sequence != messages[0].Sequence {
			continue
		}
		if err := s.rewrite(ctx, &messages[0]); err != nil {
			failures, failure = failures+1, err
			heap.Push(&s.waiting, late[0])
		}
		late = late[1:]
	}
	return failure
}

// late takes out those that were due more than a minute ago, in the order of the stream.
func (s *Sweeper) late() []waitingTimer {
	limit := s.Now().Add(-overdue).UnixNano()
	var late []waitingTimer
	for len(s.waiting) > 0 && s.waiting[0].due <= limit {
		late = append(late, heap.Pop(&s.waiting).(waitingTimer)) //nolint:forcetypeassert // nothing else is in it
	}
	slices.SortFunc(late, func(a, b waitingTimer) int { return cmp.Compare(a.sequence, b.sequence) })
	return late
}

// gone is how many of the timers are before a sequence.
func gone(late []waitingTimer, sequence uint64) int {
	n, _ := slices.BinarySearchFunc(late, sequence, func(t waitingTimer, sequence uint64) int { return cmp.Compare(t.sequence, sequence) })
	return n
}

// rewrite makes a timer due that is stuck.
func (s *Sweeper) rewrite(ctx context.Context, message *bus.StoredMsg) error {
	_, target, err := bus.RetrySchedule(message.Header)
	if err != nil {
		s.unreadable(ctx, message, err)
		return nil
	}
	work, err := bus.ParseWorkSubject(target)
	if err != nil {
		s.unreadable(ctx, message, err)
		return nil
	}
	task, err := decode(message.Header, work.Lane, message.Data)
	if err != nil {
		s.unreadable(ctx, message, err)
		return nil
	}
	limited, cancel := context.WithTimeout(ctx, attemptTime)
	defer cancel()
	if err := s.Queue.fire(limited, message.Subject, message.Sequence, task); err != nil {
		return err
	}
	s.Logger.WarnContext(ctx, "timer was stuck and is due now", "sequence", message.Sequence, "organization", task.Organization,
		"webhook", task.Webhook, "delivery", task.Delivery)
	if s.Rewritten != nil {
		s.Rewritten()
	}
	return nil
}

// unreadable tells of a timer that is none of ours: nobody but delivery sets timers.
func (s *Sweeper) unreadable(ctx context.Context, message *bus.StoredMsg, err error) {
	s.Logger.ErrorContext(ctx, "timer cannot be read and is left as it is", "sequence", message.Sequence, "error", err)
}

// dueHeap has the timer that is due first in front.
type dueHeap []waitingTimer

func (h dueHeap) Len() int           { return len(h) }
func (h dueHeap) Less(i, j int) bool { return h[i].due < h[j].due }
func (h dueHeap) Swap(i, j int)      { h[i], h[j] = h[j], h[i] }

// Push implements heap.Interface.
func (h *dueHeap) Push(timer any) { *h = append(*h, timer.(waitingTimer)) } //nolint:forcetypeassert // nothing else is in it

// Pop implements heap.Interface.
func (h *dueHeap) Pop() any {
	last := len(*h) - 1
	timer := (*h)[last]
	*h = (*h)[:last]
	return timer
}
