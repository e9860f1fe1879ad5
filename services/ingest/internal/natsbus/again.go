package natsbus

import (
	"context"
	"errors"
	"fmt"
	"strconv"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/meetwire/meetwire/pkg/bus"
	"github.com/meetwire/meetwire/pkg/fault"
)

// Again is a delivery that is sent from the history.
type Again struct {
	Past     *Past
	Webhook  string
	Revision int64 // of the configuration that it was matched with
	Attempts int   // made so far
	// MsgID is that of the live fan-out, the delivery's id, when it is empty.
	MsgID string
}

// ReplayMsgID is the Nats-Msg-Id of a delivery that an operation, or a request, sends again.
func ReplayMsgID(of, delivery string) string { return "replay:" + of + ":" + delivery }

// Delivery returns the id of a delivery of an event.
func (p *Past) Delivery(webhook string) string {
	return bus.DeliveryID(p.organization, p.Event.Source, p.Event.ID, webhook)
}

// SendAgain publishes deliveries in the bulk lane, and returns after they are stored those that the stream did not know
// already. Errors: fault.Unavailable, fault.ResourceExhausted (DELIVERIES is full), or the context's.
func (w *Worker) SendAgain(ctx context.Context, deliveries []Again) (stored []Again, err error) {
	futures := make([]jetstream.PubAckFuture, len(deliveries))
	for i, again := range deliveries {
		t := again.Past.task(again.Revision)
		msg := t.delivery(again.Webhook)
		if again.Attempts > 0 {
			attempts := strconv.Itoa(again.Attempts)
			msg.Header.Set(bus.HeaderAttempt, attempts)
			msg.Header.Set(bus.HeaderAttemptBase, attempts)
		}
		id := again.MsgID
		if id == "" {
			id = msg.Header.Get(bus.HeaderDeliveryID)
		}
		if futures[i], err = bus.PublishAsync(w.JetStream, msg, id); err != nil {
			return nil, fmt.Errorf("publish a delivery: %w", err)
		}
	}
	stored = make([]Again, 0, len(deliveries))
	for i, future := range futures {
		ack, err := bus.Await(ctx, future)
		if err != nil {
			return nil, fmt.Errorf("publish a delivery: %w", err)
		}
		if !ack.Duplicate {
			stored = append(stored, deliveries[i])
		}
	}
	return stored, nil
}

// PastEvent returns one event of an organization, if it would be accepted today. Errors: fault.NotFound when there is none
// or none any more, fault.FailedPrecondition when it was not accepted, fault.Unavailable.
func (w *Worker) PastEvent(ctx context.Context, organization string, sequence uint64) (*Past, error) {
	kept, err := (&Events{JetStream: w.JetStream}).Event(ctx, sequence)
	if err == nil && kept.Organization != organization {
		err = errNoEvent()
	}
	if err != nil {
		return nil, err
	}
	past := w.past(organization, kept.Trigger, kept.Sequence, kept.Accepted, kept.Header, kept.Body)
	if past == nil {
		return nil, fault.New(fault.FailedPrecondition, "EVENT_REJECTED", "event %d was not accepted", sequence)
	}
	return past, nil
}

// LastEvent returns the sequence of the newest event of the stream.
func (w *Worker) LastEvent(ctx context.Context) (uint64, error) {
	return w.last(ctx, bus.StreamEvents)
}

// LastFanOut returns the sequence of the newest message that tells what became of an event.
func (w *Worker) LastFanOut(ctx context.Context) (uint64, error) {
	return w.last(ctx, bus.StreamFanOuts)
}

func (w *Worker) last(ctx context.Context, name string) (uint64, error) {
	stream, err := w.stream(ctx, name)
	if err != nil {
		return 0, streamFault(ctx, "open stream "+name, err)
	}
	return stream.CachedInfo().State.LastSeq, nil
}

// Indexed reports whether the index knows what FANOUTS tells up to a sequence.
func (w *Worker) Indexed(ctx context.Context, sequence uint64) (bool, error) {
	stream, err := w.stream(ctx, bus.StreamFanOuts)
	if err != nil {
		return false, streamFault(ctx, "open stream FANOUTS", err)
	}
	state := stream.CachedInfo().State
	return state.Msgs == 0 || state.FirstSeq > sequence, nil
}

// FannedOut returns up to which sequence the live fan-out is done with the events of a lane, asked for one of them.
func (w *Worker) FannedOut(ctx context.Context, lane string, event uint64) (until uint64, err error) {
	info, err := request(ctx, func(ctx context.Context) (jetstream.Consumer, error) {
		return w.JetStream.Consumer(ctx, bus.StreamEvents, bus.IngestDurable(lane))
	})
	if errors.Is(err, jetstream.ErrConsumerNotFound) {
		return event, nil // nobody fans such events out any more
	}
	if err != nil {
		return 0, streamFault(ctx, "ask how far the fan-out is", err)
	}
	return info.CachedInfo().AckFloor.Stream, nil
}

