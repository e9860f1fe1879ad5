package natsbus

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/stretchr/testify/require"

	"github.com/meetwire/meetwire/pkg/bus"
	"github.com/meetwire/meetwire/pkg/fault"
	"github.com/meetwire/meetwire/services/delivery/internal/core"
)

// requests counts what is asked of JetStream from now on, other than to publish. The returned function tells how much.
func (e *environment) requests(t *testing.T) func() int {
	t.Helper()
	conn, _ := e.server.Connect(t)
	subscribed, err := conn.SubscribeSync("$JS.API.>")
	require.NoError(t, err)
	require.NoError(t, conn.Flush())
	return func() int {
		require.NoError(t, conn.Flush())
		n, _, err := subscribed.Pending()
		require.NoError(t, err)
		return n
	}
}

// letterEvents returns the events of all dead letters by their deliveries.
func (e *environment) letterEvents(t *testing.T) map[string]string {
	t.Helper()
	events := make(map[string]string)
	for from := uint64(1); from > 0; {
		part, err := e.letters.List(newContext(t), Selection{}, from, 0, drainBatch)
		require.NoError(t, err)
		for _, letter := range part.Letters {
			events[letter.Task.Delivery] = string(letter.Task.Event)
		}
		from = part.Next
	}
	return events
}

// Much of what waits, of many events, is moved with few requests: one by one it would take long.
func TestDrainOfManyTakesFewRequests(t *testing.T) {
	t.Parallel()
	e := setup(t)
	const size, count = 2 * drainBatch, 3 * drainBatch
	want := make(map[string]string, count)
	for n := range drainBatch {
		body := fmt.Sprintf(`{"type": "meeting.booked", "data": {"n": %d}}`, n)
		sequence := e.publishEvent(t, body)
		for id := range e.timersOf(t, hook, sequence, count/drainBatch) {
			want[id] = body
		}
	}
	require.Len(t, want, count)
	others := e.timers(t, otherHook, 3)
	asked := e.requests(t)
	drain := e.queue.newDrain("acme", hook, always, e.burier(nil))
	drain.size = size
	moved, err := drain.run(newContext(t))
	require.NoError(t, err)
	require.Equal(t, count, moved)
	// For each part it reads events and looks at what was removed; for each read it does so, too, and removes once.
	require.LessOrEqual(t, asked(), 2*count/drainBatch+3*(count/size+2))
	require.Equal(t, want, e.letterEvents(t))
	require.Equal(t, len(others), e.count(t, bus.StreamRetries, ">"), "another webhook's wait on")
}

// Timers and events may be far apart, with those of others between them; then each is asked for by itself.
func TestDrainFindsWhatIsFarApart(t *testing.T) {
	t.Parallel()
	for name, apart := range map[string]int{"near": 1, "far": 2 * maxSpan} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			e := setup(t)
			want := make(map[string]string)
			const count = 60
			for n := range count {
				body := fmt.Sprintf(`{"type": "meeting.booked", "data": {"n": %d}}`, n)
				for id := range e.timersOf(t, hook, e.publishEvent(t, body), 1) {
					want[id] = body
				}
				for range apart {
					e.timersOf(t, otherHook, e.publishEvent(t, event), 1)
				}
			}
			moved, err := e.queue.Drain(newContext(t), "acme", hook, always, e.burier(nil))
			require.NoError(t, err)
			require.Equal(t, count, moved)
			require.Equal(t, want, e.letterEvents(t))
			require.Equal(t, apart*count, e.count(t, bus.StreamRetries, ">"), "another webhook's wait on")
		})
	}
}

