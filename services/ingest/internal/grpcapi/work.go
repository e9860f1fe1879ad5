package grpcapi

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"time"

	"github.com/google/uuid"
	"google.golang.org/protobuf/proto"

	"github.com/meetwire/meetwire/pkg/aip"
	"github.com/meetwire/meetwire/pkg/audit"
	"github.com/meetwire/meetwire/pkg/fault"
	"github.com/meetwire/meetwire/pkg/operation"
	deliveryv1 "github.com/meetwire/meetwire/proto/gen/meetwire/delivery/v1"
	ingestv1 "github.com/meetwire/meetwire/proto/gen/meetwire/ingest/v1"
	operationv1 "github.com/meetwire/meetwire/proto/gen/meetwire/operation/v1"
	"github.com/meetwire/meetwire/services/ingest/internal/core"
	"github.com/meetwire/meetwire/services/ingest/internal/natsbus"
	"github.com/meetwire/meetwire/services/ingest/internal/operations"
	"github.com/meetwire/meetwire/services/ingest/internal/pgstore"
)

// Beginner keeps operations.
type Beginner interface {
	// Begin stores an operation, which is worked on from then on: fault.InvalidArgument when its request id was used by
	// another request, fault.Unavailable.
	Begin(ctx context.Context, o operation.Operation, requestID string) (operation.Operation, error)
}

// PastEvents is the history, and the way from it to the webhooks. Its methods return fault.Unavailable.
type PastEvents interface {
	// PastEvent returns an event: fault.NotFound, fault.FailedPrecondition when it was not accepted.
	PastEvent(ctx context.Context, organization string, sequence uint64) (*natsbus.Past, error)
	// SendAgain publishes deliveries: fault.ResourceExhausted.
	SendAgain(ctx context.Context, deliveries []natsbus.Again) (stored []natsbus.Again, err error)
}

// Revisions is what this instance has heard of.
type Revisions interface {
	// Revision is the configuration in force.
	Revision() int64
	// WaitFor waits until a revision is in force. It returns the context's error.
	WaitFor(ctx context.Context, revision int64) error
}

// Work is the part of EventService that sends from the history, and erases.
type Work struct {
	Operations Beginner
	Audit      Auditor
	Events     PastEvents
	Catalogue  core.Catalogue
	Webhooks   *core.Index
	Revisions  Revisions
	Delivery   deliveryv1.InternalServiceClient
	Now        func() time.Time
}

// BackfillWebhook implements EventService.
func (w *Work) BackfillWebhook(ctx context.Context, request *ingestv1.BackfillWebhookRequest) (*operationv1.Operation, error) {
	ids, err := aip.ParseName(request.GetName(), "organizations/{organization}/webhooks/{webhook}")
	if err != nil {
		return nil, err
	}
	begin := sending{
		kind: operations.TypeBackfill, action: audit.Backfill, target: request.GetName(), organization: ids[0], webhook: ids[1],
		field: "name", start: request.GetStartTime(), end: request.GetEndTime(), triggers: request.GetTriggers(),
		filter: request.GetFilter(), rate: request.GetRate(), dryRun: request.GetDryRun(),
		requestID: request.GetRequestId(), request: request,
	}
	return w.beginSending(ctx, begin)
}

// ReplayEvents implements EventService.
func (w *Work) ReplayEvents(ctx context.Context, request *ingestv1.ReplayEventsRequest) (*operationv1.Operation, error) {
	organization, err := organizationName("parent", request.GetParent())
	if err != nil {
		return nil, err
	}
	begin := sending{
		kind: operations.TypeReplay, action: audit.Replay, target: request.GetParent(), organization: organization,
		field: "webhook", start: request.GetStartTime(), end: request.GetEndTime(), triggers: request.GetTriggers(),
		subject: request.GetSubject(), filter: request.GetFilter(), rate: request.GetRate(), dryRun: request.GetDryRun(),
		requestID: request.GetRequestId(), request: request,
	}
	if request.GetWebhook() != "" {
		if begin.webhook, err = webhookOf(request.GetWebhook(), organization); err != nil {
			return nil, err
		}
		begin.target = request.GetWebhook()
	}
	return w.beginSending(ctx, begin)
}

// beginSending checks and begins a backfill or a replay of many events.
func (w *Work) beginSending(ctx context.Context, s sending) (*operationv1.Operation, error) {
	asked, err := s.check(w.Catalogue, w.Now().UTC())
	if err != nil {
		return nil, err
	}
	if asked.Webhook != "" {
		if err := w.checkWebhook(ctx, s.organization, asked.Webhook, s.field); err != nil {
			return nil, err
		}
	}
	asked.Revision = w.Revisions.Revision()
	rate := s.rate
	if rate == 0 {
		rate = operations.DefaultRate
	}
	details := map[string]any{"start_time": asked.Start.Format(time.RFC3339Nano), "end_time": asked.End.Format(time.RFC3339Nano)}
	if s.dryRun {
		details["dry_run"] = true
	}
	return w.begin(ctx, begun{
		kind: s.kind, action: s.action, organization: s.organization, target: s.target, requestID: s.requestID,
		request: s.request, parameters: asked, rate: rate, dryRun: s.dryRun, details: details,
	})
}

