package grpcapi

import (
	"context"
	"strconv"
	"strings"
	"time"

	"github.com/google/uuid"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/meetwire/meetwire/pkg/aip"
	"github.com/meetwire/meetwire/pkg/bus"
	"github.com/meetwire/meetwire/pkg/fault"
	deliveryv1 "github.com/meetwire/meetwire/proto/gen/meetwire/delivery/v1"
	ingestv1 "github.com/meetwire/meetwire/proto/gen/meetwire/ingest/v1"
	"github.com/meetwire/meetwire/services/ingest/internal/core"
	"github.com/meetwire/meetwire/services/ingest/internal/pgstore"
)

// EventIndex is what is known of events. Its methods return fault.Unavailable when Postgres is away.
type EventIndex interface {
	// Event returns one event of an organization: fault.NotFound.
	Event(ctx context.Context, organization string, sequence int64) (core.Indexed, error)
	// Events returns a page, the newest first, and where it ended.
	Events(ctx context.Context, organization string, filter pgstore.Filter, after pgstore.Cursor, size int) ([]core.Indexed, pgstore.Cursor, error)
	// Matching returns how events have matched a webhook of an organization: fault.NotFound when nothing is known.
	Matching(ctx context.Context, organization string, webhook uuid.UUID) (core.Matching, error)
}

// KeptEvents is the stream EVENTS.
type KeptEvents interface {
	// Event returns one event: fault.NotFound when it is not kept, fault.Unavailable.
	Event(ctx context.Context, sequence uint64) (core.Kept, error)
}

// History is the part of EventService that shows what happened.
type History struct {
	Index    EventIndex
	Kept     KeptEvents
	Delivery deliveryv1.InternalServiceClient
	Webhooks *core.Index
}

// GetEvent implements EventService.
func (h *History) GetEvent(ctx context.Context, request *ingestv1.GetEventRequest) (*ingestv1.Event, error) {
	organization, sequence, err := eventName("name", request.GetName())
	if err != nil {
		return nil, err
	}
	found, err := h.find(ctx, organization, sequence)
	if err != nil {
		return nil, err
	}
	event := eventOf(found.event)
	if found.indexed {
		event.MatchedCount = &found.event.Matched
	}
	if found.kept != nil && found.event.Erased.IsZero() {
		event.Event = strings.ToValidUTF8(string(documentOf(found.kept)), "\uFFFD") // what was rejected may be anything
	}
	return event, nil
}

// found is an event that exists.
type found struct {
	event   core.Indexed
	indexed bool       // it was fanned out, or rejected
	kept    *core.Kept // nil: it has expired, or was erased
}

// find looks an event up in the index and in the stream: what is not in one may be in the other. Errors:
// fault.NotFound, fault.Unavailable.
func (h *History) find(ctx context.Context, organization string, sequence int64) (found, error) {
	row, err := h.Index.Event(ctx, organization, sequence)
	if err != nil && !fault.Is(err, fault.NotFound) {
		return found{}, err
	}
	indexed := err == nil
	kept, err := h.Kept.Event(ctx, uint64(sequence)) //nolint:gosec // G115: eventName has checked it
	if err != nil && !fault.Is(err, fault.NotFound) {
		return found{}, err
	}
	stored := err == nil && kept.Organization == organization
	if stored {
		kept.Accepted = kept.Accepted.Truncate(time.Microsecond)
	}
	switch {
	case stored && indexed && row.Accepted.Equal(kept.Accepted):
		return found{event: row, indexed: true, kept: &kept}, nil
	case stored: // also when the index knows another of this sequence, from a stream that is no more
		return found{event: readKept(&kept), kept: &kept}, nil
	case indexed:
		return found{event: row, indexed: true}, nil
	}
	return found{}, fault.New(fault.NotFound, "EVENT_NOT_FOUND", "organization %s has no event %d", organization, sequence)
}

// readKept returns what an event says of itself, as far as it can be read.
func readKept(kept *core.Kept) core.Indexed {
	event := core.Indexed{
		Sequence: kept.Sequence, Organization: kept.Organization, Trigger: strings.ToValidUTF8(kept.Trigger, ""), Accepted: kept.Accepted,
	}
	if read, err := core.Parse(documentOf(kept)); err == nil {
		event.Source, event.ID, event.Subject, event.Time = read.Source, read.ID, read.Subject, read.Time
	}
	return event
}

// documentOf returns an event as receivers get it; what is none, as it was published.
func documentOf(kept *core.Kept) []byte {
	document, err := core.FromMessage(kept.Header, kept.Body)
	if err != nil {
		return kept.Body
	}
	return document
}

// ListEvents implements EventService.
func (h *History) ListEvents(ctx context.Context, request *ingestv1.ListEventsRequest) (*ingestv1.ListEventsResponse, error) {
	organization, err := organizationName("parent", request.GetParent())
	if err != nil {
		return nil, err
	}
	filter, err := eventFilter(request.GetFilter())
	if err != nil {
		return nil, err
	}
	var after pgstore.Cursor
	if err := aip.DecodeToken(request, request.GetPageToken(), &after); err != nil {
		return nil, err
	}
	size := aip.PageSize(request.GetPageSize())
	page, end, err := h.Index.Events(ctx, organization, filter, after, size)
	if err != nil {
		return nil, err
	}
	response := &ingestv1.ListEventsResponse{Events: make([]*ingestv1.Event, len(page))}
	for i := range page {
		response.Events[i] = eventOf(page[i])
		response.Events[i].MatchedCount = &page[i].Matched
	}
	if len(page) == size {
		if response.NextPageToken, err = aip.EncodeToken(request, end); err != nil {
			return nil, err
		}
	}
	return response, nil
}

