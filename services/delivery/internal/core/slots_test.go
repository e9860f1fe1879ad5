package core_test

import (
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/meetwire/meetwire/services/delivery/internal/core"
)

// clock is a clock that stands still until it is moved.
type clock struct{ nanoseconds atomic.Int64 }

func newClock() *clock {
	c := new(clock)
	c.nanoseconds.Store(time.Date(2026, 1, 31, 12, 0, 0, 0, time.UTC).UnixNano())
	return c
}

func (c *clock) now() time.Time          { return time.Unix(0, c.nanoseconds.Load()).UTC() }
func (c *clock) advance(d time.Duration) { c.nanoseconds.Add(int64(d)) }

// attempts are tasks that run until they are released, and what became of them.
type attempts struct {
	mu      sync.Mutex
	started []int
	sent    []time.Time // the times of those that were told to come again
	release chan struct{}
	end     func() // lets all of them end
}

func newAttempts(t *testing.T) *attempts {
	t.Helper()
	a := &attempts{release: make(chan struct{})}
	a.end = sync.OnceFunc(func() { close(a.release) })
	t.Cleanup(a.end)
	return a
}

// take takes a slot for the task with this number.
func (a *attempts) take(slots *core.Slots, webhook string, number int) {
	a.takeWith(slots, webhook, core.Limits{}, number)
}

func (a *attempts) takeWith(slots *core.Slots, webhook string, limits core.Limits, number int) {
	take(slots, webhook, limits,
		func() {
			a.mu.Lock()
			a.started = append(a.started, number)
			a.mu.Unlock()
			<-a.release
		},
		func(at time.Time) {
			a.mu.Lock()
			a.sent = append(a.sent, at)
			a.mu.Unlock()
		})
}

func (a *attempts) state() (started []int, sent []time.Time) {
	a.mu.Lock()
	defer a.mu.Unlock()
	return slices.Clone(a.started), slices.Clone(a.sent)
}

func TestSlotsAreNeverMoreThanTheLimit(t *testing.T) {
	t.Parallel()
	const limit, tasks = 3, 500
	slots := core.NewSlots(limit, newClock().now)
	var active, most, ran atomic.Int64
	var takers sync.WaitGroup
	for range 10 {
		takers.Go(func() {
			for range tasks / 10 {
				take(slots, "w", core.Limits{}, func() {
					now := active.Add(1)
					for seen := most.Load(); now > seen && !most.CompareAndSwap(seen, now); seen = most.Load() {
					}
					ran.Add(1)
					active.Add(-1)
				}, func(time.Time) { t.Error("the line is long enough for all") })
			}
		})
	}
	takers.Wait()
	slots.Wait()
	require.EqualValues(t, tasks, ran.Load())
	require.LessOrEqual(t, most.Load(), int64(limit))
}

func TestSlotsServeTheLineInOrder(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		slots := core.NewSlots(1, newClock().now)
		a := newAttempts(t)
		var want []int
		for i := range 100 {
			a.take(slots, "w", i)
			want = append(want, i)
		}
		synctest.Wait()
		started, _ := a.state()
		require.Equal(t, []int{0}, started)
		a.end()
		slots.Wait()
		started, sent := a.state()
		require.Equal(t, want, started)
		require.Empty(t, sent)
	})
}

func TestSlotsOfOneWebhookAreNotAnothers(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		slots := core.NewSlots(2, newClock().now)
		hangs, works := newAttempts(t), newAttempts(t)
		for i := range 10 {
			hangs.take(slots, "hangs", i)
		}
		works.end()
		for i := range 2 {
			works.take(slots, "works", i)
		}
		synctest.Wait()
		started, _ := works.state()
		require.ElementsMatch(t, []int{0, 1}, started)
		hangs.end()
		slots.Wait()
	})
}

// overflowing returns slots of a webhook that takes ten seconds for an attempt and has all of them taken.
func overflowing(t *testing.T, c *clock, limit int) (*core.Slots, *attempts) {
	t.Helper()
	slots := core.NewSlots(limit, c.now)
	a := newAttempts(t)
	for i := range limit {
		a.take(slots, "w", i)
	}
	synctest.Wait()
	c.advance(10 * time.Second)
	return slots, a
}

func TestSlotsReserveALaterTimeForEachThatIsSentAway(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c := newClock()
		slots, a := overflowing(t, c, 2)
		var last time.Time
		for i := range 100 {
			a.take(slots, "w", i)
			synctest.Wait()
			_, sent := a.state()
			require.Len(t, sent, i+1, "its turn is too far off to wait for it")
			require.True(t, sent[i].After(last), "each gets a later time")
			last = sent[i]
		}
		_, sent := a.state()
		require.Equal(t, 5*time.Second, sent[50].Sub(sent[49]), "two at once, ten seconds each")
		a.end()
		slots.Wait()
	})
}

func TestSlotsReserveNoFurtherThanAnHour(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c := newClock()
		slots, a := overflowing(t, c, 1)
		for i := range 1000 {
			a.take(slots, "w", i)
		}
		a.end()
		slots.Wait()
		_, sent := a.state()
		latest := slices.MaxFunc(sent, time.Time.Compare)
		require.Equal(t, c.now().Add(time.Hour), latest)
	})
}

