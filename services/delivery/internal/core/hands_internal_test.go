package core

import (
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
)

// idling is those that have nothing to do.
func idling(h *hands) []*hand {
	h.mu.Lock()
	defer h.mu.Unlock()
	return slices.Clone(h.idle)
}

func TestHandsAreUsedAgain(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		h := &hands{keep: time.Second}
		ran := 0
		for range 10 {
			h.run(func() { ran++ })
			synctest.Wait()
			require.Len(t, idling(h), 1, "one goroutine is enough for what comes one after the other")
		}
		hold := make(chan struct{})
		for range 3 {
			h.run(func() { <-hold })
		}
		synctest.Wait()
		require.Empty(t, idling(h))
		close(hold)
		synctest.Wait()
		require.Len(t, idling(h), 3, "what comes at once has a goroutine each")
		require.Equal(t, 10, ran)

		<-time.After(2 * time.Second)
		synctest.Wait()
		require.Empty(t, idling(h), "without work they end")
		h.run(func() { ran++ })
		h.wait()
		require.Equal(t, 11, ran)
		require.Empty(t, idling(h), "and when they are told to")
		h.run(func() { ran++ })
		h.wait()
		require.Equal(t, 12, ran, "what comes later has a new one")
	})
}

func TestHandsRunEverythingOnce(t *testing.T) {
	t.Parallel()
	h := &hands{keep: 50 * time.Microsecond} // many end at the moment in which they are wanted
	const each, callers = 2000, 4
	var ran atomic.Int64
	var calling sync.WaitGroup
	for range callers {
		calling.Go(func() {
			for range each {
				done := make(chan struct{})
				h.run(func() {
					ran.Add(1)
					close(done)
				})
				if rand.IntN(2) == 0 {
					<-done
				}
				if rand.IntN(10) == 0 {
					<-time.After(time.Duration(rand.IntN(100)) * time.Microsecond)
				}
			}
		})
	}
	calling.Wait()
	h.wait()
	require.EqualValues(t, each*callers, ran.Load())
}
