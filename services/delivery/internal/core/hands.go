package core

import (
	"slices"
	"sync"
	"time"
)

// hands runs functions in goroutines of their own, which it uses again: a new goroutine begins with a small stack, and a
// request and what follows from it would make it grow several times.
type hands struct {
	keep    time.Duration  // how long one that has nothing to do is kept; 0: not at all
	running sync.WaitGroup // functions, not goroutines

	mu   sync.Mutex
	idle []*hand // the one that had something to do last at the end
}

// hand is a goroutine. When next is closed it ends.
type hand struct{ next chan func() }

// run runs a function in a goroutine of its own.
func (h *hands) run(f func()) {
	if h.keep == 0 {
		h.running.Go(f)
		return
	}
	h.running.Add(1)
	if idle := h.take(); idle != nil {
		idle.next <- f
		return
	}
	go h.work(f)
}

// take takes the hand that was busy until a moment ago out of the idle ones, if there is one.
func (h *hands) take() *hand {
	h.mu.Lock()
	defer h.mu.Unlock()
	last := len(h.idle) - 1
	if last < 0 {
		return nil
	}
	idle := h.idle[last]
	h.idle[last] = nil
	h.idle = h.idle[:last]
	return idle
}

// work is what a hand does: one function after the other, until none has come for a while.
func (h *hands) work(f func()) {
	own := &hand{next: make(chan func(), 1)}
	timer := time.NewTimer(h.keep)
	defer timer.Stop()
	for f != nil {
		h.do(f, own)
		timer.Reset(h.keep)
		select {
		case f = <-own.next:
		case <-timer.C:
			f = h.leave(own)
		}
	}
}

// do runs a function, after which the hand is idle.
func (h *hands) do(f func(), own *hand) {
	defer h.running.Done()
	f()
	h.mu.Lock()
	defer h.mu.Unlock()
	h.idle = append(h.idle, own)
}

// leave takes a hand out of the idle ones. When it has been taken it has a function to run.
func (h *hands) leave(own *hand) func() {
	h.mu.Lock()
	for i, idle := range h.idle {
		if idle == own {
			h.idle = slices.Delete(h.idle, i, i+1)
			h.mu.Unlock()
			return nil
		}
	}
	h.mu.Unlock()
	return <-own.next
}

// wait returns when no function runs any more, and ends the idle hands.
func (h *hands) wait() {
	h.running.Wait()
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, idle := range h.idle {
		close(idle.next)
	}
	h.idle = nil
}
