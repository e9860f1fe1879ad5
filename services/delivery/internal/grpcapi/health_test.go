package grpcapi_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/meetwire/meetwire/pkg/fault"
	deliveryv1 "github.com/meetwire/meetwire/proto/gen/meetwire/delivery/v1"
	"github.com/meetwire/meetwire/services/delivery/internal/core"
	"github.com/meetwire/meetwire/services/delivery/internal/grpcapi"
)

// fakeHealth has the health of one webhook.
type fakeHealth struct {
	health *core.Health
	err    error
}

func (f *fakeHealth) Health(context.Context, string, uuid.UUID) (*core.Health, error) {
	return f.health, f.err
}

// fakeWebhooks has one webhook.
type fakeWebhooks struct{ webhook core.Webhook }

func (f *fakeWebhooks) Webhook(id string) (*core.Webhook, bool) {
	return &f.webhook, id == f.webhook.ID
}

// fakeFlow treats one webhook, if any, and has so many timers for it.
type fakeFlow struct {
	state  *core.Isolation
	timers int
	err    error
}

func (f *fakeFlow) State(string) (core.Isolation, bool) {
	if f.state == nil {
		return core.Isolation{}, false
	}
	return *f.state, true
}

func (f *fakeFlow) CountTimers(context.Context, string, string) (int, error) { return f.timers, f.err }

const healthName = "organizations/acme/webhooks/" + webhookID + "/health"

func TestGetWebhookHealth(t *testing.T) {
	t.Parallel()
	at := time.Date(2026, 1, 31, 12, 0, 0, 0, time.UTC)
	health := &fakeHealth{health: &core.Health{
		Organization: "acme", Generation: 2, ConsecutiveFailures: 5, FailingSince: at, FailingDeliveries: []string{"a", "b"},
		LastSuccess: at.Add(-time.Hour), LastFailure: at.Add(time.Minute), LastStatus: 503, LastErrorClass: core.ErrorStatus,
	}}
	webhooks := &fakeWebhooks{core.Webhook{ID: webhookID, Organization: "acme", Generation: 2}}
	flow := &fakeFlow{}
	api := &grpcapi.Deliveries{Health: health, Webhooks: webhooks, Flow: flow, Timers: flow, Workers: func() int { return 4 }}
	get := func(name string) (*deliveryv1.WebhookHealth, error) {
		return api.GetWebhookHealth(t.Context(), &deliveryv1.GetWebhookHealthRequest{Name: name})
	}
	got, err := get(healthName)
	require.NoError(t, err)
	want := &deliveryv1.WebhookHealth{
		Name: healthName, Generation: 2, ConsecutiveFailures: 5, FailingSince: timestamppb.New(at), FailingDeliveryCount: 2,
		LastSuccessTime: timestamppb.New(at.Add(-time.Hour)), LastFailureTime: timestamppb.New(at.Add(time.Minute)),
		LastStatusCode: 503, LastErrorClass: "status",
	}
	require.True(t, proto.Equal(want, got), "%v", got)

	flow.timers, flow.state = 7, &core.Isolation{
		Active: 3, BulkActive: 1, Waiting: 5, BulkWaiting: 2, Lent: 6, Limits: core.Limits{Concurrency: 4, Rate: 12.5},
		Average: 250 * time.Millisecond, Suspect: true, Breaker: core.BreakerOpen, OpenUntil: at,
		ReservedUntil: at.Add(time.Second), BulkReserved: at.Add(time.Minute),
	}
	got, err = get(healthName)
	require.NoError(t, err)
	require.EqualValues(t, 7, got.GetWaitingCount())
	require.True(t, proto.Equal(&deliveryv1.WebhookFlow{
		ActiveCount: 3, WaitingCount: 5, Concurrency: 4, RateLimit: 12.5, Breaker: deliveryv1.WebhookFlow_BREAKER_OPEN,
		ProbeTime: timestamppb.New(at), ReservedUntil: timestamppb.New(at.Add(time.Second)), WorkerCount: 4,
		LentCount: 6, TimedOut: true, AverageDuration: durationpb.New(250 * time.Millisecond),
		BulkActiveCount: 1, BulkWaitingCount: 2, BulkReservedUntil: timestamppb.New(at.Add(time.Minute)),
	}, got.GetFlow()), "%v", got)
	flow.err = errors.New("away")
	_, err = get(healthName)
	require.True(t, fault.Is(err, fault.Unavailable), "%v", err)
	*flow = fakeFlow{}

	webhooks.webhook.Generation = 3
	flow.state = &core.Isolation{Active: 1, Limits: core.Limits{Concurrency: 8}}
	got, err = get(healthName)
	require.NoError(t, err)
	require.True(t, proto.Equal(&deliveryv1.WebhookFlow{
		ActiveCount: 1, Concurrency: 8, Breaker: deliveryv1.WebhookFlow_BREAKER_CLOSED, WorkerCount: 4,
	}, got.GetFlow()), "no attempt has ended: %v", got)
	*flow = fakeFlow{}

	got, err = get(healthName)
	require.NoError(t, err)
	require.True(t, proto.Equal(&deliveryv1.WebhookHealth{Name: healthName, Generation: 3}, got), "it was enabled since: %v", got)
	health.err = fault.New(fault.NotFound, "NOT_FOUND", "nothing")
	got, err = get(healthName)
	require.NoError(t, err)
	require.True(t, proto.Equal(&deliveryv1.WebhookHealth{Name: healthName, Generation: 3}, got), "nothing was sent yet: %v", got)
	health.err = errors.New("away")
	_, err = get(healthName)
	require.ErrorIs(t, err, health.err)

	for _, name := range []string{
		"organizations/other/webhooks/" + webhookID + "/health", "organizations/acme/webhooks/" + deliveryID + "/health",
	} {
		_, err = get(name)
		require.True(t, fault.Is(err, fault.NotFound), "%q: %v", name, err)
	}
	for _, name := range badNames("webhooks") {
		_, err = get(name + "/health")
		requireInvalid(t, err, "name", name)
	}
	_, err = get("organizations/acme/webhooks/" + webhookID)
	requireInvalid(t, err, "name", "without health")
}

