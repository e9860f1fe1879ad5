package natsbus

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/meetwire/meetwire/pkg/bus"
)

// LetterPart is a part of the dead letters.
type LetterPart struct {
	Letters []*DeadLetter
	Read    int    // messages that were read for it
	Next    uint64 // sequence to go on from; 0: there is nothing behind
}

// Bounds of a part: how many messages are read for it, however few of them are meant, and how large the events are that
// it has, about.
const (
	maxRead      = 10_000
	maxPartBytes = 16 << 20
	// wholeBatch is how many are read at once with their events, after their headers.
	wholeBatch = 32
)

// List returns dead letters that are selected, oldest first, from a sequence on and up to another (0: to the end), at most
// size of them; fewer also when there are more, see Next. Errors: fault.Unavailable.
func (d *DeadLetters) List(ctx context.Context, selected Selection, from, until uint64, size int) (LetterPart, error) {
	if selected.Trigger != "" && !bus.IsTrigger(selected.Trigger) {
		return LetterPart{}, nil
	}
	list := d.listAll
	if !selected.exact() {
		list = d.listSome
	}
	part, err := list(ctx, selected, max(from, 1), until, size)
	if err != nil {
		return part, unavailable(err, "dead letters cannot be read at the moment")
	}
	return part, nil
}

// listAll is List for a selection that a subject can make.
func (d *DeadLetters) listAll(ctx context.Context, selected Selection, from, until uint64, size int) (LetterPart, error) {
	var part LetterPart
	var err error
	bytes := 0
	part.Read, part.Next, err = readStored(ctx, d.reader(), selected.subject(), from, until,
		func(read int) int {
			if read >= maxRead || bytes >= maxPartBytes {
				return 0
			}
			return size - len(part.Letters)
		},
		func(msg *bus.StoredMsg) {
			if letter := d.read(ctx, msg); letter != nil {
				part.Letters = append(part.Letters, letter)
				bytes += len(msg.Data)
			}
		})
	return part, err
}

// listSome is List for a selection that needs a look at the headers of more dead letters than are meant. Events are only
// read of those.
func (d *DeadLetters) listSome(ctx context.Context, selected Selection, from, until uint64, size int) (LetterPart, error) {
	part := LetterPart{Next: from}
	var found []bus.StoredMsg
	var read []int // how many had been read with each
	end, err := d.heads(ctx, selected.subject(), from, func(msg bus.StoredMsg) (more, end bool) {
		if until > 0 && msg.Sequence > until {
			return false, true
		}
		part.Read++
		part.Next = msg.Sequence + 1
		if letter := d.read(ctx, &msg); letter != nil && selected.has(letter) {
			found, read = append(found, msg), append(read, part.Read)
		}
		return len(found) < size && part.Read < maxRead, false
	})
	if err != nil {
		return LetterPart{Next: from}, err
	}
	if end {
		part.Next = 0
	}
	bytes, done := 0, 0
	for some := range slices.Chunk(found, wholeBatch) {
		if bytes >= maxPartBytes {
			part.Read, part.Next = read[done-1], found[done-1].Sequence+1
			break
		}
		letters, err := d.whole(ctx, some)
		if err != nil {
			return LetterPart{Next: from}, err
		}
		for _, letter := range letters {
			bytes += len(letter.Task.Event)
		}
		part.Letters = append(part.Letters, letters...)
		done += len(some)
	}
	return part, nil
}

// heads gives dead letters without their events to a function, until that wants no more. It reports the end when there are
// no more, or the function says so.
func (d *DeadLetters) heads(
	ctx context.Context, subject string, from uint64, do func(msg bus.StoredMsg) (more, end bool),
) (end bool, err error) {
	consumer, err := d.scanned.CreateConsumer(ctx, jetstream.ConsumerConfig{
		FilterSubject: subject, DeliverPolicy: jetstream.DeliverByStartSequencePolicy, OptStartSeq: from,
		AckPolicy: jetstream.AckNonePolicy, HeadersOnly: true, MemoryStorage: true, Replicas: 1, InactiveThreshold: 2 * attemptTime,
	})
	if err != nil {
		return false, fmt.Errorf("read headers: %w", err)
	}
	defer func() {
		limited, cancel := context.WithTimeout(context.WithoutCancel(ctx), attemptTime)
		defer cancel()
		if err := d.scanned.DeleteConsumer(limited, consumer.CachedInfo().Name); err != nil {
			d.queue.logger.DebugContext(ctx, "consumer is left to the server", "error", err) // which removes it
		}
	}()
	if consumer.CachedInfo().NumPending == 0 {
		return true, nil
	}
	var last uint64
	for more := true; more; {
		batch, err := consumer.FetchNoWait(drainBatch)
		if err != nil {
			return false, fmt.Errorf("read headers: %w", err)
		}
		got := false
		for msg := range batch.Messages() {
			meta, err := msg.Metadata()
			if err != nil {
				return false, fmt.Errorf("read the metadata of a dead letter: %w", err)
			}
			if last++; meta.Sequence.Consumer != last {
				return false, errMissed
			}
			if got = true; !more || end {
				continue // the rest of the batch
			}
			more, end = do(bus.StoredMsg{
				Sequence: meta.Sequence.Stream, Subject: msg.Subject(), Header: msg.Headers(), Stored: meta.Timestamp.UTC(),
			})
			end = end || more && meta.NumPending == 0
			more = more && !end
		}
		if err := batch.Error(); err != nil {
			return false, fmt.Errorf("read headers: %w", err)
		}
		if !got {
			// What there was has gone, or the server took its time, or the consumer is lost with its server.
			info, err := consumer.Info(ctx)
			if err != nil {
				return false, fmt.Errorf("read headers: %w", err)
			}
			if info.NumPending > 0 || info.Delivered.Consumer != last {
				return false, errMissed
			}
			return true, nil
		}
	}
	return end, nil
}

// errMissed is returned when messages have not arrived.
var errMissed = errors.New("headers of dead letters were lost on their way")

// whole reads dead letters with their events, in the order of their headers, but for those that are gone by now.
func (d *DeadLetters) whole(ctx context.Context, heads []bus.StoredMsg) ([]*DeadLetter, error) {
	var mu sync.Mutex
	found := make(map[uint64]*DeadLetter, len(heads))
	err := several(ctx, heads, func(ctx context.Context, head bus.StoredMsg) error {
		data, there, err := d.body(ctx, head.Sequence)
		if err != nil || !there {
			return err
		}
		head.Data = data
		letter := d.read(ctx, &head)
		mu.Lock()
		defer mu.Unlock()
		found[head.Sequence] = letter
		return nil
	})
	if err != nil {
		return nil, err
	}
	letters := make([]*DeadLetter, 0, len(found))
	for _, head := range heads {
		if letter := found[head.Sequence]; letter != nil {
			letters = append(letters, letter)
		}
	}
	return letters, nil
}

// body reads the event of a dead letter. A replica that lags behind is not believed that there is none.
func (d *DeadLetters) body(ctx context.Context, sequence uint64) (event []byte, there bool, err error) {
	limited, cancel := context.WithTimeout(ctx, attemptTime)
	defer cancel()
	stored, err := d.stream.GetMsg(limited, sequence)
	if err == nil {
		return stored.Data, true, nil
	}
	if !errors.Is(err, jetstream.ErrMsgNotFound) {
		return nil, false, fmt.Errorf("read dead letter %d: %w", sequence, err)
	}
	msg, err := fromLeader(limited, d.js, bus.StreamDeadLetters, sequence)
	if err != nil || msg == nil {
		return nil, false, err
	}
	return msg.Data, true, nil
}
