package natsbus

import "github.com/nats-io/nats.go/jetstream"

// Bounds of what one event has on its way. All events share a connection, which takes 4,096 publishes at once: however
// many webhooks some of them go to, there is room for those of other triggers, and memory stays small.
const (
	windowMessages = 64
	windowBytes    = 1 << 20
)

// sending is a delivery on its way.
type sending struct {
	webhook string
	future  jetstream.PubAckFuture
}

// window is what one event has on its way, the oldest first.
type window struct {
	most   int
	sent   []sending
	settle func(sending) error // waits until it is stored
}

// newWindow makes a window for messages of a size.
func newWindow(size int, settle func(sending) error) *window {
	return &window{most: min(max(windowBytes/max(size, 1), 1), windowMessages), settle: settle}
}

// add takes in what was published, and waits until there is room for more.
func (w *window) add(one sending) error {
	w.sent = append(w.sent, one)
	if len(w.sent) < w.most {
		return nil
	}
	return w.first()
}

// close waits for everything.
func (w *window) close() error {
	for len(w.sent) > 0 {
		if err := w.first(); err != nil {
			return err
		}
	}
	return nil
}

// first waits for the oldest.
func (w *window) first() error {
	if err := w.settle(w.sent[0]); err != nil {
		return err
	}
	w.sent[0] = sending{} // what the list is a part of lives on
	w.sent = w.sent[1:]
	return nil
}
