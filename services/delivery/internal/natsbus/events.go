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
)

// eventReader reads single messages of EVENTS.
type eventReader struct {
	js     jetstream.JetStream
	stream jetstream.Stream
}

func newEventReader(ctx context.Context, js jetstream.JetStream) (*eventReader, error) {
	stream, err := js.Stream(ctx, bus.StreamEvents)
	if err != nil {
		return nil, fmt.Errorf("open stream %s: %w", bus.StreamEvents, err)
	}
	return &eventReader{js: js, stream: stream}, nil
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
	request, err := json.Marshal(struct {
		Sequence uint64 `json:"seq"`
	}{sequence})
	if err != nil {
		return storedEvent{}, fmt.Errorf("encode the request: %w", err)
	}
	reply, err := r.js.Conn().RequestWithContext(ctx, "$JS.API.STREAM.MSG.GET."+bus.StreamEvents, request)
	if err != nil {
		return storedEvent{}, fmt.Errorf("ask the leader for event %d: %w", sequence, err)
	}
	var answer struct {
		Error   *jetstream.APIError `json:"error"`
		Message struct {
			Header []byte `json:"hdrs"`
			Data   []byte `json:"data"`
		} `json:"message"`
	}
	if err := json.Unmarshal(reply.Data, &answer); err != nil {
		return storedEvent{}, fmt.Errorf("read the leader's answer: %w", err)
	}
	switch {
	case answer.Error != nil && answer.Error.ErrorCode == codeNoMessage:
		return storedEvent{}, errNoEvent()
	case answer.Error != nil:
		return storedEvent{}, fmt.Errorf("ask the leader for event %d: %w", sequence, answer.Error)
	case len(answer.Message.Header) == 0:
		return eventOf(nil, answer.Message.Data), nil
	}
	header, err := nats.DecodeHeadersMsg(answer.Message.Header)
	if err != nil {
		return storedEvent{}, fmt.Errorf("read the headers of event %d: %w", sequence, err)
	}
	return eventOf(header, answer.Message.Data), nil
}
