package rpc_test

import (
	"context"
	"errors"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"
	"google.golang.org/genproto/googleapis/api/httpbody"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/meetwire/meetwire/pkg/fault"
	"github.com/meetwire/meetwire/pkg/rpc"
	accessv1 "github.com/meetwire/meetwire/proto/gen/meetwire/access/v1"
	configv1 "github.com/meetwire/meetwire/proto/gen/meetwire/config/v1"
	ingestv1 "github.com/meetwire/meetwire/proto/gen/meetwire/ingest/v1"
	subscriptionv1 "github.com/meetwire/meetwire/proto/gen/meetwire/subscription/v1"
)

func TestValidation(t *testing.T) {
	t.Parallel()
	w := setup(t)
	ctx := as(t, w.keys.add(t, accessv1.Role_ROLE_ADMIN, "acme"))
	_, err := w.webhooks.CreateWebhook(ctx, &subscriptionv1.CreateWebhookRequest{
		Parent: "organizations/acme",
		Webhook: &subscriptionv1.Webhook{
			DisplayName: strings.Repeat("x", 201),
			Triggers:    []string{"meeting.booked", "Meeting"},
			Timeout:     durationpb.New(time.Minute),
			RetryPolicy: &subscriptionv1.RetryPolicy{MaxRetries: 31},
		},
	})
	f := requireFault(t, err, fault.InvalidArgument, "INVALID_FIELD")
	fields := map[string]fault.Field{}
	for _, field := range f.Fields {
		fields[field.Path] = field
	}
	require.Len(t, fields, 4)
	require.Equal(t, "string.max_len", fields["webhook.display_name"].Rule)
	require.Contains(t, fields["webhook.display_name"].Message, "200")
	require.Equal(t, "webhook.triggers", fields["webhook.triggers[1]"].Rule)
	require.Contains(t, fields["webhook.triggers[1]"].Message, "such as meeting.*")
	require.Contains(t, fields["webhook.timeout"].Message, "30s")
	require.Contains(t, fields["webhook.retry_policy.max_retries"].Message, "30")
	require.Equal(t, f.Fields[0].Path+": "+f.Fields[0].Message, f.Message)
	require.Empty(t, w.takeCallers())

	_, err = w.webhooks.CreateWebhook(ctx, &subscriptionv1.CreateWebhookRequest{Parent: "organizations/acme"})
	f = requireFault(t, err, fault.InvalidArgument, "INVALID_FIELD")
	require.Equal(t, "webhook", f.Fields[0].Path)
	require.Equal(t, "required", f.Fields[0].Rule)
}

func TestValidationNamesTheValuesOfAnEnum(t *testing.T) {
	t.Parallel()
	keys := &fakeAPIKeys{}
	w := setupWith(t, func(s *grpc.Server) { subscriptionv1.RegisterApiKeyServiceServer(s, keys) })
	ctx := as(t, w.keys.add(t, accessv1.Role_ROLE_ADMIN, "acme"))
	_, err := subscriptionv1.NewApiKeyServiceClient(w.conn).CreateApiKey(ctx, &subscriptionv1.CreateApiKeyRequest{
		Parent: "organizations/acme",
		ApiKey: &subscriptionv1.ApiKey{DisplayName: "x", Role: accessv1.Role_ROLE_OPERATOR},
	})
	f := requireFault(t, err, fault.InvalidArgument, "INVALID_FIELD")
	require.Equal(t, []fault.Field{{
		Path: "api_key.role", Rule: "enum.in", Message: "must be one of ROLE_ADMIN, ROLE_VIEWER, ROLE_PUBLISHER",
	}}, f.Fields)
}

type fakeAPIKeys struct {
	subscriptionv1.UnimplementedApiKeyServiceServer
}

func TestValidationOfAStream(t *testing.T) {
	t.Parallel()
	w := setup(t)
	reached := make(chan struct{}, 1)
	w.watch = func(*configv1.WatchConfigRequest, grpc.ServerStreamingServer[configv1.WatchConfigResponse]) error {
		reached <- struct{}{}
		return nil
	}
	stream, err := w.config.WatchConfig(as(t, serviceToken), &configv1.WatchConfigRequest{AfterRevision: -1})
	require.NoError(t, err)
	_, err = stream.Recv()
	f := requireFault(t, err, fault.InvalidArgument, "INVALID_FIELD")
	require.Equal(t, "after_revision", f.Fields[0].Path)
	require.Empty(t, reached)
}