func TestSlotsOfABurstAreReservedOneAfterTheOther(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		// Nothing is known yet of how long an attempt takes, and no time passes: what comes after the line is
		// full must not be told to come again all at once, at once.
		c := newClock()
		slots := core.NewSlots(8, c.now)
		a := newAttempts(t)
		for i := range 7000 {
			a.take(slots, "w", i)
		}
		synctest.Wait()
		started, sent := a.state()
		require.Len(t, started, 8)
		require.Len(t, sent, 7000-8-5000)
		slices.SortFunc(sent, time.Time.Compare)
		require.True(t, sent[0].After(c.now()))
		require.Len(t, slices.CompactFunc(sent, time.Time.Equal), 7000-8-5000)
		a.end()
		slots.Wait()
		started, _ = a.state()
		require.Len(t, started, 5008)
	})
}

func TestSlotsRememberHowFastAWebhookIs(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c := newClock()
		slots, slow := overflowing(t, c, 1)
		slow.end() // the first has taken ten seconds
		slots.Wait()

		a := newAttempts(t)
		a.take(slots, "w", 0)
		a.take(slots, "w", 1)
		synctest.Wait()
		_, sent := a.state()
		require.Len(t, sent, 1, "the next one has to wait ten seconds, too")
		a.end()
		slots.Wait()

		// A webhook that was quiet for long begins anew.
		c.advance(11 * time.Minute)
		slots.Sweep()
		b := newAttempts(t)
		b.take(slots, "w", 0)
		b.take(slots, "w", 1)
		synctest.Wait()
		b.end()
		slots.Wait()
		started, sent := b.state()
		require.Equal(t, []int{0, 1}, started)
		require.Empty(t, sent)
	})
}

func TestSlotsSweepTheLineOfAWebhookThatHangs(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c := newClock()
		slots := core.NewSlots(2, c.now)
		hangs, works := newAttempts(t), newAttempts(t)
		works.end()
		for i := range 52 {
			hangs.take(slots, "hangs", i)
		}
		slots.Sweep()
		synctest.Wait()
		started, sent := hangs.state()
		require.ElementsMatch(t, []int{0, 1}, started)
		require.Empty(t, sent, "nothing says yet that it hangs")

		c.advance(3 * time.Second)
		slots.Sweep()
		for i := range 10 {
			works.take(slots, "works", i)
		}
		synctest.Wait()
		started, sent = hangs.state()
		require.Len(t, started, 2)
		require.Len(t, sent, 49, "the next in line may still have its turn soon, the others are told when to come")
		slices.SortFunc(sent, time.Time.Compare)
		require.Len(t, slices.CompactFunc(slices.Clone(sent), time.Time.Equal), 49)
		require.True(t, sent[0].After(c.now()))
		started, sent = works.state()
		require.Len(t, started, 10)
		require.Empty(t, sent, "nobody else notices")

		c.advance(3 * time.Second)
		slots.Sweep()
		slots.Sweep()
		synctest.Wait()
		_, sent = hangs.state()
		require.Len(t, sent, 50)
		hangs.end()
		slots.Wait()
		started, _ = hangs.state()
		require.Len(t, started, 2, "who was sent away does not run as well")
	})
}

// Those whose turn is too far off come again soon behind those that stay, in their order: first those with a reservation.
func TestSlotsSendAwayInOrderBehindThoseThatStay(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c := newClock()
		slots := core.NewSlots(2, c.now)
		const active, fresh, reserved, stay = 2, 40, 8, 4
		a := newAttempts(t)
		var mu sync.Mutex
		again := make(map[int]time.Duration)
		for i := range active + fresh + reserved {
			slots.Take("w", core.Limits{}, core.Turn{
				Reserved: i >= active+fresh,
				Run: func() core.Verdict {
					<-a.release
					return core.VerdictSuccess
				},
				Away: func(at time.Time) {
					mu.Lock()
					defer mu.Unlock()
					again[i] = at.Sub(c.now())
				},
			})
		}
		c.advance(time.Second) // an attempt takes that at least, so the line gets on by one in half a second
		slots.Sweep()
		synctest.Wait()
		mu.Lock()
		defer mu.Unlock()
		want := make(map[int]time.Duration)
		for i := range reserved - stay {
			want[active+fresh+stay+i] = time.Duration(stay+2+i) * time.Second / 2
		}
		for i := range fresh {
			want[active+i] = time.Duration(reserved+2+i) * time.Second / 2
		}
		require.Equal(t, want, again)
		a.end()
	})
}

func TestSlotsRunWhatIsLeftOfTheLineAfterASweep(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c := newClock()
		slots := core.NewSlots(1, c.now)
		a := newAttempts(t)
		for i := range 4 {
			a.take(slots, "w", i)
		}
		synctest.Wait()
		c.advance(time.Second) // the line of three is expected to take three seconds, one of two no more than two
		slots.Sweep()
		a.end()
		slots.Wait()
		started, sent := a.state()
		require.Equal(t, []int{0, 1, 2}, started)
		require.Len(t, sent, 1)
	})
}
