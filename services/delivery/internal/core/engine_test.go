package core_test

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/meetwire/meetwire/services/delivery/internal/core"
)

func TestEngineSucceeds(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := setup(t)
		began := b.clock.now()
		task := task()
		steps := b.handle(t.Context(), task, b.first())
		require.Equal(t, []string{"send https://one.example/", "record 2 ", "recorded", "done"}, steps)
		record := b.record(t)
		require.Equal(t, "attempt", record.ID, "the record of an attempt has its id")
		require.Equal(t, core.StateSucceeded, record.State)
		require.Equal(t, 1, record.AttemptCount)
		require.Equal(t, began.Add(2*time.Second), record.Time)
		require.Zero(t, record.NextAttemptAt)
		require.Equal(t, 1, record.Attempt.Number)
		require.Equal(t, eventText, string(record.Attempt.Request.Body))
		require.Equal(t, time.Second, record.Attempt.Request.Timeout)
		require.Len(t, b.observed, 1)
		require.Equal(t, 1, b.observed[0].Number)
	})
}

func TestEngineSetsATimerAfterAFailure(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		before, base int
		want         time.Duration
	}{
		"of the first attempt":             {want: time.Minute},
		"of the third attempt":             {before: 2, want: 4 * time.Minute},
		"of the first attempt of a replay": {before: 9, base: 9, want: time.Minute},
		"of the second one of a replay":    {before: 10, base: 9, want: 2 * time.Minute},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				b := setup(t)
				b.answer(500, core.ErrorStatus)
				ended := b.clock.now().Add(2 * time.Second)
				task := task()
				task.Attempts, task.AttemptBase = test.before, test.base
				steps := b.handle(t.Context(), task, b.first())
				require.Equal(t, []string{"send https://one.example/", "record 1 ", "schedule", "recorded", "done"}, steps)

				require.Len(t, b.queue.timers, 1)
				timer := b.queue.timers[0]
				require.Equal(t, ended.Add(test.want), timer.at, "the wait begins when the attempt has ended")
				require.Equal(t, "DELIVERIES:1", timer.replaces)
				require.False(t, timer.parked)
				require.Equal(t, test.before+1, timer.task.Attempts)
				require.Equal(t, test.base, timer.task.AttemptBase)

				record := b.record(t)
				require.Equal(t, core.StatePending, record.State)
				require.Equal(t, timer.at, record.NextAttemptAt)
				require.Equal(t, test.before+1, record.Attempt.Number)
				require.Equal(t, test.before+1, record.AttemptCount)
			})
		})
	}
}

func TestEngineGivesUpAfterTheLastRetry(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct{ before, base int }{
		"of the first run": {before: 3},
		"of a replay":      {before: 13, base: 10},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				b := setup(t)
				b.answer(0, core.ErrorTimeout)
				task := task()
				task.Attempts, task.AttemptBase = test.before, test.base
				steps := b.handle(t.Context(), task, b.first())
				require.Equal(t, []string{
					"send https://one.example/", "record 3 attempts_exhausted", "dead letter attempts_exhausted", "recorded", "done",
				}, steps)
				letter := b.queue.letters[0]
				require.Equal(t, eventText, string(letter.task.Event), "a dead letter has its event")
				require.Equal(t, "DELIVERIES:1", letter.replaces)
				require.Equal(t, b.clock.now(), letter.at)
				require.Equal(t, test.before+1, letter.task.Attempts)
				record := b.record(t)
				require.Equal(t, core.StateDeadLettered, record.State)
				require.NotNil(t, record.Attempt, "the last attempt is recorded as well")
				require.Zero(t, record.NextAttemptAt)
			})
		})
	}
}

func TestEngineGivesUpWhatIsTakenUpTooOften(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := setup(t)
		steps := b.handle(t.Context(), task(), b.redelivered(10))
		require.Contains(t, steps, "send https://one.example/", "ten times are not too often")
		require.Equal(t, "done", settled(t, steps))

		b = setup(t)
		late := task()
		late.Event, late.Attempts = nil, 2
		steps = b.handle(t.Context(), late, b.redelivered(11))
		require.Equal(t, []string{"record 3 poison", "dead letter poison", "unschedule d", "recorded", "done"}, steps)
		require.Equal(t, eventText, string(b.queue.letters[0].task.Event), "its event is read for the dead letter")
		require.Equal(t, 2, b.queue.letters[0].task.Attempts)
		require.Nil(t, b.record(t).Attempt)
		require.Equal(t, "id-1", b.record(t).ID)
		require.Empty(t, b.observed)
	})
}

func TestEngineDropsWhatIsForADeletedWebhook(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := setup(t)
		b.webhooks.change(func(all map[string]*core.Webhook) { delete(all, hook) })
		steps := b.handle(t.Context(), task(), b.first())
		require.Equal(t, []string{"record 4 webhook_deleted", "unschedule d", "recorded", "done"}, steps)
		require.Equal(t, core.StateDropped, b.record(t).State)
		require.Nil(t, b.record(t).Attempt)
	})
}

