package grpcapi

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/google/uuid"

	"github.com/meetwire/meetwire/pkg/audit"
	"github.com/meetwire/meetwire/pkg/fault"
	"github.com/meetwire/meetwire/pkg/rpc"
	deliveryv1 "github.com/meetwire/meetwire/proto/gen/meetwire/delivery/v1"
	ingestv1 "github.com/meetwire/meetwire/proto/gen/meetwire/ingest/v1"
	"github.com/meetwire/meetwire/services/ingest/internal/core"
	"github.com/meetwire/meetwire/services/ingest/internal/natsbus"
)

const (
	// maxNamed is how many deliveries an answer names.
	maxNamed = 1000
	// maxFind is how many deliveries are asked for with one call, and findTime bounds it.
	maxFind  = 1000
	findTime = 10 * time.Second
)

// ReplayEvent implements EventService.
func (w *Work) ReplayEvent(ctx context.Context, request *ingestv1.ReplayEventRequest) (*ingestv1.ReplayEventResponse, error) {
	organization, sequence, err := eventName("name", request.GetName())
	if err != nil {
		return nil, err
	}
	only := ""
	if request.GetWebhook() != "" {
		if only, err = webhookOf(request.GetWebhook(), organization); err != nil {
			return nil, err
		}
		if err := w.checkWebhook(ctx, organization, only, "webhook"); err != nil {
			return nil, err
		}
	}
	past, err := w.Events.PastEvent(ctx, organization, uint64(sequence)) //nolint:gosec // G115: eventName has checked it
	if err != nil {
		return nil, err
	}
	webhooks, revision, err := w.matching(organization, only, past.Event)
	if err != nil {
		return nil, err
	}
	send, err := w.prepare(ctx, organization, past, webhooks, revision, request.GetRequestId())
	if err != nil {
		return nil, err
	}
	if only != "" && len(send) == 0 {
		return nil, fault.New(fault.FailedPrecondition, "DELIVERY_NOT_OVER",
			"the delivery waits for its next attempt, or is a dead letter: retry it, or replay the dead letter")
	}
	err = w.Audit.Record(ctx, audit.Action{
		ID: actionID(organization, "replay_event", request.GetRequestId()), Organization: organization, Action: audit.Replay,
		Resource: request.GetName(), Details: map[string]any{"webhook": request.GetWebhook(), "deliveries": len(send)},
	})
	if err != nil {
		return nil, err
	}
	if _, err := w.Events.SendAgain(ctx, send); err != nil {
		return nil, err
	}
	response := &ingestv1.ReplayEventResponse{DeliveryCount: int32(len(send))} //nolint:gosec // G115: a count of webhooks
	for _, again := range send[:min(len(send), maxNamed)] {
		response.Deliveries = append(response.Deliveries, "organizations/"+organization+"/deliveries/"+past.Delivery(again.Webhook))
	}
	return response, nil
}

// matching returns the webhooks that an event is for today.
func (w *Work) matching(organization, only string, event *core.Event) (webhooks []string, revision int64, err error) {
	if only == "" {
		match := w.Webhooks.Match(organization, event)
		slices.SortFunc(match.Webhooks, strings.Compare)
		return match.Webhooks, match.Revision, nil
	}
	reason, revision, ok, _ := w.Webhooks.MatchOne(organization, only, event)
	if !ok || reason != core.Matched {
		return nil, revision, fault.New(fault.FailedPrecondition, "NO_MATCH",
			"the event does not match webhook %s: its rule %s says no", only, reason)
	}
	return []string{only}, revision, nil
}

// prepare returns what is sent: all but what waits or is a dead letter, with the number of attempts that were made.
func (w *Work) prepare(
	ctx context.Context, organization string, past *natsbus.Past, webhooks []string, revision int64, requestID string,
) (send []natsbus.Again, err error) {
	if requestID == "" {
		requestID = uuid.NewString()
	}
	for chunk := range slices.Chunk(webhooks, maxFind) {
		request := &deliveryv1.FindDeliveriesRequest{Organization: organization}
		for _, webhook := range chunk {
			request.Deliveries = append(request.Deliveries, past.Delivery(webhook))
		}
		limited, cancel := context.WithTimeout(ctx, findTime)
		response, err := w.Delivery.FindDeliveries(limited, request)
		cancel()
		if err != nil {
			return nil, fmt.Errorf("ask what has been delivered: %w", rpc.FaultFromStatus(err))
		}
		known := make(map[string]*deliveryv1.FindDeliveriesResponse_Known, len(chunk))
		for _, one := range response.GetDeliveries() {
			known[one.GetDelivery()] = one
		}
		for i, webhook := range chunk {
			id := request.GetDeliveries()[i]
			switch deliveryv1.Delivery_State(known[id].GetState()) {
			case deliveryv1.Delivery_STATE_PENDING, deliveryv1.Delivery_STATE_DEAD_LETTERED:
				continue
			}
			send = append(send, natsbus.Again{
				Past: past, Webhook: webhook, Revision: revision, Attempts: int(known[id].GetAttemptCount()),
				MsgID: natsbus.ReplayMsgID(requestID, id),
			})
		}
	}
	return send, nil
}
