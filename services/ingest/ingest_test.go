package ingest_test

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/stretchr/testify/require"
	"google.golang.org/genproto/googleapis/api/httpbody"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	healthv1 "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/meetwire/meetwire/pkg/bus"
	"github.com/meetwire/meetwire/pkg/fault"
	"github.com/meetwire/meetwire/pkg/natstest"
	"github.com/meetwire/meetwire/pkg/pgtest"
	"github.com/meetwire/meetwire/pkg/rpc"
	"github.com/meetwire/meetwire/pkg/secret"
	accessv1 "github.com/meetwire/meetwire/proto/gen/meetwire/access/v1"
	configv1 "github.com/meetwire/meetwire/proto/gen/meetwire/config/v1"
	deliveryv1 "github.com/meetwire/meetwire/proto/gen/meetwire/delivery/v1"
	ingestv1 "github.com/meetwire/meetwire/proto/gen/meetwire/ingest/v1"
	"github.com/meetwire/meetwire/services/ingest"
)

func TestMain(m *testing.M) { pgtest.Main(m, natstest.Leftovers()...) }

const (
	// patience is how long a test waits for something that should be there at once.
	patience = 20 * time.Second
	tick     = 10 * time.Millisecond
)

// feed is a subscription service that tells what it is given, in one stream.
type feed struct {
	configv1.UnimplementedConfigServiceServer
	messages chan *configv1.WatchConfigResponse
	used     chan string
}

// ReportApiKeyUse implements ConfigService.
func (f *feed) ReportApiKeyUse(_ context.Context, request *configv1.ReportApiKeyUseRequest) (*configv1.ReportApiKeyUseResponse, error) {
	for _, use := range request.GetUses() {
		f.used <- use.GetApiKey()
	}
	return &configv1.ReportApiKeyUseResponse{}, nil
}

// WatchConfig implements ConfigService.
func (f *feed) WatchConfig(_ *configv1.WatchConfigRequest, stream grpc.ServerStreamingServer[configv1.WatchConfigResponse]) error {
	heartbeat := time.NewTicker(time.Second)
	defer heartbeat.Stop()
	for {
		message := &configv1.WatchConfigResponse{Message: &configv1.WatchConfigResponse_Heartbeat{Heartbeat: &configv1.Heartbeat{}}}
		select {
		case message = <-f.messages:
		case <-heartbeat.C:
		case <-stream.Context().Done():
			return stream.Context().Err()
		}
		if err := stream.Send(message); err != nil {
			return err
		}
	}
}

func (f *feed) snapshot(revision int64, resources ...*configv1.Resource) {
	f.messages <- &configv1.WatchConfigResponse{Message: &configv1.WatchConfigResponse_SnapshotPage{
		SnapshotPage: &configv1.SnapshotPage{Revision: revision, Resources: resources, Last: true},
	}}
}

func (f *feed) change(revision int64, resources ...*configv1.Resource) {
	f.messages <- &configv1.WatchConfigResponse{Message: &configv1.WatchConfigResponse_Change{
		Change: &configv1.Change{Revision: revision, Resources: resources},
	}}
}

func organization(id string) *configv1.Resource {
	return &configv1.Resource{Resource: &configv1.Resource_Organization{Organization: &configv1.Organization{Id: id, WebhooksAvailable: true}}}
}

func trigger(id string) *configv1.Resource {
	return &configv1.Resource{Resource: &configv1.Resource_Trigger{Trigger: &configv1.Trigger{Id: id, Schema: "{}"}}}
}

func webhook(id string, triggers ...string) *configv1.Resource {
	return &configv1.Resource{Resource: &configv1.Resource_Webhook{Webhook: &configv1.Webhook{
		Id: id, Organization: "acme", Triggers: triggers,
	}}}
}

// apiKey returns a key and what the configuration says of it.
func apiKey(t *testing.T, organization string, role accessv1.Role) (secret.String, *configv1.Resource) {
	t.Helper()
	id, key, sum, err := rpc.NewKey()
	require.NoError(t, err)
	return key, &configv1.Resource{Resource: &configv1.Resource_ApiKey{ApiKey: &configv1.ApiKey{
		Id: id, Organization: organization, Role: role, SecretSha256: sum[:],
	}}}
}