// organizations are those that exist at a revision.
type organizations struct {
	exists bool
	err    error
	waited int64
}

func (o *organizations) WaitFor(_ context.Context, revision int64) error {
	o.waited = revision
	return o.err
}

func (o *organizations) HasOrganization(string) bool { return o.exists }

// purger counts what it removes.
type purger struct {
	removed       int64
	err           error
	organizations []string
}

func (p *purger) Purge(_ context.Context, organization string) (int64, error) {
	p.organizations = append(p.organizations, organization)
	return p.removed, p.err
}

func TestPurgeOrganization(t *testing.T) {
	t.Parallel()
	known, messages, rows := new(organizations), &purger{removed: 3}, &purger{removed: 4}
	api := &grpcapi.Internal{Organizations: known, Messages: messages, Rows: rows}
	purge := func(organization string) (*deliveryv1.PurgeOrganizationResponse, error) {
		return api.PurgeOrganization(t.Context(), &deliveryv1.PurgeOrganizationRequest{Organization: organization, Revision: 17})
	}
	got, err := purge("acme")
	require.NoError(t, err)
	require.True(t, proto.Equal(&deliveryv1.PurgeOrganizationResponse{MessageCount: 3, RowCount: 4}, got))
	require.EqualValues(t, 17, known.waited)

	for _, name := range []string{"", "*", ">", "a.b", "ACME"} {
		_, err = purge(name)
		requireInvalid(t, err, "organization", name)
	}
	known.exists = true
	_, err = purge("acme")
	require.True(t, fault.Is(err, fault.FailedPrecondition), "%v", err)
	known.exists, known.err = false, context.DeadlineExceeded
	_, err = purge("acme")
	require.True(t, fault.Is(err, fault.Unavailable), "%v", err)
	require.Equal(t, []string{"acme"}, messages.organizations)
	require.Equal(t, []string{"acme"}, rows.organizations)

	known.err, messages.err = nil, fault.New(fault.Unavailable, "AWAY", "away")
	_, err = purge("acme")
	require.ErrorIs(t, err, messages.err)
	require.Len(t, rows.organizations, 1, "rows go when nothing can make new ones")
}
