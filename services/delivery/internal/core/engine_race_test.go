package core_test

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/meetwire/meetwire/services/delivery/internal/core"
)

// resumingQueue resumes the webhook while a timer is on its way.
type resumingQueue struct {
	*queue
	webhooks *webhooks
}

func (q *resumingQueue) Schedule(ctx context.Context, task *core.Task, at time.Time, parked bool, replaces string) error {
	q.webhooks.change(func(all map[string]*core.Webhook) {
		resumed := *all[hook]
		resumed.Status = core.StatusActive
		all[hook] = &resumed
	})
	return q.queue.Schedule(ctx, task, at, parked, replaces)
}

func TestEngineWakesWhatItParkedTooLate(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := setup(t)
		b.webhooks.all[hook].Status = core.StatusPaused
		b.engine.Queue = &resumingQueue{queue: b.queue, webhooks: b.webhooks}
		steps := b.handle(t.Context(), task(), b.first())
		require.Equal(t, []string{"record 1 ", "schedule", "tend acme " + hook, "recorded", "done"}, steps)
	})
}

// changing is a configuration that changes right after it was asked something for the first time.
type changing struct {
	*webhooks
	change func()
}

func (c *changing) once() {
	if change := c.change; change != nil {
		c.change = nil
		change()
	}
}

func (c *changing) Webhook(id string) (*core.Webhook, bool) {
	defer c.once()
	return c.webhooks.Webhook(id)
}

func (c *changing) Revision() int64 {
	defer c.once()
	return c.webhooks.Revision()
}

func TestEngineDropsNothingForAWebhookThatArrivesAtThatMoment(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := setup(t)
		b.engine.Webhooks = &changing{webhooks: b.webhooks, change: func() {
			b.webhooks.change(func(all map[string]*core.Webhook) {
				all[otherHook] = &core.Webhook{ID: otherHook, TargetURL: "https://two.example/", Form: b.renderer}
			})
		}}
		early := task()
		early.Webhook, early.ConfigRevision = otherHook, 2
		steps := b.handle(t.Context(), early, b.first())
		require.Equal(t, []string{"send https://two.example/", "record 2 ", "recorded", "done"}, steps)
	})
}

func TestEngineSurvivesATaskThatPanics(t *testing.T) {
	t.Parallel()
	for name, sabotage := range map[string]func(b *bench) (repair func()){
		"while it is sent": func(b *bench) func() {
			answer := b.sender.answer
			b.sender.answer = func(context.Context, core.Request) (core.Attempt, error) { panic("a defect") }
			return func() { b.sender.answer = answer }
		},
		"while it is settled": func(b *bench) func() {
			b.engine.Queue = nil
			return func() { b.engine.Queue = b.queue }
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				b := setup(t)
				repair := sabotage(b)
				require.Equal(t, []string{"send https://one.example/", "later 5s"}, b.handle(t.Context(), task(), b.first()))
				repair()
				require.Equal(t, "done", settled(t, b.handle(t.Context(), task(), b.redelivered(2))), "its slot is free")
				b.slots.Wait()
			})
		})
	}
}

func TestSlotsWaitForWhatIsStillBeingSettled(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := setup(t)
		away := make(chan struct{})
		b.engine.Queue = &blockingQueue{queue: b.queue, away: away}
		b.handle(t.Context(), task(), b.first())
		waited := make(chan struct{})
		go func() {
			b.slots.Wait()
			close(waited)
		}()
		synctest.Wait()
		select {
		case <-waited:
			require.Fail(t, "the attempt has not been recorded yet")
		default:
		}
		close(away)
		<-waited
		require.Equal(t, "done", settled(t, b.take()))
	})
}
