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

// However processes come and go: when each has told the others before it goes on, an endpoint never has more attempts than
// its limit. The limits can be divided evenly: an odd slot may be had by two until the one that has lost it has told.
func TestProcessesThatComeAndGoKeepTheLimit(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(rt *rapid.T) {
		synctest.Test(t, func(t *testing.T) {
			limits := core.Limits{Concurrency: 60 * rapid.IntRange(1, 3).Draw(rt, "limit")}
			var all []*core.Slots
			var attempts []*attempts
			tell := func() {
				for rank, slots := range all {
					slots.SetShare(rank, len(all))
				}
				for _, slots := range all {
					sum := make(map[string]int)
					for _, other := range all {
						if other != slots {
							sum["w"] += other.Exceeding()["w"]
						}
					}
					slots.SetExceeded(sum)
				}
			}
			for range rapid.IntRange(1, 6).Draw(rt, "joins") {
				all = append(all, core.NewSlots(1000, newClock().now))
				attempts = append(attempts, newAttempts(t))
				tell()
				for i, slots := range all {
					for n := range rapid.IntRange(0, 200).Draw(rt, "tasks") {
						attempts[i].takeWith(slots, "w", limits, n)
					}
				}
				synctest.Wait()
				active := 0
				for _, slots := range all {
					active += slots.Load().Active
				}
				require.LessOrEqual(t, active, limits.Concurrency)
				if rapid.Bool().Draw(rt, "ends") {
					attempts[0].end()
					all[0].Wait()
					all, attempts = all[1:], attempts[1:]
					tell()
				}
			}
			for i, slots := range all {
				attempts[i].end()
				slots.Wait()
			}
		})
	})
}
