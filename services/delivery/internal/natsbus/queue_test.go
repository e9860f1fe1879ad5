package natsbus

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/nats-io/nats.go"
	"github.com/stretchr/testify/require"

	"github.com/meetwire/meetwire/pkg/bus"
	"github.com/meetwire/meetwire/pkg/fault"
	"github.com/meetwire/meetwire/services/delivery/internal/core"
)

func TestScheduledDeliveryWaitsAndIsDue(t *testing.T) {
	t.Parallel()
	e := setup(t)
	task := task()
	task.Attempts, task.AttemptBase = 3, 1
	at := time.Now().Add(2 * time.Second) // it is looked at before
	require.NoError(t, e.queue.Schedule(newContext(t), task, at, false, "DELIVERIES:1"))
	require.Empty(t, e.timer(t, task).Data, "a timer carries no body that EVENTS has")

	due := e.due(t, "meeting-booked")
	require.False(t, time.Now().Before(at), "never too early")
	require.Equal(t, bus.RetryDueSubject("meeting-booked", "acme", hook), due.Subject())
	want := *task
	want.Event = nil
	requireTask(t, &want, due.task)
	require.NoError(t, due.DoubleAck(newContext(t)))
	require.Zero(t, e.count(t, bus.StreamRetries, ">"), "nothing is left of the timer")
}

func TestScheduleAgainReplacesTheTimer(t *testing.T) {
	t.Parallel()
	e := setup(t)
	ctx, task, soon, late := newContext(t), task(), time.Now().Add(time.Hour), time.Now().Add(2*time.Hour)
	require.NoError(t, e.queue.Schedule(ctx, task, soon, false, "DELIVERIES:1"))
	first := e.timer(t, task).Sequence
	require.NoError(t, e.queue.Schedule(ctx, task, soon, false, "DELIVERIES:1"))
	require.Equal(t, first, e.timer(t, task).Sequence, "the same step again has no second effect")

	task.Attempts = 1
	require.NoError(t, e.queue.Schedule(ctx, task, late, false, "RETRIES:9"))
	timer := e.timer(t, task)
	require.Greater(t, timer.Sequence, first)
	require.Equal(t, "1", timer.Header.Get(bus.HeaderAttempt))
	require.Contains(t, timer.Header.Get("Nats-Schedule"), late.UTC().Format(time.RFC3339Nano))

	other := *task
	other.Webhook = otherHook
	require.NoError(t, e.queue.Schedule(ctx, &other, late, false, "RETRIES:10"))
	require.Equal(t, 2, e.count(t, bus.StreamRetries, "retries.at.>"))
}

func TestUnscheduleCancelsOneTimer(t *testing.T) {
	t.Parallel()
	e := setup(t)
	ctx, gone, stays := newContext(t), task(), task()
	at := time.Now().Add(time.Hour)
	require.NoError(t, e.queue.Schedule(ctx, gone, at, false, "DELIVERIES:1"))
	require.NoError(t, e.queue.Schedule(ctx, stays, at, false, "DELIVERIES:2"))
	require.NoError(t, e.queue.Unschedule(ctx, gone))
	require.NoError(t, e.queue.Unschedule(ctx, gone), "what is not there need not be canceled")
	require.Equal(t, 1, e.count(t, bus.StreamRetries, ">"))
	e.timer(t, stays)
}

func TestTimerCarriesAnEventThatExpiresBeforeIt(t *testing.T) {
	t.Parallel()
	e := setup(t)
	now := time.Now()
	for name, test := range map[string]struct {
		age     time.Duration // of the event
		wait    time.Duration
		carried bool
	}{
		"EVENTS has it for long":         {wait: 24 * time.Hour},
		"a little before it expires":     {age: e.config.EventsMaxAge - 3*time.Hour, wait: 119 * time.Minute},
		"it may expire at that time":     {age: e.config.EventsMaxAge - 3*time.Hour, wait: 121 * time.Minute, carried: true},
		"it has expired when it is due":  {age: e.config.EventsMaxAge - time.Hour, wait: 24 * time.Hour, carried: true},
		"it has already expired":         {age: 2 * e.config.EventsMaxAge, wait: time.Hour, carried: true},
		"a timer beyond all that is due": {wait: 2 * e.config.EventsMaxAge, carried: true},
	} {
		task := task()
		task.AcceptedAt = now.Add(-test.age)
		require.NoError(t, e.queue.Schedule(newContext(t), task, now.Add(test.wait), false, task.Delivery))
		want := ""
		if test.carried {
			want = event
		}
		require.Equal(t, want, string(e.timer(t, task).Data), name)
	}
}

