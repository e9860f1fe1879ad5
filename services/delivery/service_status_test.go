package delivery_test

import (
	"net/http"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"google.golang.org/grpc/codes"
	grpcstatus "google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/meetwire/meetwire/pkg/bus"
	"github.com/meetwire/meetwire/pkg/seal"
	configv1 "github.com/meetwire/meetwire/proto/gen/meetwire/config/v1"
	deliveryv1 "github.com/meetwire/meetwire/proto/gen/meetwire/delivery/v1"
)

const (
	active   = configv1.WebhookStatus_WEBHOOK_STATUS_ACTIVE
	disabled = configv1.WebhookStatus_WEBHOOK_STATUS_DISABLED
)

// with returns the webhook, changed.
func (i *installation) with(change func(*configv1.Webhook)) *configv1.Resource {
	i.webhook = proto.CloneOf(i.webhook)
	change(i.webhook)
	return &configv1.Resource{Resource: &configv1.Resource_Webhook{Webhook: i.webhook}}
}

// patient has failed attempts repeated after an hour.
func patient(w *configv1.Webhook) {
	w.RetryPolicy = &configv1.RetryPolicy{MaxRetries: 5, Delays: []*durationpb.Duration{durationpb.New(time.Hour), durationpb.New(time.Hour)}}
}

// failed publishes events whose first attempts fail, and waits until each has a timer.
func (i *installation) failed(t *testing.T, events ...string) []string {
	t.Helper()
	i.respond(status(http.StatusInternalServerError))
	ids := make([]string, len(events))
	for n, event := range events {
		ids[n] = i.publish(t, event)
		i.received(t)
	}
	require.Eventually(t, func() bool {
		return i.messages(t, bus.StreamDeliveries) == 0 && i.messages(t, bus.StreamRetries) == uint64(len(events))
	}, patience, tick)
	return ids
}

func TestServiceEmptiesADisabledWebhook(t *testing.T) {
	t.Parallel()
	i := start(t)
	patient(i.webhook)
	i.ready(t)
	waiting := i.failed(t, "bk_1", "bk_2", "bk_3")
	i.feed.change(i.with(func(w *configv1.Webhook) { w.Status = disabled }))
	require.Eventually(t, func() bool {
		return i.messages(t, bus.StreamRetries) == 0 && i.messages(t, bus.StreamDeadLetters) == 3
	}, patience, tick, "what waited for it is a dead letter")
	late := i.publish(t, "bk_4")
	for _, id := range waiting {
		require.Equal(t, "webhook_disabled", i.requireState(t, id, deliveryv1.Delivery_STATE_DEAD_LETTERED, 1).GetReason())
	}
	require.Equal(t, "webhook_disabled", i.requireState(t, late, deliveryv1.Delivery_STATE_DEAD_LETTERED, 0).GetReason())
	require.Empty(t, i.calls, "nothing was sent")

	// Enabled, it gets what comes, and what is replayed.
	i.respond(status(http.StatusOK))
	i.feed.change(i.with(func(w *configv1.Webhook) { w.Status, w.Generation = active, 2 }))
	i.requireInForce(t)
	fresh := i.publish(t, "bk_5")
	i.requireState(t, fresh, deliveryv1.Delivery_STATE_SUCCEEDED, 1)
	_, err := i.letters.ReplayDeadLetter(newContext(t), &deliveryv1.ReplayDeadLetterRequest{Name: "organizations/acme/deadLetters/" + late})
	require.NoError(t, err)
	i.requireState(t, late, deliveryv1.Delivery_STATE_SUCCEEDED, 1)
	require.EqualValues(t, 3, i.messages(t, bus.StreamDeadLetters))
}

func TestServiceCancelsWhatWaitsForADeletedWebhook(t *testing.T) {
	t.Parallel()
	i := start(t)
	patient(i.webhook)
	i.ready(t)
	waiting := i.failed(t, "bk_1", "bk_2")
	i.feed.change(&configv1.Resource{Resource: &configv1.Resource_DeletedWebhook{DeletedWebhook: hook}})
	require.Eventually(t, func() bool { return i.messages(t, bus.StreamRetries) == 0 }, patience, tick)
	for _, id := range waiting {
		found := i.requireState(t, id, deliveryv1.Delivery_STATE_DROPPED, 1)
		require.Equal(t, "webhook_deleted", found.GetReason())
		require.Nil(t, found.GetNextAttemptTime())
	}
	require.Zero(t, i.messages(t, bus.StreamDeadLetters))
	require.Empty(t, i.calls)
}

