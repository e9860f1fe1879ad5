package core_test

import (
	"fmt"
	"maps"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/meetwire/meetwire/services/delivery/internal/core"
)

// caller makes attempts of deliveries and notes what became of them.
type caller struct {
	slots  *core.Slots
	limits core.Limits
	mu     sync.Mutex
	sent   []string             // deliveries for which an attempt was made
	away   map[string]time.Time // deliveries that were sent away, and until when
}

func newCaller(slots *core.Slots) *caller {
	return &caller{slots: slots, limits: core.Limits{Concurrency: 4}, away: make(map[string]time.Time)}
}

// call makes a delivery ask for a slot of the webhook w. Its attempt ends with a verdict when hold is closed.
func (c *caller) call(delivery string, verdict core.Verdict, hold chan struct{}) {
	c.slots.Take("w", c.limits, core.Turn{
		Delivery: delivery,
		Run: func() core.Verdict {
			c.mu.Lock()
			c.sent = append(c.sent, delivery)
			c.mu.Unlock()
			if hold != nil {
				<-hold
			}
			return verdict
		},
		Away: func(at time.Time) {
			c.mu.Lock()
			c.away[delivery] = at
			c.mu.Unlock()
		},
	})
	synctest.Wait()
}

// result returns what happened since the last call.
func (c *caller) result() (sent []string, away map[string]time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	sent, away = c.sent, c.away
	c.sent, c.away = nil, make(map[string]time.Time)
	return sent, away
}

func (c *caller) state(t *testing.T) core.Isolation {
	t.Helper()
	state, ok := c.slots.State("w")
	require.True(t, ok)
	return state
}

// failing returns a caller whose webhook has just failed five times, each time with another delivery.
func failing(clock *clock) *caller {
	c := newCaller(core.NewSlots(8, clock.now))
	for i := range 5 {
		c.call(fmt.Sprint(i), core.VerdictFailure, nil)
	}
	c.result()
	return c
}

func TestThoseWhoAreSentAwayByABreakerComeAgainOneByOne(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		rate float64
		want time.Duration // between two
	}{
		"and are hastened later":     {want: 50 * time.Millisecond},
		"at their rate":              {rate: 10, want: 100 * time.Millisecond},
		"and not hastened for it":    {rate: 100, want: 10 * time.Millisecond},
		"at a rate that is no limit": {rate: 1e6, want: 5 * time.Millisecond},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				clock := newClock()
				c := failing(clock)
				c.limits.Rate = test.rate
				const count = 100
				for i := range count {
					c.call(fmt.Sprint("later ", i), core.VerdictSuccess, nil)
				}
				_, away := c.result()
				times := slices.SortedFunc(maps.Values(away), time.Time.Compare)
				require.Len(t, times, count)
				require.InDelta(t, (count-1)*test.want.Seconds(), times[count-1].Sub(times[0]).Seconds(), 2*test.want.Seconds())
				require.Greater(t, times[0], clock.now().Add(time.Second))

				// It works again.
				clock.advance(time.Second)
				c.call("probe", core.VerdictSuccess, nil)
				c.slots.Sweep()
				hungry := c.slots.Sweep()
				if test.rate > 0 {
					require.Empty(t, hungry)
					return
				}
				require.Len(t, hungry, 1)
				require.Greater(t, hungry[0].Tasks, count)
			})
		})
	}
}

func TestThoseWhoComeAgainAfterMoreThanAMinuteAreNotSpreadFurther(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		clock := newClock()
		c := failing(clock)
		const count, within = 2200, 1200 // 50 ms apart, those are a minute
		for i := range count {
			c.call(fmt.Sprint("later ", i), core.VerdictSuccess, nil)
		}
		_, away := c.result()
		times := slices.SortedFunc(maps.Values(away), time.Time.Compare)
		began := clock.now().Add(time.Second)
		require.WithinDuration(t, began.Add(time.Minute), times[within-1], 100*time.Millisecond)
		require.WithinDuration(t, began.Add(time.Minute+(count-within)*5*time.Millisecond), times[count-1], 100*time.Millisecond)
	})
}

func TestWebhookThatFailsIsLeftAloneAndProbed(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		clock := newClock()
		c := failing(clock)
		began := clock.now()
		state := c.state(t)
		require.Equal(t, core.BreakerOpen, state.Breaker)
		require.Equal(t, began.Add(time.Second), state.OpenUntil)
		require.Equal(t, 5, state.Failures)
		for i := range 10 {
			c.call(fmt.Sprint("later ", i), core.VerdictSuccess, nil)
		}
		sent, away := c.result()
		require.Empty(t, sent, "no request is made")
		require.Len(t, away, 10)
		var times []time.Time
		for _, at := range away {
			require.True(t, at.After(began.Add(time.Second)), "%s", at)
			times = append(times, at)
		}
		slices.SortFunc(times, time.Time.Compare)
		require.Len(t, slices.CompactFunc(times, time.Time.Equal), 10, "they do not come again all at once")

		// After a second there is one probe, and the others wait for what it says.
		clock.advance(time.Second)
		hold := make(chan struct{})
		c.call("probe", core.VerdictSuccess, hold)
		c.call("other", core.VerdictSuccess, nil)
		sent, away = c.result()
		require.Equal(t, []string{"probe"}, sent)
		require.Contains(t, away, "other")
		require.Equal(t, core.BreakerHalfOpen, c.state(t).Breaker)
		require.Equal(t, 1, c.slots.Load().BreakerOpen)
		close(hold)
		synctest.Wait()
		require.Equal(t, core.BreakerClosed, c.state(t).Breaker)
		for i := range 4 {
			c.call(fmt.Sprint("after ", i), core.VerdictSuccess, nil)
		}
		sent, away = c.result()
		require.Len(t, sent, 4)
		require.Empty(t, away)
		require.Equal(t, core.Load{Opened: 1}, c.slots.Load())
		c.slots.Wait()
	})
}

