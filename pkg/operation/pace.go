package operation

import (
	"context"
	"fmt"
	"math"
	"time"
)

// maxBatch bounds what Batch returns when there is no limit to the rate.
const maxBatch = math.MaxInt32

// pace says from when on the next things may be affected.
type pace struct {
	now  func() time.Time // nil: time.Now
	next time.Time
}

// Batch returns how many things a step may affect at once so that it takes about a second at the operation's rate: at
// least one, and at most limit.
func (w *Work) Batch(limit int) int {
	if w.Rate <= 0 || w.DryRun {
		return max(limit, 1)
	}
	return max(min(limit, int(min(w.Rate, maxBatch))), 1)
}

// Pace waits until n more things may be affected at the operation's rate. It is called before they are: that time is
// paid in advance, so that neither a restart nor another instance makes the operation faster. A dry run, which affects
// nothing, and an operation without a rate never wait. It returns the error of the context when that ends.
func Pace(ctx context.Context, w *Work, n int64) error {
	if w.Rate <= 0 || w.DryRun || n <= 0 {
		return ctx.Err()
	}
	now := w.pace.now
	if now == nil {
		now = time.Now
	}
	at := now()
	if w.pace.next.Before(at) {
		w.pace.next = at // what was not used is not saved up
	}
	cost := float64(n) / w.Rate * float64(time.Second)
	w.pace.next = w.pace.next.Add(time.Duration(min(cost, float64(math.MaxInt64/4))))
	timer := time.NewTimer(w.pace.next.Sub(at))
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("wait for the operation's rate: %w", ctx.Err())
	}
}
