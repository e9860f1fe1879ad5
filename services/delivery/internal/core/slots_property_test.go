package core_test

import (
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/meetwire/meetwire/services/delivery/internal/core"
)

// endpoint is a webhook whose attempts end when the test says so.
type endpoint struct {
	name         string
	release      chan struct{}
	active, most atomic.Int64
}

func (e *endpoint) attempt() {
	now := e.active.Add(1)
	for seen := e.most.Load(); now > seen && !e.most.CompareAndSwap(seen, now); seen = e.most.Load() {
	}
	<-e.release
	e.active.Add(-1)
}

func TestSlotsCallOneFunctionOfEachTaskOnce(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		c := newClock()
		limit := rapid.IntRange(1, 4).Draw(t, "limit")
		slots := core.NewSlots(limit, c.now)
		endpoints := make([]*endpoint, 3)
		for i := range endpoints {
			endpoints[i] = &endpoint{name: fmt.Sprint(i), release: make(chan struct{}, 1000)}
		}
		var calls []*atomic.Int64
		var early atomic.Int64
		anyEndpoint := rapid.SampledFrom(endpoints)

		t.Repeat(map[string]func(*rapid.T){
			"take": func(t *rapid.T) {
				e := anyEndpoint.Draw(t, "webhook")
				began := c.now()
				called := new(atomic.Int64)
				calls = append(calls, called)
				take(slots, e.name, core.Limits{},
					func() {
						called.Add(1)
						e.attempt()
					},
					func(at time.Time) {
						called.Add(1)
						if at.Before(began) {
							early.Add(1)
						}
					})
			},
			"end an attempt": func(t *rapid.T) {
				select {
				case anyEndpoint.Draw(t, "webhook").release <- struct{}{}:
				default:
				}
			},
			"let time pass": func(t *rapid.T) {
				c.advance(time.Duration(rapid.Int64Range(0, int64(20*time.Minute)).Draw(t, "time")))
			},
			"sweep": func(*rapid.T) { slots.Sweep() },
		})

		for _, e := range endpoints {
			close(e.release)
		}
		slots.Wait()
		for i, called := range calls {
			require.EqualValues(t, 1, called.Load(), "task %d", i)
		}
		require.Zero(t, early.Load(), "no slot is reserved in the past")
		for _, e := range endpoints {
			require.LessOrEqual(t, e.most.Load(), int64(limit))
			require.Zero(t, e.active.Load())
		}
	})
}
