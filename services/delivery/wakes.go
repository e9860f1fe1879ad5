package delivery

import (
	"context"
	"log/slog"
	"sync"
	"time"

	"github.com/meetwire/meetwire/pkg/lifecycle"
	"github.com/meetwire/meetwire/services/delivery/internal/natsbus"
)

// wake names a webhook that has been resumed.
type wake struct{ organization, webhook string }

// wakes is a set of webhooks whose parked deliveries are to be made due. Adding never blocks.
type wakes struct {
	mu      sync.Mutex
	pending map[wake]struct{}
	signal  chan struct{}
}

func newWakes() *wakes {
	return &wakes{pending: make(map[wake]struct{}), signal: make(chan struct{}, 1)}
}

func (w *wakes) add(organization, webhook string) {
	w.mu.Lock()
	w.pending[wake{organization, webhook}] = struct{}{}
	w.mu.Unlock()
	select {
	case w.signal <- struct{}{}:
	default:
	}
}

// take empties the set.
func (w *wakes) take() map[wake]struct{} {
	w.mu.Lock()
	defer w.mu.Unlock()
	pending := w.pending
	w.pending = make(map[wake]struct{})
	return pending
}

// Waits between attempts to make parked deliveries due.
const (
	minWakeWait = 100 * time.Millisecond
	maxWakeWait = 5 * time.Second
)

// run makes due what waits for resumed webhooks, until the context ends.
func (w *wakes) run(ctx context.Context, queue *natsbus.Queue, logger *slog.Logger) error {
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-w.signal:
		}
		for resumed := range w.take() {
			err := lifecycle.Retry(ctx, logger, "wake parked deliveries", minWakeWait, maxWakeWait, func(ctx context.Context) error {
				return queue.Wake(ctx, resumed.organization, resumed.webhook)
			})
			if err != nil {
				return nil //nolint:nilerr // the context has ended
			}
		}
	}
}
