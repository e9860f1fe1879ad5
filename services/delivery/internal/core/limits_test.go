package core_test

import (
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/meetwire/meetwire/services/delivery/internal/core"
)

// begun notes when attempts begin. An attempt takes no time; one that is sent away comes again when it is told to.
type begun struct {
	mu    sync.Mutex
	times []time.Time
	away  int
}

func (b *begun) take(slots *core.Slots, limits core.Limits) {
	take(slots, "w", limits, func() {
		b.mu.Lock()
		defer b.mu.Unlock()
		b.times = append(b.times, time.Now())
	}, func(at time.Time) {
		b.mu.Lock()
		b.away++
		b.mu.Unlock()
		time.AfterFunc(time.Until(at), func() { b.take(slots, limits) })
	})
}

// most is the greatest number of attempts that began within a second.
func (b *begun) most() int {
	b.mu.Lock()
	defer b.mu.Unlock()
	slices.SortFunc(b.times, time.Time.Compare)
	most := 0
	for i := range b.times {
		n := 0
		for n+i < len(b.times) && b.times[i+n].Sub(b.times[i]) < time.Second {
			n++
		}
		most = max(most, n)
	}
	return most
}

// bounced is how many were sent away.
func (b *begun) bounced() int {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.away
}

func (b *begun) count() int {
	b.mu.Lock()
	defer b.mu.Unlock()
	return len(b.times)
}

func TestRateIsKept(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		rate  float64
		tasks int
		most  int           // in any second
		all   time.Duration // how long all may take
	}{
		{rate: 50, tasks: 1000, most: 55, all: 22 * time.Second},
		{rate: 1, tasks: 20, most: 1, all: 22 * time.Second},
		{rate: 0.5, tasks: 10, most: 1, all: 22 * time.Second},
		{rate: 1000, tasks: 5000, most: 1100, all: 6 * time.Second},
	} {
		synctest.Test(t, func(t *testing.T) {
			slots, b := core.NewSlots(8, time.Now), new(begun)
			stop := make(chan struct{})
			var sweeper sync.WaitGroup
			sweeper.Go(func() {
				for {
					select {
					case <-stop:
						return
					case <-time.After(time.Second):
						slots.Sweep()
					}
				}
			})
			for range test.tasks {
				b.take(slots, core.Limits{Concurrency: 4, Rate: test.rate})
			}
			deadline := time.Now().Add(test.all)
			for b.count() < test.tasks && time.Now().Before(deadline) {
				<-time.After(100 * time.Millisecond) // of the bubble's clock
			}
			close(stop)
			sweeper.Wait()
			require.Equal(t, test.tasks, b.count(), "a rate of %v/s", test.rate)
			require.LessOrEqual(t, b.most(), test.most, "a rate of %v/s", test.rate)
			require.LessOrEqual(t, b.bounced(), 3*test.tasks, "nobody is sent away again and again")
			slots.Wait()
		})
	}
}

func TestLimitsAreThoseOfTheWebhookUpToThoseOfTheProcess(t *testing.T) {
	t.Parallel()
	for _, test := range []struct{ asked, want int }{{0, 5}, {1, 1}, {3, 3}, {5, 5}, {100, 5}} {
		synctest.Test(t, func(t *testing.T) {
			slots, a := core.NewSlots(5, newClock().now), newAttempts(t)
			for i := range 20 {
				a.takeWith(slots, "w", core.Limits{Concurrency: test.asked}, i)
			}
			synctest.Wait()
			started, _ := a.state()
			require.Len(t, started, test.want)
			a.end()
			slots.Wait()
		})
	}
}

func TestLimitsThatChangeAreInForceAtOnce(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		slots := core.NewSlots(10, newClock().now)
		first, second := newAttempts(t), newAttempts(t)
		for i := range 4 {
			first.takeWith(slots, "w", core.Limits{Concurrency: 2}, i)
		}
		synctest.Wait()
		started, _ := first.state()
		require.Len(t, started, 2)
		// Raised: those who wait go before the one that came last.
		second.takeWith(slots, "w", core.Limits{Concurrency: 4}, 9)
		synctest.Wait()
		started, _ = first.state()
		require.Len(t, started, 4)
		started, _ = second.state()
		require.Empty(t, started)
		// Lowered: what is under way goes on, and then there is one at a time.
		second.takeWith(slots, "w", core.Limits{Concurrency: 1}, 10)
		first.end()
		synctest.Wait()
		started, _ = second.state()
		require.Equal(t, []int{9}, started)
		second.end()
		slots.Wait()
		started, _ = second.state()
		require.Equal(t, []int{9, 10}, started)
	})
}

func TestARateThatChangesIsInForceAtOnce(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		slots, b := core.NewSlots(20, time.Now), new(begun)
		began := time.Now()
		for range 100 {
			b.take(slots, core.Limits{Concurrency: 20, Rate: 100})
		}
		away := make(chan time.Time, 3)
		take := func(rate float64) {
			take(slots, "w", core.Limits{Concurrency: 20, Rate: rate}, func() { t.Error("it has no slot") }, func(at time.Time) { away <- at })
		}
		take(0.01)
		require.Greater(t, (<-away).Sub(began), time.Minute)
		slots.Wait()
		require.Less(t, time.Since(began), 3*time.Second, "nobody holds a slot until a time that is far off")

		// Raised again: the next need not wait for what the lower rate gave out.
		const most = 20
		before := b.count()
		for range most {
			b.take(slots, core.Limits{Concurrency: 20, Rate: 100})
		}
		slots.Wait()
		require.Equal(t, before+most, b.count())
		require.Less(t, time.Since(began), 5*time.Second)
	})
}

func TestAnyRateGivesTimesThatCanBeUsed(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		c := newClock()
		rate := rapid.Float64Range(1e-9, 1e9).Draw(t, "rate")
		slots := core.NewSlots(1, c.now)
		release := make(chan struct{})
		taken := make(chan struct{})
		take(slots, "w", core.Limits{Rate: rate}, func() {
			close(taken)
			<-release
		}, nil)
		<-taken
		c.advance(10 * time.Second) // nothing moves: all that come are sent away
		var away sync.WaitGroup
		for range 20 {
			away.Add(1)
			take(slots, "w", core.Limits{Rate: rate}, func() { t.Error("it has no slot") }, func(at time.Time) {
				defer away.Done()
				if at.Before(c.now()) || at.After(c.now().Add(time.Hour)) {
					t.Errorf("told to come at %s", at)
				}
			})
		}
		away.Wait()
		close(release)
		slots.Wait()
	})
}

// What was given out is not given out once more when a process joins or leaves, however often.
func TestARateIsKeptWhileTheShareOfItChanges(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		slots, b := core.NewSlots(40, time.Now), new(begun)
		const tasks = 150
		slots.SetShare(0, 3)
		began := time.Now()
		for range tasks {
			b.take(slots, core.Limits{Concurrency: 40, Rate: 60})
		}
		for n := 0; b.count() < tasks; n++ {
			<-time.After(300 * time.Millisecond) // of the bubble's clock
			slots.SetShare(0, 4-n%2)
			slots.Sweep()
		}
		require.LessOrEqual(t, b.most(), 22, "a third of the rate, and a tenth more")
		require.Less(t, time.Since(began), 12*time.Second, "it is never less than a quarter")
		slots.Wait()
	})
}
