package core_test

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/meetwire/meetwire/services/delivery/internal/core"
)

// set changes the webhook.
func (b *bench) set(change func(*core.Webhook)) {
	b.webhooks.change(func(all map[string]*core.Webhook) {
		changed := *all[hook]
		change(&changed)
		all[hook] = &changed
	})
}

func disable(w *core.Webhook) { w.Status = core.StatusDisabled }

func TestEngineBuriesWhatIsForADisabledWebhook(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := setup(t)
		b.set(disable)
		waited := task()
		waited.Event, waited.Attempts = nil, 2
		steps := b.handle(t.Context(), waited, b.first())
		require.Equal(t, []string{"record 3 webhook_disabled", "dead letter webhook_disabled", "recorded", "done"}, steps)
		require.Equal(t, eventText, string(b.queue.letters[0].task.Event))
		require.Equal(t, 2, b.queue.letters[0].task.Attempts)
		record := b.record(t)
		require.Nil(t, record.Attempt, "no attempt was made")
		require.EqualValues(t, 1, record.Generation)
	})
}

func TestEngineBuriesWhatWaitedForASlotWhenTheWebhookWasDisabled(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := setup(t)
		release := make(chan struct{})
		take(b.slots, hook, core.Limits{}, func() { <-release }, nil)
		require.Empty(t, b.handle(t.Context(), task(), b.first()), "it waits for its slot")
		b.set(disable)
		close(release)
		synctest.Wait()
		require.Equal(t, []string{"record 3 webhook_disabled", "dead letter webhook_disabled", "recorded", "done"}, b.take())
	})
}

func TestEngineBuriesAnAttemptThatFailedWhenTheWebhookWasDisabled(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := setup(t)
		b.sender.answer = func(context.Context, core.Request) (core.Attempt, error) {
			b.set(disable)
			return core.Attempt{ID: "attempt", StartedAt: b.clock.now(), StatusCode: 500, ErrorClass: core.ErrorStatus}, nil
		}
		steps := b.handle(t.Context(), task(), b.first())
		require.Equal(t, []string{
			"send https://one.example/", "record 3 webhook_disabled", "dead letter webhook_disabled", "recorded", "done",
		}, steps)
		require.NotNil(t, b.record(t).Attempt, "the attempt is recorded with it")
	})
}

func TestEngineTakesASuccessWhateverHasHappened(t *testing.T) {
	t.Parallel()
	for name, change := range map[string]func(b *bench){
		"disabled": func(b *bench) { b.set(disable) },
		"deleted":  func(b *bench) { b.webhooks.change(func(all map[string]*core.Webhook) { delete(all, hook) }) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				b := setup(t)
				b.sender.answer = func(context.Context, core.Request) (core.Attempt, error) {
					change(b)
					return core.Attempt{ID: "attempt", StartedAt: b.clock.now(), StatusCode: 204}, nil
				}
				steps := b.handle(t.Context(), task(), b.first())
				require.Equal(t, []string{"send https://one.example/", "record 2 ", "recorded", "done"}, steps)
			})
		})
	}
}

func TestEngineSetsNoTimerForAWebhookThatWasDeleted(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := setup(t)
		b.sender.answer = func(context.Context, core.Request) (core.Attempt, error) {
			b.webhooks.change(func(all map[string]*core.Webhook) { delete(all, hook) })
			return core.Attempt{ID: "attempt", StartedAt: b.clock.now(), StatusCode: 500, ErrorClass: core.ErrorStatus}, nil
		}
		steps := b.handle(t.Context(), task(), b.first())
		require.Equal(t, []string{"send https://one.example/", "record 4 webhook_deleted", "unschedule d", "recorded", "done"}, steps)
		require.NotNil(t, b.record(t).Attempt)
	})
}

func TestEngineRecordsNothingOfADeletedOrganization(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := setup(t)
		b.webhooks.change(func(all map[string]*core.Webhook) { delete(all, hook) })
		b.webhooks.deleted = true
		require.Equal(t, []string{"unschedule d", "done"}, b.handle(t.Context(), task(), b.first()))
		require.NoError(t, b.engine.DropPending(t.Context(), "acme", hook))
		require.Empty(t, b.take())
	})
}

func TestEngineDropsWhatIsPending(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := setup(t)
		require.NoError(t, b.engine.DropPending(t.Context(), "acme", hook))
		require.Equal(t, []string{"record 4 webhook_deleted", "recorded"}, b.take())
		record := b.record(t)
		require.Empty(t, record.Task.Delivery, "it is about all of them")
		require.Equal(t, hook, record.Task.Webhook)
		require.Equal(t, "acme", record.Task.Organization)
	})
}

// closingQueue changes the webhook while a timer is on its way.
type closingQueue struct {
	*queue
	change func()
}

func (q *closingQueue) Schedule(ctx context.Context, task *core.Task, at time.Time, parked bool, replaces string) error {
	q.change()
	return q.queue.Schedule(ctx, task, at, parked, replaces)
}

func TestEngineHasTimersLookedAfterThatCameTooLate(t *testing.T) {
	t.Parallel()
	for name, change := range map[string]func(b *bench){
		"disabled": func(b *bench) { b.set(disable) },
		"deleted":  func(b *bench) { b.webhooks.change(func(all map[string]*core.Webhook) { delete(all, hook) }) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				b := setup(t)
				b.answer(500, core.ErrorStatus)
				b.engine.Queue = &closingQueue{queue: b.queue, change: func() { change(b) }}
				steps := b.handle(t.Context(), task(), b.first())
				require.Equal(t, []string{
					"send https://one.example/", "record 1 ", "schedule", "tend acme " + hook, "recorded", "done",
				}, steps)

				b = setup(t) // also when it was deferred, without an attempt
				b.engine.Queue = &closingQueue{queue: b.queue, change: func() { change(b) }}
				release := b.hang()
				steps = b.handle(t.Context(), task(), b.first())
				require.Equal(t, []string{"schedule", "tend acme " + hook, "done"}, steps)
				close(release)
				b.slots.Wait()
			})
		})
	}
}

