package core_test

import (
	"testing"
	"testing/synctest"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/meetwire/meetwire/services/delivery/internal/core"
)

func TestAProcessThatJoinsLeavesWhatIsUnderWay(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		limits := core.Limits{Concurrency: 8}
		old, joins := core.NewSlots(1000, newClock().now), core.NewSlots(1000, newClock().now)
		hang, come := newAttempts(t), newAttempts(t)
		for i := range 8 {
			hang.takeWith(old, "w", limits, i)
		}
		synctest.Wait()
		require.Empty(t, old.Exceeding())
		old.SetShare(0, 2)
		require.Equal(t, map[string]int{"w": 4}, old.Exceeding())

		joins.SetShare(1, 2)
		joins.SetExceeded(old.Exceeding())
		come.takeWith(joins, "w", limits, 1)
		come.takeWith(joins, "other", limits, 2)
		synctest.Wait()
		started, sent := come.state()
		require.Equal(t, []int{2}, started, "only of what nobody exceeds")
		require.Len(t, sent, 1, "another process may have a slot sooner")
		require.Empty(t, joins.Exceeding())

		hang.end()
		old.Wait()
		require.Empty(t, old.Exceeding())
		joins.SetExceeded(nil)
		come.takeWith(joins, "w", limits, 3)
		synctest.Wait()
		started, _ = come.state()
		require.Equal(t, []int{2, 3}, started)
		state, ok := joins.State("w")
		require.True(t, ok)
		require.Equal(t, 4, state.Limits.Concurrency)
		come.end()
		joins.Wait()
	})
}

// However processes come and go: when each has told the others before it uses what it has got more of, an endpoint never
// has more attempts than its limit, also where that cannot be divided evenly.
func TestProcessesThatComeAndGoKeepTheLimit(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(rt *rapid.T) {
		synctest.Test(t, func(t *testing.T) {
			f := &fleet{rt: rt, clock: newClock(), limits: core.Limits{Concurrency: rapid.IntRange(1, 100).Draw(rt, "limit")}}
			for range rapid.IntRange(1, 6).Draw(rt, "joins") {
				f.all = append(f.all, core.NewSlots(1000, f.clock.now))
				f.attempts = append(f.attempts, newAttempts(t))
				f.changed(t, len(f.all)-1)
				if rapid.Bool().Draw(rt, "ends") {
					f.attempts[0].end()
					f.all[0].Wait()
					f.all, f.attempts = f.all[1:], f.attempts[1:]
					f.changed(t, len(f.all))
				}
			}
			for i, slots := range f.all {
				f.attempts[i].end()
				slots.Wait()
			}
		})
	})
}

// fleet is several processes that make attempts of one webhook.
type fleet struct {
	rt       *rapid.T
	clock    *clock
	limits   core.Limits
	all      []*core.Slots
	attempts []*attempts
}

// changed has every process notice that there are others, one after the other, and tell them what it has under way. One
// that joins takes nothing before.
func (f *fleet) changed(t *testing.T, joined int) {
	t.Helper()
	for _, rank := range rapid.Permutation(indices(len(f.all))).Draw(f.rt, "order") {
		f.all[rank].SetShare(rank, len(f.all))
		f.take(t, joined)
		if rapid.Bool().Draw(f.rt, "tells meanwhile") {
			f.tell()
			f.take(t, joined)
		}
	}
	f.tell()
	if rapid.Bool().Draw(f.rt, "goes on") {
		f.clock.advance(handedOver)
		for _, slots := range f.all {
			slots.Sweep()
		}
	}
	f.take(t, len(f.all))
}

// tell has every process know what the others exceed.
func (f *fleet) tell() {
	for _, slots := range f.all {
		sum := make(map[string]int)
		for _, other := range f.all {
			if other != slots {
				sum["w"] += other.Exceeding()["w"]
			}
		}
		slots.SetExceeded(sum)
	}
}

// take has the first few processes take tasks, and looks at what is under way then.
func (f *fleet) take(t *testing.T, few int) {
	t.Helper()
	active := 0
	for i, slots := range f.all {
		if i < few {
			for n := range rapid.IntRange(0, 120).Draw(f.rt, "tasks") {
				f.attempts[i].takeWith(slots, "w", f.limits, n)
			}
		}
		synctest.Wait()
		active += slots.Load().Active
	}
	require.LessOrEqual(t, active, f.limits.Concurrency)
}

func indices(n int) []int {
	all := make([]int, n)
	for i := range all {
		all[i] = i
	}
	return all
}
