// Package grpcapi owns ingest's gRPC services: it checks an event as the fan-out will, and publishes it, within the
// quota of its organization; and it does for the other services what they ask of ingest. Who may call is checked
// before, by pkg/rpc.
package grpcapi

import (
	"context"
	"mime"
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

// Events implements EventService.
type Events struct {
	ingestv1.UnimplementedEventServiceServer
	JetStream jetstream.JetStream
	Catalogue core.Catalogue
	Quotas    *Quotas
	Now       func() time.Time
}

// PublishEvent implements EventService.
func (e *Events) PublishEvent(ctx context.Context, request *ingestv1.PublishEventRequest) (*ingestv1.PublishEventResponse, error) {
	organization := strings.TrimPrefix(request.GetParent(), "organizations/")
	if err := e.Quotas.Take(organization); err != nil {
		return nil, err
	}
	if err := checkContentType(request.GetEvent().GetContentType()); err != nil {
		return nil, err
	}
	event, err := core.Parse(request.GetEvent().GetData())
	if err != nil {
		return nil, err
	}
	// Warnings are counted when the event is fanned out.
	if _, err := core.Check(e.Catalogue, organization, event, false); err != nil {
		return nil, err
	}
	msg := nats.NewMsg(bus.EventSubject(organization, event.Type))
	msg.Data = event.Raw
	for _, trace := range []string{bus.HeaderTraceParent, bus.HeaderTraceState} {
		if values := metadata.ValueFromIncomingContext(ctx, trace); len(values) > 0 {
			msg.Header.Set(trace, values[0])
		}
	}
	ctx, cancel := context.WithTimeout(ctx, publishTime)
	defer cancel()
	ack, err := bus.Publish(ctx, e.JetStream, msg, bus.EventMsgID(organization, event.Source, event.ID))
	if err != nil {
		return nil, err
	}
	return &ingestv1.PublishEventResponse{
		Source:      event.Source,
		Id:          event.ID,
		Sequence:    int64(ack.Sequence), //nolint:gosec // G115: a sequence of JetStream
		Duplicate:   ack.Duplicate,
		PublishTime: timestamppb.New(e.Now()),
	}, nil
}

// checkContentType accepts what says that the event is a CloudEvents document in the JSON format, or nothing.
func checkContentType(contentType string) error {
	if contentType == "" {
		return nil
	}
	media, _, err := mime.ParseMediaType(contentType)
	if err == nil && (media == "application/cloudevents+json" || media == "application/json") {
		return nil
	}
	return fault.Invalid(fault.Field{
		Path: "event.content_type", Rule: "value", Message: "must be application/cloudevents+json or application/json",
	})
}