func TestEngineSendsNothingInTheClear(t *testing.T) {
	t.Parallel()
	for url, want := range map[string]bool{
		"http://one.example/": true, "HTTP://one.example/": true, "https://one.example/": false, "": false,
	} {
		require.Equal(t, want, (&core.Webhook{TargetURL: url}).Insecure(), "%q", url)
		require.False(t, (&core.Webhook{TargetURL: url, AllowHTTP: true}).Insecure(), "%q", url)
	}
	synctest.Test(t, func(t *testing.T) {
		b := setup(t)
		b.set(func(w *core.Webhook) { w.TargetURL = "http://one.example/" })
		steps := b.handle(t.Context(), task(), b.first())
		require.Equal(t, []string{"record 1 ", "schedule", "recorded", "done"}, steps, "it is tried again: someone may allow it")
		attempt := b.record(t).Attempt
		require.Equal(t, core.ErrorInsecure, attempt.ErrorClass)
		require.Equal(t, 1, attempt.Number)
		require.NotEmpty(t, attempt.ErrorMessage)
		require.Equal(t, "http://one.example/", attempt.Request.URL)
	})
}

func TestEngineGivesUpAtAnAge(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		age   time.Duration
		again bool
	}{
		"the next retry is within it": {age: time.Hour + 2*time.Second + time.Minute, again: true},
		"the next retry is beyond it": {age: time.Hour + 2*time.Second + time.Minute - 1},
		"the event is older already":  {age: time.Minute},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				b := setup(t) // the event was accepted an hour ago; an attempt takes two seconds, the first wait is a minute
				b.answer(500, core.ErrorStatus)
				b.set(func(w *core.Webhook) { w.Policy.GiveUpAge = test.age })
				steps := b.handle(t.Context(), task(), b.first())
				if test.again {
					require.Equal(t, []string{"send https://one.example/", "record 1 ", "schedule", "recorded", "done"}, steps)
					return
				}
				require.Equal(t, []string{
					"send https://one.example/", "record 3 gave_up_age", "dead letter gave_up_age", "recorded", "done",
				}, steps)
			})
		})
	}
}

func TestEngineDoesNotDeferBeyondTheGiveUpAge(t *testing.T) {
	t.Parallel()
	for name, attempts := range map[string]int{"never tried": 0, "tried": 1} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				b := setup(t)
				b.set(func(w *core.Webhook) { w.Policy.GiveUpAge = time.Hour })
				release := b.hang()
				deferred := task()
				deferred.Attempts = attempts
				steps := b.handle(t.Context(), deferred, b.first())
				if attempts == 0 {
					require.Equal(t, []string{"schedule", "done"}, steps, "everything is tried once")
				} else {
					require.Equal(t, []string{"record 3 gave_up_age", "dead letter gave_up_age", "recorded", "done"}, steps)
				}
				close(release)
				b.slots.Wait()
			})
		})
	}
}

func TestEngineDoesNotRetryWhatWaitedForTooLong(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		age      time.Duration
		attempts int
		tried    bool
	}{
		"a timer that was a little late": {age: time.Hour - time.Minute, attempts: 1, tried: true},
		"a timer that was very late":     {age: time.Hour - time.Minute - 1, attempts: 1},
		"never tried":                    {age: time.Minute, attempts: 0, tried: true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				b := setup(t) // the event was accepted an hour ago
				b.set(func(w *core.Webhook) { w.Policy.GiveUpAge = test.age })
				due := task()
				due.Attempts = test.attempts
				steps := b.handle(t.Context(), due, b.first())
				if test.tried {
					require.Equal(t, []string{"send https://one.example/", "record 2 ", "recorded", "done"}, steps)
				} else {
					require.Equal(t, []string{"record 3 gave_up_age", "dead letter gave_up_age", "recorded", "done"}, steps)
				}
			})
		})
	}
}

func TestEngineHonoursRetryAfter(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		status int
		value  string
		want   time.Duration
	}{
		"longer than the policy's wait":  {503, "600", 10 * time.Minute},
		"shorter than the policy's wait": {429, "1", time.Minute},
		"too long":                       {429, "999999", 24 * time.Hour},
		"after another failure":          {500, "600", time.Minute},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				b := setup(t)
				b.sender.answer = func(context.Context, core.Request) (core.Attempt, error) {
					return core.Attempt{
						ID: "attempt", StartedAt: b.clock.now(), StatusCode: test.status, ErrorClass: core.ErrorStatus, RetryAfter: test.value,
					}, nil
				}
				b.handle(t.Context(), task(), b.first())
				require.Len(t, b.queue.timers, 1)
				require.Equal(t, b.clock.now().Add(test.want), b.queue.timers[0].at)
				require.Equal(t, b.queue.timers[0].at, b.record(t).NextAttemptAt)
			})
		})
	}
}

func TestEngineBuriesWhatWaits(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := setup(t)
		waiting := task()
		waiting.Event, waiting.Attempts = nil, 3
		require.NoError(t, b.engine.BuryWaiting(t.Context(), waiting, "RETRIES:9", b.webhooks.all[hook]))
		require.Equal(t, []string{"record 3 webhook_disabled", "dead letter webhook_disabled", "recorded"}, b.take())
		letter := b.queue.letters[0]
		require.Equal(t, "RETRIES:9", letter.replaces)
		require.Equal(t, eventText, string(letter.task.Event))
	})
}