func TestEngineParksWhatIsForAPausedWebhook(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := setup(t)
		b.webhooks.all[hook].Status = core.StatusPaused
		steps := b.handle(t.Context(), task(), b.first())
		require.Equal(t, []string{"record 1 ", "schedule", "recorded", "done"}, steps, "it is no attempt, but to be seen")
		timer := b.queue.timers[0]
		require.True(t, timer.parked)
		require.Equal(t, b.clock.now().Add(time.Hour), timer.at)
		require.Equal(t, "DELIVERIES:1", timer.replaces)
		require.Zero(t, timer.task.Attempts)
		record := b.record(t)
		require.Equal(t, core.StatePending, record.State)
		require.Nil(t, record.Attempt)
		require.Zero(t, record.NextAttemptAt, "nobody knows")

		for name, known := range map[string]func(*core.Task){
			"an hour later":              func(task *core.Task) { task.Parked = true },
			"what has been tried before": func(task *core.Task) { task.Attempts = 1 },
		} {
			again := task()
			known(again)
			require.Equal(t, []string{"schedule", "done"}, b.handle(t.Context(), again, b.first()), name)
		}
	})
}

func TestEngineReadsTheEventOfATaskWithoutOne(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := setup(t)
		due := task()
		due.Event = nil
		steps := b.handle(t.Context(), due, b.first())
		require.Equal(t, "done", settled(t, steps))
		require.Equal(t, eventText, string(b.record(t).Attempt.Request.Body))
	})
}

func TestEngineBuriesWhatHasLostItsEvent(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := setup(t)
		due := task()
		due.Event, due.EventSequence, due.Attempts = nil, 8, 1
		steps := b.handle(t.Context(), due, b.first())
		require.Equal(t, []string{"record 3 undeliverable", "dead letter undeliverable", "recorded", "done"}, steps)
		require.Empty(t, b.queue.letters[0].task.Event)
		attempt := b.record(t).Attempt
		require.Equal(t, core.ErrorRender, attempt.ErrorClass)
		require.Contains(t, attempt.ErrorMessage, "expired")
		require.Equal(t, 2, attempt.Number)
		require.Equal(t, b.clock.now(), attempt.StartedAt)
		require.Len(t, b.observed, 1)
	})
}

func TestEngineBuriesWhatCannotBeRendered(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := setup(t)
		b.renderer.err = errTest
		steps := b.handle(t.Context(), task(), b.first())
		require.Equal(t, []string{"record 3 undeliverable", "dead letter undeliverable", "recorded", "done"}, steps)
		record := b.record(t)
		require.Equal(t, core.ErrorRender, record.Attempt.ErrorClass)
		require.Equal(t, errTest.Error(), record.Attempt.ErrorMessage)
		require.Equal(t, record.ID, record.Attempt.ID)
		require.Equal(t, 1, record.AttemptCount)
		require.Equal(t, eventText, string(b.queue.letters[0].task.Event))
	})
}

func TestEngineCancelsTheTimerOfAnEarlierTry(t *testing.T) {
	t.Parallel()
	// Somebody had the message before, perhaps failed, set a timer, and died before it could say so.
	t.Run("after a success", func(t *testing.T) {
		t.Parallel()
		synctest.Test(t, func(t *testing.T) {
			b := setup(t)
			steps := b.handle(t.Context(), task(), b.redelivered(2))
			require.Equal(t, []string{"send https://one.example/", "record 2 ", "unschedule d", "recorded", "done"}, steps)
		})
	})
	t.Run("after the last failure", func(t *testing.T) {
		t.Parallel()
		synctest.Test(t, func(t *testing.T) {
			b := setup(t)
			b.answer(500, core.ErrorStatus)
			last := task()
			last.Attempts = 3
			steps := b.handle(t.Context(), last, b.redelivered(2))
			require.Equal(t, []string{
				"send https://one.example/", "record 3 attempts_exhausted", "dead letter attempts_exhausted",
				"unschedule d", "recorded", "done",
			}, steps)
		})
	})
	t.Run("not before it has failed for good", func(t *testing.T) {
		t.Parallel()
		synctest.Test(t, func(t *testing.T) {
			b := setup(t)
			b.answer(500, core.ErrorStatus)
			steps := b.handle(t.Context(), task(), b.redelivered(2))
			require.Equal(t, []string{"send https://one.example/", "record 1 ", "schedule", "recorded", "done"}, steps)
		})
	})
}

func TestEngineHandlesAMessageTwice(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := setup(t)
		b.answer(500, core.ErrorStatus)
		b.handle(t.Context(), task(), b.first())
		b.handle(t.Context(), task(), b.redelivered(2))
		require.Len(t, b.queue.timers, 2)
		require.Equal(t, b.queue.timers[0].replaces, b.queue.timers[1].replaces, "so that the second is no second timer")
		require.Equal(t, 1, b.queue.timers[1].task.Attempts)
	})
}