// EraseEvents implements EventService.
func (w *Work) EraseEvents(ctx context.Context, request *ingestv1.EraseEventsRequest) (*operationv1.Operation, error) {
	organization, err := organizationName("parent", request.GetParent())
	if err != nil {
		return nil, err
	}
	selected := pgstore.Selection{ID: request.GetEventId(), Subject: request.GetSubject()}
	for i, name := range request.GetNames() {
		of, sequence, err := eventName(fmt.Sprintf("names[%d]", i), name)
		if err != nil {
			return nil, err
		}
		if of != organization {
			return nil, invalidName(fmt.Sprintf("names[%d]", i), "must be an event of the organization in `parent`")
		}
		selected.Sequences = append(selected.Sequences, sequence)
	}
	slices.Sort(selected.Sequences)
	selected.Sequences = slices.Compact(selected.Sequences)
	details := map[string]any{}
	named := 0
	for by, is := range map[string]bool{"names": len(selected.Sequences) > 0, "event_id": selected.ID != "", "subject": selected.Subject != ""} {
		if is {
			named++
			details["by"] = by // what the subject is may be about a person
		}
	}
	if named != 1 {
		return nil, fault.Invalid(fault.Field{Path: "names", Rule: "one_of", Message: "exactly one of names, event_id and subject must say which events"})
	}
	if !w.Catalogue.HasOrganization(organization) {
		return nil, core.UnknownOrganization(organization)
	}
	target := request.GetParent()
	if len(selected.Sequences) == 1 {
		target = request.GetNames()[0]
	}
	if request.GetDryRun() {
		details["dry_run"] = true
	}
	return w.begin(ctx, begun{
		kind: operations.TypeErase, action: audit.Erase, organization: organization, target: target,
		requestID: request.GetRequestId(), request: request, dryRun: request.GetDryRun(), details: details,
		parameters: operations.Erase{Selection: selected, Revision: w.Revisions.Revision()},
	})
}

// begun is an operation that begins.
type begun struct {
	kind, action, organization, target, requestID string

	request    proto.Message
	parameters any
	rate       float64
	dryRun     bool
	details    map[string]any
}

// begin records who begins an operation, and begins it.
func (w *Work) begin(ctx context.Context, b begun) (*operationv1.Operation, error) {
	o := operation.Operation{
		ID: uuid.NewString(), Organization: b.organization, Type: b.kind, Target: b.target, DryRun: b.dryRun, Rate: b.rate,
	}
	var err error
	if o.Parameters, err = json.Marshal(b.parameters); err != nil {
		return nil, fmt.Errorf("write the parameters of an operation: %w", err)
	}
	if o.Request, err = (proto.MarshalOptions{Deterministic: true}).Marshal(b.request); err != nil {
		return nil, fmt.Errorf("write the request of an operation: %w", err)
	}
	err = w.Audit.Record(ctx, audit.Action{
		ID: actionID(b.organization, b.kind, b.requestID), Organization: b.organization, Action: b.action, Resource: b.target, Details: b.details,
	})
	if err != nil {
		return nil, err
	}
	o, err = w.Operations.Begin(ctx, o, b.requestID)
	if err != nil {
		return nil, err
	}
	return operation.Message(o), nil
}

// actionID is the id of what a request does: the same for one that is repeated. Empty: a new one.
func actionID(organization, what, requestID string) string {
	if requestID == "" {
		return ""
	}
	return uuid.NewSHA1(uuid.NameSpaceURL, []byte("meetwire:"+organization+":"+what+":"+requestID)).String()
}

// checkWebhook returns fault.NotFound when the organization has no such webhook, also after what may be on its way here
// has come, and fault.FailedPrecondition when it is disabled.
func (w *Work) checkWebhook(ctx context.Context, organization, webhook, field string) error {
	waiting, cancel := context.WithTimeout(ctx, core.ConfigurationDelay)
	defer cancel()
	for {
		revision := w.Revisions.Revision()
		found, ok := w.Webhooks.Webhook(organization, webhook)
		switch {
		case ok && found.Disabled:
			return fault.New(fault.FailedPrecondition, "WEBHOOK_DISABLED", "webhook %s is disabled: enable it first", webhook)
		case ok:
			return nil
		}
		if w.Revisions.WaitFor(waiting, revision+1) == nil {
			continue
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
		e := fault.New(fault.NotFound, "WEBHOOK_NOT_FOUND", "organization %s has no webhook %s", organization, webhook)
		e.Fields = []fault.Field{{Path: field, Rule: "exists", Message: "is not a webhook of the organization"}}
		return e
	}
}
