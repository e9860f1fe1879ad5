package grpcapi

import (
	"context"
	"time"

	"github.com/google/uuid"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/meetwire/meetwire/pkg/aip"
	"github.com/meetwire/meetwire/pkg/audit"
	"github.com/meetwire/meetwire/pkg/bus"
	"github.com/meetwire/meetwire/pkg/fault"
	deliveryv1 "github.com/meetwire/meetwire/proto/gen/meetwire/delivery/v1"
	operationv1 "github.com/meetwire/meetwire/proto/gen/meetwire/operation/v1"
	"github.com/meetwire/meetwire/services/delivery/internal/core"
	"github.com/meetwire/meetwire/services/delivery/internal/natsbus"
	"github.com/meetwire/meetwire/services/delivery/internal/operations"
)

// Line is what waits in RETRIES. Its methods return fault.Unavailable.
type Line interface {
	// ListTimers returns a part of what waits, in the order of the stream.
	ListTimers(ctx context.Context, organization, webhook string, from, until uint64, size int) (natsbus.TimerPart, error)
	// FindTimer returns the timer of a delivery; nil when it has none.
	FindTimer(ctx context.Context, organization, delivery string) (*natsbus.Timer, error)
	// Hasten makes one due now. False: it was too late. fault.ResourceExhausted.
	Hasten(ctx context.Context, timer *natsbus.Timer) (bool, error)
	// Cancel removes one and records it, and can be repeated. False: it was too late. fault.ResourceExhausted.
	Cancel(ctx context.Context, timer *natsbus.Timer, id string) (bool, error)
	// LastTimer returns the sequence of the newest timer.
	LastTimer(ctx context.Context) (uint64, error)
}

// Resender sends deliveries again. Its methods return fault.Unavailable.
type Resender interface {
	// Find looks for a delivery where deliveries wait and end; nil when it is in neither place.
	Find(ctx context.Context, organization, delivery string) (*natsbus.Found, error)
	// Complete reads its event: fault.FailedPrecondition.
	Complete(ctx context.Context, found *natsbus.Found) error
	// Resend sends it, once for a request: fault.ResourceExhausted.
	Resend(ctx context.Context, found *natsbus.Found, requestID string) error
}

// Known is what records have told of deliveries.
type Known interface {
	// Delivery returns one delivery: fault.NotFound, fault.Unavailable.
	Delivery(ctx context.Context, organization string, id uuid.UUID) (*deliveryv1.Delivery, error)
}

// Actions is the part of DeliveryService that changes deliveries.
type Actions struct {
	*Work

	Line   Line
	Resend Resender
	Known  Known
	NewID  func() string
}

// ListTimers implements DeliveryService.
func (a *Actions) ListTimers(ctx context.Context, request *deliveryv1.ListTimersRequest) (*deliveryv1.ListTimersResponse, error) {
	organization, id, err := resourceName("parent", request.GetParent(), "webhooks")
	if err != nil {
		return nil, err
	}
	if _, err := findWebhook(a.Configuration, organization, id); err != nil {
		return nil, err
	}
	after, err := cursor(request, streamCursor{})
	if err != nil {
		return nil, err
	}
	part, err := a.Line.ListTimers(ctx, organization, id.String(), after.Next, 0, aip.PageSize(request.GetPageSize()))
	if err != nil {
		return nil, err
	}
	response := &deliveryv1.ListTimersResponse{Timers: make([]*deliveryv1.Timer, len(part.Timers))}
	for i, timer := range part.Timers {
		response.Timers[i] = timerMessage(timer)
	}
	response.NextPageToken, err = nextToken(request, part.Next)
	return response, err
}

func timerMessage(timer *natsbus.Timer) *deliveryv1.Timer {
	task := timer.Task
	return &deliveryv1.Timer{
		Delivery: deliveryName(task.Organization, task.Delivery), Trigger: task.Trigger,
		EventSource: task.EventSource, EventId: task.EventID, EventSequence: int64(task.EventSequence), //nolint:gosec // G115: a sequence of JetStream
		AttemptCount: int32(task.Attempts), //nolint:gosec // G115: bounded by the retry policies
		DueTime:      timestamppb.New(timer.Due), Parked: timer.Parked,
	}
}

// waiting returns the timer of a delivery, or why there is none.
func (a *Actions) waiting(ctx context.Context, name string) (*natsbus.Timer, error) {
	organization, id, err := resourceName("name", name, "deliveries")
	if err != nil {
		return nil, err
	}
	timer, err := a.Line.FindTimer(ctx, organization, id.String())
	if timer != nil || err != nil {
		return timer, err
	}
	if _, err := a.Known.Delivery(ctx, organization, id); err != nil {
		return nil, err
	}
	return nil, notWaiting()
}

func notWaiting() error {
	return fault.New(fault.FailedPrecondition, "NOT_WAITING", "the delivery waits for no retry: it is being tried, or has ended")
}

