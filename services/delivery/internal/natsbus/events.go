package natsbus

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/meetwire/meetwire/pkg/bus"
	"github.com/meetwire/meetwire/pkg/cloudevent"
	"github.com/meetwire/meetwire/pkg/fault"
	"github.com/meetwire/meetwire/services/delivery/internal/core"
)

// eventReader reads single messages of EVENTS.
type eventReader struct {
	js, scans jetstream.JetStream
	stream    jetstream.Stream
}

func newEventReader(ctx context.Context, js, scans jetstream.JetStream) (*eventReader, error) {
	stream, err := js.Stream(ctx, bus.StreamEvents)
	if err != nil {
		return nil, fmt.Errorf("open stream %s: %w", bus.StreamEvents, err)
	}
	return &eventReader{js: js, scans: scans, stream: stream}, nil
}

// errNoEvent is what is said of an event that does not exist, or not any more.
func errNoEvent() error {
	return fault.New(fault.NotFound, "EVENT_NOT_FOUND", "the event has expired or was erased")
}

// storedEvent is an event as its fan-out has passed it on.
type storedEvent struct {
	document                []byte
	traceParent, traceState string // empty: the publisher has sent none
}

// read returns an event: the same as at its fan-out, in whichever mode it was published. Any replica may answer a direct
// get, also one that lags behind, so a miss is asked again of the leader before it is believed.
func (r *eventReader) read(ctx context.Context, sequence uint64) (storedEvent, error) {
	if sequence == 0 {
		return storedEvent{}, errNoEvent() // the first has 1; asked for 0, the server would refuse, time and again
	}
	msg, err := r.stream.GetMsg(ctx, sequence)
	if err == nil {
		return eventOf(msg.Header, msg.Data), nil
	}
	if !errors.Is(err, jetstream.ErrMsgNotFound) {
		return storedEvent{}, fmt.Errorf("get event %d: %w", sequence, err)
	}
	return r.readFromLeader(ctx, sequence)
}

// eventOf returns the event of a message. Ingest has accepted it, so its document can be made; if it cannot, the
// delivery ends as one that cannot be rendered, with what was published.
func eventOf(header nats.Header, body []byte) storedEvent {
	made, err := cloudevent.Document(header, body)
	if err != nil {
		made = body
	}
	event := storedEvent{document: made}
	event.traceParent, event.traceState = cloudevent.Trace(header, made)
	return event
}

// codeNoMessage is the error code of the JetStream API for a sequence that is not there.
const codeNoMessage = 10037

func (r *eventReader) readFromLeader(ctx context.Context, sequence uint64) (storedEvent, error) {
	msg, err := fromLeader(ctx, r.js, bus.StreamEvents, sequence)
	if err != nil {
		return storedEvent{}, err
	}
	if msg == nil {
		return storedEvent{}, errNoEvent()
	}
	return eventOf(msg.Header, msg.Data), nil
}

// fromLeader asks the leader of a stream for a message; nil when there is none.
func fromLeader(ctx context.Context, js jetstream.JetStream, stream string, sequence uint64) (*nats.Msg, error) {
	request, err := json.Marshal(struct {
		Sequence uint64 `json:"seq"`
	}{sequence})
	if err != nil {
		return nil, fmt.Errorf("encode the request: %w", err)
	}
	reply, err := js.Conn().RequestWithContext(ctx, "$JS.API.STREAM.MSG.GET."+stream, request)
	if err != nil {
		return nil, fmt.Errorf("ask the leader of %s for message %d: %w", stream, sequence, err)
	}
	var answer struct {
		Error   *jetstream.APIError `json:"error"`
		Message struct {
			Header []byte `json:"hdrs"`
			Data   []byte `json:"data"`
		} `json:"message"`
	}
	if err := json.Unmarshal(reply.Data, &answer); err != nil {
		return nil, fmt.Errorf("read the leader's answer: %w", err)
	}
	msg := &nats.Msg{Data: answer.Message.Data}
	switch {
	case answer.Error != nil && answer.Error.ErrorCode == codeNoMessage:
		return nil, nil
	case answer.Error != nil:
		return nil, fmt.Errorf("ask the leader of %s for message %d: %w", stream, sequence, answer.Error)
	case len(answer.Message.Header) == 0:
		return msg, nil
	}
	if msg.Header, err = nats.DecodeHeadersMsg(answer.Message.Header); err != nil {
		return nil, fmt.Errorf("read the headers of message %d of %s: %w", sequence, stream, err)
	}
	return msg, nil
}

// maxSpan is how many events are read at most to find one that is looked for: with more, each is asked for by itself.
const maxSpan = 4

// readMany gives tasks the events that they come without, as far as one request brings them. The others are read by whoever
// needs them.
func (r *eventReader) readMany(ctx context.Context, timers []waiting) error {
	var first, last uint64
	without := make(map[uint64][]*core.Task)
	for _, timer := range timers {
		if sequence := timer.task.EventSequence; len(timer.task.Event) == 0 && sequence > 0 {
			if len(without) == 0 {
				first, last = sequence, sequence
			}
			first, last = min(first, sequence), max(last, sequence)
			without[sequence] = append(without[sequence], timer.task)
		}
	}
	if len(without) < 2 {
		return nil
	}
	span := last - first + 1
	if span > maxSpan*uint64(len(without)) {
		return nil
	}
	reader := &bus.BatchReader{JetStream: r.scans, Stream: bus.StreamEvents}
	read, err := reader.Batch(ctx, "", first, int(span))
	if err != nil {
		return fmt.Errorf("read events: %w", err)
	}
	for i := range read {
		if tasks := without[read[i].Sequence]; len(tasks) > 0 {
			document := eventOf(read[i].Header, read[i].Data).document
			for _, task := range tasks {
				task.Event = document
			}
		}
	}
	return nil
}