func TestManyViolationsAreToldInPart(t *testing.T) {
	t.Parallel()
	w := setup(t)
	ctx := as(t, w.keys.add(t, accessv1.Role_ROLE_ADMIN, "acme"))
	create := func(triggers int) []fault.Field {
		request := &subscriptionv1.CreateWebhookRequest{Parent: "organizations/acme", Webhook: &subscriptionv1.Webhook{}}
		for range triggers {
			request.Webhook.Triggers = append(request.Webhook.Triggers, "X")
		}
		_, err := w.webhooks.CreateWebhook(ctx, request)
		return requireFault(t, err, fault.InvalidArgument, "INVALID_FIELD").Fields
	}
	fields := create(500)
	require.Greater(t, len(fields), 5)
	require.LessOrEqual(t, len(fields), 20)

	// What is so large that it can only be an attack is not looked at item by item.
	fields = create(200_000)
	require.Len(t, fields, 1)
	require.Equal(t, "webhook.triggers", fields[0].Path)
}

func TestPanicBecomesInternal(t *testing.T) {
	t.Parallel()
	w := setup(t)
	key := w.keys.add(t, accessv1.Role_ROLE_ADMIN, "acme")
	w.get = func(context.Context, *subscriptionv1.GetWebhookRequest) (*subscriptionv1.Webhook, error) {
		panic("host db.internal is on fire")
	}
	w.watch = func(*configv1.WatchConfigRequest, grpc.ServerStreamingServer[configv1.WatchConfigResponse]) error {
		panic(errors.New("an error as a panic"))
	}
	_, err := w.webhooks.GetWebhook(as(t, key), &subscriptionv1.GetWebhookRequest{Name: webhookName})
	requireFixedText(t, err)
	requireFixedText(t, calls(w)["watch"](as(t, serviceToken), ""))
	require.NoError(t, calls(w)["list"](as(t, key), "acme"), "the server lives on")

	lines := w.log.lines(t)
	require.Len(t, lines, 2, "each is logged once")
	require.Equal(t, "call panicked", lines[0]["msg"])
	require.Equal(t, "ERROR", lines[0]["level"])
	require.Equal(t, "/meetwire.subscription.v1.WebhookService/GetWebhook", lines[0]["method"])
	require.Equal(t, "host db.internal is on fire", lines[0]["panic"])
	require.Contains(t, lines[0]["stack"], "TestPanicBecomesInternal")
	require.Equal(t, key[4:20], lines[0]["key_id"])
	require.NotContains(t, w.log.text.String(), key[21:])
	require.Contains(t, lines[1]["panic"], "an error as a panic")
}

func requireFixedText(t *testing.T, err error) {
	t.Helper()
	st, ok := status.FromError(err)
	require.True(t, ok)
	require.Equal(t, codes.Internal, st.Code())
	require.Equal(t, "internal error", st.Message())
	require.Len(t, st.Details(), 1)
	requireFault(t, err, fault.Internal, "INTERNAL")
}

func TestUnknownErrorBecomesInternal(t *testing.T) {
	t.Parallel()
	w := setup(t)
	w.get = func(context.Context, *subscriptionv1.GetWebhookRequest) (*subscriptionv1.Webhook, error) {
		return &subscriptionv1.Webhook{Secret: "whsec_x"}, errors.New(`relation "secrets" does not exist at db.internal`)
	}
	w.watch = func(*configv1.WatchConfigRequest, grpc.ServerStreamingServer[configv1.WatchConfigResponse]) error {
		return errors.New("dial db.internal")
	}
	_, err := w.webhooks.GetWebhook(as(t, w.keys.add(t, accessv1.Role_ROLE_ADMIN, "acme")), &subscriptionv1.GetWebhookRequest{Name: webhookName})
	requireFixedText(t, err)
	requireFixedText(t, calls(w)["watch"](as(t, serviceToken), ""))

	lines := w.log.lines(t)
	require.Len(t, lines, 2)
	require.Equal(t, "call failed", lines[0]["msg"])
	require.Equal(t, "ERROR", lines[0]["level"])
	require.Contains(t, lines[0]["error"], `relation "secrets" does not exist`)
}