// RetryDelivery implements DeliveryService.
func (a *Actions) RetryDelivery(ctx context.Context, request *deliveryv1.RetryDeliveryRequest) (*deliveryv1.RetryDeliveryResponse, error) {
	timer, err := a.waiting(ctx, request.GetName())
	if err != nil {
		return nil, err
	}
	task := timer.Task
	if err := natsbus.CheckActive(ctx, a.Configuration, task.Organization, task.Webhook); err != nil {
		return nil, err
	}
	if err := a.record(ctx, audit.Retry, task.Organization, request.GetName(), ""); err != nil {
		return nil, err
	}
	done, err := a.Line.Hasten(ctx, timer)
	if err != nil {
		return nil, err
	}
	if !done {
		return nil, notWaiting()
	}
	return &deliveryv1.RetryDeliveryResponse{}, nil
}

// cancelTime bounds a cancellation, which goes on when its caller does not wait for it.
const cancelTime = 20 * time.Second

// CancelDelivery implements DeliveryService.
func (a *Actions) CancelDelivery(ctx context.Context, request *deliveryv1.CancelDeliveryRequest) (*deliveryv1.CancelDeliveryResponse, error) {
	timer, err := a.waiting(ctx, request.GetName())
	if err != nil {
		return nil, err
	}
	if err := a.record(ctx, audit.Cancel, timer.Task.Organization, request.GetName(), ""); err != nil {
		return nil, err
	}
	// What is removed must be recorded.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), cancelTime)
	defer cancel()
	done, err := a.Line.Cancel(ctx, timer, a.NewID())
	if err != nil {
		return nil, err
	}
	if !done {
		return nil, notWaiting()
	}
	return &deliveryv1.CancelDeliveryResponse{}, nil
}

// ResendDelivery implements DeliveryService.
func (a *Actions) ResendDelivery(ctx context.Context, request *deliveryv1.ResendDeliveryRequest) (*deliveryv1.ResendDeliveryResponse, error) {
	organization, id, err := resourceName("name", request.GetName(), "deliveries")
	if err != nil {
		return nil, err
	}
	found, err := a.Resend.Find(ctx, organization, id.String())
	if err != nil {
		return nil, err
	}
	if found == nil {
		delivery, err := a.Known.Delivery(ctx, organization, id)
		if err != nil {
			return nil, err
		}
		task, err := taskOf(organization, id, delivery)
		if err != nil {
			return nil, err
		}
		found = natsbus.NewFound(task)
	}
	if err := natsbus.CheckActive(ctx, a.Configuration, organization, found.Task.Webhook); err != nil {
		return nil, err
	}
	if err := a.Resend.Complete(ctx, found); err != nil {
		return nil, err
	}
	if err := a.record(ctx, audit.Resend, organization, request.GetName(), request.GetRequestId()); err != nil {
		return nil, err
	}
	if err := a.Resend.Resend(ctx, found, request.GetRequestId()); err != nil {
		return nil, err
	}
	return &deliveryv1.ResendDeliveryResponse{Delivery: request.GetName()}, nil
}

// taskOf makes a task of what is recorded of a delivery.
func taskOf(organization string, id uuid.UUID, delivery *deliveryv1.Delivery) (*core.Task, error) {
	_, webhook, err := resourceName("webhook", delivery.GetWebhook(), "webhooks")
	if err != nil {
		return nil, err
	}
	return &core.Task{
		Delivery: id.String(), Organization: organization, Webhook: webhook.String(), Lane: bus.Lane(delivery.GetTrigger()),
		Trigger: delivery.GetTrigger(), EventSource: delivery.GetEventSource(), EventID: delivery.GetEventId(),
		EventSequence: uint64(delivery.GetEventSequence()), //nolint:gosec // G115: it was a sequence of JetStream
		AcceptedAt:    delivery.GetAcceptTime().AsTime(), Attempts: int(delivery.GetAttemptCount()),
	}, nil
}

// RetryDeliveries implements DeliveryService.
func (a *Actions) RetryDeliveries(ctx context.Context, request *deliveryv1.RetryDeliveriesRequest) (*operationv1.Operation, error) {
	organization, err := anyParent(request.GetParent())
	if err != nil {
		return nil, err
	}
	asked, target := operations.Retry{Revision: a.Configuration.Revision()}, request.GetParent()
	if request.GetWebhook() != "" {
		owner, id, err := resourceName("webhook", request.GetWebhook(), "webhooks")
		if err != nil {
			return nil, err
		}
		if organization != bus.AnyToken && owner != organization {
			return nil, invalidName("webhook", "must be a webhook of the organization in `parent`")
		}
		if _, err := findWebhook(a.Configuration, owner, id); err != nil {
			return nil, err
		}
		asked.Webhook, target = id.String(), request.GetWebhook()
	}
	if asked.Until, err = a.Line.LastTimer(ctx); err != nil {
		return nil, err
	}
	rate := request.GetRate()
	if rate == 0 {
		rate = operations.DefaultRetryRate
	}
	return a.begin(ctx, begun{
		kind: operations.TypeRetry, action: audit.Retry, organization: organization, target: target,
		requestID: request.GetRequestId(), request: request, parameters: asked, rate: rate, dryRun: request.GetDryRun(),
		details: map[string]any{},
	})
}
