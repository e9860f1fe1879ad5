package bus

import (
	"context"
	"fmt"
	"log/slog"
	"sync"
	"time"
)

// held knows the messages that a consumer has and nobody has settled.
type held struct {
	mu       sync.Mutex
	messages map[*Msg]struct{}
	empty    chan struct{} // closed when the last one goes; nil while nobody waits
}

func newHeld() *held { return &held{messages: make(map[*Msg]struct{})} }

func (h *held) add(m *Msg) {
	h.mu.Lock()
	h.messages[m] = struct{}{}
	h.mu.Unlock()
}

func (h *held) remove(m *Msg) {
	h.mu.Lock()
	defer h.mu.Unlock()
	delete(h.messages, m)
	if len(h.messages) == 0 && h.empty != nil {
		close(h.empty)
		h.empty = nil
	}
}

func (h *held) list() []*Msg {
	h.mu.Lock()
	defer h.mu.Unlock()
	all := make([]*Msg, 0, len(h.messages))
	for m := range h.messages {
		all = append(all, m)
	}
	return all
}

// wait returns when nothing is held any more, or with an error when the context ends first.
func (h *held) wait(ctx context.Context) error {
	h.mu.Lock()
	if len(h.messages) == 0 {
		h.mu.Unlock()
		return nil
	}
	if h.empty == nil {
		h.empty = make(chan struct{})
	}
	empty := h.empty
	h.mu.Unlock()
	select {
	case <-empty:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("stop with %d messages in work: %w", len(h.list()), ctx.Err())
	}
}

// signalProgress tells the server regularly that what is held is still being worked on, until the returned
// function is called.
func (h *held) signalProgress(every time.Duration, logger *slog.Logger) (stop func()) {
	done := make(chan struct{})
	var loop sync.WaitGroup
	loop.Go(func() {
		ticker := time.NewTicker(every)
		defer ticker.Stop()
		for {
			select {
			case <-done:
				return
			case <-ticker.C:
			}
			for _, m := range h.list() {
				if err := m.InProgress(); err != nil {
					// The message was settled in between, or NATS is away: then all signals fail alike.
					logger.Debug("progress signal failed", "stream", m.Stream, "sequence", m.Sequence, "error", err)
				}
			}
		}
	})
	return func() {
		close(done)
		loop.Wait()
	}
}
