package natsbus

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/meetwire/meetwire/pkg/bus"
	"github.com/meetwire/meetwire/pkg/fault"
	"github.com/meetwire/meetwire/services/ingest/internal/core"
)

// Events reads single events from EVENTS.
type Events struct{ JetStream jetstream.JetStream }

// Event returns one event. Any replica may answer a direct get, also one that lags behind, so a miss is asked again of
// the leader before it is believed. Errors: fault.NotFound when it is not kept, fault.Unavailable, or the context's.
func (e *Events) Event(ctx context.Context, sequence uint64) (core.Kept, error) {
	if sequence == 0 {
		return core.Kept{}, errNoEvent() // the first has 1; asked for 0, the server would refuse
	}
	stream, err := request(ctx, func(ctx context.Context) (jetstream.Stream, error) {
		return e.JetStream.Stream(ctx, bus.StreamEvents)
	})
	if err != nil {
		return core.Kept{}, streamFault(ctx, "open stream "+bus.StreamEvents, err)
	}
	msg, err := request(ctx, func(ctx context.Context) (*jetstream.RawStreamMsg, error) { return stream.GetMsg(ctx, sequence) })
	if errors.Is(err, jetstream.ErrMsgNotFound) {
		msg, err = request(ctx, func(ctx context.Context) (*jetstream.RawStreamMsg, error) { return e.fromLeader(ctx, sequence) })
	}
	if fault.Is(err, fault.NotFound) {
		return core.Kept{}, err
	}
	if err != nil {
		return core.Kept{}, streamFault(ctx, fmt.Sprintf("get event %d", sequence), err)
	}
	organization, trigger, err := bus.ParseEventSubject(msg.Subject)
	if err != nil {
		return core.Kept{}, err
	}
	return core.Kept{
		Sequence: msg.Sequence, Organization: organization, Trigger: trigger,
		Header: msg.Header, Body: msg.Data, Accepted: msg.Time.UTC(),
	}, nil
}

// errNoEvent is what is said of an event that does not exist, or not any more.
func errNoEvent() error {
	return fault.New(fault.NotFound, "EVENT_NOT_FOUND", "there is no such event, or it has expired")
}

// codeNoMessage is the error code of the JetStream API for a sequence that is not there.
const codeNoMessage = 10037

func (e *Events) fromLeader(ctx context.Context, sequence uint64) (*jetstream.RawStreamMsg, error) {
	question, err := json.Marshal(struct {
		Sequence uint64 `json:"seq"`
	}{sequence})
	if err != nil {
		return nil, fmt.Errorf("encode the request: %w", err)
	}
	reply, err := e.JetStream.Conn().RequestWithContext(ctx, "$JS.API.STREAM.MSG.GET."+bus.StreamEvents, question)
	if err != nil {
		return nil, fmt.Errorf("ask the leader: %w", err)
	}
	var answer struct {
		Error   *jetstream.APIError `json:"error"`
		Message struct {
			Subject string    `json:"subject"`
			Header  []byte    `json:"hdrs"`
			Data    []byte    `json:"data"`
			Time    time.Time `json:"time"`
		} `json:"message"`
	}
	if err := json.Unmarshal(reply.Data, &answer); err != nil {
		return nil, fmt.Errorf("read the leader's answer: %w", err)
	}
	switch {
	case answer.Error != nil && answer.Error.ErrorCode == codeNoMessage:
		return nil, errNoEvent()
	case answer.Error != nil:
		return nil, fmt.Errorf("ask the leader: %w", answer.Error)
	}
	msg := &jetstream.RawStreamMsg{Subject: answer.Message.Subject, Sequence: sequence, Data: answer.Message.Data, Time: answer.Message.Time}
	if len(answer.Message.Header) > 0 {
		if msg.Header, err = nats.DecodeHeadersMsg(answer.Message.Header); err != nil {
			return nil, fmt.Errorf("read the headers of an event: %w", err)
		}
	}
	return msg, nil
}
