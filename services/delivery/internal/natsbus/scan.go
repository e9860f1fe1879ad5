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

// readStored gives messages of a stream to a function: those of a subject, from a sequence on and up to another (0: to the
// end), as long as more are wanted after so many were read. It returns how many it has read, and the sequence to go on
// from; 0: there is nothing behind.
func readStored(
	ctx context.Context, reader *bus.BatchReader, subject string, from, until uint64,
	wanted func(read int) int, do func(msg *bus.StoredMsg),
) (read int, next uint64, err error) {
	next = from
	for more := wanted(0); more > 0; more = wanted(read) {
		messages, err := reader.Batch(ctx, subject, next, min(more, drainBatch))
		if err != nil {
			return read, next, err
		}
		if len(messages) == 0 {
			return read, 0, nil
		}
		for i := range messages {
			if until > 0 && messages[i].Sequence > until {
				return read, 0, nil
			}
			read++
			next = messages[i].Sequence + 1
			do(&messages[i])
		}
	}
	return read, next, nil
}
