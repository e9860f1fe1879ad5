package grpcapi

import (
	"sync/atomic"
	"time"

	"github.com/meetwire/meetwire/pkg/fault"
)

// MaxWaiting is how many bytes of events wait for the stream in one instance at most.
const MaxWaiting = 64 << 20

const (
	// leastWaiting is what an event counts at least: 4,096 of them wait at once.
	leastWaiting = 16 << 10
	// retryBusy is when a caller is told to try again.
	retryBusy = time.Second
)

// Waiting bounds what waits for the stream to store it. There is no queue behind it: who finds no room is told so.
type Waiting struct {
	limit int64
	now   atomic.Int64
}

// NewWaiting makes a bound, in bytes.
func NewWaiting(limit int64) *Waiting { return &Waiting{limit: limit} }

// enter takes room for events of these sizes until leave is called. When there is none it returns
// fault.ResourceExhausted.
func (w *Waiting) enter(sizes ...int) (leave func(), err error) {
	var room int64
	for _, size := range sizes {
		room += int64(max(size, leastWaiting))
	}
	if w.now.Add(room) > w.limit {
		w.now.Add(-room)
		busy := fault.New(fault.ResourceExhausted, "BUSY", "too many events wait to be stored here")
		busy.RetryAfter = retryBusy
		return nil, busy
	}
	return func() { w.now.Add(-room) }, nil
}
