package natsbus

import (
	"context"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/meetwire/meetwire/pkg/bus"
)

// drainAs drains as one of several processes.
func (e *environment) drainAs(ctx context.Context, rank, count int, still func() bool) (int, error) {
	if done, err := e.queue.LookOn(ctx, "acme", hook, rank, count, still); done || err != nil {
		return 0, err
	}
	return e.queue.Drain(ctx, "acme", hook, still, e.burier(nil))
}

// Whichever of three processes there are: one drains at once, and without it another does after a while.
func TestDrainOfSeveralProcesses(t *testing.T) {
	t.Parallel()
	first := firstRank(hook, 3)
	for name, ranks := range map[string][]int{
		"all": {0, 1, 2}, "without the first": {(first + 1) % 3, (first + 2) % 3}, "only another": {(first + 2) % 3},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			e := setup(t)
			const count = 900
			e.timers(t, hook, count)
			var drains sync.WaitGroup
			var moved atomic.Int64
			for _, rank := range ranks {
				drains.Go(func() {
					n, err := e.drainAs(t.Context(), rank, 3, always)
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
		})
	}
}

// While one gets on, the others leave it to that, however long it takes.
func TestOthersLookOnWhileADrainGetsOn(t *testing.T) {
	t.Parallel()
	e := setup(t)
	e.timers(t, hook, 1)
	ctx := newContext(t)
	began, looks := time.Now(), 0
	still := func() bool { // each time that it is looked at, what waited is gone and something else waits
		looks++
		if time.Since(began) > lookTime+5*lookTick {
			return false
		}
		e.timers(t, hook, 1)
		first, err := e.queue.ListTimers(ctx, "acme", hook, 1, 0, 1)
		require.NoError(t, err)
		require.NoError(t, e.queue.retries.DeleteMsg(ctx, first.Timers[0].Sequence))
		return true
	}
	done, err := e.queue.LookOn(ctx, "acme", hook, (firstRank(hook, 2)+1)%2, 2, still)
	require.NoError(t, err)
	require.True(t, done)
	require.Greater(t, looks, 1)
	require.Equal(t, 1, e.count(t, bus.StreamRetries, ">"))
}

func TestWebhooksAreDrainedByDifferentProcesses(t *testing.T) {
	t.Parallel()
	drained := make(map[int]int)
	for range 400 {
		drained[firstRank(uuid.NewString(), 4)]++
	}
	require.Len(t, drained, 4)
}

// One that does not know the others yet does everything.
func TestShareOfADrainWithoutOthers(t *testing.T) {
	t.Parallel()
	e := setup(t)
	for _, share := range [][2]int{{-1, 4}, {-1, 0}, {0, 1}, {4, 4}} {
		e.timers(t, hook, 20)
		moved, err := e.drainAs(newContext(t), share[0], share[1], always)
		require.NoError(t, err)
		require.Equal(t, 20, moved, "%v", share)
	}
}