func TestServiceReportsTheHealthOfWebhooks(t *testing.T) {
	t.Parallel()
	i := start(t)
	patient(i.webhook)
	i.webhook.FailureThreshold = &configv1.FailureThreshold{ConsecutiveFailures: 4}
	i.ready(t)
	i.failed(t, "bk_1", "bk_2", "bk_3", "bk_4")
	require.Eventually(t, func() bool { return len(i.feed.reports()) == 2 }, patience, tick)
	reports := i.feed.reports()
	require.Equal(t, configv1.ReportWebhookHealthRequest_LEVEL_HALF_OF_THRESHOLD, reports[0].GetLevel())
	require.Equal(t, configv1.ReportWebhookHealthRequest_LEVEL_DISABLE, reports[1].GetLevel())
	require.Equal(t, hook, reports[1].GetWebhook())
	require.EqualValues(t, 4, reports[1].GetConsecutiveFailures())
	require.EqualValues(t, 1, reports[1].GetGeneration())

	name := "organizations/acme/webhooks/" + hook + "/health"
	health, err := i.delivers.GetWebhookHealth(newContext(t), &deliveryv1.GetWebhookHealthRequest{Name: name})
	require.NoError(t, err)
	require.EqualValues(t, 4, health.GetConsecutiveFailures())
	require.EqualValues(t, 3, health.GetFailingDeliveryCount())
	require.EqualValues(t, http.StatusInternalServerError, health.GetLastStatusCode())
	require.Equal(t, "status", health.GetLastErrorClass())
	require.NotNil(t, health.GetFailingSince())
	require.Nil(t, health.GetLastSuccessTime())

	i.feed.change(i.with(func(w *configv1.Webhook) { w.Generation = 2 }))
	i.requireInForce(t)
	health, err = i.delivers.GetWebhookHealth(newContext(t), &deliveryv1.GetWebhookHealthRequest{Name: name})
	require.NoError(t, err)
	require.Zero(t, health.GetConsecutiveFailures(), "it was enabled since")
}

// Four instances send at once; what follows is decided by one of them, in the order of the records.
func TestServiceDisablesAfterExactlySoManyFailures(t *testing.T) {
	t.Parallel()
	i := start(t)
	for range 3 {
		i.run(t)
	}
	patient(i.webhook)
	const threshold, events = 7, 40
	i.webhook.FailureThreshold = &configv1.FailureThreshold{ConsecutiveFailures: threshold}
	i.respond(status(http.StatusBadGateway))
	i.ready(t)
	ids := make([]string, events)
	for n := range ids {
		ids[n] = i.publish(t, "bk_"+strconv.Itoa(n))
	}
	// last returns the report that the webhook is to be disabled.
	last := func() *configv1.ReportWebhookHealthRequest {
		reports := i.feed.reports()
		if n := len(reports); n > 0 && reports[n-1].GetLevel() == configv1.ReportWebhookHealthRequest_LEVEL_DISABLE {
			return reports[n-1]
		}
		return nil
	}
	require.Eventually(t, func() bool { return last() != nil }, patience, tick)
	require.EqualValues(t, threshold, last().GetConsecutiveFailures())
	require.Equal(t, "consecutive_failures", last().GetReason())
	i.feed.change(i.with(func(w *configv1.Webhook) { w.Status = disabled }))
	require.Eventually(t, func() bool {
		return i.messages(t, bus.StreamDeliveries)+i.messages(t, bus.StreamRetries) == 0 && i.messages(t, bus.StreamDeadLetters) == events
	}, patience, tick, "all instances drain it, and each delivery is one dead letter")
	for _, id := range ids {
		require.Eventually(t, func() bool {
			found, err := i.delivers.GetDelivery(t.Context(), &deliveryv1.GetDeliveryRequest{Name: "organizations/acme/deliveries/" + id})
			return err == nil && found.GetState() == deliveryv1.Delivery_STATE_DEAD_LETTERED
		}, patience, tick)
	}
	var counted int
	require.NoError(t, i.pool.QueryRow(newContext(t), "SELECT sum(count) FROM delivery.dead_letter_count").Scan(&counted))
	require.Equal(t, events, counted, "each is counted once, however many have recorded it")
	for _, report := range i.feed.reports()[:len(i.feed.reports())-1] {
		require.NotEqual(t, configv1.ReportWebhookHealthRequest_LEVEL_DISABLE, report.GetLevel(), "it is told once while all is well")
	}
}

