package natsbus

import (
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

	// Two processes each take their part, and no more than it.
	var parts int
	for rank := range 2 {
		fed, err := e.queue.Feed(ctx, hook, waiting, rank, 2)
		require.NoError(t, err)
		require.Positive(t, fed)
		parts += fed
	}
	require.Equal(t, waiting-10, parts)
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
