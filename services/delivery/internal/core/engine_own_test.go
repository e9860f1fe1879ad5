package core_test

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/meetwire/meetwire/services/delivery/internal/core"
)

// A failure of our own uses up no retry. How long it lasts decides how soon it is tried again.
func TestEngineTriesAgainAfterAFailureOfOurOwn(t *testing.T) {
	t.Parallel()
	for class, mine := range map[string]bool{
		core.ErrorProxy: true, core.ErrorOverload: true, core.ErrorConnect: false, core.ErrorTimeout: false, core.ErrorAddress: false,
	} {
		for name, test := range map[string]struct {
			age  time.Duration
			want time.Duration
		}{
			"at once":             {age: 0, want: 5 * time.Second},
			"after a while":       {age: time.Minute, want: time.Minute + 2*time.Second},
			"after a long outage": {age: 10 * time.Hour, want: 5 * time.Minute},
		} {
			t.Run(class+" "+name, func(t *testing.T) {
				t.Parallel()
				synctest.Test(t, func(t *testing.T) {
					b := setup(t)
					b.set(func(w *core.Webhook) { w.Policy = core.Policy{} })
					b.answer(0, class)
					task := task()
					task.AcceptedAt = b.clock.now().Add(-test.age)
					steps := b.handle(t.Context(), task, b.first())
					if !mine {
						require.Contains(t, steps, "dead letter attempts_exhausted")
						return
					}
					require.Equal(t, []string{"send https://one.example/", "record 1 ", "schedule", "recorded", "done"}, steps)
					timer := b.queue.timers[0]
					require.InDelta(t, test.want, timer.at.Sub(b.clock.now()), float64(test.want)/5+1)
					require.Equal(t, 1, timer.task.Attempts, "its attempts are numbered all the same")
					require.Zero(t, timer.task.Run())

					// Whatever comes of the next attempt, it is the first that counts.
					b.answer(500, core.ErrorStatus)
					next := timer.task
					steps = b.handle(t.Context(), &next, b.first())
					require.Contains(t, steps, "dead letter attempts_exhausted")
					require.Equal(t, 2, b.queue.letters[0].task.Attempts)
				})
			})
		}
	}
}

func TestEngineUsesUpNoRetriesForFailuresOfOurOwn(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := setup(t) // three retries
		task := task()
		var classes []string
		for _, class := range []string{
			core.ErrorStatus, core.ErrorProxy, core.ErrorProxy, core.ErrorStatus, core.ErrorOverload, core.ErrorStatus, core.ErrorProxy,
		} {
			b.answer(0, class)
			b.handle(t.Context(), task, b.first())
			require.Empty(t, b.queue.letters, "after %s", classes)
			classes = append(classes, class)
			task = &b.queue.timers[len(b.queue.timers)-1].task
		}
		require.Equal(t, len(classes), task.Attempts)
		b.answer(0, core.ErrorStatus)
		require.Contains(t, b.handle(t.Context(), task, b.first()), "dead letter attempts_exhausted")
	})
}

func TestEngineGivesUpAtAnAgeAfterFailuresOfOurOwn(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := setup(t) // the event was accepted an hour ago
		b.set(func(w *core.Webhook) { w.Policy.GiveUpAge = time.Hour })
		b.answer(0, core.ErrorProxy)
		require.Contains(t, b.handle(t.Context(), task(), b.first()), "dead letter gave_up_age")
	})
}

// The age of a run that began anew is counted from then.
func TestEngineCountsTheAgeOfARunFromItsBeginning(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		ran          time.Duration // for how long the run has lasted
		tried, again bool
	}{
		"a fresh run":                        {ran: time.Second, again: true},
		"its next retry is within the age":   {ran: 58 * time.Minute, tried: true, again: true},
		"its next retry is beyond the age":   {ran: 59*time.Minute + 50*time.Second},
		"its retry comes when it is too old": {ran: 62 * time.Minute, tried: true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				b := setup(t)
				b.answer(500, core.ErrorStatus)
				b.set(func(w *core.Webhook) {
					w.Policy = core.Policy{MaxRetries: 3, FirstDelay: time.Minute, Factor: 1, MaxDelay: time.Minute, GiveUpAge: time.Hour}
				})
				old := task()
				old.AcceptedAt, old.RunAt = b.clock.now().Add(-30*24*time.Hour), b.clock.now().Add(-test.ran)
				old.Attempts, old.AttemptBase = 5, 5
				if test.tried {
					old.Attempts = 6
				}
				steps := b.handle(t.Context(), old, b.first())
				if test.again {
					require.Equal(t, []string{"send https://one.example/", "record 1 ", "schedule", "recorded", "done"}, steps)
					require.Equal(t, old.RunAt, b.queue.timers[0].task.RunAt)
				} else {
					require.Contains(t, steps, "dead letter gave_up_age")
				}
			})
		})
	}
}
