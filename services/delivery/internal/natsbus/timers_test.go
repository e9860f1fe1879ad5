package natsbus

import (
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/meetwire/meetwire/pkg/bus"
	deliveryv1 "github.com/meetwire/meetwire/proto/gen/meetwire/delivery/v1"
	"github.com/meetwire/meetwire/services/delivery/internal/core"
)

// waiting sets a timer for an hour from now.
func (e *environment) waiting(t *testing.T, task *core.Task, parked bool) {
	t.Helper()
	require.NoError(t, e.queue.Schedule(newContext(t), task, time.Now().Add(time.Hour), parked, uuid.NewString()))
}

// found returns the timer of a delivery, which must be there.
func (e *environment) found(t *testing.T, task *core.Task) *Timer {
	t.Helper()
	timer, err := e.queue.FindTimer(newContext(t), task.Organization, task.Delivery)
	require.NoError(t, err)
	require.NotNil(t, timer)
	return timer
}

func TestTimersAreListedInTheirOrder(t *testing.T) {
	t.Parallel()
	e := setup(t)
	var want []string
	for i := range 7 {
		one := task()
		one.Attempts = i
		e.waiting(t, one, i == 3)
		want = append(want, one.Delivery)
		foreign := task()
		foreign.Webhook = otherHook
		e.waiting(t, foreign, false)
	}
	alien := task()
	e.putAlien(t, bus.RetryTimerSubject("acme", hook, alien.Delivery), encode(alien))
	var got []string
	for from, pages := uint64(0), 0; ; pages++ {
		part, err := e.queue.ListTimers(newContext(t), "acme", hook, from, 0, 3)
		require.NoError(t, err)
		for _, timer := range part.Timers {
			require.WithinDuration(t, time.Now().Add(time.Hour), timer.Due, patience)
			require.Equal(t, len(got) == 3, timer.Parked)
			require.Equal(t, len(got), timer.Task.Attempts)
			require.Equal(t, "meeting-booked", timer.Task.Lane)
			got = append(got, timer.Task.Delivery)
		}
		if from = part.Next; from == 0 {
			break
		}
		require.Less(t, pages, 5)
	}
	require.Equal(t, want, got)

	part, err := e.queue.ListTimers(newContext(t), bus.AnyToken, bus.AnyToken, 1, 4, 100)
	require.NoError(t, err)
	require.Len(t, part.Timers, 4, "not those that were set later")
	part, err = e.queue.ListTimers(newContext(t), "other", hook, 1, 0, 100)
	require.NoError(t, err)
	require.Empty(t, part.Timers)
	n, err := e.queue.CountMatching(newContext(t), "acme", otherHook)
	require.NoError(t, err)
	require.EqualValues(t, 7, n)
}

func TestTimerIsMadeDueOnce(t *testing.T) {
	t.Parallel()
	e := setup(t)
	ctx, task := newContext(t), task()
	task.Attempts, task.SlotAt = 4, time.Now().Add(time.Hour).UTC()
	e.waiting(t, task, true)
	timer := e.found(t, task)
	done, err := e.queue.Hasten(ctx, timer)
	require.NoError(t, err)
	require.True(t, done)
	got := e.due(t, "meeting-booked")
	want := *task
	want.SlotAt, want.Event = time.Time{}, nil
	requireTask(t, &want, got.task)
	require.Empty(t, got.Headers().Get(bus.HeaderParked))

	done, err = e.queue.Hasten(ctx, timer)
	require.NoError(t, err)
	require.False(t, done, "it has fired")
	done, err = e.queue.Cancel(ctx, timer, uuid.NewString())
	require.NoError(t, err)
	require.False(t, done)
	none, err := e.queue.FindTimer(ctx, "acme", task.Delivery)
	require.NoError(t, err)
	require.Nil(t, none)
}

func TestTimerThatWasSetAnewIsLeftAlone(t *testing.T) {
	t.Parallel()
	e := setup(t)
	ctx, task := newContext(t), task()
	e.waiting(t, task, false)
	stale := e.found(t, task)
	e.waiting(t, task, false)
	done, err := e.queue.Hasten(ctx, stale)
	require.NoError(t, err)
	require.False(t, done)
	done, err = e.queue.Cancel(ctx, stale, uuid.NewString())
	require.NoError(t, err)
	require.False(t, done)
	e.timer(t, task)
	require.Empty(t, e.records(t))
}

func TestCanceledTimerIsRecorded(t *testing.T) {
	t.Parallel()
	e := setup(t)
	task := task()
	task.Attempts = 2
	e.waiting(t, task, false)
	done, err := e.queue.Cancel(newContext(t), e.found(t, task), uuid.NewString())
	require.NoError(t, err)
	require.True(t, done)
	require.Zero(t, e.count(t, bus.StreamRetries, ">"))
	records := e.records(t)
	require.Len(t, records, 1)
	require.Equal(t, deliveryv1.Delivery_STATE_DROPPED, records[0].GetState())
	require.Equal(t, "canceled", records[0].GetReason())
	require.EqualValues(t, 2, records[0].GetAttemptCount())
}

// Canceled as it fires, a timer is either canceled or tried: never both, never neither.
func TestCancelRacesWithFiring(t *testing.T) {
	t.Parallel()
	e := setup(t)
	ctx := newContext(t)
	canceled := 0
	for range 40 {
		one := task()
		require.NoError(t, e.queue.Schedule(ctx, one, time.Now().Add(3*time.Millisecond), false, uuid.NewString()))
		timer, err := e.queue.FindTimer(ctx, "acme", one.Delivery)
		require.NoError(t, err)
		if timer == nil {
			continue // it was faster
		}
		done, err := e.queue.Cancel(ctx, timer, uuid.NewString())
		require.NoError(t, err)
		if done {
			canceled++
		}
	}
	require.Eventually(t, func() bool {
		return e.count(t, bus.StreamRetries, "retries.at.>") == 0 && e.count(t, bus.StreamRetries, ">") == 40-canceled
	}, patience, tick)
	require.Len(t, e.records(t), canceled)
}