func TestTimerFetchesTheEventThatItMustCarry(t *testing.T) {
	t.Parallel()
	e := setup(t)
	// It came from a timer that had no need to carry it, and its webhook is paused: it is set aside as it is.
	ctx, parked := newContext(t), task()
	parked.EventSequence = e.publishEvent(t, event)
	parked.AcceptedAt = time.Now().Add(time.Hour - e.config.EventsMaxAge)
	parked.Event = nil
	require.NoError(t, e.queue.Schedule(ctx, parked, time.Now().Add(time.Hour), true, "RETRIES:1"))
	require.Equal(t, event, string(e.timer(t, parked).Data)) //nolint:testifylint // byte for byte

	lost := task()
	lost.EventSequence, lost.AcceptedAt, lost.Event = 4711, parked.AcceptedAt, nil
	require.NoError(t, e.queue.Schedule(ctx, lost, time.Now().Add(time.Hour), true, "RETRIES:2"), "it is not lost for that")
	require.Empty(t, e.timer(t, lost).Data)
}

func TestEventsAreReadBySequence(t *testing.T) {
	t.Parallel()
	e := setup(t)
	ctx := newContext(t)
	first, second := e.publishEvent(t, `{"n":1}`), e.publishEvent(t, `{"n":2}`)
	got, err := e.queue.Event(ctx, second)
	require.NoError(t, err)
	require.Equal(t, `{"n":2}`, string(got))
	fromLeader, err := e.queue.events.readFromLeader(ctx, second)
	require.NoError(t, err)
	require.Equal(t, `{"n":2}`, string(fromLeader.document))

	require.NoError(t, e.stream(t, bus.StreamEvents).DeleteMsg(ctx, first))
	for _, missing := range []uint64{first, second + 1, 1 << 40} {
		_, err := e.queue.Event(ctx, missing)
		require.True(t, fault.Is(err, fault.NotFound), "%v", err)
		require.Equal(t, "EVENT_NOT_FOUND", fault.From(err).Reason)
	}
}

func TestDeadLetterIsKeptOnce(t *testing.T) {
	t.Parallel()
	e := setup(t)
	ctx, task, at := newContext(t), task(), time.Now().UTC()
	task.Attempts = 10
	require.NoError(t, e.queue.DeadLetter(ctx, task, core.ReasonAttemptsExhausted, at, "RETRIES:5"))
	require.NoError(t, e.queue.DeadLetter(ctx, task, core.ReasonAttemptsExhausted, at, "RETRIES:5"))
	stream := e.stream(t, bus.StreamDeadLetters)
	msg, err := stream.GetLastMsgForSubject(ctx, bus.DeadLetterSubject("meeting-booked", "acme", hook, task.Delivery))
	require.NoError(t, err)
	require.EqualValues(t, 1, msg.Sequence)
	require.Equal(t, event, string(msg.Data), "with the whole event") //nolint:testifylint // byte for byte
	require.Equal(t, core.ReasonAttemptsExhausted, msg.Header.Get(bus.HeaderReason))
	require.Equal(t, at.Format(time.RFC3339Nano), msg.Header.Get(bus.HeaderDeadAt))
	require.Equal(t, 1, e.count(t, bus.StreamDeadLetters, ">"))

	require.NoError(t, e.queue.DeadLetter(ctx, task, core.ReasonPoison, at, "RETRIES:6"))
	require.Equal(t, 1, e.count(t, bus.StreamDeadLetters, ">"), "a delivery has one dead letter")
}

