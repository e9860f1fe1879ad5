// Package grpcapi owns ingest's gRPC services: it checks an event as the fan-out will, and publishes it, within the
// quota of its organization; it shows what was rejected and why an event matches; and it does for the other services what
// they ask of ingest. Who may call is checked before, by pkg/rpc.
package grpcapi

import (
	"context"
	"errors"
	"mime"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"google.golang.org/grpc/metadata"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/meetwire/meetwire/pkg/bus"
	"github.com/meetwire/meetwire/pkg/fault"
	ingestv1 "github.com/meetwire/meetwire/proto/gen/meetwire/ingest/v1"
	"github.com/meetwire/meetwire/services/ingest/internal/core"
)

// publishTime bounds how long a caller waits for the stream's acknowledgement.
const publishTime = 5 * time.Second

// When a caller is told to try again.
const (
	retryFull = 5 * time.Second // the stream has no room
	retryAway = time.Second     // the stream is not there
)

// Metrics counts what becomes of calls.
type Metrics interface {
	// Refused counts an event that was not published, by the rule that it breaks, or by why there is no room for it.
	Refused(rule string)
}

// Publishing is the part of EventService that takes events in.
type Publishing struct {
	JetStream jetstream.JetStream
	Catalogue core.Catalogue
	Kept      KeptEvents
	Quotas    *Quotas
	Waiting   *Waiting
	Metrics   Metrics
	Now       func() time.Time
}

// PublishEvent implements EventService.
func (e *Publishing) PublishEvent(ctx context.Context, request *ingestv1.PublishEventRequest) (*ingestv1.PublishEventResponse, error) {
	response, err := e.publishEvent(ctx, request)
	if err != nil {
		e.refused(err)
	}
	return response, err
}

func (e *Publishing) publishEvent(ctx context.Context, request *ingestv1.PublishEventRequest) (*ingestv1.PublishEventResponse, error) {
	organization := organizationOf(request.GetParent())
	if err := e.Quotas.Take(organization); err != nil {
		return nil, err
	}
	err := checkContentType("event", request.GetEvent().GetContentType(), "application/cloudevents+json", "application/json")
	if err != nil {
		return nil, err
	}
	event, err := e.check(organization, request.GetEvent().GetData())
	if err != nil || request.GetValidateOnly() {
		return checked(event), err
	}
	leave, err := e.Waiting.enter(len(event.Raw))
	if err != nil {
		return nil, err
	}
	defer leave()
	ctx, cancel := context.WithTimeout(ctx, publishTime)
	defer cancel()
	ack, err := bus.Publish(ctx, e.JetStream, message(ctx, organization, event), bus.EventMsgID(organization, event.Source, event.ID))
	if err != nil {
		return nil, later(err)
	}
	if ack, err = e.own(ctx, organization, event, ack); err != nil {
		return nil, later(err)
	}
	return e.published(organization, event, ack), nil
}

// own returns the acknowledgement of an event. That it is a duplicate must not be another organization's doing: who may
// publish over NATS writes into the message's id what he likes, and the stream would drop the event of a victim whose id
// he knows. Such an event is published without one.
func (e *Publishing) own(ctx context.Context, organization string, event *core.Event, ack *jetstream.PubAck) (*jetstream.PubAck, error) {
	if !ack.Duplicate {
		return ack, nil
	}
	kept, err := e.Kept.Event(ctx, ack.Sequence)
	if fault.Is(err, fault.NotFound) || err == nil && kept.Organization == organization {
		return ack, nil
	}
	if err != nil {
		return nil, err
	}
	return bus.Publish(ctx, e.JetStream, message(ctx, organization, event), "")
}

// check reads an event and checks it as the fan-out will.
func (e *Publishing) check(organization string, document []byte) (*core.Event, error) {
	event, err := core.Parse(document)
	if err != nil {
		return nil, err
	}
	// Warnings are counted when the event is fanned out.
	if _, err := core.Check(e.Catalogue, organization, event, false); err != nil {
		return nil, err
	}
	return event, nil
}

// refused counts what was not published.
func (e *Publishing) refused(err error) {
	f := fault.From(err)
	rule := strings.ToLower(f.Reason)
	if len(f.Fields) > 0 {
		rule = f.Fields[0].Rule
	}
	e.Metrics.Refused(rule)
}

// checked answers for an event that was not published.
func checked(event *core.Event) *ingestv1.PublishEventResponse {
	if event == nil {
		return nil
	}
	return &ingestv1.PublishEventResponse{Source: event.Source, Id: event.ID}
}

// published answers for an event that is stored.
func (e *Publishing) published(organization string, event *core.Event, ack *jetstream.PubAck) *ingestv1.PublishEventResponse {
	response := checked(event)
	response.Sequence = int64(ack.Sequence) //nolint:gosec // G115: a sequence of JetStream
	response.Duplicate = ack.Duplicate
	response.PublishTime = timestamppb.New(e.Now())
	response.Name = nameOfEvent(organization, ack.Sequence)
	return response
}

// message makes the message of an event. Of the call nothing travels on but the trace context.
func message(ctx context.Context, organization string, event *core.Event) *nats.Msg {
	msg := nats.NewMsg(bus.EventSubject(organization, event.Type))
	msg.Data = event.Raw
	for _, trace := range []string{bus.HeaderTraceParent, bus.HeaderTraceState} {
		if values := metadata.ValueFromIncomingContext(ctx, trace); len(values) > 0 {
			msg.Header.Set(trace, values[0])
		}
	}
	return msg
}

// later tells when to try again what has failed. What was not acknowledged in time has, too.
func later(err error) error {
	if f := (*fault.Error)(nil); !errors.As(err, &f) {
		err = bus.PublishFault(err)
	}
	f := fault.From(err)
	switch {
	case f.RetryAfter > 0:
	case f.Kind == fault.ResourceExhausted:
		f.RetryAfter = retryFull
	case f.Kind == fault.Unavailable:
		f.RetryAfter = retryAway
	}
	return err
}

func organizationOf(parent string) string { return strings.TrimPrefix(parent, "organizations/") }

func nameOfEvent(organization string, sequence uint64) string {
	return "organizations/" + organization + "/events/" + strconv.FormatUint(sequence, 10)
}

// checkContentType accepts what says that a document is of one of some types, or nothing.
func checkContentType(field, contentType string, accepted ...string) error {
	if contentType == "" {
		return nil
	}
	media, _, err := mime.ParseMediaType(contentType)
	if err == nil && slices.Contains(accepted, media) {
		return nil
	}
	return fault.Invalid(fault.Field{
		Path: field + ".content_type", Rule: "value", Message: "must be " + strings.Join(accepted, " or "),
	})
}
