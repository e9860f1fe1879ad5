package grpcapi

import (
	"context"
	"strconv"

	"github.com/nats-io/nats.go"

	"github.com/meetwire/meetwire/pkg/aip"
	"github.com/meetwire/meetwire/pkg/bus"
	"github.com/meetwire/meetwire/pkg/fault"
	"github.com/meetwire/meetwire/pkg/rpc"
	"github.com/meetwire/meetwire/pkg/secret"
	ingestv1 "github.com/meetwire/meetwire/proto/gen/meetwire/ingest/v1"
	"github.com/meetwire/meetwire/services/ingest/internal/core"
)

// Explaining is the part of EventService that shows why an event matches a webhook or does not.
type Explaining struct {
	Webhooks  *core.Index
	Catalogue core.Catalogue
	Kept      KeptEvents
	// ServiceToken is what operational events are proven with.
	ServiceToken secret.String
}

// explainCursor is where a list goes on.
type explainCursor struct {
	After string `json:"after"`
}

// ExplainEvent implements EventService.
func (e *Explaining) ExplainEvent(ctx context.Context, request *ingestv1.ExplainEventRequest) (*ingestv1.ExplainEventResponse, error) {
	organization, err := organizationName("parent", request.GetParent())
	if err != nil {
		return nil, err
	}
	if !e.Catalogue.HasOrganization(organization) {
		return nil, core.UnknownOrganization(organization)
	}
	var at explainCursor
	if err := aip.DecodeToken(request, request.GetPageToken(), &at); err != nil {
		return nil, err
	}
	page := core.Page{After: at.After, Size: aip.PageSize(request.GetPageSize())}
	if page.Webhook, err = e.webhook(organization, request.GetWebhook()); err != nil {
		return nil, err
	}
	event, refused, err := e.event(ctx, organization, request)
	if err != nil {
		return nil, err
	}
	response := &ingestv1.ExplainEventResponse{Accepted: refused == nil}
	if refused != nil {
		response.Error = rpc.Status(refused).Proto()
	}
	if event == nil {
		return response, nil // what is no event has nothing that could be compared
	}
	explained := e.Webhooks.Explain(organization, event, page)
	response.ConfigRevision = explained.Revision
	for i := range explained.Decisions {
		response.Decisions = append(response.Decisions, decisionOf(organization, &explained.Decisions[i]))
	}
	if explained.More {
		last := explained.Decisions[len(explained.Decisions)-1]
		response.NextPageToken, err = aip.EncodeToken(request, explainCursor{After: last.Webhook})
	}
	return response, err
}

// webhook returns the id of the only webhook that is asked for; empty when all are.
func (e *Explaining) webhook(organization, name string) (string, error) {
	if name == "" {
		return "", nil
	}
	ids, err := aip.ParseNameField("webhook", name, "organizations/{organization}/webhooks/{webhook}")
	if err != nil {
		return "", err
	}
	if ids[0] != organization {
		return "", invalidName("webhook", "must be a webhook of the organization in parent")
	}
	if !e.Webhooks.HasWebhook(organization, ids[1]) {
		return "", fault.New(fault.NotFound, "WEBHOOK_NOT_FOUND", "organization %s has no webhook %s", organization, ids[1])
	}
	return ids[1], nil
}

// event returns the event that the request is about; nil when it is none. refused is why it would not be accepted.
func (e *Explaining) event(ctx context.Context, organization string, request *ingestv1.ExplainEventRequest) (event *core.Event, refused, err error) {
	document, operational, trigger := core.Completed([]byte(request.GetEvent())), false, ""
	var header nats.Header
	if name := request.GetName(); name != "" {
		kept, err := e.kept(ctx, organization, name)
		if err != nil {
			return nil, nil, err
		}
		header, trigger = kept.Header, kept.Trigger
		if document, refused = core.FromMessage(kept.Header, kept.Body); refused != nil {
			return nil, refused, nil
		}
	}
	if event, refused = core.Parse(document); refused != nil {
		return nil, refused, nil
	}
	if trigger != "" && trigger != event.Type {
		return event, core.TypeMismatch(trigger), nil
	}
	if event.Source == bus.OperationalSource {
		operational = bus.CheckOperational(e.ServiceToken, header, bus.EventMsgID(organization, event.Source, event.ID))
	}
	_, refused = core.Check(e.Catalogue, organization, event, operational)
	return event, refused, nil
}

// kept reads an event of the organization from the stream.
func (e *Explaining) kept(ctx context.Context, organization, name string) (core.Kept, error) {
	owner, sequence, err := eventName("name", name)
	if err != nil {
		return core.Kept{}, err
	}
	if owner != organization {
		return core.Kept{}, invalidName("name", "must be an event of the organization in parent")
	}
	kept, err := e.Kept.Event(ctx, uint64(sequence)) //nolint:gosec // G115: eventName has checked it
	if err != nil {
		return core.Kept{}, err
	}
	if kept.Organization != organization {
		return core.Kept{}, fault.New(fault.NotFound, "EVENT_NOT_FOUND", "organization %s has no event %d", organization, sequence)
	}
	return kept, nil
}

// decisionOf describes a decision.
func decisionOf(organization string, d *core.Decision) *ingestv1.ExplainEventResponse_Decision {
	decision := &ingestv1.ExplainEventResponse_Decision{
		Webhook: "organizations/" + organization + "/webhooks/" + d.Webhook,
		Matched: d.Reason == core.Matched,
		Rule:    string(d.Reason),
		Detail:  printable(d.Detail),
		Filter:  d.Filter,
	}
	switch {
	case d.Filter == "":
	case d.Err != nil:
		decision.FilterValue = printable(d.Err.Error())
	default:
		decision.FilterValue = strconv.FormatBool(d.Reason == core.Matched)
	}
	return decision
}
