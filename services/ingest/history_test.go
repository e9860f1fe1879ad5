package ingest_test

import (
	"context"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"github.com/meetwire/meetwire/pkg/bus"
	"github.com/meetwire/meetwire/pkg/pgtest"
	"github.com/meetwire/meetwire/pkg/secret"
	accessv1 "github.com/meetwire/meetwire/proto/gen/meetwire/access/v1"
	configv1 "github.com/meetwire/meetwire/proto/gen/meetwire/config/v1"
	deliveryv1 "github.com/meetwire/meetwire/proto/gen/meetwire/delivery/v1"
	ingestv1 "github.com/meetwire/meetwire/proto/gen/meetwire/ingest/v1"
)

// deliveries is a delivery service of which every event has one delivery that succeeded.
type deliveries struct {
	deliveryv1.UnimplementedInternalServiceServer
}

// CountDeliveries implements InternalService.
func (deliveries) CountDeliveries(context.Context, *deliveryv1.CountDeliveriesRequest) (*deliveryv1.CountDeliveriesResponse, error) {
	return &deliveryv1.CountDeliveriesResponse{SucceededCount: 1}, nil
}

// as makes calls with a key.
func as(t *testing.T, key secret.String) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	t.Cleanup(cancel)
	return metadata.AppendToOutgoingContext(ctx, "authorization", "Bearer "+key.Reveal())
}

const pausedID = "7d0f9b1e-2f3c-4a5b-8c6d-9e0f1a2b3c4d"

// configure publishes a configuration with one webhook that is active and one that is paused.
func (e *env) configure(t *testing.T) (publisher, viewer, stranger secret.String) {
	t.Helper()
	paused := webhook(pausedID, "meeting.*")
	paused.GetWebhook().Status, paused.GetWebhook().Generation = configv1.WebhookStatus_WEBHOOK_STATUS_PAUSED, 2
	publisher, publisherKey := apiKey(t, "acme", accessv1.Role_ROLE_PUBLISHER)
	viewer, viewerKey := apiKey(t, "acme", accessv1.Role_ROLE_VIEWER)
	stranger, strangerKey := apiKey(t, "beta", accessv1.Role_ROLE_ADMIN)
	e.feed.snapshot(1, organization("acme"), organization("beta"), trigger("meeting.booked"), publisherKey, viewerKey, strangerKey,
		paused, webhook("00000000-0000-4000-8000-000000000001", "meeting.booked"))
	e.ready(t)
	return publisher, viewer, stranger
}

// requireListed waits until exactly so many events are listed.
func (e *env) requireListed(t *testing.T, viewer secret.String, n int) *ingestv1.ListEventsResponse {
	t.Helper()
	var listed *ingestv1.ListEventsResponse
	require.EventuallyWithT(t, func(c *assert.CollectT) {
		var err error
		listed, err = e.events.ListEvents(as(t, viewer), &ingestv1.ListEventsRequest{Parent: "organizations/acme"})
		require.NoError(c, err)
		require.Len(c, listed.GetEvents(), n)
	}, patience, tick)
	return listed
}

