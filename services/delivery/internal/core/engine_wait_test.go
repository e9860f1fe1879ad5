package core_test

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/meetwire/meetwire/pkg/fault"
	"github.com/meetwire/meetwire/services/delivery/internal/core"
)

var errTest = errors.New("this cannot be sent")

const otherHook = "22222222-2222-4222-8222-222222222222"

func TestEngineWaitsForTheConfiguration(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := setup(t)
		early := task()
		early.Webhook, early.ConfigRevision = otherHook, 3
		require.Empty(t, b.handle(t.Context(), early, b.first()), "it is not known yet, which does not mean deleted")
		b.webhooks.change(func(map[string]*core.Webhook) {})
		synctest.Wait()
		require.Empty(t, b.take(), "that was an older change")
		b.webhooks.change(func(all map[string]*core.Webhook) {
			all[otherHook] = &core.Webhook{ID: otherHook, TargetURL: "https://two.example/", Form: b.renderer}
		})
		synctest.Wait()
		require.Equal(t, []string{"send https://two.example/", "record 2 ", "recorded", "done"}, b.take())
	})
}

func TestEngineDropsWhatWasDeletedBeforeItsTurn(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := setup(t)
		early := task()
		early.Webhook, early.ConfigRevision = otherHook, 2
		require.Empty(t, b.handle(t.Context(), early, b.first()))
		b.webhooks.change(func(map[string]*core.Webhook) {})
		synctest.Wait()
		require.Equal(t, []string{"record 4 webhook_deleted", "unschedule d", "recorded", "done"}, b.take())
	})
}

func TestEngineDefersWhatTheConfigurationDoesNotCatchUpWith(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := setup(t)
		early := task()
		early.Webhook, early.ConfigRevision = otherHook, 3
		require.Empty(t, b.handle(t.Context(), early, b.first()))
		<-time.After(time.Minute)
		synctest.Wait()
		// Given back it would be poison after ten times, though nothing is wrong with it.
		require.Equal(t, []string{"schedule", "done"}, b.take())
		timer := b.queue.timers[0]
		require.True(t, timer.at.After(b.clock.now()))
		require.False(t, timer.parked)
		require.Zero(t, timer.task.Attempts)
		require.EqualValues(t, 3, timer.task.ConfigRevision)
	})
}

func TestEngineReturnsWhatWaitsForTheConfigurationWhenItIsStopped(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := setup(t)
		ctx, cancel := context.WithCancel(t.Context())
		early := task()
		early.Webhook, early.ConfigRevision = otherHook, 3
		require.Empty(t, b.handle(ctx, early, b.first()))
		cancel()
		synctest.Wait()
		require.Equal(t, []string{"return"}, b.take())
	})
}

func TestEngineDoesNotCountAnAttemptThatAStopCutOff(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := setup(t)
		b.sender.answer = func(ctx context.Context, _ core.Request) (core.Attempt, error) {
			<-ctx.Done()
			return core.Attempt{}, ctx.Err()
		}
		ctx, cancel := context.WithCancel(t.Context())
		task := task()
		require.Equal(t, []string{"send https://one.example/"}, b.handle(ctx, task, b.first()))
		cancel()
		synctest.Wait()
		require.Equal(t, []string{"return"}, b.take())
		require.Zero(t, task.Attempts)
		require.Empty(t, b.observed)
	})
}

// occupied returns a bench with a task in the only slot of the webhook, and the function that ends its attempt.
func occupied(t *testing.T) (*bench, func()) {
	t.Helper()
	b := setup(t)
	end := make(chan struct{})
	answer := b.sender.answer
	b.sender.answer = func(ctx context.Context, request core.Request) (core.Attempt, error) {
		<-end
		return answer(ctx, request)
	}
	require.Equal(t, []string{"send https://one.example/"}, b.handle(t.Context(), task(), b.first()))
	return b, func() {
		close(end)
		synctest.Wait()
	}
}

func TestEngineSendsWithTheConfigurationOfTheMoment(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		change func(all map[string]*core.Webhook)
		want   []string
	}{
		"the webhook was edited": {
			change: func(all map[string]*core.Webhook) {
				edited := *all[hook]
				edited.TargetURL = "https://moved.example/"
				all[hook] = &edited
			},
			want: []string{"send https://moved.example/", "record 2 ", "recorded", "done"},
		},
		"the webhook was paused": {
			change: func(all map[string]*core.Webhook) {
				paused := *all[hook]
				paused.Status = core.StatusPaused
				all[hook] = &paused
			},
			want: []string{"record 1 ", "schedule", "recorded", "done"},
		},
		"the webhook was deleted": {
			change: func(all map[string]*core.Webhook) { delete(all, hook) },
			want:   []string{"record 4 webhook_deleted", "unschedule d", "recorded", "done"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				b, end := occupied(t)
				require.Empty(t, b.handle(t.Context(), task(), b.first()), "it waits for the slot")
				b.webhooks.change(test.change)
				end()
				steps := b.take()
				require.Subset(t, steps, test.want)
				require.Len(t, steps, 3+len(test.want), "the first task ends as it began: %v", steps)
			})
		})
	}
}

