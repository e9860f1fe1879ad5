package core_test

import (
	"fmt"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/meetwire/meetwire/services/delivery/internal/core"
)

// lanes makes attempts of live tasks and of the lane bulk, and notes in which order they begin.
type lanes struct {
	slots  *core.Slots
	limits core.Limits
	took   time.Duration // of the bubble's clock, for each attempt

	mu    sync.Mutex
	hold  chan struct{} // attempts end when it is closed; nil: when their time is over
	order string        // "l" for each live one, "b" for each of the lane bulk
	away  map[bool][]time.Time
}

func (l *lanes) take(webhook string, bulk bool) {
	l.slots.Take(webhook, l.limits, core.Turn{
		Bulk: bulk,
		Run: func() core.Verdict {
			l.mu.Lock()
			l.order += map[bool]string{false: "l", true: "b"}[bulk]
			hold := l.hold
			l.mu.Unlock()
			if hold != nil {
				<-hold
			} else if l.took > 0 {
				<-time.After(l.took)
			}
			return core.VerdictSuccess
		},
		Away: func(at time.Time) {
			l.mu.Lock()
			defer l.mu.Unlock()
			if l.away == nil {
				l.away = make(map[bool][]time.Time)
			}
			l.away[bulk] = append(l.away[bulk], at)
		},
	})
}

func (l *lanes) takeMany(webhook string, bulk bool, n int) {
	for range n {
		l.take(webhook, bulk)
	}
	synctest.Wait()
}

// begun returns the order since the last call.
func (l *lanes) begun() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	order := l.order
	l.order = ""
	return order
}

func (l *lanes) state(t *testing.T) core.Isolation {
	t.Helper()
	state, ok := l.slots.State("w")
	require.True(t, ok)
	return state
}

func TestTheLaneBulkHasHalfOfTheSlots(t *testing.T) {
	t.Parallel()
	for concurrency, want := range map[int]int{1: 1, 2: 1, 5: 2, 8: 4} {
		synctest.Test(t, func(t *testing.T) {
			l := &lanes{slots: core.NewSlots(8, newClock().now), limits: core.Limits{Concurrency: concurrency}, hold: make(chan struct{})}
			l.takeMany("w", true, 20)
			state := l.state(t)
			require.Equal(t, want, state.BulkActive)
			require.Equal(t, want, state.Active)
			require.Equal(t, 20-want, state.BulkWaiting)
			require.Equal(t, 20-want, state.Waiting)
			l.begun()
			l.takeMany("w", false, 8)
			require.Equal(t, concurrency, l.state(t).Active)
			require.Len(t, l.begun(), concurrency-want, "the other slots are for live ones, at once")
			close(l.hold)
			l.slots.Wait()
			require.Empty(t, l.away)
		})
	}
}

func TestTheLaneBulkHasItsHalfOverAllProcesses(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		active, most := 0, 0
		for _, slots := range processes(4, newClock().now) {
			l := &lanes{slots: slots, limits: core.Limits{Concurrency: 5}, hold: make(chan struct{})}
			l.takeMany("w", true, 3)
			state := l.state(t)
			active, most = active+state.BulkActive, max(most, state.BulkActive)
			require.Equal(t, 3, state.BulkActive+state.BulkWaiting+len(l.away[true]))
			if state.BulkActive == 0 {
				require.Len(t, l.away[true], 3, "another process has the slots")
			}
			close(l.hold)
			slots.Wait()
		}
		require.Equal(t, 2, active)
		require.Equal(t, 1, most)
	})
}

func TestLiveTasksGoFirstButForEveryTenth(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		l := &lanes{slots: core.NewSlots(1, newClock().now), hold: make(chan struct{})}
		l.takeMany("w", true, 30)
		l.takeMany("w", false, 30)
		require.Equal(t, "b", l.begun())
		close(l.hold)
		l.slots.Wait()
		require.Equal(t, strings.Repeat("lllllllllb", 3)+"lllb", l.begun()[:34])
	})
}

