package delivery_test

import (
	"context"
	"flag"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"slices"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/stretchr/testify/require"
	"google.golang.org/grpc"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/meetwire/meetwire/pkg/bus"
	"github.com/meetwire/meetwire/pkg/natstest"
	"github.com/meetwire/meetwire/pkg/pgtest"
	"github.com/meetwire/meetwire/pkg/rpc"
	"github.com/meetwire/meetwire/pkg/seal"
	"github.com/meetwire/meetwire/pkg/secret"
	"github.com/meetwire/meetwire/pkg/webhook"
	accessv1 "github.com/meetwire/meetwire/proto/gen/meetwire/access/v1"
	configv1 "github.com/meetwire/meetwire/proto/gen/meetwire/config/v1"
	deliveryv1 "github.com/meetwire/meetwire/proto/gen/meetwire/delivery/v1"
	"github.com/meetwire/meetwire/services/delivery"
)

func TestMain(m *testing.M) {
	// They mostly wait: more of them at once than there are processors take hardly longer.
	if err := flag.Set("test.parallel", "6"); err != nil {
		panic(err)
	}
	pgtest.Main(m, natstest.Leftovers()...)
}

// patience is how long a test waits for what should be there at once; tick is how often it looks.
const (
	patience = 50 * time.Second
	tick     = 10 * time.Millisecond
)

const hook = "11111111-1111-4111-8111-111111111111"

func newContext(t *testing.T) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 2*patience)
	t.Cleanup(cancel)
	return ctx
}

// feed is a ConfigService whose configuration tests change. Each revision it tells is a snapshot or a change.
type feed struct {
	configv1.UnimplementedConfigServiceServer
	mu       sync.Mutex
	snapshot []*configv1.Resource
	changes  []*configv1.Change
	changed  chan struct{} // closed by the next change
	health   []*configv1.ReportWebhookHealthRequest
	decide   func(*configv1.ReportWebhookHealthRequest) bool // whether a report has an effect; nil: it has
	expiring []*configv1.ReportDeadLettersRequest_Count
	actions  []string
}

// ReportWebhookHealth notes a report.
func (f *feed) ReportWebhookHealth(_ context.Context, request *configv1.ReportWebhookHealthRequest) (*configv1.ReportWebhookHealthResponse, error) {
	f.mu.Lock()
	f.health = append(f.health, request)
	decide := f.decide
	f.mu.Unlock()
	return &configv1.ReportWebhookHealthResponse{Effective: decide == nil || decide(request)}, nil
}

// ReportDeadLetters notes what is about to expire.
func (f *feed) ReportDeadLetters(_ context.Context, request *configv1.ReportDeadLettersRequest) (*configv1.ReportDeadLettersResponse, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, count := range request.GetCounts() {
		if count.GetExpiring() {
			f.expiring = append(f.expiring, count)
		}
	}
	return &configv1.ReportDeadLettersResponse{}, nil
}

// RecordAction notes what somebody has done.
func (f *feed) RecordAction(_ context.Context, request *configv1.RecordActionRequest) (*configv1.RecordActionResponse, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.actions = append(f.actions, request.GetAction()+" "+request.GetResource())
	return &configv1.RecordActionResponse{}, nil
}

// recorded is what somebody has done.
func (f *feed) recorded() []string {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.Clone(f.actions)
}

// reports is what was reported.
func (f *feed) reports() []*configv1.ReportWebhookHealthRequest {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.Clone(f.health)
}

// open lets the feed tell what there is. Before that it only shows that it is alive.
func (f *feed) open(resources ...*configv1.Resource) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.snapshot = resources
	close(f.changed)
	f.changed = make(chan struct{})
}

// change makes a change and returns its revision.
func (f *feed) change(resources ...*configv1.Resource) int64 {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.changes = append(f.changes, &configv1.Change{Revision: int64(len(f.changes)) + 2, Resources: resources})
	close(f.changed)
	f.changed = make(chan struct{})
	return int64(len(f.changes)) + 1
}

