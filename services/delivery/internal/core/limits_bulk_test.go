package core_test

import (
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/meetwire/meetwire/services/delivery/internal/core"
)

// paced is attempts, which take no time, of a webhook with a rate. Who is sent away comes again when it is told to.
type paced struct {
	slots  *core.Slots
	limits core.Limits
	begun  map[bool]*begun // of the lane bulk, and of the others
	all    begun

	mu      sync.Mutex
	longest time.Duration // that a live one had to wait
	away    int
}

func newPaced(limits core.Limits) *paced {
	return &paced{slots: core.NewSlots(100, time.Now), limits: limits, begun: map[bool]*begun{true: {}, false: {}}}
}

func (p *paced) take(bulk, reserved bool, came time.Time) {
	p.slots.Take("w", p.limits, core.Turn{
		Bulk: bulk, Reserved: reserved,
		Run: func() core.Verdict {
			now := time.Now()
			for _, b := range []*begun{p.begun[bulk], &p.all} {
				b.mu.Lock()
				b.times = append(b.times, now)
				b.mu.Unlock()
			}
			p.mu.Lock()
			defer p.mu.Unlock()
			if !bulk {
				p.longest = max(p.longest, now.Sub(came))
			}
			return core.VerdictSuccess
		},
		Away: func(at time.Time) {
			p.mu.Lock()
			p.away++
			p.mu.Unlock()
			time.AfterFunc(time.Until(at), func() { p.take(bulk, true, came) })
		},
	})
}

// result is how long a live task had to wait at most, and how many tasks were sent away.
func (p *paced) result() (longest time.Duration, away int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.longest, p.away
}

// pass lets time go by, with a live task in each interval.
func (p *paced) pass(d, interval time.Duration) {
	sweep := time.Now()
	for end := time.Now().Add(d); time.Now().Before(end); {
		if interval > 0 {
			p.take(false, false, time.Now())
		}
		step := interval
		if step == 0 {
			step = time.Second
		}
		<-time.After(step) // of the bubble's clock
		if time.Since(sweep) >= time.Second {
			p.slots.Sweep()
			sweep = time.Now()
		}
	}
}

func TestTheRateIsForLiveTasksFirst(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		limits  core.Limits
		longest time.Duration
	}{
		{core.Limits{Concurrency: 1, Rate: 10}, 200 * time.Millisecond},
		{core.Limits{Concurrency: 8, Rate: 10}, 200 * time.Millisecond},
		{core.Limits{Concurrency: 100, Rate: 10}, 200 * time.Millisecond},
		{core.Limits{Concurrency: 100, Rate: 200}, 20 * time.Millisecond},
	} {
		synctest.Test(t, func(t *testing.T) {
			p := newPaced(test.limits)
			bulk := int(test.limits.Rate) * 15
			for range bulk {
				p.take(true, false, time.Now())
			}
			p.pass(20*time.Second, 331*time.Millisecond) // 61 of them
			longest, _ := p.result()
			require.LessOrEqual(t, longest, test.longest, "%v", test.limits)
			require.Equal(t, 61, p.begun[false].count())
			require.GreaterOrEqual(t, p.begun[true].count(), bulk*2/3, "the lane bulk has what is left: %v", test.limits)
			p.pass(10*time.Minute, 0)
			require.Equal(t, bulk, p.begun[true].count())
			require.LessOrEqual(t, p.all.most(), int(test.limits.Rate*1.1))
			p.slots.Wait()
		})
	}
}

func TestTheLaneBulkEndsThoughLiveTasksUseUpTheRate(t *testing.T) {
	t.Parallel()
	for _, limits := range []core.Limits{{Concurrency: 1, Rate: 20}, {Concurrency: 8, Rate: 20}, {Concurrency: 8, Rate: 2}} {
		synctest.Test(t, func(t *testing.T) {
			p := newPaced(limits)
			for range 10 {
				p.take(true, false, time.Now())
			}
			interval := time.Duration(float64(time.Second) / limits.Rate)
			p.pass(2*time.Second, interval/2) // twice as many as the rate allows,
			p.pass(400*interval, interval)    // and then as many
			require.Equal(t, 10, p.begun[true].count(), "%v", limits)
			require.LessOrEqual(t, p.all.most(), int(limits.Rate*1.1))
			p.pass(time.Hour, 0)
			p.slots.Wait()
		})
	}
}

func TestTheLaneBulkHasEveryTenthTimeOfTheRate(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		p := newPaced(core.Limits{Concurrency: 8, Rate: 10})
		p.take(true, false, time.Now()) // so none is owed
		for range 5 {
			p.take(false, false, time.Now())
		}
		p.take(true, false, time.Now())
		p.pass(1500*time.Millisecond, 100*time.Millisecond)
		require.Equal(t, 2, p.begun[true].count(), "it waits for its turn where it is")
		_, away := p.result()
		require.Zero(t, away)
		p.pass(time.Second, 0)
		p.slots.Wait()
	})
}

func TestTheLaneBulkKeepsASlowRate(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		p := newPaced(core.Limits{Concurrency: 4, Rate: 0.5})
		for range 10 {
			p.take(true, false, time.Now())
		}
		p.pass(time.Minute, 0)
		require.Equal(t, 10, p.begun[true].count())
		require.Equal(t, 1, p.all.most())
		p.slots.Wait()
	})
}
