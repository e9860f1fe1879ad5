package grpcapi

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/meetwire/meetwire/pkg/bus"
	"github.com/meetwire/meetwire/pkg/fault"
	"github.com/meetwire/meetwire/pkg/rpc"
	ingestv1 "github.com/meetwire/meetwire/proto/gen/meetwire/ingest/v1"
	"github.com/meetwire/meetwire/services/ingest/internal/core"
)

// Limits of a batch.
const (
	maxBatchEvents = 1000
	maxBatchBytes  = 4_000_000
)

// batchTime bounds how long a caller waits until all events of a batch are stored.
const batchTime = 10 * time.Second

// PublishEvents implements EventService.
func (e *Publishing) PublishEvents(ctx context.Context, request *ingestv1.PublishEventsRequest) (*ingestv1.PublishEventsResponse, error) {
	organization := organizationOf(request.GetParent())
	documents, err := batchOf(request)
	if err == nil && !e.Catalogue.HasOrganization(organization) {
		err = core.UnknownOrganization(organization)
	}
	if err != nil {
		e.refused(err)
		return nil, err
	}
	b := batch{Publishing: e, organization: organization, results: make([]*ingestv1.PublishEventsResponse_Result, len(documents))}
	events, err := b.check(ctx, documents)
	if err != nil {
		return nil, err
	}
	if request.GetValidateOnly() {
		for i, event := range events {
			b.accept(i, checked(event))
		}
	} else if err := b.publish(ctx, events); err != nil {
		return nil, err
	}
	return &ingestv1.PublishEventsResponse{Results: b.results}, nil
}

// batchOf returns the documents of a batch.
func batchOf(request *ingestv1.PublishEventsRequest) ([]json.RawMessage, error) {
	err := checkContentType("events", request.GetEvents().GetContentType(), "application/cloudevents-batch+json", "application/json")
	if err != nil {
		return nil, err
	}
	invalid := func(rule, format string, args ...any) error {
		return fault.Invalid(fault.Field{Path: "events", Rule: rule, Message: fmt.Sprintf(format, args...)})
	}
	data := request.GetEvents().GetData()
	if len(data) > maxBatchBytes {
		return nil, invalid(core.RuleMaxBytes, "must be at most %d bytes, has %d", maxBatchBytes, len(data))
	}
	var documents []json.RawMessage
	if err := json.Unmarshal(data, &documents); err != nil || documents == nil {
		return nil, invalid(core.RuleJSON, "must be a JSON array of events")
	}
	switch n := len(documents); {
	case n == 0:
		return nil, invalid(core.RuleRequired, "must have at least one event")
	case n > maxBatchEvents:
		return nil, invalid(core.RuleMaxItems, "must have at most %d events, has %d", maxBatchEvents, n)
	}
	return documents, nil
}

// batch is what becomes of the events of one call.
type batch struct {
	*Publishing

	organization string
	results      []*ingestv1.PublishEventsResponse_Result
}

// accept notes that an event is published, unless it was refused before.
func (b *batch) accept(i int, response *ingestv1.PublishEventResponse) {
	if b.results[i] == nil {
		b.results[i] = &ingestv1.PublishEventsResponse_Result{Event: response}
	}
}

// refuse notes why an event is not published.
func (b *batch) refuse(i int, err error) {
	b.refused(err)
	b.results[i] = &ingestv1.PublishEventsResponse_Result{Error: rpc.Status(numbered(err, i)).Proto()}
}

// check returns the events that can be published, nil in the place of each of the others. It may take long, and ends with
// its context.
func (b *batch) check(ctx context.Context, documents []json.RawMessage) ([]*core.Event, error) {
	events := make([]*core.Event, len(documents))
	for i, document := range documents {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		err := b.Quotas.Take(b.organization)
		if err == nil {
			events[i], err = b.Publishing.check(b.organization, document)
		}
		if err != nil {
			b.refuse(i, err)
		}
	}
	return events, nil
}

// publish publishes the events in their order, and waits until all are stored.
func (b *batch) publish(ctx context.Context, events []*core.Event) error {
	var sizes []int
	for _, event := range events {
		if event != nil {
			sizes = append(sizes, len(event.Raw))
		}
	}
	leave, err := b.Waiting.enter(sizes...)
	if err != nil {
		b.refused(err)
		return err
	}
	defer leave()
	ctx, cancel := context.WithTimeout(ctx, batchTime)
	defer cancel()
	futures := make([]jetstream.PubAckFuture, len(events))
	for i, event := range events {
		if event == nil {
			continue
		}
		id := bus.EventMsgID(b.organization, event.Source, event.ID)
		// One that finds no room waits longer than the others would have time.
		if err = ctx.Err(); err == nil {
			futures[i], err = bus.PublishAsync(b.JetStream, message(ctx, b.organization, event), id)
		}
		if err != nil {
			b.refuse(i, later(err))
		}
	}
	for i, future := range futures {
		if future == nil {
			continue
		}
		ack, err := bus.Await(ctx, future)
		if err == nil {
			ack, err = b.own(ctx, b.organization, events[i], ack)
		}
		if err != nil {
			b.refuse(i, later(err))
			continue
		}
		b.accept(i, b.published(b.organization, events[i], ack))
	}
	return nil
}

// numbered says of an error about one event of a batch which one it is: `event.id` is `events[3].id` then.
func numbered(err error, i int) error {
	f := fault.From(err)
	if f.Kind == fault.Internal {
		return err
	}
	told := *f
	told.Fields = make([]fault.Field, len(f.Fields))
	for n, field := range f.Fields {
		if rest, ok := strings.CutPrefix(field.Path, "event"); ok {
			field.Path = fmt.Sprintf("events[%d]%s", i, rest)
			told.Message = field.Path + ": " + field.Message
		}
		told.Fields[n] = field
	}
	return &told
}
