package natsbus

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"google.golang.org/protobuf/proto"

	"github.com/meetwire/meetwire/pkg/bus"
	"github.com/meetwire/meetwire/pkg/fault"
	deliveryv1 "github.com/meetwire/meetwire/proto/gen/meetwire/delivery/v1"
	"github.com/meetwire/meetwire/services/delivery/internal/core"
)

// eraseWait is how long an erasure waits until records that tell of an event have been taken in: longer than they may make
// way for deliveries.
const eraseWait = 45 * time.Second

// Eraser removes from the streams of delivery what events say.
type Eraser struct {
	Queue *Queue
	NewID func() string
	// Recorded tells how far records have been taken in: they are not removed before.
	Recorded Recorded
	// Succeeded returns which of these deliveries have succeeded: what waits of them was sent again, and ends without a
	// trace.
	Succeeded func(ctx context.Context, organization string, deliveries []string) (map[string]bool, error)
}

// Erasure is what an erasure has done.
type Erasure struct {
	Messages int64 // removed from streams
	Dropped  int64 // deliveries that waited
}

// Erase removes the messages of some events of an organization, and drops their deliveries that wait and the dead
// letters. What is being tried at the moment may come back; it is met by another call later. It can be repeated. Errors:
// fault.Unavailable.
func (e *Eraser) Erase(ctx context.Context, organization string, sequences []int64) (Erasure, error) {
	work := &erasing{Eraser: e, organization: organization, events: make(map[string]bool, len(sequences))}
	for _, sequence := range sequences {
		work.events[strconv.FormatInt(sequence, 10)] = true
	}
	for _, source := range []struct{ stream, filter string }{
		{bus.StreamDeliveries, bus.DeliverySubject(bus.AnyToken, organization, bus.AnyRest)},
		{bus.StreamRetries, bus.RetryTimersFilter(organization, bus.AnyToken)},
		{bus.StreamRetries, bus.RetryDueSubject(bus.AnyToken, organization, bus.AnyRest)},
		{bus.StreamDeadLetters, bus.DeadLetterSubject(bus.AnyToken, organization, bus.AnyToken, bus.AnyRest)},
	} {
		if err := work.scan(ctx, source.stream, source.filter, work.drop); err != nil {
			return work.done, unavailable(err, "deliveries cannot be removed at the moment")
		}
	}
	err := work.scan(ctx, bus.StreamRecords, bus.RecordSubject(organization, bus.AnyRest), work.records)
	if fault.Is(err, fault.Unavailable) {
		return work.done, err
	}
	if err != nil {
		return work.done, unavailable(err, "records cannot be removed at the moment")
	}
	return work.done, nil
}

// erasing is one erasure.
type erasing struct {
	*Eraser
	organization string
	events       map[string]bool // sequences in EVENTS, as headers have them
	recorded     uint64          // how far records are known to have been taken in
	done         Erasure
}

// scan looks through what a stream has of the organization.
func (e *erasing) scan(
	ctx context.Context, stream, filter string, remove func(ctx context.Context, stream jetstream.Stream, batch []bus.StoredMsg) error,
) error {
	opened, err := e.Queue.js.Stream(ctx, stream)
	if err != nil {
		return fmt.Errorf("open stream %s: %w", stream, err)
	}
	reader := &bus.BatchReader{JetStream: e.Queue.scans, Stream: stream}
	for from := uint64(1); ; {
		batch, err := reader.Batch(ctx, filter, from, drainBatch)
		if err != nil || len(batch) == 0 {
			return err
		}
		from = batch[len(batch)-1].Sequence + 1
		if err := remove(ctx, opened, batch); err != nil {
			return err
		}
	}
}

// drop removes the deliveries and dead letters of a batch that are of the events, and records that.
func (e *erasing) drop(ctx context.Context, stream jetstream.Stream, batch []bus.StoredMsg) error {
	batch = slices.DeleteFunc(batch, func(msg bus.StoredMsg) bool { return !e.events[msg.Header.Get(bus.HeaderEventSequence)] })
	if len(batch) == 0 {
		return nil
	}
	ids := make([]string, len(batch))
	for i, msg := range batch {
		ids[i] = msg.Header.Get(bus.HeaderDeliveryID)
	}
	succeeded, err := e.Succeeded(ctx, e.organization, ids)
	if err != nil {
		return err
	}
	for i, msg := range batch {
		wait := func() error { return nil }
		if task, err := decode(msg.Header, msg.Header.Get(bus.HeaderLane), nil); err == nil && !succeeded[ids[i]] {
			wait = e.Queue.Record(ctx, e.dropped(task))
			e.done.Dropped++
		}
		if err := e.remove(ctx, stream, msg.Sequence); err != nil {
			return err
		}
		if err := wait(); err != nil {
			return err
		}
	}
	return nil
}

// dropped is the end of a delivery.
func (e *erasing) dropped(task *core.Task) *core.Record {
	return &core.Record{
		ID: e.NewID(), Time: e.Queue.now(), Task: task, AttemptCount: task.Attempts,
		State: core.StateDropped, Reason: core.ReasonErased,
	}
}

// records removes the records of a batch that have attempts for the events: the others only say that something happened,
// and when.
func (e *erasing) records(ctx context.Context, stream jetstream.Stream, batch []bus.StoredMsg) error {
	for _, msg := range batch {
		var record deliveryv1.Record
		if err := proto.Unmarshal(msg.Data, &record); err != nil {
			continue // nobody but delivery publishes records: it is not one
		}
		if record.GetAttempt() == nil || !e.events[strconv.FormatInt(record.GetEventSequence(), 10)] {
			continue
		}
		if err := e.taken(ctx, msg.Sequence); err != nil {
			return err
		}
		if err := e.remove(ctx, stream, msg.Sequence); err != nil {
			return err
		}
	}
	return nil
}

// taken waits until a record has been taken in: what was removed before would never have happened.
func (e *erasing) taken(ctx context.Context, sequence uint64) error {
	for began := e.Queue.now(); e.recorded < sequence; {
		var err error
		if e.recorded, _, err = e.Queue.recorded(ctx, e.Recorded); err != nil {
			return err
		}
		if e.recorded >= sequence {
			return nil
		}
		if e.Queue.now().Sub(began) > eraseWait {
			return fault.New(fault.Unavailable, "RECORDER_BEHIND", "records of the events have not been taken in yet; repeat the call")
		}
		if err := wait(ctx, recordTick); err != nil {
			return err
		}
	}
	return nil
}

// remove overwrites and removes a message. One that is not there any more was taken by somebody else.
func (e *erasing) remove(ctx context.Context, stream jetstream.Stream, sequence uint64) error {
	err := e.Queue.persist(ctx, "erase a message", func(ctx context.Context) error {
		err := stream.SecureDeleteMsg(ctx, sequence)
		if errors.Is(err, jetstream.ErrMsgDeleteUnsuccessful) {
			if _, missing := stream.GetMsg(ctx, sequence); errors.Is(missing, jetstream.ErrMsgNotFound) {
				return nil
			}
		}
		return err
	})
	if err != nil {
		return fmt.Errorf("erase message %d: %w", sequence, err)
	}
	e.done.Messages++
	return nil
}