func TestFaultsReachTheCaller(t *testing.T) {
	t.Parallel()
	w := setup(t)
	ctx := as(t, w.keys.add(t, accessv1.Role_ROLE_ADMIN, "acme"))
	for _, want := range []*fault.Error{
		fault.New(fault.NotFound, "WEBHOOK_NOT_FOUND", "there is no such webhook"),
		fault.New(fault.Aborted, "ETAG_MISMATCH", "somebody else has changed it"),
		fault.New(fault.Unavailable, "DATABASE_AWAY", "the database is away"),
		fault.Invalid(fault.Field{Path: "name", Rule: "exists", Message: "must exist"}),
	} {
		want.RetryAfter = time.Second
		w.get = func(context.Context, *subscriptionv1.GetWebhookRequest) (*subscriptionv1.Webhook, error) {
			return nil, want
		}
		_, err := w.webhooks.GetWebhook(ctx, &subscriptionv1.GetWebhookRequest{Name: webhookName})
		require.Equal(t, want, rpc.FaultFromStatus(err))
	}
	lines := w.log.lines(t)
	require.Len(t, lines, 1, "only what is not the caller's doing is logged")
	require.Equal(t, "WARN", lines[0]["level"])
	require.Equal(t, "unavailable", lines[0]["code"])
}

// Who has gone away is not told anything, and what was interrupted by that has not failed.
func TestCallerThatGoesAwayIsNotLogged(t *testing.T) {
	t.Parallel()
	w := setup(t)
	entered, left := make(chan struct{}), make(chan struct{})
	w.get = func(ctx context.Context, _ *subscriptionv1.GetWebhookRequest) (*subscriptionv1.Webhook, error) {
		defer close(left)
		close(entered)
		<-ctx.Done()
		return nil, fault.Wrap(fault.Unavailable, "DATABASE_AWAY", ctx.Err(), "the database is away")
	}
	ctx, cancel := context.WithCancel(as(t, w.keys.add(t, accessv1.Role_ROLE_ADMIN, "acme")))
	failed := make(chan error, 1)
	go func() {
		_, err := w.webhooks.GetWebhook(ctx, &subscriptionv1.GetWebhookRequest{Name: webhookName})
		failed <- err
	}()
	<-entered
	cancel()
	require.ErrorIs(t, rpc.FaultFromStatus(<-failed), context.Canceled)
	<-left
	require.NoError(t, w.stop())
	require.Empty(t, w.log.lines(t))
}

func TestMessagesThatAreTooLarge(t *testing.T) {
	t.Parallel()
	publish := func(w *world, size int) error {
		_, err := w.events.PublishEvent(as(t, w.keys.add(t, accessv1.Role_ROLE_PUBLISHER, "acme")), &ingestv1.PublishEventRequest{
			Parent: "organizations/acme", Event: &httpbody.HttpBody{Data: make([]byte, size)},
		})
		return err
	}
	w := setup(t)
	require.NoError(t, publish(w, 4<<20-1000))
	require.Equal(t, codes.ResourceExhausted, status.Code(publish(w, 4<<20)))
	require.Equal(t, codes.ResourceExhausted, status.Code(publish(setup(t, func(c *rpc.ServerConfig) { c.MaxReceiveBytes = 1000 }), 1000)))
}