func TestEngineDefersWhatHasNoSlot(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		running    time.Duration // how long the attempt in the slot has been going on
		deliveries uint64
		want       []string
	}{
		"for a moment":                     {running: 2 * time.Second, deliveries: 1, want: []string{"later 4s"}},
		"for a moment, the third time":     {running: 2 * time.Second, deliveries: 3, want: []string{"later 4s"}},
		"for a moment, once too often":     {running: 2 * time.Second, deliveries: 4, want: []string{"schedule", "done"}},
		"for longer than a message may be": {running: 4 * time.Second, deliveries: 1, want: []string{"schedule", "done"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				b, end := occupied(t)
				b.clock.advance(test.running)
				task := task()
				require.Equal(t, test.want, b.handle(t.Context(), task, b.redelivered(test.deliveries)))
				require.Zero(t, task.Attempts, "it is no attempt")
				if len(b.queue.timers) > 0 {
					require.Equal(t, b.clock.now().Add(2*test.running), b.queue.timers[0].at)
					require.Equal(t, "DELIVERIES:1", b.queue.timers[0].replaces)
					require.False(t, b.queue.timers[0].parked)
				}
				end()
			})
		})
	}
}

func TestEngineKeepsAMessageUntilItsEffectIsStored(t *testing.T) {
	t.Parallel()
	refused := fault.New(fault.InvalidArgument, "MESSAGE_TOO_LARGE", "the message is larger than the stream takes")
	for _, failing := range []struct {
		err  error
		want string
	}{
		{err: context.Canceled, want: "return"},
		{err: context.DeadlineExceeded, want: "return"},
		{err: refused, want: "later 5s"},
	} {
		for step, prepare := range map[string]func(b *bench, task *core.Task){
			"record":      func(*bench, *core.Task) {},
			"schedule":    func(b *bench, _ *core.Task) { b.answer(500, core.ErrorStatus) },
			"dead letter": func(b *bench, _ *core.Task) { b.renderer.err = errTest },
			"unschedule":  func(b *bench, _ *core.Task) { b.webhooks.all = nil },
		} {
			t.Run(step+" "+failing.err.Error(), func(t *testing.T) {
				t.Parallel()
				synctest.Test(t, func(t *testing.T) {
					b := setup(t)
					task := task()
					prepare(b, task)
					b.queue.fails[step] = failing.err
					require.Equal(t, failing.want, settled(t, b.handle(t.Context(), task, b.first())))
				})
			})
		}
	}
}

func TestEngineKeepsAMessageWhoseEventCannotBeRead(t *testing.T) {
	t.Parallel()
	for want, err := range map[string]error{
		"return":   context.Canceled,
		"later 5s": fault.New(fault.Unavailable, "STREAM_UNAVAILABLE", "the stream is not available"),
	} {
		for _, deliveries := range []uint64{1, 11} {
			synctest.Test(t, func(t *testing.T) {
				b := setup(t)
				b.events.err = err
				due := task()
				due.Event = nil
				require.Equal(t, []string{want}, b.handle(t.Context(), due, b.redelivered(deliveries)))
				require.Zero(t, due.Attempts)
			})
		}
	}
}

func TestEngineFreesTheSlotBeforeItSettles(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		// While NATS is away what has been sent waits to be settled; that is no reason to send no more.
		b := setup(t)
		away := make(chan struct{})
		b.engine.Queue = &blockingQueue{queue: b.queue, away: away}
		require.Equal(t, []string{"send https://one.example/"}, b.handle(t.Context(), task(), b.first()))
		require.Equal(t, []string{"send https://one.example/"}, b.handle(t.Context(), task(), b.first()))
		close(away)
		synctest.Wait()
		require.Subset(t, b.take(), []string{"record 2 ", "recorded", "done"})
	})
}

// blockingQueue is a queue that does nothing until away is closed.
type blockingQueue struct {
	*queue
	away chan struct{}
}

func (q *blockingQueue) Record(ctx context.Context, record *core.Record) func() error {
	<-q.away
	return q.queue.Record(ctx, record)
}
