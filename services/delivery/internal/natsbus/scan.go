package natsbus

import (
	"context"

	"github.com/meetwire/meetwire/pkg/bus"
)

// timerScan reads all timers on the subjects of a filter, in the order of the stream. It asks for many at once: each time
// the server counts all that match.
type timerScan struct {
	reader *bus.BatchReader
	filter string
	size   int    // how many are read at once
	next   uint64 // sequence to go on from
}

// read returns the next part; none when nothing is left.
func (s *timerScan) read(ctx context.Context) ([]bus.StoredMsg, error) {
	timers, err := s.reader.Batch(ctx, s.filter, max(s.next, 1), s.size)
	if err == nil && len(timers) > 0 {
		s.next = timers[len(timers)-1].Sequence + 1
	}
	return timers, err
}