// A timer that carries its event keeps it. One whose event has expired becomes a dead letter without it.
func TestDrainOfEventsThatAreGone(t *testing.T) {
	t.Parallel()
	e := setup(t)
	ctx := newContext(t)
	want := make(map[string]string)
	var gone uint64
	for n := range 4 {
		sequence := e.publishEvent(t, event)
		for id := range e.timersOf(t, hook, sequence, 1) {
			want[id] = event
			if n == 2 {
				gone, want[id] = sequence, ""
			}
		}
	}
	require.NoError(t, e.stream(t, bus.StreamEvents).DeleteMsg(ctx, gone))
	carrying := task()
	carrying.EventSequence, carrying.Event = gone, []byte(`{"its": "own"}`)
	carrying.AcceptedAt = carrying.AcceptedAt.Add(-2 * e.config.EventsMaxAge)
	require.NoError(t, e.queue.Schedule(ctx, carrying, time.Now().Add(time.Hour), false, "DELIVERIES:1"))
	want[carrying.Delivery] = `{"its": "own"}`
	moved, err := e.queue.Drain(ctx, "acme", hook, always, e.burier(nil))
	require.NoError(t, err)
	require.Equal(t, 5, moved)
	require.Equal(t, want, e.letterEvents(t))
}

// What is erased after it was read, and before its turn has come, becomes no dead letter.
func TestDrainLeavesWhatWasErasedMeanwhile(t *testing.T) {
	t.Parallel()
	e := setup(t)
	const count, erased = drainParts * drainBatch, 20
	e.timers(t, hook, count)
	sequence := e.publishEvent(t, strings.ReplaceAll(event, "1", `"`+marker+`"`))
	e.timersOf(t, hook, sequence, erased)
	bury := e.burier(nil)
	erase := sync.OnceValue(func() error {
		if err := e.queue.events.stream.SecureDeleteMsg(t.Context(), sequence); err != nil {
			return err
		}
		_, err := e.eraser().Erase(t.Context(), "acme", []int64{int64(sequence)})
		return err
	})
	moved, err := e.queue.Drain(newContext(t), "acme", hook, always, func(ctx context.Context, task *core.Task, replaces string) error {
		if err := erase(); err != nil {
			return err
		}
		return bury(ctx, task, replaces)
	})
	require.NoError(t, err)
	require.Equal(t, count, moved)
	require.Equal(t, count, e.count(t, bus.StreamDeadLetters, ">"))
	require.Zero(t, e.count(t, bus.StreamRetries, ">"))
	require.Zero(t, e.said(t, "acme"))
}

// What cannot be read stays, also when much is removed behind it.
func TestDrainNeverRemovesWhatItHasLeft(t *testing.T) {
	t.Parallel()
	e := setup(t)
	alien := nats.NewMsg(bus.RetryTimerSubject("acme", hook, "alien"))
	alien.Header.Set("x", "y")
	_, err := e.js.PublishMsg(newContext(t), alien)
	require.NoError(t, err)
	e.timers(t, hook, 120)
	drain := e.queue.newDrain("acme", hook, always, e.burier(nil))
	drain.size = 50
	moved, err := drain.run(newContext(t))
	require.NoError(t, err)
	require.Equal(t, 120, moved)
	require.Equal(t, 1, e.count(t, bus.StreamRetries, ">"))
	require.Equal(t, 1, e.count(t, bus.StreamRetries, alien.Subject))
}

// A part that fails is neither lost nor removed, and what was moved before it is not met again.
func TestDrainThatFailsKeepsWhatItHasNotMoved(t *testing.T) {
	t.Parallel()
	e := setup(t)
	const count = 3 * drainBatch
	e.timers(t, hook, count)
	bury := e.burier(nil)
	var calls atomic.Int64
	moved, err := e.queue.Drain(newContext(t), "acme", hook, always, func(ctx context.Context, task *core.Task, replaces string) error {
		if calls.Add(1) > 700 {
			return fault.New(fault.Unavailable, "AWAY", "the stream is away")
		}
		return bury(ctx, task, replaces)
	})
	require.True(t, fault.Is(err, fault.Unavailable), "%v", err)
	require.Positive(t, moved)
	require.Equal(t, count-moved, e.count(t, bus.StreamRetries, ">"))
	rest, err := e.queue.Drain(newContext(t), "acme", hook, always, bury)
	require.NoError(t, err)
	require.Equal(t, count-moved, rest)
	require.Equal(t, count, e.count(t, bus.StreamDeadLetters, ">"))
}