// serve serves gRPC on loopback until the test ends, and returns where.
func serve(t *testing.T, register func(*grpc.Server)) string {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	server := grpc.NewServer()
	register(server)
	var serving sync.WaitGroup
	serving.Go(func() { _ = server.Serve(listener) })
	t.Cleanup(func() {
		server.Stop()
		serving.Wait()
	})
	return listener.Addr().String()
}

func dial(t *testing.T, address string) *grpc.ClientConn {
	t.Helper()
	conn, err := rpc.Dial(address)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, conn.Close()) })
	return conn
}

// env is a service that runs.
type env struct {
	feed     *feed
	nats     *natstest.Server
	js       jetstream.JetStream
	registry *prometheus.Registry
	service  *ingest.Service
	events   ingestv1.EventServiceClient
	internal ingestv1.InternalServiceClient
	health   healthv1.HealthClient
	stop     func() error
}

func setup(t *testing.T) *env {
	t.Helper()
	return setupWith(t, pgtest.Database(t, "ingest", ingest.Migrate))
}

// setupWith runs a service that uses a database.
func setupWith(t *testing.T, db *pgxpool.Pool) *env {
	t.Helper()
	e := &env{feed: &feed{messages: make(chan *configv1.WatchConfigResponse), used: make(chan string, 10)}, nats: natstest.Start(t), registry: prometheus.NewRegistry()}
	logger := slog.New(slog.DiscardHandler)
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	conn, err := bus.Connect(ctx, "tests", bus.NATSConfig{NATSURL: secret.New(e.nats.URL())}, logger)
	require.NoError(t, err)
	t.Cleanup(conn.Close)
	_, e.js = e.nats.Connect(t)
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	e.service, err = ingest.New(config(t), ingest.Deps{
		Logger: logger, Registry: e.registry, DB: db, Migrate: true, NATS: conn, Listener: listener, Grace: 5 * time.Second,
		Delivery:     dial(t, serve(t, func(s *grpc.Server) { deliveryv1.RegisterInternalServiceServer(s, deliveries{}) })),
		Subscription: dial(t, serve(t, func(s *grpc.Server) { configv1.RegisterConfigServiceServer(s, e.feed) })),
	})
	require.NoError(t, err)
	running, cancelRun := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- e.service.Run(running) }()
	e.stop = sync.OnceValue(func() error {
		cancelRun()
		select {
		case err := <-done:
			return err
		case <-time.After(patience):
			return fmt.Errorf("the service does not stop")
		}
	})
	t.Cleanup(func() { require.NoError(t, e.stop()) })
	client := dial(t, listener.Addr().String())
	e.internal = ingestv1.NewInternalServiceClient(client)
	e.events, e.health = ingestv1.NewEventServiceClient(client), healthv1.NewHealthClient(client)
	return e
}

// ready waits until the service can take events in.
func (e *env) ready(t *testing.T) {
	t.Helper()
	require.Eventually(t, func() bool { return e.service.Ready(t.Context()) == nil }, patience, tick)
}

func (e *env) publish(t *testing.T, key secret.String, organization, id string) (*ingestv1.PublishEventResponse, error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	return e.events.PublishEvent(metadata.AppendToOutgoingContext(ctx, "authorization", "Bearer "+key.Reveal()), &ingestv1.PublishEventRequest{
		Parent: "organizations/" + organization, Event: &httpbody.HttpBody{Data: event(id)},
	})
}

func event(id string) []byte {
	return fmt.Appendf(nil, `{"specversion":"1.0","id":%q,"source":"/s","type":"meeting.booked","data":{}}`, id)
}

func (e *env) requireStored(t *testing.T, stream string, n int) {
	t.Helper()
	require.Eventually(t, func() bool {
		s, err := e.js.Stream(t.Context(), stream)
		return err == nil && int(s.CachedInfo().State.Msgs) == n
	}, patience, tick, stream)
}