func TestMetrics(t *testing.T) {
	t.Parallel()
	w := setup(t)
	other := setup(t, func(c *rpc.ServerConfig) { c.Registry = w.registry }) // of the same process
	key, otherKey := w.keys.add(t, accessv1.Role_ROLE_ADMIN, "acme"), other.keys.add(t, accessv1.Role_ROLE_ADMIN, "acme")
	const list = "/meetwire.subscription.v1.WebhookService/ListWebhooks"

	require.NoError(t, calls(w)["list"](as(t, key), "acme"))
	require.NoError(t, calls(other)["list"](as(t, otherKey), "acme"))
	require.Error(t, calls(w)["list"](as(t, key), "globex"))
	require.Error(t, calls(w)["list"](t.Context(), "acme"))
	counts := map[string]uint64{}
	for _, metric := range gather(t, w.registry, "meetwire_rpc_server_duration_seconds") {
		if metric.labels["method"] == list {
			counts[metric.labels["code"]] = metric.count
		}
	}
	require.Equal(t, map[string]uint64{"ok": 2, "permission_denied": 1, "unauthenticated": 1}, counts)

	entered, leave := make(chan struct{}), make(chan struct{})
	w.watch = func(*configv1.WatchConfigRequest, grpc.ServerStreamingServer[configv1.WatchConfigResponse]) error {
		close(entered)
		<-leave
		return nil
	}
	done := make(chan error, 1)
	go func() { done <- calls(w)["watch"](as(t, serviceToken), "") }()
	<-entered
	require.InDelta(t, 1, inFlight(t, w.registry), 0)
	close(leave)
	require.ErrorIs(t, <-done, io.EOF)
	require.Eventually(t, func() bool { return inFlight(t, w.registry) == 0 }, 10*time.Second, time.Millisecond)
}

func inFlight(t *testing.T, registry *prometheus.Registry) float64 {
	t.Helper()
	sum := 0.0
	for _, metric := range gather(t, registry, "meetwire_rpc_server_in_flight") {
		sum += metric.gauge
	}
	return sum
}

type gathered struct {
	labels map[string]string
	count  uint64
	gauge  float64
}

func gather(t *testing.T, registry *prometheus.Registry, name string) []gathered {
	t.Helper()
	families, err := registry.Gather()
	require.NoError(t, err)
	var all []gathered
	for _, family := range families {
		if family.GetName() != name {
			continue
		}
		for _, metric := range family.GetMetric() {
			labels := map[string]string{}
			for _, label := range metric.GetLabel() {
				labels[label.GetName()] = label.GetValue()
			}
			all = append(all, gathered{labels, metric.GetHistogram().GetSampleCount(), metric.GetGauge().GetValue()})
		}
	}
	return all
}

func TestTraceGoesOnAtTheServer(t *testing.T) {
	t.Parallel()
	spans := tracetest.NewSpanRecorder()
	provider := trace.NewTracerProvider(trace.WithSpanProcessor(spans))
	w := setup(t, func(c *rpc.ServerConfig) { c.TracerProvider = provider })
	conn := dial(t, w.address, rpc.WithTracerProvider(provider))
	ctx, span := provider.Tracer("test").Start(as(t, w.keys.add(t, accessv1.Role_ROLE_ADMIN, "acme")), "root")
	_, err := subscriptionv1.NewWebhookServiceClient(conn).GetWebhook(ctx, &subscriptionv1.GetWebhookRequest{Name: webhookName})
	require.NoError(t, err)
	span.End()
	require.Eventually(t, func() bool { return len(spans.Ended()) == 3 }, 10*time.Second, time.Millisecond)
	for _, ended := range spans.Ended() {
		require.Equal(t, span.SpanContext().TraceID(), ended.SpanContext().TraceID())
		for _, attribute := range ended.Attributes() {
			require.NotContains(t, attribute.Value.String(), "mwk_")
		}
	}
}

func TestLargeMetadataIsRefused(t *testing.T) {
	t.Parallel()
	w := setup(t)
	ctx := metadata.AppendToOutgoingContext(as(t, serviceToken), "x-large", strings.Repeat("x", 128<<10))
	require.Error(t, calls(w)["watch"](ctx, ""))
	require.Empty(t, w.takeCallers())
}

func BenchmarkUnary(b *testing.B) {
	w := setup(b)
	ctx := as(b, w.keys.add(b, accessv1.Role_ROLE_ADMIN, "acme"))
	w.get = func(_ context.Context, r *subscriptionv1.GetWebhookRequest) (*subscriptionv1.Webhook, error) {
		return &subscriptionv1.Webhook{Name: r.GetName()}, nil
	}
	b.ReportAllocs()
	for b.Loop() {
		if _, err := w.webhooks.GetWebhook(ctx, &subscriptionv1.GetWebhookRequest{Name: webhookName}); err != nil {
			b.Fatal(err)
		}
		w.takeCallers()
	}
}
