package natsbus

import (
	"context"

	"github.com/nats-io/nats.go/jetstream"
)

// Bounds of what one event has on its way. All events share a connection, which takes 4,096 publishes at once: however
// many webhooks some of them go to, there is room for those of other triggers, and memory stays small.
const (
	windowMessages = 64
	windowBytes    = 1 << 20
)

// window is what one event has on its way, the oldest first.
type window struct {
	most    int
	futures []jetstream.PubAckFuture
}

// newWindow makes a window for messages of a size.
func newWindow(size int) *window {
	return &window{most: min(max(windowBytes/max(size, 1), 1), windowMessages)}
}

// add takes in what was published, and waits until there is room for more.
func (w *window) add(ctx context.Context, future jetstream.PubAckFuture) error {
	w.futures = append(w.futures, future)
	if len(w.futures) < w.most {
		return nil
	}
	oldest := w.futures[:1]
	if err := await(ctx, oldest); err != nil {
		return err
	}
	clear(oldest) // what the list is a part of lives on
	w.futures = w.futures[1:]
	return nil
}
