package natsbus

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/stretchr/testify/require"

	"github.com/meetwire/meetwire/pkg/bus"
	"github.com/meetwire/meetwire/pkg/fault"
	deliveryv1 "github.com/meetwire/meetwire/proto/gen/meetwire/delivery/v1"
	"github.com/meetwire/meetwire/services/delivery/internal/core"
)

// timers sets timers of a webhook that are due in an hour, and returns their tasks. Their events are in EVENTS.
func (e *environment) timers(t testing.TB, webhook string, count int) map[string]*core.Task {
	t.Helper()
	ack, err := e.js.Publish(t.Context(), bus.EventSubject("acme", "meeting.booked"), []byte(event))
	require.NoError(t, err)
	return e.timersOf(t, webhook, ack.Sequence, count)
}

// timersOf sets timers of a webhook for an event.
func (e *environment) timersOf(t testing.TB, webhook string, sequence uint64, count int) map[string]*core.Task {
	t.Helper()
	all := make(map[string]*core.Task, count)
	futures := make([]jetstream.PubAckFuture, 0, count)
	for range count {
		waiting := task()
		waiting.Webhook, waiting.EventSequence, waiting.Attempts, waiting.Event = webhook, sequence, 1, nil
		msg := nats.NewMsg(bus.RetryTimerSubject(waiting.Organization, webhook, waiting.Delivery))
		msg.Header = encode(waiting)
		bus.ScheduleRetry(msg, time.Now().Add(time.Hour), bus.RetryDueSubject(waiting.Lane, waiting.Organization, webhook))
		future, err := bus.PublishAsync(e.js, msg, uuid.NewString())
		require.NoError(t, err)
		futures = append(futures, future)
		all[waiting.Delivery] = waiting
	}
	for _, future := range futures {
		_, err := bus.Await(t.Context(), future)
		require.NoError(t, err)
	}
	return all
}

// burier is an engine for what waits.
func (e *environment) burier(disabled *core.Webhook) func(ctx context.Context, task *core.Task, replaces string) error {
	engine := &core.Engine{Queue: e.queue, Events: e.queue, Now: time.Now, NewID: uuid.NewString, Logger: discard()}
	return func(ctx context.Context, task *core.Task, replaces string) error {
		return engine.BuryWaiting(ctx, task, replaces, disabled)
	}
}

func always() bool { return true }

func TestDrainMovesEverythingThatWaits(t *testing.T) {
	t.Parallel()
	e := setup(t)
	const count = 1300 // more than two parts
	tasks := e.timers(t, hook, count)
	others := e.timers(t, otherHook, 3)
	parked := task()
	parked.EventSequence = 1
	require.NoError(t, e.queue.Schedule(newContext(t), parked, time.Now().Add(time.Hour), true, "DELIVERIES:1"))
	tasks[parked.Delivery] = parked

	moved, err := e.queue.Drain(newContext(t), "acme", hook, always, e.burier(&core.Webhook{ID: hook, Generation: 4}))
	require.NoError(t, err)
	require.Equal(t, count+1, moved)
	require.Equal(t, len(others), e.count(t, bus.StreamRetries, ">"), "another webhook's wait on")
	require.Equal(t, count+1, e.count(t, bus.StreamDeadLetters, ">"))
	for id, want := range tasks {
		letter, err := e.letters.Get(newContext(t), "acme", id)
		require.NoError(t, err)
		require.Equal(t, core.ReasonWebhookDisabled, letter.Reason)
		require.Equal(t, want.Attempts, letter.Task.Attempts)
		require.Equal(t, event, string(letter.Task.Event)) //nolint:testifylint // byte for byte
	}
	records := e.records(t)
	require.Len(t, records, count+1)
	for _, record := range records {
		require.Equal(t, deliveryv1.Delivery_STATE_DEAD_LETTERED, record.GetState())
		require.Equal(t, core.ReasonWebhookDisabled, record.GetReason())
		require.EqualValues(t, 4, record.GetWebhookGeneration())
	}
	moved, err = e.queue.Drain(newContext(t), "acme", hook, always, e.burier(nil))
	require.NoError(t, err)
	require.Zero(t, moved)
}

func TestDrainStopsWhenTheWebhookIsEnabled(t *testing.T) {
	t.Parallel()
	e := setup(t)
	const count = 1200
	e.timers(t, hook, count)
	var buried atomic.Int64
	moved, err := e.queue.Drain(newContext(t), "acme", hook, func() bool { return buried.Load() < 100 },
		func(context.Context, *core.Task, string) error {
			buried.Add(1)
			return nil
		})
	require.NoError(t, err)
	require.Less(t, moved, 100+drainParts*drainWorkers+1)
	require.Equal(t, count-moved, e.count(t, bus.StreamRetries, ">"), "what it has not moved waits on")
}