func TestReservationsOfTheLaneBulkPutNoLiveTaskOff(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c := newClock()
		l := &lanes{slots: core.NewSlots(2, c.now), hold: make(chan struct{})}
		l.takeMany("w", false, 1)
		l.takeMany("w", true, 1)
		c.advance(10 * time.Second) // neither has ended: whoever comes now is sent away
		l.takeMany("w", true, 1000)
		require.Len(t, l.away[true], 1000)
		require.Equal(t, c.now().Add(time.Hour), l.state(t).BulkReserved)
		require.True(t, l.state(t).ReservedUntil.IsZero())
		l.takeMany("w", false, 1)
		require.Equal(t, []time.Time{c.now().Add(10 * time.Second)}, l.away[false], "as if nothing of the lane bulk waited")
		require.Equal(t, l.away[false][0], l.state(t).ReservedUntil)
		close(l.hold)
		l.slots.Wait()
	})
}

func TestTheLaneBulkExpectsWhatOverflowingLiveTasksLeave(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c := newClock()
		apart := func(live int) time.Duration {
			l := &lanes{slots: core.NewSlots(2, c.now), hold: make(chan struct{})}
			l.takeMany("w", true, 1)
			l.takeMany("w", false, 1)
			c.advance(10 * time.Second)
			l.takeMany("w", false, live)
			l.takeMany("w", true, 1)
			l.takeMany("w", true, 1)
			close(l.hold)
			l.slots.Wait()
			return l.away[true][1].Sub(l.away[true][0])
		}
		require.Equal(t, 10*time.Second, apart(0), "one slot, ten seconds each")
		require.Equal(t, 50*time.Second, apart(1), "every tenth slot of two, ten seconds each")
	})
}

func TestTheLaneBulkLendsMessagesOfItsOwn(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c := newClock()
		l := &lanes{slots: core.NewSlots(1, c.now, core.WithLent(2))}
		l.takeMany("w", false, 1)
		at := c.now().Add(time.Second)
		for _, bulk := range []bool{true, false} {
			require.True(t, l.slots.Lend("w", bulk, at))
			require.True(t, l.slots.Lend("w", bulk, at))
			require.False(t, l.slots.Lend("w", bulk, at))
		}
		require.Equal(t, 4, l.state(t).Lent)
		require.Equal(t, 4, l.slots.Load().Lent)
		l.slots.Wait()
	})
}

func TestTheLaneBulkHasHalfOfTheProcess(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		l := &lanes{slots: core.NewSlots(4, newClock().now, core.WithTotal(8)), hold: make(chan struct{})}
		for i := range 10 {
			l.takeMany(fmt.Sprint("w", i), true, 10)
		}
		require.Equal(t, 4, l.slots.Load().Bulk)
		require.Equal(t, 4, l.slots.Load().Active)
		l.begun()
		for i := range 10 {
			l.takeMany(fmt.Sprint("w", i), false, 3)
		}
		require.Equal(t, "llll", l.begun(), "the other half is for live ones")
		close(l.hold)
		l.slots.Wait()
		order := l.begun()
		require.Len(t, order, 100+30-8)
		require.Empty(t, l.away)
	})
}

func TestSlotsOfTheProcessGoToLiveTasksFirst(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		l := &lanes{slots: core.NewSlots(4, newClock().now, core.WithTotal(1)), hold: make(chan struct{})}
		l.takeMany("one", true, 30)
		l.takeMany("two", false, 15)
		l.takeMany("three", false, 15)
		require.Equal(t, "b", l.begun())
		close(l.hold)
		l.slots.Wait()
		require.Equal(t, strings.Repeat("lllllllllb", 3)+"lllb", l.begun()[:34])
	})
}

func TestTheLaneBulkGetsSlotsOfAProcessThatOneWebhookUsesUp(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		l := &lanes{slots: core.NewSlots(1, newClock().now, core.WithTotal(1)), hold: make(chan struct{})}
		l.takeMany("one", true, 1)
		l.takeMany("one", true, 2)
		l.takeMany("two", false, 30)
		close(l.hold)
		l.slots.Wait()
		require.Equal(t, "b"+strings.Repeat("lllllllllb", 2)+strings.Repeat("l", 12), l.begun())
	})
}

