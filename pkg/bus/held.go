package bus

import (
	"context"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/nats-io/nats.go/jetstream"
)

// held knows the messages that a consumer has and nobody has settled.
type held struct {
	mu       sync.Mutex
	messages map[uint64]*Msg // by sequence
	open     int             // how many are held, or given back by an answer that is being sent
	empty    chan struct{}   // closed when the last one is answered; nil while nobody waits
}

func newHeld() *held { return &held{messages: make(map[uint64]*Msg)} }

// add takes a message in. It reports false when an earlier delivery of it is held: that one is answered in the place
// of both.
func (h *held) add(m *Msg) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	if have := h.messages[m.Sequence]; have != nil {
		have.latest = m.latest
		return false
	}
	h.messages[m.Sequence] = m
	h.open++
	return true
}

// newest returns the delivery of a message that answers go to.
func (h *held) newest(m *Msg) jetstream.Msg {
	h.mu.Lock()
	defer h.mu.Unlock()
	return m.latest
}

// release returns the same and forgets the message: the next delivery of it is a new one.
func (h *held) release(m *Msg) jetstream.Msg {
	h.mu.Lock()
	defer h.mu.Unlock()
	delete(h.messages, m.Sequence)
	return m.latest
}

// answered notes that the answer to a message has been sent.
func (h *held) answered(m *Msg) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.messages[m.Sequence] == m {
		delete(h.messages, m.Sequence)
	}
	if h.open--; h.open == 0 && h.empty != nil {
		close(h.empty)
		h.empty = nil
	}
}

func (h *held) list() []*Msg {
	h.mu.Lock()
	defer h.mu.Unlock()
	all := make([]*Msg, 0, len(h.messages))
	for _, m := range h.messages {
		all = append(all, m)
	}
	return all
}

// wait returns when nothing is held any more, or with an error when the context ends first.
func (h *held) wait(ctx context.Context) error {
	h.mu.Lock()
	if h.open == 0 {
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
				if err := h.newest(m).InProgress(); err != nil {
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
