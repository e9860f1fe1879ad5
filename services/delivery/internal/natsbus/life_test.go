package natsbus

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/meetwire/meetwire/pkg/bus"
	"github.com/meetwire/meetwire/services/delivery/internal/core"
)

// Within the window in which streams remember message ids, one delivery goes through every step there is, the same
// step again and again. Each has to take effect, though it is always the same delivery; and each is done twice, as
// after a crash before the acknowledgement.
func TestEachStepOfADeliveryTakesEffect(t *testing.T) {
	t.Parallel()
	e := setup(t)
	ctx := newContext(t)
	original := task()
	original.EventSequence = e.publishEvent(t, event)
	e.publish(t, original)

	// schedule replaces a message by a timer.
	schedule := func(now message, parked bool) {
		t.Helper()
		at := time.Now().Add(20 * time.Millisecond)
		require.NoError(t, e.queue.Schedule(ctx, now.task, at, parked, now.id))
		require.NoError(t, e.queue.Schedule(ctx, now.task, at, parked, now.id))
		require.NoError(t, now.DoubleAck(ctx))
	}
	requireAttempts := func(now message, attempts, base int) {
		t.Helper()
		require.Equal(t, original.Delivery, now.task.Delivery)
		require.Equal(t, attempts, now.task.Attempts)
		require.Equal(t, base, now.task.AttemptBase)
		require.Empty(t, now.Headers().Get(bus.HeaderReason))
	}
	// bury replaces a message by a dead letter.
	bury := func(now message) {
		t.Helper()
		now.task.Event = []byte(event)
		require.NoError(t, e.queue.DeadLetter(ctx, now.task, core.ReasonAttemptsExhausted, time.Now(), now.id))
		require.NoError(t, e.queue.DeadLetter(ctx, now.task, core.ReasonAttemptsExhausted, time.Now(), now.id))
		require.NoError(t, now.DoubleAck(ctx))
		require.Equal(t, 1, e.count(t, bus.StreamDeadLetters, ">"))
		require.Zero(t, e.count(t, bus.StreamRetries, ">"))
		require.Zero(t, e.count(t, bus.StreamDeliveries, ">"))
	}
	replay := func() {
		t.Helper()
		require.NoError(t, e.letters.Replay(ctx, "acme", original.Delivery))
		require.Error(t, e.letters.Replay(ctx, "acme", original.Delivery))
		require.Zero(t, e.count(t, bus.StreamDeadLetters, ">"))
		require.Equal(t, 1, e.count(t, bus.StreamDeliveries, ">"))
	}

	// Deferred twice: there was no slot.
	now := e.delivery(t, "meeting-booked")
	requireAttempts(now, 0, 0)
	schedule(now, false)
	now = e.due(t, "meeting-booked")
	requireAttempts(now, 0, 0)
	schedule(now, false)

	// Parked, and woken.
	now = e.due(t, "meeting-booked")
	requireAttempts(now, 0, 0)
	require.NoError(t, e.queue.Schedule(ctx, now.task, time.Now().Add(time.Hour), true, now.id))
	require.NoError(t, now.DoubleAck(ctx))
	require.NoError(t, e.queue.Wake(ctx, "acme", hook))
	require.NoError(t, e.queue.Wake(ctx, "acme", hook))

	// Retried twice.
	for attempt := 1; attempt <= 2; attempt++ {
		now = e.due(t, "meeting-booked")
		requireAttempts(now, attempt-1, 0)
		now.task.Attempts = attempt
		schedule(now, false)
	}

	// Given up, and replayed, twice; the second time it fails at once.
	now = e.due(t, "meeting-booked")
	requireAttempts(now, 2, 0)
	now.task.Attempts = 3
	bury(now)
	for run := range 2 {
		replay()
		now = e.delivery(t, bus.LaneBulk)
		requireAttempts(now, 3+2*run, 3+2*run)
		require.Equal(t, event, string(now.task.Event)) //nolint:testifylint // byte for byte
		now.task.Attempts++
		schedule(now, false)
		now = e.due(t, bus.LaneBulk)
		requireAttempts(now, 4+2*run, 3+2*run)
		now.task.Attempts++
		bury(now)
	}
	replay()
	now = e.delivery(t, bus.LaneBulk)
	requireAttempts(now, 7, 7)
	now.task.Attempts++
	bury(now)
	letter, err := e.letters.Get(ctx, "acme", original.Delivery)
	require.NoError(t, err)
	require.Equal(t, 8, letter.Task.Attempts)
	require.Equal(t, event, string(letter.Task.Event)) //nolint:testifylint // byte for byte
}
