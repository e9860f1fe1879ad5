package core_test

import (
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/meetwire/meetwire/services/delivery/internal/core"
)

// slowly has a webhook make attempts that take a while, and then gives it far more than it can do soon. It returns how many
// were sent away.
func slowly(slots *core.Slots, limits core.Limits) int {
	var away atomic.Int64
	run := func() { <-time.After(500 * time.Millisecond) }
	for range 4 {
		take(slots, "w", limits, run, func(time.Time) { away.Add(1) })
	}
	slots.Wait()
	for range 100 {
		take(slots, "w", limits, run, func(time.Time) { away.Add(1) })
	}
	synctest.Wait()
	return int(away.Load())
}

func TestAWebhookThatHasBecomeFasterIsHungry(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		slots := core.NewSlots(2, time.Now)
		require.Greater(t, slowly(slots, core.Limits{}), 80)
		require.Empty(t, slots.Sweep(), "some wait here")
		slots.Wait()
		require.Empty(t, slots.Sweep(), "it was busy")
		require.Len(t, slots.Sweep(), 1, "nobody waits here, and they come again in half a minute")

		// It does what comes by itself, fast.
		for range 100 {
			take(slots, "w", core.Limits{}, func() { <-time.After(5 * time.Millisecond) }, func(time.Time) { t.Error("there is room") })
			<-time.After(10 * time.Millisecond)
		}
		hungry := slots.Sweep()
		require.Len(t, hungry, 1)
		require.Equal(t, "w", hungry[0].ID)
		require.InDelta(t, 2*time.Second/(5*time.Millisecond), hungry[0].Tasks, 100)
		slots.Fed("w", 3)
		require.Len(t, slots.Sweep(), 1)
		slots.Fed("w", 0)
		require.Empty(t, slots.Sweep(), "there is nothing for it")
	})
}

// Who has sent it away is not known: it may have been this process, before it was started anew.
func TestAWebhookIsHungryWhenATaskComesAgain(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		for reserved, want := range map[bool]int{true: 1, false: 0} {
			slots := core.NewSlots(2, time.Now)
			slots.Take("w", core.Limits{Concurrency: 2}, core.Turn{
				Delivery: "d", Reserved: reserved, Run: func() core.Verdict { return core.VerdictSuccess }, Away: func(time.Time) {},
			})
			slots.Wait()
			require.Len(t, slots.Sweep(), want, "reserved: %t", reserved)
			slots.Fed("w", 0)
			require.Empty(t, slots.Sweep(), "there was nothing for it")

			again := func() []core.Hungry {
				slots.Take("w", core.Limits{Concurrency: 2}, core.Turn{
					Delivery: "e", Reserved: reserved, Run: func() core.Verdict { return core.VerdictSuccess }, Away: func(time.Time) {},
				})
				slots.Wait()
				return slots.Sweep()
			}
			require.Empty(t, again(), "a moment ago there was nothing")
			<-time.After(10 * time.Second)
			require.Len(t, again(), want, "reserved: %t", reserved)
		}
	})
}

// Here a process has a slot of the webhook, and none for the lane bulk: what is for that is looked after elsewhere.
func TestAProcessWithoutSlotsForItsTasksIsNotHungryForThem(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		limits, away, strangers := core.Limits{Concurrency: 2}, 0, 0
		for rank := range 2 {
			slots := core.NewSlots(8, time.Now)
			slots.SetShare(rank, 2)
			<-time.After(time.Minute)
			slots.Sweep()
			sent := false
			for range 1000 {
				slots.Take("w", limits, core.Turn{
					Delivery: "d", Reserved: true, Bulk: true, Run: func() core.Verdict { return core.VerdictSuccess },
					Away: func(time.Time) { sent, away = true, away+1 },
				})
				synctest.Wait()
			}
			slots.Wait()
			if sent {
				strangers++
				require.Empty(t, slots.Sweep())
			}
		}
		require.Equal(t, 1, strangers)
		require.Equal(t, 1000, away)
	})
}

func TestAWebhookThatTakesLongerThanASecondIsHungryForOneTaskAtATime(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		slots := core.NewSlots(1, time.Now)
		for _, tasks := range []int{1, 100} { // how slow it is, is known before there are many
			for range tasks {
				take(slots, "w", core.Limits{}, func() { <-time.After(1200 * time.Millisecond) }, func(time.Time) {})
			}
			slots.Wait()
		}
		require.Equal(t, []core.Hungry{{ID: "w", Tasks: 1}}, slots.Sweep())
	})
}

func TestAWebhookThatIsBusyOrBoundIsNotHungry(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		limits core.Limits
		then   func(slots *core.Slots)
	}{
		"its rate allows no more": {limits: core.Limits{Rate: 1}, then: func(*core.Slots) {}},
		"they come again soon":    {then: func(*core.Slots) { <-time.After(time.Minute) }},
		"it fails": {then: func(slots *core.Slots) {
			for range 5 {
				slots.Take("w", core.Limits{Concurrency: 2}, core.Turn{
					Delivery: "d", Run: func() core.Verdict { return core.VerdictFailure }, Away: func(time.Time) {},
				})
				synctest.Wait()
			}
		}},
		"its slots belong to others": {then: func(slots *core.Slots) { slots.SetShare(0, 100) }},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				slots := core.NewSlots(2, time.Now)
				limits := test.limits
				limits.Concurrency = 2
				require.Positive(t, slowly(slots, limits))
				slots.Wait()
				slots.Sweep()
				test.then(slots)
				require.Empty(t, slots.Sweep())
			})
		})
	}
}