func TestEventsComeInOverBothDoorsAndGoOutToWebhooks(t *testing.T) {
	t.Parallel()
	e := setup(t)
	publisher, publisherKey := apiKey(t, "acme", accessv1.Role_ROLE_PUBLISHER)
	viewer, viewerKey := apiKey(t, "acme", accessv1.Role_ROLE_VIEWER)

	// Before there is a configuration nobody can be told from anybody else.
	_, err := e.publish(t, publisher, "acme", "1")
	require.Equal(t, codes.Unavailable, status.Code(err))
	require.ErrorContains(t, e.service.Ready(t.Context()), "configuration")

	e.feed.snapshot(1, organization("acme"), organization("beta"), trigger("meeting.booked"), publisherKey, viewerKey, webhook("w1", "meeting.booked"))
	e.ready(t)
	response, err := e.publish(t, publisher, "acme", "1")
	require.NoError(t, err)
	require.EqualValues(t, 1, response.GetSequence())
	_, err = e.js.Publish(t.Context(), "events.acme.meeting.booked", event("2"))
	require.NoError(t, err)
	_, err = e.js.PublishMsg(t.Context(), &nats.Msg{Subject: "events.acme.meeting.booked", Data: []byte("{}")})
	require.NoError(t, err)
	e.requireStored(t, bus.StreamDeliveries, 2)
	e.requireStored(t, bus.StreamRejects, 1)

	_, err = e.publish(t, viewer, "acme", "3")
	require.Equal(t, codes.PermissionDenied, status.Code(err))
	_, err = e.publish(t, publisher, "beta", "3")
	require.Equal(t, codes.PermissionDenied, status.Code(err))
	_, err = e.publish(t, secret.New("mwk_nothing"), "acme", "3")
	require.Equal(t, codes.Unauthenticated, status.Code(err))

	// A trigger that is registered while the service runs gets a lane.
	e.feed.change(2, trigger("meeting.started"), webhook("w2", "meeting.started"))
	_, err = e.js.Publish(t.Context(), "events.acme.meeting.started", []byte(`{"specversion":"1.0","id":"4","source":"/s","type":"meeting.started","data":{}}`))
	require.NoError(t, err)
	e.requireStored(t, bus.StreamDeliveries, 3)
	e.requireStored(t, bus.StreamRejects, 1)

	for name, want := range map[string]int{
		"meetwire_ingest_events_total": 1, "meetwire_ingest_deliveries_total": 1, "meetwire_ingest_rejected_total": 1,
	} {
		have, err := testutil.GatherAndCount(e.registry, name)
		require.NoError(t, err)
		require.Equal(t, want, have, name)
	}
	require.NoError(t, e.stop())
	close(e.feed.used)
	var used []string
	for id := range e.feed.used {
		used = append(used, id)
	}
	require.ElementsMatch(t, []string{publisherKey.GetApiKey().GetId(), viewerKey.GetApiKey().GetId()}, used, "reported before the end")
}

// call makes a call of another service of Meetwire.
func (e *env) call(t *testing.T) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	t.Cleanup(cancel)
	return metadata.AppendToOutgoingContext(ctx, "authorization", "Bearer "+serviceToken)
}