func TestLineIsSentAwayWhenItsWebhookIsLeftAlone(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		clock := newClock()
		c, hold := newCaller(core.NewSlots(8, clock.now)), make(chan struct{})
		for i := range 20 { // four at once; the fifth that fails is the last
			c.call(fmt.Sprint(i), core.VerdictFailure, hold)
		}
		clock.advance(8 * time.Second) // so slow that the last of them is far behind the first
		close(hold)
		synctest.Wait()
		sent, away := c.result()
		require.LessOrEqual(t, len(sent), 5+3, "those that were under way")
		require.Len(t, away, 20-len(sent))
		first := slices.MinFunc(slices.Collect(maps.Values(away)), time.Time.Compare)
		require.WithinRange(t, first, clock.now().Add(time.Second), clock.now().Add(3*time.Second), "soon after it is tried again")
		require.Zero(t, c.slots.Load().Active+c.slots.Load().Waiting)
		c.slots.Wait()
	})
}

func TestScheduleOfTheOnlyDeliveryIsNeverShifted(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		clock := newClock()
		c := newCaller(core.NewSlots(8, clock.now))
		for retry := range 40 { // every second, for which a breaker that fails its probes is soon open for longer
			c.call("only", core.VerdictTimeout, nil)
			sent, away := c.result()
			require.Equal(t, []string{"only"}, sent, "retry %d", retry)
			require.Empty(t, away)
			c.slots.Waits("w", "only", clock.now().Add(time.Second))
			clock.advance(time.Second)
		}
		// Another comes, and is sent away; now two wait, and neither is tried before its time.
		c.call("another", core.VerdictFailure, nil)
		_, away := c.result()
		require.Contains(t, away, "another")
		c.call("only", core.VerdictFailure, nil)
		sent, away := c.result()
		require.Empty(t, sent)
		require.Contains(t, away, "only")
		// The other ends, elsewhere or because its webhook was edited: the one that is left is tried again.
		c.slots.Waits("w", "another", time.Time{})
		c.call("only", core.VerdictFailure, nil)
		sent, _ = c.result()
		require.Equal(t, []string{"only"}, sent)
		c.slots.Wait()
	})
}

func TestWhatSaysNothingAboutTheReceiverIsNoFailure(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		clock := newClock()
		c := newCaller(core.NewSlots(8, clock.now))
		for i := range 20 {
			c.call(fmt.Sprint(i), core.VerdictNone, nil)
		}
		require.Zero(t, c.state(t).Failures)
		c = failing(clock)
		clock.advance(time.Second)
		c.call("probe", core.VerdictNone, nil) // its webhook was paused a moment ago
		require.Equal(t, core.BreakerHalfOpen, c.state(t).Breaker)
		c.call("next probe", core.VerdictSuccess, nil)
		require.Equal(t, core.BreakerClosed, c.state(t).Breaker)
		c.slots.Wait()
	})
}

func TestLendingIsBounded(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		clock := newClock()
		slots := core.NewSlots(8, clock.now, core.WithLent(8))
		slots.SetShare(0, 2)
		require.False(t, slots.Lend("w", false, clock.now()), "nothing is known of it")
		c := newCaller(slots)
		c.call("one", core.VerdictSuccess, nil)
		at := clock.now().Add(3 * time.Second)
		for range 4 {
			require.True(t, slots.Lend("w", false, at))
		}
		require.False(t, slots.Lend("w", false, at), "the other process may lend as much")
		require.Equal(t, 4, slots.Load().Lent)
		clock.advance(3 * time.Second)
		require.Zero(t, c.state(t).Lent)
		require.True(t, slots.Lend("w", false, clock.now().Add(time.Second)))
		slots.Wait()
	})
}

func TestWhoHasAReservationGoesFirst(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		slots, a := core.NewSlots(1, newClock().now), newAttempts(t)
		for i := range 3 {
			a.take(slots, "w", i)
		}
		turn := func(number int) core.Turn {
			return core.Turn{Reserved: true, Away: func(time.Time) { t.Error("it waits") }, Run: func() core.Verdict {
				a.mu.Lock()
				defer a.mu.Unlock()
				a.started = append(a.started, number)
				return core.VerdictSuccess
			}}
		}
		slots.Take("w", core.Limits{}, turn(10))
		slots.Take("w", core.Limits{}, turn(11))
		a.end()
		slots.Wait()
		started, _ := a.state()
		require.Equal(t, []int{0, 10, 11, 1, 2}, started)
	})
}
