package core_test

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/meetwire/meetwire/services/delivery/internal/core"
)

// processes are the slots of several processes that share the limits of webhooks.
func processes(n int, now func() time.Time) []*core.Slots {
	all := make([]*core.Slots, n)
	for rank := range all {
		all[rank] = core.NewSlots(1000, now)
		all[rank].SetShare(rank, n)
	}
	return all
}

func TestSharesAreTheLimit(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		n := rapid.IntRange(1, 12).Draw(t, "processes")
		limits := core.Limits{Concurrency: rapid.IntRange(1, 1000).Draw(t, "concurrency"), Rate: rapid.Float64Range(0, 10_000).Draw(t, "rate")}
		webhook := rapid.StringN(1, 36, -1).Draw(t, "webhook")
		sum, rate, least, most := 0, 0.0, limits.Concurrency, 0
		for _, slots := range processes(n, newClock().now) {
			take(slots, webhook, limits, func() {}, func(time.Time) {})
			slots.Wait()
			state, ok := slots.State(webhook)
			require.True(t, ok)
			sum += state.Limits.Concurrency
			rate += state.Limits.Rate
			least, most = min(least, state.Limits.Concurrency), max(most, state.Limits.Concurrency)
		}
		require.Equal(t, limits.Concurrency, sum)
		require.InDelta(t, limits.Rate, rate, 1e-6)
		require.LessOrEqual(t, most-least, 1)
	})
}

func TestWhatCannotBeDividedIsSpreadOverTheProcesses(t *testing.T) {
	t.Parallel()
	const n = 4
	all := processes(n, newClock().now)
	lucky := make(map[int]int) // processes that have the odd slot
	for i := range 200 {
		webhook := fmt.Sprintf("11111111-1111-4111-8111-%012d", i)
		for rank, slots := range all {
			take(slots, webhook, core.Limits{Concurrency: n + 1}, func() {}, func(time.Time) {})
			slots.Wait()
			if state, _ := slots.State(webhook); state.Limits.Concurrency == 2 {
				lucky[rank]++
			}
		}
	}
	require.Len(t, lucky, n)
	for rank, webhooks := range lucky {
		require.Greater(t, webhooks, 20, "process %d", rank)
	}
}

func TestRateIsKeptOverAllProcesses(t *testing.T) {
	t.Parallel()
	for _, n := range []int{1, 2, 4} {
		synctest.Test(t, func(t *testing.T) {
			all, b := processes(n, time.Now), new(begun)
			limits := core.Limits{Concurrency: 40, Rate: 50}
			random := rand.New(rand.NewPCG(1, 2))
			var mu sync.Mutex
			const tasks = 1000
			var send func(reserved bool)
			send = func(reserved bool) {
				mu.Lock()
				slots := all[random.IntN(n)] // any process may get a message
				mu.Unlock()
				slots.Take("w", limits, core.Turn{
					Reserved: reserved,
					Run: func() core.Verdict {
						b.mu.Lock()
						b.times = append(b.times, time.Now())
						b.mu.Unlock()
						return core.VerdictSuccess
					},
					Away: func(at time.Time) { time.AfterFunc(time.Until(at), func() { send(true) }) },
				})
			}
			for range tasks {
				send(false)
			}
			began := time.Now()
			for b.count() < tasks {
				require.Less(t, time.Since(began), time.Minute)
				<-time.After(time.Second) // of the bubble's clock
				for _, slots := range all {
					slots.Sweep()
				}
			}
			require.LessOrEqual(t, b.most(), 55, "%d processes", n)
			require.Less(t, slices.MaxFunc(b.times, time.Time.Compare).Sub(began), 25*time.Second, "%d processes", n)
			for _, slots := range all {
				slots.Wait()
			}
		})
	}
}

func TestProcessWithoutASlotSendsEverythingAway(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c := newClock()
		slots, a := core.NewSlots(1000, c.now), newAttempts(t)
		for i := range 3 {
			a.takeWith(slots, "w", core.Limits{Concurrency: 1}, i)
		}
		synctest.Wait()
		without := 0
		for rank := range 2 {
			slots.SetShare(rank, 2)
			c.advance(2 * time.Second)
			slots.Sweep()
			synctest.Wait()
			state, ok := slots.State("w")
			require.True(t, ok)
			if state.Limits.Concurrency == 1 {
				continue
			}
			without++
			_, sent := a.state()
			require.Len(t, sent, 2, "who waits is sent away")
			a.takeWith(slots, "w", core.Limits{Concurrency: 1}, 9)
			synctest.Wait()
			_, sent = a.state()
			require.Len(t, sent, 3)
			require.True(t, sent[2].After(c.now()))
			require.Less(t, sent[2].Sub(c.now()), time.Second, "another process may have a slot now")
			slots.Sweep()
		}
		require.Equal(t, 1, without)
		a.end()
		slots.Wait()
		started, _ := a.state()
		require.Equal(t, []int{0}, started)
	})
}

func TestAShareThatGrowsIsInForceWhenTheOthersKnow(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c := newClock()
		slots, a := core.NewSlots(1000, c.now), newAttempts(t)
		has := func(after time.Duration) int {
			c.advance(after)
			slots.Sweep()
			state, ok := slots.State("w")
			require.True(t, ok)
			return state.Limits.Concurrency
		}
		for i := range 8 {
			a.takeWith(slots, "w", core.Limits{Concurrency: 8}, i)
		}
		for _, step := range []struct{ rank, count, before, after int }{
			{1, 4, 2, 2}, // less is in force at once
			{0, 2, 2, 4},
			{0, 1, 4, 8},
			{0, 0, 8, 8}, // at least this process is there
		} {
			slots.SetShare(step.rank, step.count)
			require.Equal(t, step.before, has(0))
			require.Equal(t, step.before, has(1500*time.Millisecond), "others may still use it")
			require.Equal(t, step.after, has(100*time.Millisecond))
		}
		a.end()
		slots.Wait()
	})
}

func TestWhatAProcessGetsMoreIsUsed(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		slots, a := core.NewSlots(1000, time.Now), newAttempts(t)
		slots.SetShare(0, 2)
		for i := range 8 {
			a.takeWith(slots, "w", core.Limits{Concurrency: 8}, i)
		}
		slots.SetShare(0, 1)
		<-time.After(handedOver) // of the bubble's clock
		slots.Sweep()
		synctest.Wait()
		started, sent := a.state()
		require.Equal(t, 8, len(started)+len(sent))
		require.Greater(t, len(started), 4)
		a.end()
		slots.Wait()
	})
}

// handedOver is when what another process had has become this one's.
const handedOver = 1600 * time.Millisecond