// WatchConfig tells the configuration as of revision 1, and then every change.
func (f *feed) WatchConfig(_ *configv1.WatchConfigRequest, stream grpc.ServerStreamingServer[configv1.WatchConfigResponse]) error {
	told, snapshotTold := 0, false
	for {
		f.mu.Lock()
		snapshot, changes, changed := f.snapshot, f.changes[told:], f.changed
		f.mu.Unlock()
		if snapshot != nil && !snapshotTold {
			page := &configv1.SnapshotPage{Revision: 1, Resources: snapshot, Last: true}
			if err := stream.Send(&configv1.WatchConfigResponse{Message: &configv1.WatchConfigResponse_SnapshotPage{SnapshotPage: page}}); err != nil {
				return err
			}
			snapshotTold = true
		}
		for _, change := range changes {
			if err := stream.Send(&configv1.WatchConfigResponse{Message: &configv1.WatchConfigResponse_Change{Change: change}}); err != nil {
				return err
			}
			told++
		}
		heartbeat := time.NewTimer(500 * time.Millisecond)
		select {
		case <-changed:
		case <-heartbeat.C:
			if err := stream.Send(&configv1.WatchConfigResponse{Message: &configv1.WatchConfigResponse_Heartbeat{
				Heartbeat: &configv1.Heartbeat{Revision: int64(told) + 1},
			}}); err != nil {
				return err
			}
		case <-stream.Context().Done():
			heartbeat.Stop()
			return nil
		}
		heartbeat.Stop()
	}
}

// call is a request that the receiver got.
type call struct {
	header http.Header
	err    error // of its signature
	data   string
}

// installation is a service with everything around it, and one receiver.
type installation struct {
	feed     *feed
	pool     *pgxpool.Pool
	nats     *natstest.Server
	js       jetstream.JetStream
	config   delivery.Config
	service  *delivery.Service
	feedAt   string // address of the feed
	address  string
	stop     func() error // ends the service in order
	letters  deliveryv1.DeadLetterServiceClient
	delivers deliveryv1.DeliveryServiceClient
	api      *grpc.ClientConn // with the key of an administrator

	webhook *configv1.Webhook
	key     *configv1.ApiKey
	metrics []*prometheus.Registry // of each service, in the order in which they were run
	calls   chan call

	many    int                     // how many deliveries were published together
	prepare func(*delivery.Service) // what is done to a service before it runs; nil: nothing

	mu     sync.Mutex
	answer func(http.ResponseWriter)
}

// respond sets how the receiver answers.
func (i *installation) respond(answer func(http.ResponseWriter)) {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.answer = answer
}

func status(code int) func(http.ResponseWriter) {
	return func(w http.ResponseWriter) { w.WriteHeader(code) }
}

// listen serves gRPC on a free port until the test ends.
func listen(t *testing.T) net.Listener {
	t.Helper()
	var config net.ListenConfig
	listener, err := config.Listen(newContext(t), "tcp", "127.0.0.1:0")
	require.NoError(t, err)
	return listener
}

func dial(t *testing.T, address string, token secret.String) *grpc.ClientConn {
	t.Helper()
	conn, err := rpc.Dial(address, rpc.WithServiceToken(token))
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, conn.Close()) })
	return conn
}

// start runs a service whose feed is not open yet.
func start(t *testing.T, changes ...func(*installation)) *installation {
	t.Helper()
	i := &installation{
		feed: &feed{changed: make(chan struct{})}, pool: pgtest.Database(t, "delivery", delivery.Migrate), nats: natstest.Start(t),
		config: validConfig(t), calls: make(chan call, 100), answer: status(http.StatusNoContent),
	}
	i.config.AllowedTargets = []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}
	i.config.Streams = bus.DefaultConfig()
	for _, change := range changes {
		change(i)
	}

	subscription, feedListener := grpc.NewServer(), listen(t)
	configv1.RegisterConfigServiceServer(subscription, i.feed)
	served := make(chan error, 1)
	go func() { served <- subscription.Serve(feedListener) }()
	t.Cleanup(func() {
		subscription.Stop()
		require.NoError(t, <-served)
	})

	i.feedAt = feedListener.Addr().String()
	i.setReceiver(t)
	_, i.js = i.nats.Connect(t)
	i.service, i.address, i.stop = i.run(t)
	var key secret.String
	i.key, key = newKey(t)
	i.call(dial(t, i.address, key))
	return i
}

// run runs a service of the installation until the test ends, or it is stopped.
func (i *installation) run(t *testing.T) (service *delivery.Service, address string, stop func() error) {
	t.Helper()
	conn, _ := i.nats.Connect(t)
	listener := listen(t)
	registry := prometheus.NewRegistry()
	i.metrics = append(i.metrics, registry)
	service, err := delivery.New(i.config, delivery.Deps{
		Logger: slog.New(slog.DiscardHandler), Registry: registry, DB: i.pool, NATS: conn, Scans: conn, Listener: listener,
		Subscription: dial(t, i.feedAt, i.config.ServiceToken), Grace: patience,
	})
	require.NoError(t, err)
	if i.prepare != nil {
		i.prepare(service)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- service.Run(ctx) }()
	stop = sync.OnceValue(func() error {
		cancel()
		return <-done
	})
	t.Cleanup(func() { require.NoError(t, stop()) })
	return service, listener.Addr().String(), stop
}