// eventFilter reads the filter of ListEvents.
func eventFilter(text string) (pgstore.Filter, error) {
	terms, stored, err := aip.ParseTimeFilter(text, "accept_time", "trigger", "source", "id", "subject")
	if err != nil {
		return pgstore.Filter{}, err
	}
	term := func(name string) *string {
		if value, ok := terms[name]; ok {
			return &value
		}
		return nil
	}
	return pgstore.Filter{
		Trigger: term("trigger"), Source: term("source"), ID: term("id"), Subject: term("subject"),
		From: stored.From, Before: stored.Before,
	}, nil
}

// GetEventOutcome implements EventService.
func (h *History) GetEventOutcome(ctx context.Context, request *ingestv1.GetEventOutcomeRequest) (*ingestv1.EventOutcome, error) {
	organization, sequence, err := eventName("name", strings.TrimSuffix(request.GetName(), "/outcome"))
	if err != nil {
		return nil, err
	}
	found, err := h.find(ctx, organization, sequence)
	if err != nil {
		return nil, err
	}
	outcome := &ingestv1.EventOutcome{Name: request.GetName(), State: ingestv1.EventOutcome_STATE_ACCEPTED}
	if !found.indexed {
		return outcome, nil
	}
	outcome.State = ingestv1.EventOutcome_STATE_FANNED_OUT
	outcome.MatchedCount, outcome.SkippedCount = found.event.Matched, found.event.Skipped
	if outcome.RejectRule = found.event.RejectRule; outcome.RejectRule != "" {
		outcome.State = ingestv1.EventOutcome_STATE_REJECTED
		return outcome, nil
	}
	counts, err := h.Delivery.CountDeliveries(ctx, &deliveryv1.CountDeliveriesRequest{Organization: organization, EventSequence: sequence})
	if err != nil {
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		return nil, fault.Wrap(fault.Unavailable, "DELIVERY_UNAVAILABLE", err, "what became of the deliveries cannot be asked at the moment")
	}
	outcome.DeliveredCount, outcome.DeadCount, outcome.DroppedCount = counts.GetSucceededCount(), counts.GetDeadLetteredCount(), counts.GetDroppedCount()
	// Those of which nothing is recorded yet wait, too. A replay may have made more than matched then.
	ended := outcome.GetDeliveredCount() + outcome.GetDeadCount() + outcome.GetDroppedCount()
	outcome.PendingCount = max(counts.GetPendingCount(), outcome.GetMatchedCount()-ended)
	return outcome, nil
}

// GetWebhookMatching implements EventService.
func (h *History) GetWebhookMatching(ctx context.Context, request *ingestv1.GetWebhookMatchingRequest) (*ingestv1.WebhookMatching, error) {
	ids, err := aip.ParseNameField("name", request.GetName(), "organizations/{organization}/webhooks/{webhook}/matching")
	if err != nil {
		return nil, err
	}
	id, err := uuid.Parse(ids[1])
	if err != nil || id.String() != ids[1] || !bus.IsOrganization(ids[0]) {
		return nil, invalidName("name", "must have the form organizations/{organization}/webhooks/{webhook}/matching with a UUID in small letters")
	}
	webhook, ok := h.Webhooks.Webhook(ids[0], ids[1])
	if !ok {
		return nil, fault.New(fault.NotFound, "WEBHOOK_NOT_FOUND", "organization %s has no webhook %s", ids[0], ids[1])
	}
	matching, err := h.Index.Matching(ctx, ids[0], id)
	if err != nil && !fault.Is(err, fault.NotFound) {
		return nil, err
	}
	// A webhook that is active has begun a generation since it was paused.
	paused := webhook.Generation
	if !webhook.Paused && !webhook.Disabled {
		paused--
	}
	answer := &ingestv1.WebhookMatching{
		Name:                  request.GetName(),
		FilterFailureCount:    matching.FilterFailures,
		LastFilterFailureTime: timeOrNil(matching.LastFilterFailure),
		LastFilterError:       matching.LastFilterError,
	}
	if matching.Generation >= paused {
		answer.SkippedSince, answer.SkippedCount = timeOrNil(matching.SkippedSince), matching.Skipped
	}
	return answer, nil
}

func eventOf(event core.Indexed) *ingestv1.Event {
	return &ingestv1.Event{
		Name:         "organizations/" + event.Organization + "/events/" + strconv.FormatUint(event.Sequence, 10),
		Trigger:      event.Trigger,
		Source:       event.Source,
		Id:           event.ID,
		Subject:      event.Subject,
		Time:         timeOrNil(event.Time),
		AcceptTime:   timestamppb.New(event.Accepted),
		SkippedCount: event.Skipped,
		RejectRule:   event.RejectRule,
		EraseTime:    timeOrNil(event.Erased),
	}
}

func timeOrNil(t time.Time) *timestamppb.Timestamp {
	if t.IsZero() {
		return nil
	}
	return timestamppb.New(t)
}
