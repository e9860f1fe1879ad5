package grpcapi

import (
	"context"
	"strings"
	"time"

	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/google/uuid"

	"github.com/meetwire/meetwire/pkg/fault"
	deliveryv1 "github.com/meetwire/meetwire/proto/gen/meetwire/delivery/v1"
	"github.com/meetwire/meetwire/services/delivery/internal/core"
)

// HealthStore is where the health of webhooks is kept.
type HealthStore interface {
	// Health returns the health of a webhook: fault.NotFound when nothing is known of it.
	Health(ctx context.Context, organization string, webhook uuid.UUID) (*core.Health, error)
}

// Webhooks is the configuration in force.
type Webhooks interface {
	// Webhook returns a webhook, or false when none has this id.
	Webhook(id string) (*core.Webhook, bool)
}

// findWebhook returns a webhook of an organization: fault.NotFound when it has none of this id.
func findWebhook(webhooks Webhooks, organization string, id uuid.UUID) (*core.Webhook, error) {
	webhook, ok := webhooks.Webhook(id.String())
	if !ok || webhook.Organization != organization {
		return nil, fault.New(fault.NotFound, "WEBHOOK_NOT_FOUND", "no such webhook")
	}
	return webhook, nil
}

// Flow is how this instance treats webhooks.
type Flow interface {
	// State returns how one is treated. False: there has been nothing to do for it for a while.
	State(webhook string) (core.Isolation, bool)
}

// Timers is what waits in RETRIES.
type Timers interface {
	// CountTimers returns how many deliveries wait for a webhook.
	CountTimers(ctx context.Context, organization, webhook string) (int, error)
}

// GetWebhookHealth implements DeliveryService. A webhook without an attempt since it was created, or enabled, is well.
func (d *Deliveries) GetWebhookHealth(ctx context.Context, request *deliveryv1.GetWebhookHealthRequest) (*deliveryv1.WebhookHealth, error) {
	parent, ok := strings.CutSuffix(request.GetName(), "/health")
	if !ok {
		return nil, invalidName("name", "must have the form organizations/{organization}/webhooks/{webhook}/health")
	}
	organization, id, err := resourceName("name", parent, "webhooks")
	if err != nil {
		return nil, err
	}
	webhook, err := findWebhook(d.Webhooks, organization, id)
	if err != nil {
		return nil, err
	}
	health, err := d.Health.Health(ctx, organization, id)
	if err != nil && !fault.Is(err, fault.NotFound) {
		return nil, err
	}
	if err != nil || health.Generation < webhook.Generation {
		health = &core.Health{Generation: webhook.Generation}
	}
	waiting, err := d.Timers.CountTimers(ctx, organization, id.String())
	if err != nil {
		return nil, fault.Wrap(fault.Unavailable, "STREAM_UNAVAILABLE", err, "what waits for the webhook cannot be counted at the moment")
	}
	return &deliveryv1.WebhookHealth{
		Name:                 request.GetName(),
		Generation:           health.Generation,
		ConsecutiveFailures:  health.ConsecutiveFailures,
		FailingSince:         timeOrNil(health.FailingSince),
		FailingDeliveryCount: int32(len(health.FailingDeliveries)), //nolint:gosec // G115: at most three
		LastSuccessTime:      timeOrNil(health.LastSuccess),
		LastFailureTime:      timeOrNil(health.LastFailure),
		LastStatusCode:       int32(health.LastStatus), //nolint:gosec // G115: three digits
		LastErrorClass:       health.LastErrorClass,
		Flow:                 d.flow(id.String()),
		WaitingCount:         int64(waiting),
	}, nil
}

// flow is how this instance treats a webhook; nil when there has been nothing to do for it.
func (d *Deliveries) flow(webhook string) *deliveryv1.WebhookFlow {
	state, ok := d.Flow.State(webhook)
	if !ok {
		return nil
	}
	flow := &deliveryv1.WebhookFlow{
		ActiveCount:   int32(state.Active),             //nolint:gosec // G115: bounded by the limits
		WaitingCount:  int32(state.Waiting),            //nolint:gosec // G115: bounded by the consumers
		Concurrency:   int32(state.Limits.Concurrency), //nolint:gosec // G115: at most 1,000
		RateLimit:     state.Limits.Rate,
		Breaker:       deliveryv1.WebhookFlow_Breaker(state.Breaker) + deliveryv1.WebhookFlow_BREAKER_CLOSED,
		ReservedUntil: timeOrNil(state.ReservedUntil),
		WorkerCount:   int32(d.Workers()), //nolint:gosec // G115: a count of processes
		LentCount:     int32(state.Lent),  //nolint:gosec // G115: bounded by the slots
		TimedOut:      state.Suspect,

		BulkActiveCount:   int32(state.BulkActive),  //nolint:gosec // G115: bounded by the limits
		BulkWaitingCount:  int32(state.BulkWaiting), //nolint:gosec // G115: bounded by the consumers
		BulkReservedUntil: timeOrNil(state.BulkReserved),
	}
	if state.Average > 0 {
		flow.AverageDuration = durationpb.New(state.Average)
	}
	if state.Breaker != core.BreakerClosed {
		flow.ProbeTime = timeOrNil(state.OpenUntil)
	}
	return flow
}

func timeOrNil(t time.Time) *timestamppb.Timestamp {
	if t.IsZero() {
		return nil
	}
	return timestamppb.New(t)
}