// newKey makes the key of an administrator.
func newKey(t *testing.T) (*configv1.ApiKey, secret.String) {
	t.Helper()
	id, key, sum, err := rpc.NewKey()
	require.NoError(t, err)
	return &configv1.ApiKey{Id: id, Organization: "acme", Role: accessv1.Role_ROLE_ADMIN, SecretSha256: sum[:]}, key
}

// setReceiver starts the receiver, and makes the webhook that points to it.
func (i *installation) setReceiver(t *testing.T) {
	t.Helper()
	signing, err := webhook.NewSecret()
	require.NoError(t, err)
	secrets, err := webhook.ParseSecrets(signing)
	require.NoError(t, err)
	verifier, err := webhook.NewVerifier(secrets)
	require.NoError(t, err)
	receiver := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err == nil {
			err = verifier.Verify(r.Header, body)
		}
		i.calls <- call{header: r.Header, err: err, data: string(body)}
		i.mu.Lock()
		answer := i.answer
		i.mu.Unlock()
		answer(w)
	}))
	t.Cleanup(receiver.Close)
	box, err := seal.New(i.config.Keyset)
	require.NoError(t, err)
	sealed, err := box.Seal([]byte(signing), hook)
	require.NoError(t, err)
	i.webhook = &configv1.Webhook{
		Id: hook, Organization: "acme", TargetUrl: receiver.URL, Triggers: []string{"meeting.booked"},
		Status: configv1.WebhookStatus_WEBHOOK_STATUS_ACTIVE, Generation: 1, MaxConcurrency: 8, Secrets: []*configv1.SealedSecret{{Sealed: sealed}},
		Timeout: durationpb.New(patience), RetryPolicy: &configv1.RetryPolicy{FirstDelay: durationpb.New(time.Second), Factor: 1, MaxDelay: durationpb.New(time.Second)},
	}
}

// resources is the configuration: an organization, a trigger, a key and the webhook.
func (i *installation) resources() []*configv1.Resource {
	return []*configv1.Resource{
		{Resource: &configv1.Resource_Organization{Organization: &configv1.Organization{Id: "acme", AllowHttp: true}}},
		{Resource: &configv1.Resource_Trigger{Trigger: &configv1.Trigger{Id: "meeting.booked", Schema: "{}"}}},
		{Resource: &configv1.Resource_ApiKey{ApiKey: i.key}},
		{Resource: &configv1.Resource_Webhook{Webhook: i.webhook}},
	}
}

// publish publishes an event, and its delivery as ingest does, and returns the delivery's id. The streams must exist.
func (i *installation) publish(t *testing.T, eventID string) string {
	t.Helper()
	body := []byte(`{"specversion":"1.0","type":"meeting.booked","source":"/bookings","id":"` + eventID + `","data":{"id":"` + eventID + `"}}`)
	stored, err := i.js.Publish(newContext(t), bus.EventSubject("acme", "meeting.booked"), body)
	require.NoError(t, err)
	id := bus.DeliveryID("acme", "/bookings", eventID, hook)
	msg := nats.NewMsg(bus.DeliverySubject("meeting-booked", "acme", hook))
	for name, value := range map[string]string{
		bus.HeaderDeliveryID: id, bus.HeaderOrganization: "acme", bus.HeaderWebhookID: hook, bus.HeaderTrigger: "meeting.booked",
		bus.HeaderSource: "/bookings", bus.HeaderEventID: eventID, bus.HeaderEventSequence: strconv.FormatUint(stored.Sequence, 10),
		bus.HeaderConfigRevision: "1", bus.HeaderAcceptedAt: time.Now().UTC().Format(time.RFC3339Nano),
	} {
		msg.Header.Set(name, value)
	}
	msg.Data = body
	_, err = bus.Publish(newContext(t), i.js, msg, id)
	require.NoError(t, err)
	return id
}

// received returns the next request that the receiver got.
func (i *installation) received(t *testing.T) call {
	t.Helper()
	select {
	case c := <-i.calls:
		require.NoError(t, c.err, "the signature must be right")
		return c
	case <-time.After(patience):
		require.Fail(t, "nothing came")
		panic("unreachable")
	}
}
