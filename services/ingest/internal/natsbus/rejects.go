package natsbus

import (
	"bytes"
	"context"
	"errors"
	"strconv"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/meetwire/meetwire/pkg/bus"
	"github.com/meetwire/meetwire/pkg/fault"
	"github.com/meetwire/meetwire/services/ingest/internal/core"
)

// Rejects reads REJECTS, and publishes from it.
type Rejects struct {
	JetStream jetstream.JetStream
}

// errNoReject is what a caller gets for one that does not exist, or not any more.
func errNoReject() error { return fault.New(fault.NotFound, "REJECT_NOT_FOUND", "no such reject") }

// Reject returns a reject of an organization. Errors: fault.NotFound, fault.Unavailable, or the context's.
func (r *Rejects) Reject(ctx context.Context, organization string, sequence uint64) (core.Reject, error) {
	msg, err := request(ctx, func(ctx context.Context) (*jetstream.RawStreamMsg, error) {
		stream, err := r.JetStream.Stream(ctx, bus.StreamRejects)
		if err != nil {
			return nil, err
		}
		return stream.GetMsg(ctx, sequence)
	})
	if errors.Is(err, jetstream.ErrMsgNotFound) || err == nil && msg.Subject != bus.RejectSubject(organization) {
		return core.Reject{}, errNoReject()
	}
	if err != nil {
		return core.Reject{}, streamFault(ctx, "read stream REJECTS", err)
	}
	return rejectOf(organization, bus.StoredMsg{
		Sequence: msg.Sequence, Subject: msg.Subject, Header: msg.Header, Data: msg.Data, Stored: msg.Time.UTC(),
	}), nil
}

// Rejects returns up to size rejects of an organization, the oldest first, from a sequence on; none when there are no
// more. Errors: fault.Unavailable, or the context's.
func (r *Rejects) Rejects(ctx context.Context, organization string, from uint64, size int) ([]core.Reject, error) {
	reader := &bus.BatchReader{JetStream: r.JetStream, Stream: bus.StreamRejects}
	batch, err := reader.Batch(ctx, bus.RejectSubject(organization), from, size)
	if err != nil {
		return nil, streamFault(ctx, "read stream REJECTS", err)
	}
	found := make([]core.Reject, len(batch))
	for i, msg := range batch {
		found[i] = rejectOf(organization, msg)
	}
	return found, nil
}

// rejectOf reads what keep has written.
func rejectOf(organization string, msg bus.StoredMsg) core.Reject {
	reject := core.Reject{
		Sequence:     msg.Sequence,
		Organization: organization,
		Subject:      msg.Header.Get(bus.HeaderSubject),
		Rejected:     msg.Stored,
		Rule:         msg.Header.Get(bus.HeaderReason),
		Pointer:      msg.Header.Get(bus.HeaderField),
		Detail:       msg.Header.Get(bus.HeaderDetail),
		Header:       make(map[string][]string),
		Body:         msg.Data,
	}
	// Both are written by us; what somebody else has put there stays zero.
	if sequence, err := strconv.ParseUint(msg.Header.Get(bus.HeaderEventSequence), 10, 63); err == nil {
		reject.EventSequence = sequence
	}
	if accepted, err := time.Parse(time.RFC3339Nano, msg.Header.Get(bus.HeaderAcceptedAt)); err == nil {
		reject.Accepted = accepted.UTC()
	}
	for name, values := range msg.Header {
		if core.IsEventHeader(name) {
			reject.Header[name] = values
		}
	}
	return reject
}

// Resubmit publishes an event in the place of a reject, which is none any more then. It returns the event's sequence in
// EVENTS. Doing it twice publishes one event within the dedup window. Errors: fault.Aborted when another event was
// published in its place a moment ago, fault.NotFound when that was erased since, fault.Unavailable,
// fault.ResourceExhausted, or the context's.
func (r *Rejects) Resubmit(ctx context.Context, reject *core.Reject, event *core.Event) (uint64, error) {
	msg := nats.NewMsg(bus.EventSubject(reject.Organization, event.Type))
	msg.Data = event.Raw
	ack, err := request(ctx, func(ctx context.Context) (*jetstream.PubAck, error) {
		return bus.Publish(ctx, r.JetStream, msg, bus.ReplacementMsgID(bus.StreamRejects, reject.Sequence))
	})
	if err != nil {
		return 0, err
	}
	if ack.Duplicate {
		if err := r.requireSame(ctx, ack.Sequence, event); err != nil {
			return 0, err
		}
	}
	_, err = request(ctx, func(ctx context.Context) (struct{}, error) { return struct{}{}, r.remove(ctx, reject.Sequence) })
	if err != nil {
		return 0, streamFault(ctx, "remove a reject", err)
	}
	return ack.Sequence, nil
}

// requireSame returns an error if what was published before in an event's place is not that event, or is gone already.
func (r *Rejects) requireSame(ctx context.Context, sequence uint64, event *core.Event) error {
	published, err := (&Events{JetStream: r.JetStream}).Event(ctx, sequence)
	if err != nil {
		return err
	}
	if !bytes.Equal(published.Body, event.Raw) {
		return fault.New(fault.Aborted, "RESUBMITTED_OTHERWISE", "somebody else has resubmitted the reject a moment ago, with another event")
	}
	return nil
}

// remove deletes a message, which may be gone already.
func (r *Rejects) remove(ctx context.Context, sequence uint64) error {
	stream, err := r.JetStream.Stream(ctx, bus.StreamRejects)
	if err != nil {
		return err
	}
	err = stream.DeleteMsg(ctx, sequence)
	if errors.Is(err, jetstream.ErrMsgDeleteUnsuccessful) {
		if _, missing := stream.GetMsg(ctx, sequence); errors.Is(missing, jetstream.ErrMsgNotFound) {
			return nil
		}
	}
	return err
}