func TestQueueRefusesWhatIsTooLarge(t *testing.T) {
	t.Parallel()
	e := setup(t)
	task := task()
	task.Event = []byte(strings.Repeat("x", 2<<20))
	err := e.queue.DeadLetter(newContext(t), task, core.ReasonPoison, time.Now(), "DELIVERIES:1")
	require.True(t, fault.Is(err, fault.InvalidArgument), "%v", err)
}

func TestQueueTriesUntilNATSIsBack(t *testing.T) {
	t.Parallel()
	e := setup(t)
	task := task()
	task.EventSequence = e.publishEvent(t, event)
	steps := map[string]func(ctx context.Context) error{
		"schedule": func(ctx context.Context) error {
			return e.queue.Schedule(ctx, task, time.Now().Add(time.Hour), false, "DELIVERIES:1")
		},
		"dead letter": func(ctx context.Context) error {
			return e.queue.DeadLetter(ctx, task, core.ReasonPoison, time.Now(), "DELIVERIES:1")
		},
		"unschedule": func(ctx context.Context) error { return e.queue.Unschedule(ctx, task) },
		"event": func(ctx context.Context) error {
			_, err := e.queue.Event(ctx, task.EventSequence)
			return err
		},
		"record": func(ctx context.Context) error { return e.queue.Record(ctx, succeeded(task))() },
	}
	e.server.Shutdown()
	ctx := newContext(t)
	done := make(chan error, len(steps))
	for _, step := range steps {
		go func() { done <- step(ctx) }()
	}
	stopped, cancel := context.WithTimeout(ctx, 100*time.Millisecond)
	defer cancel()
	for name, step := range steps {
		require.ErrorIs(t, step(stopped), context.DeadlineExceeded, name)
	}
	require.Empty(t, done, "none gives up by itself")
	e.server.Restart(t)
	for range steps {
		require.NoError(t, <-done)
	}
	require.Equal(t, 1, e.count(t, bus.StreamDeadLetters, ">"))
	require.NotEmpty(t, e.records(t))
}

// What holds up a connection, because much is to be read or counted, holds up no delivery.
func TestMuchIsReadOverAConnectionOfItsOwn(t *testing.T) {
	t.Parallel()
	e := setup(t)
	ctx := newContext(t)
	conn, _ := e.server.Connect(t)
	scans, err := bus.JetStream(conn)
	require.NoError(t, err)
	queue, err := NewQueue(ctx, e.js, scans, e.config, discard(), time.Now)
	require.NoError(t, err)
	letters, err := NewDeadLetters(ctx, e.js, queue, configured{e}, time.Now, uuid.NewString)
	require.NoError(t, err)
	_, err = queue.CountTimers(ctx, "acme", hook)
	require.NoError(t, err)

	conn.Close()
	one := task()
	require.NoError(t, queue.Schedule(ctx, one, time.Now().Add(time.Hour), false, "DELIVERIES:1"))
	_, err = queue.Event(ctx, 7)
	require.True(t, fault.Is(err, fault.NotFound), "%v", err)
	_, err = queue.CountTimers(ctx, "acme", hook)
	require.ErrorIs(t, err, nats.ErrConnectionClosed)
	_, err = queue.ListTimers(ctx, "acme", hook, 0, 0, 10)
	require.ErrorIs(t, err, nats.ErrConnectionClosed)
	_, err = queue.HasTimers(ctx, "acme")
	require.ErrorIs(t, err, nats.ErrConnectionClosed)
	_, err = queue.Drain(ctx, "acme", hook, func() bool { return true }, nil)
	require.ErrorIs(t, err, nats.ErrConnectionClosed)
	for _, selection := range []Selection{{}, {Reason: core.ReasonAttemptsExhausted}} {
		_, err = letters.List(ctx, selection, 0, 0, 10)
		require.ErrorIs(t, err, nats.ErrConnectionClosed)
	}
}
