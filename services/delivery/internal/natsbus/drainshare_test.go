package natsbus

import (
	"context"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/meetwire/meetwire/pkg/bus"
	"github.com/meetwire/meetwire/services/delivery/internal/core"
)

// Two of three processes are there: each begins with its own part, and together they move that of the third too.
func TestSharesOfADrainMoveEverythingTogether(t *testing.T) {
	t.Parallel()
	e := setup(t)
	const count = 900
	e.timers(t, hook, count)
	var drains sync.WaitGroup
	var moved atomic.Int64
	for _, rank := range []int{0, 2} {
		drains.Go(func() {
			n, err := e.queue.DrainShare(t.Context(), "acme", hook, rank, 3, always, e.burier(nil))
			moved.Add(int64(n))
			if err != nil {
				t.Errorf("drain: %v", err)
			}
		})
	}
	drains.Wait()
	require.Zero(t, e.count(t, bus.StreamRetries, ">"))
	require.Equal(t, count, e.count(t, bus.StreamDeadLetters, ">"))
	require.GreaterOrEqual(t, int(moved.Load()), count)
}

func TestShareOfADrainBeginsWithItsOwnPart(t *testing.T) {
	t.Parallel()
	e := setup(t)
	const count = 30
	e.timers(t, hook, count)
	var mu sync.Mutex
	var order []string
	bury := e.burier(nil)
	_, err := e.queue.DrainShare(newContext(t), "acme", hook, 1, 3, always, func(ctx context.Context, task *core.Task, replaces string) error {
		mu.Lock()
		order = append(order, replaces)
		mu.Unlock()
		return bury(ctx, task, replaces)
	})
	require.NoError(t, err)
	require.Len(t, order, count, "each once, while nobody else takes part")
	var own []string
	for sequence := uint64(1); sequence <= count; sequence++ {
		if sequence%3 == 1 {
			own = append(own, bus.ReplacementMsgID(bus.StreamRetries, sequence))
		}
	}
	require.ElementsMatch(t, own, order[:len(own)])
	require.Zero(t, e.count(t, bus.StreamRetries, ">"))
}

// One that does not know the others yet does everything.
func TestShareOfADrainWithoutOthers(t *testing.T) {
	t.Parallel()
	e := setup(t)
	for _, share := range [][2]int{{-1, 4}, {-1, 0}, {0, 1}, {4, 4}} {
		e.timers(t, hook, 20)
		moved, err := e.queue.DrainShare(newContext(t), "acme", hook, share[0], share[1], always, e.burier(nil))
		require.NoError(t, err)
		require.Equal(t, 20, moved, "%v", share)
	}
}
