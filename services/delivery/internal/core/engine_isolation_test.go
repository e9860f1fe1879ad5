package core_test

import (
	"context"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/meetwire/meetwire/pkg/fault"
	"github.com/meetwire/meetwire/services/delivery/internal/core"
)

func TestEngineWaitsForAProcessThatCanRender(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		deliveries uint64
		age        time.Duration
		want       []string
	}{
		"another may get the message": {deliveries: 1, age: time.Hour, want: []string{"later 5s"}},
		"none has had it so far":      {deliveries: 4, age: time.Hour, want: []string{"schedule", "done"}},
		"for days": {deliveries: 1, age: 72 * time.Hour, want: []string{
			"record 3 undeliverable", "dead letter undeliverable", "recorded", "done",
		}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				b := setup(t)
				b.renderer.err = fault.New(fault.Unavailable, "SECRETS_SEALED", "the secrets cannot be opened here")
				one := task()
				one.AcceptedAt = b.clock.now().Add(-test.age)
				require.Equal(t, test.want, b.handle(t.Context(), one, b.redelivered(test.deliveries)))
				if len(b.queue.timers) > 0 {
					require.Zero(t, b.queue.timers[0].task.Attempts, "it is no attempt")
					require.Equal(t, b.clock.now().Add(30*time.Second), b.queue.timers[0].at)
				}
				b.slots.Wait()
			})
		})
	}
}

func TestEngineBuriesWhatIsTooMuchForAWebhook(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := setup(t)
		b.queue.fails["schedule"] = core.ErrBacklogFull
		b.answer(500, core.ErrorStatus)
		steps := b.handle(t.Context(), task(), b.first())
		require.Equal(t, []string{
			"send https://one.example/", "record 1 ", "schedule", "record 3 backlog_full", "dead letter backlog_full", "recorded", "recorded", "done",
		}, steps)
		require.Equal(t, 1, b.queue.letters[0].task.Attempts)
		require.NotNil(t, b.queue.records[0].Attempt)
		require.Nil(t, b.queue.records[1].Attempt, "the attempt is recorded once")

		b.set(func(w *core.Webhook) { w.Status = core.StatusPaused })
		tried := task()
		tried.Attempts = 1
		steps = b.handle(t.Context(), tried, b.first())
		require.Equal(t, []string{"schedule", "record 3 backlog_full", "dead letter backlog_full", "recorded", "done"}, steps)
	})
}

func TestEngineBuriesWhatIsTooMuchForAWebhookWithoutASlot(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := setup(t)
		b.queue.fails["schedule"] = core.ErrBacklogFull
		var reasons []string
		b.engine.Buried = func(reason string) { reasons = append(reasons, reason) }
		release := b.hang()
		steps := b.handle(t.Context(), task(), b.first())
		require.Equal(t, []string{"schedule", "record 3 backlog_full", "dead letter backlog_full", "recorded", "done"}, steps)
		require.True(t, b.queue.letters[0].task.SlotAt.IsZero(), "a dead letter has no reservation")
		require.Equal(t, []string{core.ReasonBacklogFull}, reasons)
		close(release)
		b.slots.Wait()
	})
}

func TestEngineDropsWhatIsForNobodyHoweverOftenItCame(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := setup(t)
		b.webhooks.change(func(all map[string]*core.Webhook) { delete(all, hook) })
		steps := b.handle(t.Context(), task(), b.redelivered(11))
		require.Equal(t, []string{"record 4 webhook_deleted", "unschedule d", "recorded", "done"}, steps)
	})
}

