package bus_test

import (
	"fmt"
	"maps"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/meetwire/meetwire/pkg/bus"
)

// balanced is an instance that exceeds limits, and what it was told of the others.
type balanced struct {
	*bus.Membership
	*running
	mu        sync.Mutex
	own, told map[string]int
}

func (b *balanced) exceed(own map[string]int) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.own = own
}

func (b *balanced) knows(told map[string]int) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return maps.Equal(b.told, told)
}

func joinBalanced(t *testing.T, url, instance string, own map[string]int) *balanced {
	t.Helper()
	_, js := connect(t, url)
	membership, err := bus.NewMembership(js, "delivery", instance, 1, discard())
	require.NoError(t, err)
	b := &balanced{Membership: membership, own: own}
	membership.Balance(func() map[string]int {
		b.mu.Lock()
		defer b.mu.Unlock()
		return maps.Clone(b.own)
	}, func(told map[string]int) {
		b.mu.Lock()
		defer b.mu.Unlock()
		b.told = told
	})
	b.running = run(t, membership.Run)
	return b
}

func TestMembersKnowWhatOthersExceed(t *testing.T) {
	t.Parallel()
	e := setup(t)
	a := joinBalanced(t, e.server.URL(), "a", map[string]int{"w1": 4, "w2": 2})
	require.NoError(t, a.WaitJoined(newContext(t)))
	b := joinBalanced(t, e.server.URL(), "b", nil)
	require.NoError(t, b.WaitJoined(newContext(t)))
	require.Eventually(t, func() bool { return b.knows(map[string]int{"w1": 4, "w2": 2}) }, patience, tick)
	require.True(t, a.knows(nil), "an instance is not told of itself")

	c := joinBalanced(t, e.server.URL(), "c", map[string]int{"w2": 5})
	require.Eventually(t, func() bool { return b.knows(map[string]int{"w1": 4, "w2": 7}) }, patience, tick)
	require.Eventually(t, func() bool { return c.knows(map[string]int{"w1": 4, "w2": 2}) }, patience, tick)

	a.exceed(map[string]int{"w1": 3}) // the key for 4 is still there for a while
	require.Eventually(t, func() bool { return b.knows(map[string]int{"w1": 3, "w2": 5}) }, patience, tick)
	require.NoError(t, a.stop(t))
	require.Eventually(t, func() bool { return b.knows(map[string]int{"w2": 5}) }, patience, tick)
	c.exceed(nil)
	require.Eventually(t, func() bool { return b.knows(nil) }, patience, tick)
}

// More limits are exceeded than anybody would have thought of: what fits is told, and nothing else suffers.
func TestMembersTellOfManyLimits(t *testing.T) {
	t.Parallel()
	e := setup(t)
	own := make(map[string]int)
	for i := range 3000 {
		own[fmt.Sprint("w", i)] = 1
	}
	a := joinBalanced(t, e.server.URL(), "a", own)
	require.NoError(t, a.WaitJoined(newContext(t)))
	b := joinBalanced(t, e.server.URL(), "b", nil)
	require.NoError(t, b.WaitJoined(newContext(t)))
	require.Eventually(t, func() bool {
		b.mu.Lock()
		defer b.mu.Unlock()
		return len(b.told) >= 1000
	}, patience, tick)
	require.Equal(t, 2, b.Count())
}
