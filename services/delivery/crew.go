package delivery

import (
	"context"
	"sync"
)

// crew does something for webhooks, for some at once and for each by one goroutine at a time.
type crew struct {
	do    func(ctx context.Context, t tended) error // fails only when the context has ended
	again *backlog                                  // of those that came once more while something was done for them
	slots chan struct{}
	group sync.WaitGroup

	mu      sync.Mutex
	running map[tended]bool // the value: it has come once more
}

func newCrew(size int, again *backlog, do func(ctx context.Context, t tended) error) *crew {
	return &crew{do: do, again: again, slots: make(chan struct{}, size), running: make(map[tended]bool)}
}

// take begins with a webhook when there is room; what is done goes on after take returns. It returns the context's error.
func (c *crew) take(ctx context.Context, t tended) error {
	if !c.begin(t) {
		return nil
	}
	select {
	case c.slots <- struct{}{}:
	case <-ctx.Done():
		return ctx.Err()
	}
	c.group.Go(func() {
		defer func() { <-c.slots }()
		defer c.end(t)
		if c.do(ctx, t) != nil {
			return // the context has ended
		}
	})
	return nil
}

// wait waits until nothing is done any more.
func (c *crew) wait() { c.group.Wait() }

// begin reports whether nobody works on a webhook. Else it is looked at once more after that.
func (c *crew) begin(t tended) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	_, busy := c.running[t]
	c.running[t] = busy
	return !busy
}

func (c *crew) end(t tended) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.running[t] {
		c.again.add(t)
	}
	delete(c.running, t)
}
