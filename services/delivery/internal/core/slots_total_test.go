package core_test

import (
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/meetwire/meetwire/services/delivery/internal/core"
)

func TestSlotsOfAllWebhooksAreBounded(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		slots := core.NewSlots(8, newClock().now, core.WithTotal(10))
		big, small := newAttempts(t), newAttempts(t)
		for i := range 40 {
			big.take(slots, fmt.Sprint("big ", i%2), i)
		}
		small.take(slots, "small", 0)
		synctest.Wait()
		require.Equal(t, 10, slots.Load().Active)
		require.Equal(t, 31, slots.Load().Waiting)
		started, _ := small.state()
		require.Empty(t, started)
		small.end()
		big.end()
		slots.Wait()
		started, _ = big.state()
		require.Len(t, started, 40)
		started, _ = small.state()
		require.Len(t, started, 1)
		require.Equal(t, core.Load{}, slots.Load())
	})
}

func TestSlotsOfTheProcessGoAround(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		slots := core.NewSlots(8, newClock().now, core.WithTotal(1))
		var mu sync.Mutex
		var order []string
		for i := range 9 {
			webhook := fmt.Sprint(i / 3)
			take(slots, webhook, core.Limits{}, func() {
				mu.Lock()
				defer mu.Unlock()
				order = append(order, webhook)
			}, func(time.Time) { t.Error("all have their turn soon") })
		}
		slots.Wait()
		require.Len(t, order, 9)
		require.ElementsMatch(t, []string{"0", "1", "2"}, order[len(order)-6:len(order)-3], "%v", order)
	})
}

func TestWebhooksThatTimeOutShareHalfOfTheSlots(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		clock := newClock()
		slots := core.NewSlots(8, clock.now, core.WithTotal(8))
		hold := make(chan struct{})
		timeOut := func(webhook string, hold chan struct{}) {
			slots.Take(webhook, core.Limits{}, core.Turn{Delivery: webhook, Away: func(time.Time) {}, Run: func() core.Verdict {
				if hold != nil {
					<-hold
				}
				return core.VerdictTimeout
			}})
			synctest.Wait()
		}
		for i := range 4 {
			timeOut(fmt.Sprint("slow ", i), nil)
		}
		for i := range 16 {
			timeOut(fmt.Sprint("slow ", i%4), hold)
		}
		require.Equal(t, 4, slots.Load().Suspects)
		require.Equal(t, 4, slots.Load().Active)
		healthy := newAttempts(t)
		for i := range 4 {
			healthy.take(slots, "healthy", i)
		}
		synctest.Wait()
		started, _ := healthy.state()
		require.Len(t, started, 4, "the other half is for the others")
		healthy.end()
		close(hold)
		slots.Wait()
		require.Zero(t, slots.Load().Suspects)
	})
}

func TestSlotsAreFreeInTheEndWhateverHappens(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		c := newClock()
		total := rapid.IntRange(1, 8).Draw(t, "total")
		slots := core.NewSlots(rapid.IntRange(1, 4).Draw(t, "limit"), c.now, core.WithTotal(total))
		release := make(chan struct{}, 100_000)
		var calls []*atomic.Int64
		var active, most atomic.Int64
		t.Repeat(map[string]func(*rapid.T){
			"take": func(t *rapid.T) {
				called := new(atomic.Int64)
				calls = append(calls, called)
				verdict := rapid.SampledFrom([]core.Verdict{core.VerdictNone, core.VerdictSuccess, core.VerdictFailure, core.VerdictTimeout}).Draw(t, "verdict")
				webhook := rapid.SampledFrom([]string{"a", "b", "c"}).Draw(t, "webhook")
				slots.Take(webhook, core.Limits{}, core.Turn{
					Delivery: rapid.SampledFrom([]string{"1", "2", "3"}).Draw(t, "delivery"),
					Reserved: rapid.Bool().Draw(t, "reserved"),
					Run: func() core.Verdict {
						called.Add(1)
						now := active.Add(1)
						for seen := most.Load(); now > seen && !most.CompareAndSwap(seen, now); seen = most.Load() {
						}
						<-release
						active.Add(-1)
						return verdict
					},
					Away: func(time.Time) { called.Add(1) },
				})
			},
			"end":           func(*rapid.T) { release <- struct{}{} },
			"let time pass": func(t *rapid.T) { c.advance(time.Duration(rapid.Int64Range(0, int64(time.Minute)).Draw(t, "time"))) },
			"sweep":         func(*rapid.T) { slots.Sweep() },
			"share":         func(t *rapid.T) { slots.SetShare(0, rapid.IntRange(1, 3).Draw(t, "processes")) },
			"": func(t *rapid.T) {
				load := slots.Load()
				require.LessOrEqual(t, load.Active, total)
				require.LessOrEqual(t, load.Suspects, max(total/2, 1))
				if load.Active == 0 {
					require.Zero(t, load.Waiting, "nobody waits for nothing")
				}
			},
		})
		close(release)
		slots.Wait()
		for i, called := range calls {
			require.EqualValues(t, 1, called.Load(), "task %d", i)
		}
		require.LessOrEqual(t, most.Load(), int64(total))
		load := slots.Load()
		require.Zero(t, load.Active+load.Suspects+load.Waiting)
	})
}