func TestServicePurgesADeletedOrganization(t *testing.T) {
	t.Parallel()
	i := start(t)
	patient(i.webhook)
	i.ready(t)
	waiting := i.failed(t, "bk_1", "bk_2")
	i.feed.change(i.with(func(w *configv1.Webhook) { w.RetryPolicy = &configv1.RetryPolicy{} }))
	i.requireInForce(t)
	dead := i.publish(t, "bk_3")
	i.received(t)
	i.requireState(t, dead, deliveryv1.Delivery_STATE_DEAD_LETTERED, 1)
	i.requireState(t, waiting[1], deliveryv1.Delivery_STATE_PENDING, 1)

	internal := deliveryv1.NewInternalServiceClient(dial(t, i.address, i.config.ServiceToken))
	_, err := internal.PurgeOrganization(newContext(t), &deliveryv1.PurgeOrganizationRequest{Organization: "acme", Revision: 1})
	require.Equal(t, codes.FailedPrecondition, grpcstatus.Code(err), "it exists: %v", err)
	_, admin := newKey(t)
	_, err = deliveryv1.NewInternalServiceClient(dial(t, i.address, admin)).
		PurgeOrganization(newContext(t), &deliveryv1.PurgeOrganizationRequest{Organization: "acme", Revision: 1})
	require.Equal(t, codes.Unauthenticated, grpcstatus.Code(err), "only services may do that: %v", err)

	revision := i.feed.change(
		&configv1.Resource{Resource: &configv1.Resource_DeletedWebhook{DeletedWebhook: hook}},
		&configv1.Resource{Resource: &configv1.Resource_DeletedOrganization{DeletedOrganization: "acme"}},
	)
	purged, err := internal.PurgeOrganization(newContext(t), &deliveryv1.PurgeOrganizationRequest{Organization: "acme", Revision: revision})
	require.NoError(t, err)
	require.Positive(t, purged.GetMessageCount())
	require.Positive(t, purged.GetRowCount())
	for _, stream := range []string{bus.StreamDeliveries, bus.StreamRetries, bus.StreamDeadLetters, bus.StreamRecords} {
		require.Zero(t, i.messages(t, stream), stream)
	}
	for _, table := range []string{"delivery", "attempt", "webhook_health", "dead_letter_count"} {
		var rows int
		require.NoError(t, i.pool.QueryRow(newContext(t), "SELECT count(*) FROM delivery."+table).Scan(&rows))
		require.Zero(t, rows, table)
	}
	// What ingest had fanned out goes without a trace.
	i.publish(t, "bk_4")
	require.Eventually(t, func() bool { return i.messages(t, bus.StreamDeliveries) == 0 }, patience, tick)
	require.Zero(t, i.messages(t, bus.StreamRecords))
	require.Empty(t, i.calls)
}

func TestServiceSendsNothingInTheClearUnlessAllowed(t *testing.T) {
	t.Parallel()
	i := start(t)
	i.webhook.RetryPolicy = &configv1.RetryPolicy{Delays: slices.Repeat([]*durationpb.Duration{durationpb.New(3 * time.Second)}, 10)}
	resources := i.resources()
	resources[0].GetOrganization().AllowHttp = false
	i.feed.open(resources...)
	i.readyWhenOpen(t)
	id := i.publish(t, "bk_1")
	i.requireState(t, id, deliveryv1.Delivery_STATE_PENDING, 1)
	attempts, err := i.delivers.ListAttempts(newContext(t), &deliveryv1.ListAttemptsRequest{Parent: "organizations/acme/deliveries/" + id})
	require.NoError(t, err)
	require.Equal(t, "insecure", attempts.GetAttempts()[0].GetErrorClass())
	require.Empty(t, i.calls)

	i.feed.change(&configv1.Resource{Resource: &configv1.Resource_Organization{Organization: &configv1.Organization{Id: "acme", AllowHttp: true}}})
	require.Equal(t, id, i.received(t).header.Get("webhook-id"))
}

func TestServiceSendsTheWebhooksOwnHeadersAndKeepsThemSecret(t *testing.T) {
	t.Parallel()
	i := start(t)
	const token = "a-token-that-nobody-may-see"
	box, err := seal.New(i.config.Keyset)
	require.NoError(t, err)
	sealed, err := box.Seal([]byte(token), hook+"/headers/x-token")
	require.NoError(t, err)
	i.webhook.Headers = []*configv1.SealedHeader{{Name: "X-Token", SealedValue: sealed}}
	i.ready(t)
	id := i.publish(t, "bk_1")
	require.Equal(t, token, i.received(t).header.Get("X-Token"))
	i.requireState(t, id, deliveryv1.Delivery_STATE_SUCCEEDED, 1)
	attempts, err := i.delivers.ListAttempts(newContext(t), &deliveryv1.ListAttemptsRequest{Parent: "organizations/acme/deliveries/" + id})
	require.NoError(t, err)
	var shown string
	for _, header := range attempts.GetAttempts()[0].GetRequestHeaders() {
		if strings.EqualFold(header.GetName(), "x-token") {
			shown = header.GetValue()
		}
	}
	require.Equal(t, "REDACTED", shown)
	stream, err := i.js.Stream(newContext(t), bus.StreamRecords)
	require.NoError(t, err)
	msg, err := stream.GetMsg(newContext(t), 1)
	require.NoError(t, err)
	require.NotContains(t, string(msg.Data), token)
}

func TestServiceHonoursRetryAfter(t *testing.T) {
	t.Parallel()
	i := start(t)
	i.webhook.RetryPolicy = &configv1.RetryPolicy{MaxRetries: 1, Delays: []*durationpb.Duration{durationpb.New(time.Second)}}
	i.respond(func(w http.ResponseWriter) {
		w.Header().Set("Retry-After", "3600")
		w.WriteHeader(http.StatusServiceUnavailable)
	})
	i.ready(t)
	id := i.publish(t, "bk_1")
	i.received(t)
	next := i.requireState(t, id, deliveryv1.Delivery_STATE_PENDING, 1).GetNextAttemptTime().AsTime()
	require.WithinDuration(t, time.Now().Add(time.Hour), next, time.Minute)
}