func TestTheLaneBulkGoesOnWhenTheLineBeforeItIsSentAway(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c := newClock()
		hangs := &lanes{slots: core.NewSlots(1, c.now, core.WithTotal(1)), hold: make(chan struct{})}
		hangs.takeMany("hangs", false, 1)
		l := &lanes{slots: hangs.slots}
		l.takeMany("w", false, 1)
		l.takeMany("w", true, 1)
		c.advance(3 * time.Second) // the process has had no slot for it for too long
		l.slots.Sweep()
		synctest.Wait()
		require.Len(t, l.away[false], 1)
		close(hangs.hold)
		l.slots.Wait()
		require.Equal(t, "b", l.begun())
		require.Zero(t, l.slots.Load().Waiting)
	})
}

func TestReservationsOfTheLaneBulkAreForgottenWhenThereIsRoom(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c := newClock()
		l := &lanes{slots: core.NewSlots(2, c.now), hold: make(chan struct{})}
		l.takeMany("w", true, 1)
		c.advance(10 * time.Second)
		l.takeMany("w", true, 100)
		require.Equal(t, c.now().Add(17*time.Minute-10*time.Second), l.state(t).BulkReserved)
		close(l.hold)
		l.slots.Wait()
		require.True(t, l.state(t).BulkReserved.IsZero())
	})
}

func TestAHalfOfTheHalfIsForBulkThatTimesOut(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		slots := core.NewSlots(8, newClock().now, core.WithTotal(16))
		hold := make(chan struct{})
		take := func(i int, bulk bool, hold chan struct{}) {
			slots.Take(fmt.Sprint("slow ", i%4), core.Limits{}, core.Turn{Bulk: bulk, Run: func() core.Verdict {
				if hold != nil {
					<-hold
				}
				return core.VerdictTimeout
			}, Away: func(time.Time) {}})
			synctest.Wait()
		}
		for i := range 4 {
			take(i, true, nil)
		}
		for i := range 32 {
			take(i, true, hold)
		}
		require.Equal(t, 4, slots.Load().Suspects)
		for i := range 32 {
			take(i, false, hold)
		}
		require.Equal(t, 8, slots.Load().Suspects, "live ones of such webhooks have the rest of their share")
		require.Equal(t, 4, slots.Load().Bulk)
		close(hold)
		slots.Wait()
		require.Zero(t, slots.Load().Suspects+slots.Load().Waiting)
	})
}

func TestEitherLaneMayProbe(t *testing.T) {
	t.Parallel()
	for _, bulk := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			clock := newClock()
			c := failing(clock)
			clock.advance(time.Second)
			l := &lanes{slots: c.slots, limits: core.Limits{Concurrency: 4}, hold: make(chan struct{})}
			l.takeMany("w", bulk, 1)
			l.takeMany("w", !bulk, 1)
			require.Equal(t, map[bool]string{false: "l", true: "b"}[bulk], l.begun())
			require.Len(t, l.away[!bulk], 1, "it waits for what the probe says")
			close(l.hold)
			synctest.Wait()
			require.Equal(t, core.BreakerClosed, c.state(t).Breaker)
			c.slots.Wait()
		})
	}
}

func TestALineIsSentAwayWithWhatIsBehindIt(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		clock := newClock()
		c, hold := newCaller(core.NewSlots(8, clock.now)), make(chan struct{})
		for i := range 8 { // the last four are under way
			c.call(fmt.Sprint(i), core.VerdictFailure, map[bool]chan struct{}{true: hold}[i >= 4])
		}
		l := &lanes{slots: c.slots, limits: core.Limits{Concurrency: 4}, hold: hold}
		l.takeMany("w", true, 5)
		require.Equal(t, 5, c.state(t).BulkWaiting)
		close(hold)
		synctest.Wait()
		require.Zero(t, c.slots.Load().Waiting)
		require.Empty(t, l.begun())
		require.Len(t, l.away[true], 5)
		c.slots.Wait()
	})
}