func TestDrainGoesOnWhereItWasInterrupted(t *testing.T) {
	t.Parallel()
	e := setup(t)
	const count = 600
	e.timers(t, hook, count)
	failure := errors.New("interrupted")
	var calls atomic.Int64
	bury := e.burier(&core.Webhook{ID: hook, Generation: 1})
	_, err := e.queue.Drain(newContext(t), "acme", hook, always, func(ctx context.Context, task *core.Task, replaces string) error {
		if err := bury(ctx, task, replaces); err != nil {
			return err
		}
		if calls.Add(1) > 200 {
			return failure // after the dead letter, and before its timer is removed
		}
		return nil
	})
	require.ErrorIs(t, err, failure)
	_, err = e.queue.Drain(newContext(t), "acme", hook, always, bury)
	require.NoError(t, err)
	require.Zero(t, e.count(t, bus.StreamRetries, ">"))
	require.Equal(t, count, e.count(t, bus.StreamDeadLetters, ">"), "each is one dead letter")
}

// What is canceled or erased after it was read, and before its turn has come, becomes no dead letter.
func TestDrainLeavesWhatWasCanceledMeanwhile(t *testing.T) {
	t.Parallel()
	e := setup(t)
	const count, canceled = (drainParts + 1) * drainBatch, 20
	e.timers(t, hook, count)
	last, err := e.queue.ListTimers(newContext(t), "acme", hook, count-canceled+1, 0, canceled)
	require.NoError(t, err)
	require.Len(t, last.Timers, canceled)
	bury := e.burier(&core.Webhook{ID: hook, Generation: 1})
	cancel := sync.OnceValue(func() error {
		return several(t.Context(), last.Timers, func(ctx context.Context, timer *Timer) error {
			done, err := e.queue.Cancel(ctx, timer, uuid.NewString())
			if err == nil && !done {
				err = errors.New("it was too late")
			}
			return err
		})
	})
	moved, err := e.queue.Drain(newContext(t), "acme", hook, always, func(ctx context.Context, task *core.Task, replaces string) error {
		if err := cancel(); err != nil {
			return err
		}
		return bury(ctx, task, replaces)
	})
	require.NoError(t, err)
	require.Equal(t, count-canceled, moved)
	require.Equal(t, count-canceled, e.count(t, bus.StreamDeadLetters, ">"))
	require.Zero(t, e.count(t, bus.StreamRetries, ">"))
	for _, timer := range last.Timers {
		_, err := e.letters.Get(newContext(t), "acme", timer.Task.Delivery)
		require.True(t, fault.Is(err, fault.NotFound), "%v", err)
	}
}

func TestDrainLeavesATimerThatWasSetAnew(t *testing.T) {
	t.Parallel()
	e := setup(t)
	var only *core.Task
	for _, only = range e.timers(t, hook, 1) {
	}
	var once sync.Once
	moved, err := e.queue.Drain(newContext(t), "acme", hook, always, func(ctx context.Context, _ *core.Task, _ string) error {
		var err error
		once.Do(func() { err = e.queue.Schedule(ctx, only, time.Now().Add(2*time.Hour), false, "RETRIES:77") })
		return err
	})
	require.NoError(t, err)
	require.Equal(t, 2, moved, "the new one is drained after the old one")
	require.Zero(t, e.count(t, bus.StreamRetries, ">"))

	// What it may not touch any more, it leaves.
	e.timers(t, otherHook, 1)
	_, err = e.queue.Drain(newContext(t), "acme", otherHook, func() bool { return false }, nil)
	require.NoError(t, err)
	require.Equal(t, 1, e.count(t, bus.StreamRetries, ">"))
}

func TestTwoDrainsOfOneWebhookMakeOneDeadLetterEach(t *testing.T) {
	t.Parallel()
	e := setup(t)
	const count = 700
	e.timers(t, hook, count)
	var drains sync.WaitGroup
	for range 2 {
		drains.Go(func() {
			if _, err := e.queue.Drain(t.Context(), "acme", hook, always, e.burier(nil)); err != nil {
				t.Errorf("drain: %v", err)
			}
		})
	}
	drains.Wait()
	require.Zero(t, e.count(t, bus.StreamRetries, ">"))
	require.Equal(t, count, e.count(t, bus.StreamDeadLetters, ">"))
}