// AllFannedOut reports whether every durable consumer of EVENTS is past an event.
func (w *Worker) AllFannedOut(ctx context.Context, sequence uint64) (bool, error) {
	stream, err := w.stream(ctx, bus.StreamEvents)
	if err != nil {
		return false, streamFault(ctx, "open stream EVENTS", err)
	}
	limited, cancel := context.WithTimeout(ctx, requestWait)
	defer cancel()
	all := stream.ListConsumers(limited)
	var behind []*jetstream.ConsumerInfo
	for info := range all.Info() {
		if info.Config.Durable != "" && info.AckFloor.Stream < sequence {
			behind = append(behind, info)
		}
	}
	if err := all.Err(); err != nil {
		return false, streamFault(ctx, "ask how far the fan-out is", err)
	}
	for _, info := range behind {
		if idle, err := isIdle(limited, stream, info); err != nil || !idle {
			return false, err
		}
	}
	return true, nil
}

// isIdle reports whether a consumer has given out all that is stored for it, and has every answer. It hears of what is
// stored a little later, so the stream is asked.
func isIdle(ctx context.Context, stream jetstream.Stream, info *jetstream.ConsumerInfo) (bool, error) {
	if info.NumPending > 0 || info.NumAckPending > 0 {
		return false, nil
	}
	last, err := stream.GetLastMsgForSubject(ctx, info.Config.FilterSubject)
	if errors.Is(err, jetstream.ErrMsgNotFound) {
		return true, nil
	}
	if err != nil {
		return false, streamFault(ctx, "ask how far the fan-out is", err)
	}
	return info.Delivered.Stream >= last.Sequence, nil
}

const (
	// scanBatch is how many rejects are looked at, at once.
	scanBatch = 256
	// eraseWait is how long the removal of one message may take.
	eraseWait = requestWait
)

// Erase overwrites and removes events of an organization and their rejects, and returns how many messages there were. It
// can be repeated. Errors: fault.Unavailable, or the context's.
func (w *Worker) Erase(ctx context.Context, organization string, sequences []int64) (removed int64, err error) {
	events, err := w.stream(ctx, bus.StreamEvents)
	if err != nil {
		return 0, streamFault(ctx, "open stream EVENTS", err)
	}
	reader := &Events{JetStream: w.JetStream}
	wanted := make(map[string]bool, len(sequences))
	for _, sequence := range sequences {
		wanted[strconv.FormatInt(sequence, 10)] = true
		kept, err := reader.Event(ctx, uint64(sequence)) //nolint:gosec // G115: checked to be positive
		if fault.Is(err, fault.NotFound) || err == nil && kept.Organization != organization {
			continue // it is gone, or somebody else's
		}
		if err != nil {
			return removed, err
		}
		if err := w.eraseMessage(ctx, events, kept.Sequence); err != nil {
			return removed, err
		}
		removed++
	}
	n, err := w.eraseRejects(ctx, organization, wanted)
	return removed + n, err
}

// eraseRejects removes the rejects of events.
func (w *Worker) eraseRejects(ctx context.Context, organization string, wanted map[string]bool) (removed int64, err error) {
	rejects, err := w.stream(ctx, bus.StreamRejects)
	if err != nil {
		return 0, streamFault(ctx, "open stream REJECTS", err)
	}
	reader := &bus.BatchReader{JetStream: w.JetStream, Stream: bus.StreamRejects}
	for from := uint64(1); ; {
		batch, err := reader.Batch(ctx, bus.RejectSubject(organization), from, scanBatch)
		if err != nil {
			return removed, streamFault(ctx, "read rejects", err)
		}
		if len(batch) == 0 {
			return removed, nil
		}
		from = batch[len(batch)-1].Sequence + 1
		for _, msg := range batch {
			if !wanted[msg.Header.Get(bus.HeaderEventSequence)] {
				continue
			}
			if err := w.eraseMessage(ctx, rejects, msg.Sequence); err != nil {
				return removed, err
			}
			removed++
		}
	}
}

// eraseMessage overwrites and removes one message. One that is gone already was removed by somebody else, or has expired.
func (w *Worker) eraseMessage(ctx context.Context, stream jetstream.Stream, sequence uint64) error {
	limited, cancel := context.WithTimeout(ctx, eraseWait)
	defer cancel()
	err := stream.SecureDeleteMsg(limited, sequence)
	if errors.Is(err, jetstream.ErrMsgDeleteUnsuccessful) {
		if _, missing := stream.GetMsg(limited, sequence); errors.Is(missing, jetstream.ErrMsgNotFound) {
			return nil
		}
	}
	if err != nil {
		return streamFault(ctx, "erase a message", err)
	}
	return nil
}