func TestHistoryIsShown(t *testing.T) {
	t.Parallel()
	e := setup(t)
	publisher, viewer, stranger := e.configure(t)
	_, err := e.publish(t, publisher, "acme", "1")
	require.NoError(t, err)
	_, err = e.js.Publish(t.Context(), "events.acme.meeting.booked", []byte("{}"))
	require.NoError(t, err)
	listed := e.requireListed(t, viewer, 2)
	require.NotEmpty(t, listed.GetEvents()[0].GetRejectRule())
	first := listed.GetEvents()[1]
	require.Equal(t, "organizations/acme/events/1", first.GetName())
	require.EqualValues(t, 1, first.GetMatchedCount())
	require.EqualValues(t, 1, first.GetSkippedCount())

	got, err := e.events.GetEvent(as(t, viewer), &ingestv1.GetEventRequest{Name: first.GetName()})
	require.NoError(t, err)
	require.Equal(t, string(event("1")), got.GetEvent())
	outcome, err := e.events.GetEventOutcome(as(t, publisher), &ingestv1.GetEventOutcomeRequest{Name: first.GetName() + "/outcome"})
	require.NoError(t, err)
	require.Equal(t, ingestv1.EventOutcome_STATE_FANNED_OUT, outcome.GetState())
	require.EqualValues(t, 1, outcome.GetDeliveredCount())
	require.Zero(t, outcome.GetPendingCount())
	matching, err := e.events.GetWebhookMatching(as(t, viewer), &ingestv1.GetWebhookMatchingRequest{
		Name: "organizations/acme/webhooks/" + pausedID + "/matching",
	})
	require.NoError(t, err)
	require.EqualValues(t, 1, matching.GetSkippedCount())
	require.Equal(t, first.GetAcceptTime().AsTime(), matching.GetSkippedSince().AsTime())

	_, err = e.events.GetEvent(as(t, stranger), &ingestv1.GetEventRequest{Name: first.GetName()})
	require.Equal(t, codes.PermissionDenied, status.Code(err))
	_, err = e.events.GetEvent(as(t, stranger), &ingestv1.GetEventRequest{Name: "organizations/beta/events/1"})
	require.Equal(t, codes.NotFound, status.Code(err))
	_, err = e.events.ListEvents(as(t, publisher), &ingestv1.ListEventsRequest{Parent: "organizations/acme"})
	require.Equal(t, codes.PermissionDenied, status.Code(err))
	for _, name := range []string{"meetwire_ingest_indexed_events_total", "meetwire_ingest_index_lag_messages"} {
		n, err := testutil.GatherAndCount(e.registry, name)
		require.NoError(t, err)
		require.Equal(t, 1, n, name)
	}

	// What is kept of an organization goes with it.
	e.feed.change(2, &configv1.Resource{Resource: &configv1.Resource_DeletedOrganization{DeletedOrganization: "acme"}})
	_, err = e.internal.PurgeOrganization(e.call(t), &ingestv1.PurgeOrganizationRequest{Organization: "acme", Revision: 2})
	require.NoError(t, err)
	again, key := apiKey(t, "acme", accessv1.Role_ROLE_VIEWER)
	e.feed.change(3, organization("acme"), key)
	require.Eventually(t, func() bool {
		_, err := e.events.ListEvents(as(t, again), &ingestv1.ListEventsRequest{Parent: "organizations/acme"})
		return err == nil
	}, patience, tick)
	e.requireListed(t, again, 0)
	e.requireStored(t, bus.StreamFanOuts, 0)
}

// TestPostgresIsNotNeededForEvents starts the service while Postgres is away.
func TestPostgresIsNotNeededForEvents(t *testing.T) {
	t.Parallel()
	server := pgtest.Server(t)
	pool, err := pgxpool.New(t.Context(), server.URL().Reveal())
	require.NoError(t, err)
	t.Cleanup(pool.Close)
	stopping, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	require.NoError(t, server.Stop(stopping))
	e := setupWith(t, pool)
	publisher, viewer, _ := e.configure(t)
	for _, id := range []string{"1", "2"} {
		_, err = e.publish(t, publisher, "acme", id)
		require.NoError(t, err)
	}
	e.requireStored(t, bus.StreamDeliveries, 2)
	e.requireStored(t, bus.StreamFanOuts, 2)
	_, err = e.events.ListEvents(as(t, viewer), &ingestv1.ListEventsRequest{Parent: "organizations/acme"})
	require.Equal(t, codes.Unavailable, status.Code(err))
	require.NoError(t, e.service.Ready(t.Context()))

	pgtest.Restart(t, server)
	e.requireListed(t, viewer, 2)
	e.requireStored(t, bus.StreamFanOuts, 0)
}
