package natsbus

import (
	"context"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/meetwire/meetwire/pkg/bus"
)

// recorded is a recorder that has taken in everything up to a sequence.
func recorded(position uint64) Recorded {
	return func(context.Context, time.Time) (uint64, error) { return position, nil }
}

func TestLookFindsWhatWaitsInRetries(t *testing.T) {
	t.Parallel()
	e := setup(t)
	ctx := newContext(t)
	timer, due, dead, other := task(), task(), task(), task()
	timer.Attempts, due.Attempts = 2, 3
	other.Organization = "beta"
	require.NoError(t, e.queue.Schedule(ctx, timer, time.Now().Add(time.Hour), false, uuid.NewString()))
	require.NoError(t, e.queue.Schedule(ctx, other, time.Now().Add(time.Hour), false, uuid.NewString()))
	require.NoError(t, e.queue.Schedule(ctx, due, time.Now(), false, uuid.NewString()))
	require.Eventually(t, func() bool {
		return e.count(t, bus.StreamRetries, bus.RetryDueSubject(bus.AnyToken, "acme", bus.AnyRest)) == 1
	}, patience, tick)

	before := time.Now()
	asked := []string{timer.Delivery, due.Delivery, dead.Delivery, other.Delivery}
	until, waiting, err := e.queue.Look(ctx, "acme", asked, recorded(0))
	require.NoError(t, err)
	require.Equal(t, 2, waiting[timer.Delivery])
	require.Equal(t, 3, waiting[due.Delivery])
	require.NotContains(t, waiting, dead.Delivery)
	require.NotContains(t, waiting, other.Delivery)
	require.WithinRange(t, until, before, time.Now())

	_, waiting, err = e.queue.Look(ctx, "acme", nil, recorded(0))
	require.NoError(t, err)
	require.Empty(t, waiting)
}

func TestLookTellsUntilWhenEverythingIsKnown(t *testing.T) {
	t.Parallel()
	e := setup(t)
	ctx := newContext(t)
	look := func(position uint64) time.Time {
		until, _, err := e.queue.Look(ctx, "acme", nil, recorded(position))
		require.NoError(t, err)
		return until
	}
	began := time.Now()
	require.False(t, look(0).Before(began), "nothing was ever recorded")
	for range 2 {
		require.NoError(t, e.queue.Record(ctx, attempted(task(), "beta"))())
	}
	second, err := e.stream(t, bus.StreamRecords).GetMsg(ctx, 2)
	require.NoError(t, err)
	require.True(t, look(1).Equal(second.Time), "the second has not been taken in")
	now := time.Now()
	require.False(t, look(2).Before(now))
	require.NoError(t, e.stream(t, bus.StreamRecords).DeleteMsg(ctx, 2))
	now = time.Now()
	require.False(t, look(1).Before(now), "nobody can take it in any more")

	// A delivery that nobody takes up: whether it is made, nobody can tell.
	e.publish(t, task())
	first, err := e.stream(t, bus.StreamDeliveries).GetMsg(ctx, 1)
	require.NoError(t, err)
	now = time.Now()
	require.False(t, look(2).Before(now))
	e.queue.now = func() time.Time { return time.Now().Add(queueAge + time.Minute) }
	require.True(t, look(2).Equal(first.Time))
}