func TestDrainPassesOverWhatIsNoTimer(t *testing.T) {
	t.Parallel()
	e := setup(t)
	msg := nats.NewMsg(bus.RetryTimerSubject("acme", hook, "alien"))
	msg.Header.Set("x", "y")
	_, err := e.js.PublishMsg(newContext(t), msg)
	require.NoError(t, err)
	e.timers(t, hook, 2)
	_, err = e.queue.Drain(newContext(t), "acme", hook, always, e.burier(nil))
	require.NoError(t, err)
	require.Equal(t, 2, e.count(t, bus.StreamDeadLetters, ">"))
	require.Equal(t, 1, e.count(t, bus.StreamRetries, ">"))
}

func TestCanceledTimersNeverFire(t *testing.T) {
	t.Parallel()
	e := setup(t)
	soon, other := task(), task()
	other.Webhook = otherHook
	ctx := newContext(t)
	at := time.Now().Add(2 * time.Second) // they are still there when they are canceled
	require.NoError(t, e.queue.Schedule(ctx, soon, at, false, "DELIVERIES:1"))
	require.NoError(t, e.queue.Schedule(ctx, other, at, false, "DELIVERIES:2"))
	require.NoError(t, e.queue.CancelTimers(ctx, "acme", hook))
	require.Zero(t, e.count(t, bus.StreamRetries, bus.RetryTimersFilter("acme", hook)))
	fired := e.due(t, "meeting-booked")
	require.Equal(t, otherHook, fired.task.Webhook)
	require.NoError(t, fired.DoubleAck(ctx))
	require.Zero(t, e.count(t, bus.StreamRetries, ">"))
}

func TestPurgeRemovesOneOrganizationOnly(t *testing.T) {
	t.Parallel()
	e := setup(t)
	ctx := newContext(t)
	for _, organization := range []string{"acme", "acme-2"} {
		for _, lane := range []string{"meeting-booked", bus.LaneBulk, bus.LaneCustom} {
			one := task()
			one.Organization, one.Lane = organization, lane
			e.publish(t, one)
			require.NoError(t, e.queue.Schedule(ctx, one, time.Now().Add(time.Hour), false, "a:"+one.Delivery))
			require.NoError(t, e.queue.DeadLetter(ctx, one, core.ReasonPoison, time.Now(), "b:"+one.Delivery))
			require.NoError(t, e.queue.Record(ctx, &core.Record{ID: uuid.NewString(), Time: time.Now(), Task: one})())
			due := nats.NewMsg(bus.RetryDueSubject(lane, organization, hook))
			due.Header = encode(one)
			_, err := bus.Publish(ctx, e.js, due, "c:"+one.Delivery)
			require.NoError(t, err)
		}
	}
	removed, err := e.queue.Purge(ctx, "acme")
	require.NoError(t, err)
	require.EqualValues(t, 15, removed)
	for stream, want := range map[string]int{
		bus.StreamDeliveries: 3, bus.StreamRetries: 6, bus.StreamDeadLetters: 3, bus.StreamRecords: 3,
	} {
		require.Equal(t, want, e.count(t, stream, ">"), stream)
	}
	removed, err = e.queue.Purge(ctx, "acme")
	require.NoError(t, err)
	require.Zero(t, removed)
	for _, stream := range []string{bus.StreamDeliveries, bus.StreamRetries, bus.StreamDeadLetters, bus.StreamRecords} {
		info, err := e.stream(t, stream).Info(ctx, jetstream.WithSubjectFilter(">"))
		require.NoError(t, err)
		for subject := range info.State.Subjects {
			require.Contains(t, subject, ".acme-2.", stream)
		}
	}
}

func TestRecordsDoNotShowWhatIsSecret(t *testing.T) {
	t.Parallel()
	record := EncodeRecord(&core.Record{Task: task(), Generation: 3, Attempt: &core.Attempt{Request: core.Request{Headers: []core.Header{
		{Name: "X-Token", Value: "hunter2", Secret: true}, {Name: "webhook-id", Value: "d1"},
	}}}})
	require.NotContains(t, fmt.Sprint(record), "hunter2")
	require.Equal(t, "REDACTED", record.GetAttempt().GetRequestHeaders()[0].GetValue())
	require.Equal(t, "d1", record.GetAttempt().GetRequestHeaders()[1].GetValue())
	require.EqualValues(t, 3, record.GetWebhookGeneration())
}

// BenchmarkDrain moves ten thousand timers.
func BenchmarkDrain(b *testing.B) {
	e := setupWith(b)
	for b.Loop() {
		b.StopTimer()
		e.timers(b, hook, 10_000)
		b.StartTimer()
		_, err := e.queue.Drain(b.Context(), "acme", hook, always, e.burier(nil))
		require.NoError(b, err)
	}
}