func TestEngineReservesASlotAndHonoursIt(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := setup(t)
		var timers []bool
		b.engine.Deferred = func(timer bool) { timers = append(timers, timer) }
		release := b.hang()
		require.Equal(t, []string{"schedule", "done"}, b.handle(t.Context(), task(), b.first()))
		require.Equal(t, []bool{true}, timers)
		due := b.queue.timers[0].task
		require.Equal(t, b.queue.timers[0].at, due.SlotAt)
		close(release)
		synctest.Wait()

		b.clock.advance(due.SlotAt.Sub(b.clock.now()))
		b.answer(500, core.ErrorStatus)
		require.Equal(t, []string{"send https://one.example/", "record 1 ", "schedule", "recorded", "done"}, b.handle(t.Context(), &due, b.first()))
		require.True(t, b.queue.timers[1].task.SlotAt.IsZero(), "a retry has no reservation: its time is its own")
		b.slots.Wait()
	})
}

func TestEngineRecordsALongDeferral(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := setup(t)
		release := b.hang()
		b.clock.advance(time.Minute)
		require.Equal(t, []string{"record 1 ", "schedule", "recorded", "done"}, b.handle(t.Context(), task(), b.first()))
		record := b.record(t)
		require.Nil(t, record.Attempt)
		require.Zero(t, record.AttemptCount)
		require.Equal(t, b.queue.timers[0].at, record.NextAttemptAt)
		require.EqualValues(t, 1, record.Generation)
		require.False(t, record.Task.Recorded)
		require.True(t, b.queue.timers[0].task.Recorded)
		close(release)
		b.slots.Wait()
	})
}

func TestEngineLeavesAWebhookAloneThatOnlyFails(t *testing.T) {
	t.Parallel()
	for class, alone := range map[string]bool{
		core.ErrorStatus: true, core.ErrorTimeout: true, core.ErrorConnect: true, core.ErrorDNS: true, core.ErrorTLS: true,
		core.ErrorProxy: false, core.ErrorOverload: false,
	} {
		t.Run(class, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				b := setup(t)
				b.answer(0, class)
				for i := range 5 {
					one := task()
					one.Delivery = fmt.Sprint(i)
					require.Contains(t, b.handle(t.Context(), one, b.first()), "send https://one.example/")
				}
				steps := b.handle(t.Context(), task(), b.first())
				if !alone {
					require.Contains(t, steps, "send https://one.example/")
					return
				}
				require.Len(t, steps, 1)
				require.Contains(t, steps[0], "later")
				state, ok := b.slots.State(hook)
				require.True(t, ok)
				require.Equal(t, core.BreakerOpen, state.Breaker)
				require.Equal(t, class == core.ErrorTimeout, state.Suspect)

				// It points elsewhere now: nothing is known of that.
				b.set(func(w *core.Webhook) { w.TargetURL = "https://mended.example/" })
				require.Contains(t, b.handle(t.Context(), task(), b.first()), "send https://mended.example/")
				for i := range 5 {
					one := task()
					one.Delivery = fmt.Sprint(i)
					b.handle(t.Context(), one, b.first())
				}

				// A success makes everything as it was.
				b.clock.advance(time.Second)
				b.answer(204, "")
				require.Equal(t, "done", settled(t, b.handle(t.Context(), task(), b.first())))
				state, _ = b.slots.State(hook)
				require.Equal(t, core.BreakerClosed, state.Breaker)
				b.slots.Wait()
			})
		})
	}
}

func TestEngineTakesSlotsOfTheLaneBulkForIt(t *testing.T) {
	t.Parallel()
	for lane, want := range map[string]int{core.LaneBulk: 1, "custom": 0, "meeting-booked": 0} {
		synctest.Test(t, func(t *testing.T) {
			b := setup(t)
			bulk := -1
			b.sender.answer = func(_ context.Context, request core.Request) (core.Attempt, error) {
				state, _ := b.slots.State(hook)
				bulk = state.BulkActive
				return core.Attempt{ID: "attempt", StartedAt: b.clock.now(), Request: request, StatusCode: 204}, nil
			}
			one := task()
			one.Lane = lane
			require.Equal(t, "done", settled(t, b.handle(t.Context(), one, b.first())))
			require.Equal(t, want, bulk, lane)
			b.slots.Wait()
		})
	}
}