func TestOtherServicesAskForHistoryAndPurge(t *testing.T) {
	t.Parallel()
	e := setup(t)
	const id = "7d0f9b1e-2f3c-4a5b-8c6d-9e0f1a2b3c4d"
	paused := webhook(id, "meeting.*")
	paused.GetWebhook().Status = configv1.WebhookStatus_WEBHOOK_STATUS_PAUSED
	admin, adminKey := apiKey(t, "acme", accessv1.Role_ROLE_ADMIN)
	e.feed.snapshot(1, organization("acme"), trigger("meeting.booked"), paused, adminKey)
	e.ready(t)
	_, err := e.publish(t, admin, "acme", "1")
	require.NoError(t, err)
	e.requireListed(t, admin, 1)

	request := &ingestv1.FanOutHistoryRequest{
		Organization: "acme", Webhook: id, Revision: 1,
		StartTime: timestamppb.New(time.Now().Add(-time.Hour)), EndTime: timestamppb.New(time.Now()),
	}
	asAdmin := metadata.AppendToOutgoingContext(t.Context(), "authorization", "Bearer "+admin.Reveal())
	_, err = e.internal.FanOutHistory(asAdmin, request)
	require.Equal(t, codes.PermissionDenied, status.Code(err))
	response, err := e.internal.FanOutHistory(e.call(t), request)
	require.NoError(t, err)
	require.EqualValues(t, 1, response.GetMatchedCount())
	require.True(t, response.GetDone())
	e.requireStored(t, bus.StreamDeliveries, 1)

	e.requireStored(t, bus.StreamFanOuts, 0) // it is in the index
	purge := &ingestv1.PurgeOrganizationRequest{Organization: "acme", Revision: 1}
	_, err = e.internal.PurgeOrganization(e.call(t), purge)
	require.Equal(t, codes.FailedPrecondition, status.Code(err))
	e.feed.change(2, &configv1.Resource{Resource: &configv1.Resource_DeletedOrganization{DeletedOrganization: "acme"}})
	purge.Revision = 2
	_, err = e.internal.PurgeOrganization(asAdmin, purge)
	require.Error(t, err)
	purged, err := e.internal.PurgeOrganization(e.call(t), purge)
	require.NoError(t, err)
	require.EqualValues(t, 1, purged.GetMessageCount())
	e.requireStored(t, bus.StreamEvents, 0)

	// What is still published for it is rejected, and its keys are gone.
	_, err = e.js.Publish(t.Context(), "events.acme.meeting.booked", event("2"))
	require.NoError(t, err)
	e.requireStored(t, bus.StreamRejects, 1)
	_, err = e.publish(t, admin, "acme", "3")
	require.Equal(t, codes.Unauthenticated, status.Code(err))
}

func TestQuotaIsTheOrganizationsOwn(t *testing.T) {
	t.Parallel()
	e := setup(t)
	acme := organization("acme")
	acme.GetOrganization().IngestQuota = &configv1.IngestQuota{EventsPerSecond: 0.001, Burst: 1}
	publisher, key := apiKey(t, "acme", accessv1.Role_ROLE_PUBLISHER)
	other, otherKey := apiKey(t, "beta", accessv1.Role_ROLE_PUBLISHER)
	e.feed.snapshot(9, acme, organization("beta"), trigger("meeting.booked"), key, otherKey)
	e.ready(t)
	_, err := e.publish(t, publisher, "acme", "1")
	require.NoError(t, err)
	_, err = e.publish(t, publisher, "acme", "2")
	require.Equal(t, codes.ResourceExhausted, status.Code(err))
	var f *fault.Error
	require.ErrorAs(t, rpc.FaultFromStatus(err), &f)
	require.Greater(t, f.RetryAfter, 15*time.Minute)
	for i := range 5 {
		_, err = e.publish(t, other, "beta", fmt.Sprint(i))
		require.NoError(t, err)
	}
}

func TestReadinessNamesWhatIsMissing(t *testing.T) {
	t.Parallel()
	e := setup(t)
	e.feed.snapshot(1, organization("acme"))
	e.ready(t)
	serving := func() bool {
		response, err := e.health.Check(t.Context(), &healthv1.HealthCheckRequest{})
		return err == nil && response.GetStatus() == healthv1.HealthCheckResponse_SERVING
	}
	require.Eventually(t, serving, patience, tick)
	e.nats.Shutdown()
	require.Eventually(t, func() bool { return e.service.Ready(t.Context()) != nil }, patience, tick)
	require.ErrorContains(t, e.service.Ready(t.Context()), "nats: ")
	require.Eventually(t, func() bool { return !serving() }, patience, tick)
	e.nats.Restart(t)
	e.ready(t)
	require.Eventually(t, serving, patience, tick)
}

func TestServiceStopsWhileEverythingIsAway(t *testing.T) {
	t.Parallel()
	e := setup(t)
	e.feed.snapshot(1, organization("acme"), trigger("meeting.booked"))
	e.ready(t)
	e.nats.Shutdown()
	require.Eventually(t, func() bool { return e.service.Ready(t.Context()) != nil }, patience, tick)
	require.NoError(t, e.stop())
}
