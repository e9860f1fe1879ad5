package natsbus

import (
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/meetwire/meetwire/pkg/bus"
)

func TestFeedMakesDueWhatWaitsForASlot(t *testing.T) {
	t.Parallel()
	e := setup(t)
	ctx, later := newContext(t), time.Now().Add(time.Hour)
	const waiting = 40
	for range waiting {
		task := task()
		task.SlotAt = later
		require.NoError(t, e.queue.Schedule(ctx, task, later, false, uuid.NewString()))
	}
	soon, retry, parked, other := task(), task(), task(), task()
	soon.SlotAt = time.Now().Add(feedAhead / 2)
	require.NoError(t, e.queue.Schedule(ctx, soon, soon.SlotAt, false, uuid.NewString()))
	require.NoError(t, e.queue.Schedule(ctx, retry, later, false, uuid.NewString()))
	parked.SlotAt = later
	require.NoError(t, e.queue.Schedule(ctx, parked, later, true, uuid.NewString()))
	other.Webhook, other.SlotAt = otherHook, later
	require.NoError(t, e.queue.Schedule(ctx, other, later, false, uuid.NewString()))
	timers := func(webhook string) int { return e.count(t, bus.StreamRetries, bus.RetryTimersFilter("acme", webhook)) }
	require.Eventually(t, func() bool { return timers(hook) == waiting+2 }, patience, tick, "the one that was due has fired")

	fed, err := e.queue.Feed(ctx, hook, 10, 0, 1)
	require.NoError(t, err)
	require.Equal(t, 10, fed)
	require.Eventually(t, func() bool { return timers(hook) == waiting+2-10 }, patience, tick)

	// One of two takes its own part first, and then that of the other, which may not know of it.
	parts := func() (own, others int) {
		timers, err := e.queue.timers.Batch(ctx, bus.RetryTimersFilter("acme", hook), 1, 2*waiting)
		require.NoError(t, err)
		for _, timer := range timers {
			own += int(timer.Sequence % 2)
		}
		return own, len(timers) - own
	}
	own, others := parts()
	fed, err = e.queue.Feed(ctx, hook, 5, 1, 2)
	require.NoError(t, err)
	require.Equal(t, 5, fed)
	require.Eventually(t, func() bool { return timers(hook) == waiting+2-15 }, patience, tick)
	left, untouched := parts()
	require.Equal(t, own-5, left)
	require.Equal(t, others, untouched)
	fed, err = e.queue.Feed(ctx, hook, 1, 7, 8)
	require.NoError(t, err)
	require.Equal(t, 1, fed, "not as many as there are processes")
	require.Eventually(t, func() bool { return timers(hook) == waiting+2-16 }, patience, tick)

	// All of several processes want all that there is: each timer is fed by one of them.
	var all atomic.Int64
	var feeds sync.WaitGroup
	for rank := range 3 {
		feeds.Go(func() {
			fed, err := e.queue.Feed(ctx, hook, waiting, rank, 3)
			if err != nil {
				t.Error(err)
			}
			all.Add(int64(fed))
		})
	}
	feeds.Wait()
	require.EqualValues(t, waiting-16, all.Load())
	require.Eventually(t, func() bool { return timers(hook) == 2 }, patience, tick)
	e.timer(t, retry)
	e.timer(t, parked)
	require.Equal(t, 1, timers(otherHook))

	fed, err = e.queue.Feed(ctx, hook, waiting, 0, 1)
	require.NoError(t, err)
	require.Zero(t, fed)
	for range waiting + 1 {
		due := e.due(t, "meeting-booked")
		require.NotEqual(t, retry.Delivery, due.task.Delivery)
		require.False(t, due.task.SlotAt.After(time.Now()), "the time that was reserved is not that of an hour later")
		require.NoError(t, due.DoubleAck(ctx))
	}
}
