package natsbus

import (
	"context"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/nats-io/nats.go"
	"github.com/stretchr/testify/require"

	"github.com/meetwire/meetwire/pkg/bus"
	"github.com/meetwire/meetwire/services/delivery/internal/core"
)

func TestWakeMakesParkedDeliveriesOfAWebhookDue(t *testing.T) {
	t.Parallel()
	e := setup(t)
	ctx, later := newContext(t), time.Now().Add(time.Hour)
	parked := map[string]bool{}
	for range 3 {
		task := task()
		task.Attempts = 2
		require.NoError(t, e.queue.Schedule(ctx, task, later, true, task.Delivery))
		parked[task.Delivery] = true
	}
	retry, another := task(), task()
	another.Webhook = otherHook
	require.NoError(t, e.queue.Schedule(ctx, retry, later, false, retry.Delivery))
	require.NoError(t, e.queue.Schedule(ctx, another, later, true, another.Delivery))

	require.NoError(t, e.queue.Wake(ctx, "acme", hook))
	for range 3 {
		due := e.due(t, "meeting-booked")
		require.True(t, parked[due.task.Delivery])
		require.Equal(t, 2, due.task.Attempts)
		delete(parked, due.task.Delivery)
		require.NoError(t, due.DoubleAck(ctx))
	}
	require.Equal(t, 2, e.count(t, bus.StreamRetries, ">"), "a retry has its time, and the other webhook is still paused")
	e.timer(t, retry)
	e.timer(t, another)

	require.NoError(t, e.queue.Wake(ctx, "acme", hook), "nothing is left to wake")
	require.NoError(t, e.queue.Wake(ctx, "nobody", hook))
	require.Equal(t, 2, e.count(t, bus.StreamRetries, ">"))
}

// Many are woken several at once, and read in batches: one after the other they would take minutes.
func TestWakeOfManyReadsThemInBatches(t *testing.T) {
	t.Parallel()
	e := setup(t)
	const count = 2*drainBatch + 100
	tasks := make([]*core.Task, count)
	for i := range tasks {
		tasks[i] = task()
		tasks[i].EventSequence, tasks[i].Event = 1, nil
	}
	ctx := newContext(t)
	require.NoError(t, several(ctx, tasks, func(ctx context.Context, task *core.Task) error {
		return e.queue.Schedule(ctx, task, time.Now().Add(time.Hour), true, uuid.NewString())
	}))
	var reads atomic.Int64
	conn, _ := e.server.Connect(t)
	_, err := conn.Subscribe("$JS.API.DIRECT.GET.RETRIES.>", func(*nats.Msg) { reads.Add(1) })
	require.NoError(t, err)
	_, err = conn.Subscribe("$JS.API.DIRECT.GET.RETRIES", func(*nats.Msg) { reads.Add(1) })
	require.NoError(t, err)
	require.NoError(t, conn.Flush())
	require.NoError(t, e.queue.Wake(ctx, "acme", hook))
	require.NoError(t, conn.Flush())
	require.LessOrEqual(t, int(reads.Load()), 10)
	require.Eventually(t, func() bool {
		return e.count(t, bus.StreamRetries, bus.RetryDueSubject("meeting-booked", "acme", hook)) == count
	}, patience, tick)
}

func TestWakeKeepsTheEventThatATimerCarries(t *testing.T) {
	t.Parallel()
	e := setup(t)
	ctx, task := newContext(t), task()
	task.AcceptedAt = task.AcceptedAt.Add(-2 * e.config.EventsMaxAge)
	require.NoError(t, e.queue.Schedule(ctx, task, time.Now().Add(time.Hour), true, "DELIVERIES:1"))
	require.NoError(t, e.queue.Wake(ctx, "acme", hook))
	due := e.due(t, "meeting-booked")
	task.Recorded = true // as what is parked was
	requireTask(t, task, due.task)
	require.NoError(t, due.DoubleAck(ctx))
}

func TestWakeLeavesATimerThatWasSetAnew(t *testing.T) {
	t.Parallel()
	e := setup(t)
	ctx, task, later := newContext(t), task(), time.Now().Add(time.Hour)
	require.NoError(t, e.queue.Schedule(ctx, task, later, true, "DELIVERIES:1"))
	all, err := e.queue.timers.Batch(ctx, bus.RetryTimersFilter("acme", hook), 1, 1)
	require.NoError(t, err)
	seen := all[0]
	require.NoError(t, e.queue.Schedule(ctx, task, later, false, "RETRIES:2"))
	require.NoError(t, e.queue.wake(ctx, seen))
	require.Equal(t, seen.Sequence+1, e.timer(t, task).Sequence)

	require.NoError(t, e.queue.Unschedule(ctx, task))
	require.NoError(t, e.queue.wake(ctx, seen), "it has fired in between")
	require.Zero(t, e.count(t, bus.StreamRetries, ">"))
}

func TestParkedDeliveryIsDueWithoutBeingWoken(t *testing.T) {
	t.Parallel()
	e := setup(t)
	ctx, task := newContext(t), task()
	require.NoError(t, e.queue.Schedule(ctx, task, time.Now().Add(100*time.Millisecond), true, "DELIVERIES:1"))
	due := e.due(t, "meeting-booked")
	require.Equal(t, task.Delivery, due.task.Delivery)
	// It is parked again under the id of what has come now.
	require.NoError(t, e.queue.Schedule(ctx, due.task, time.Now().Add(time.Hour), true, due.id))
	require.NoError(t, due.DoubleAck(ctx))
	require.Equal(t, "true", e.timer(t, task).Header.Get(bus.HeaderParked))
}

func TestHasTimersLooksAtOneOrganization(t *testing.T) {
	t.Parallel()
	e := setup(t)
	ctx := newContext(t)
	require.NoError(t, e.queue.Schedule(ctx, task(), time.Now().Add(time.Hour), true, "DELIVERIES:1"))
	for organization, want := range map[string]bool{"acme": true, "acme-2": false, "ac": false} {
		got, err := e.queue.HasTimers(ctx, organization)
		require.NoError(t, err)
		require.Equal(t, want, got, organization)
	}
	require.NoError(t, e.queue.CancelTimers(ctx, "acme", hook))
	got, err := e.queue.HasTimers(ctx, "acme")
	require.NoError(t, err)
	require.False(t, got)
}
