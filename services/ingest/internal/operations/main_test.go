package operations_test

import (
	"context"
	"errors"
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
	"github.com/stretchr/testify/require"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"

	"github.com/meetwire/meetwire/pkg/bus"
	"github.com/meetwire/meetwire/pkg/natstest"
	"github.com/meetwire/meetwire/pkg/operation"
	"github.com/meetwire/meetwire/pkg/pgtest"
	"github.com/meetwire/meetwire/pkg/secret"
	configv1 "github.com/meetwire/meetwire/proto/gen/meetwire/config/v1"
	deliveryv1 "github.com/meetwire/meetwire/proto/gen/meetwire/delivery/v1"
	"github.com/meetwire/meetwire/services/ingest/internal/core"
	"github.com/meetwire/meetwire/services/ingest/internal/index"
	"github.com/meetwire/meetwire/services/ingest/internal/natsbus"
	"github.com/meetwire/meetwire/services/ingest/internal/operations"
	"github.com/meetwire/meetwire/services/ingest/internal/pgstore"
	"github.com/meetwire/meetwire/services/ingest/internal/schema"
)

func TestMain(m *testing.M) { pgtest.Main(m) }

const (
	// patience is how long a test waits for what should be there soon; tick is how often it looks.
	patience = 30 * time.Second
	tick     = 10 * time.Millisecond
	fast     = 10_000 // deliveries per second
)

func newContext(t testing.TB) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 2*patience)
	t.Cleanup(cancel)
	return ctx
}

func discard() *slog.Logger { return slog.New(slog.DiscardHandler) }

// hook is the id of a webhook.
func hook(n int) string { return fmt.Sprintf("%08d-1111-4111-8111-111111111111", n) }

// configuration knows the organizations acme and beta, and every revision.
type configuration struct{ *schema.Catalogue }

func (configuration) HasOrganization(id string) bool { return id == "acme" || id == "beta" }

func (configuration) WaitFor(context.Context, int64) error { return nil }

func (configuration) HeardSince(time.Time) bool { return true }

// silent counts nothing.
type silent struct{}

func (silent) FannedOut(int) {}

func (silent) Rejected(string) {}

func (silent) Warned() {}

func (silent) FiltersFailed(int) {}

// env is an ingest without its API: NATS, Postgres, workers, and a delivery that is told what to know.
type env struct {
	js       jetstream.JetStream
	pool     *pgxpool.Pool
	rows     *pgstore.Store
	store    *operation.PgStore
	delivery *delivery
	worker   *natsbus.Worker
	webhooks *core.Index
	config   configuration

	resources []*configv1.Resource
	revision  int64
}

func setup(t *testing.T) *env {
	t.Helper()
	server := natstest.Start(t)
	conn, err := bus.Connect(newContext(t), "tests", bus.NATSConfig{NATSURL: secret.New(server.URL())}, discard())
	require.NoError(t, err)
	t.Cleanup(conn.Close)
	e := &env{pool: pgtest.Database(t, "ingest", pgstore.Migrate), webhooks: core.NewIndex()}
	e.js, err = bus.JetStream(conn)
	require.NoError(t, err)
	streams := bus.DefaultConfig()
	require.NoError(t, bus.EnsureStreams(newContext(t), e.js, streams, discard()))
	e.rows, e.store = pgstore.New(e.pool), operation.NewPgStore(e.pool, pgstore.Schema, time.Now)
	e.config = configuration{schema.New(e.webhooks, discard())}
	e.delivery = newDelivery(t, e.js)
	e.worker = &natsbus.Worker{
		JetStream: e.js, Config: streams, Catalogue: e.config, Index: e.webhooks, Metrics: silent{}, Logger: discard(),
		ServiceToken: secret.New("service-token-of-the-tests-0123456789"),
		Start:        func(string) time.Time { return time.Time{} },
		HeardSince:   func(time.Time) bool { return true },
		Now:          time.Now,
	}
	e.configure(
		resource(&configv1.Organization{Id: "acme", WebhooksAvailable: true}), resource(&configv1.Organization{Id: "beta", WebhooksAvailable: true}),
		resource(&configv1.Trigger{Id: "meeting.booked", Schema: `{"type":"object"}`}), resource(&configv1.Trigger{Id: "meeting.canceled", Schema: `{}`}),
	)
	writer := &index.Writer{
		JetStream: e.js, Config: streams, Store: e.rows, Configuration: e.config, Logger: discard(), Now: time.Now,
		Metrics: index.Metrics{Rows: prometheus.NewCounter(prometheus.CounterOpts{}), LeftOut: prometheus.NewCounter(prometheus.CounterOpts{}), Lag: prometheus.NewGauge(prometheus.GaugeOpts{})},
	}
	e.run(t, writer.Run)
	return e
}

// resource wraps a part of the configuration.
func resource(of any) *configv1.Resource {
	switch v := of.(type) {
	case *configv1.Organization:
		return &configv1.Resource{Resource: &configv1.Resource_Organization{Organization: v}}
	case *configv1.Trigger:
		return &configv1.Resource{Resource: &configv1.Resource_Trigger{Trigger: v}}
	case *configv1.Webhook:
		return &configv1.Resource{Resource: &configv1.Resource_Webhook{Webhook: v}}
	}
	panic("no resource")
}

// configure adds to the configuration.
func (e *env) configure(resources ...*configv1.Resource) {
	e.revision++
	e.resources = append(e.resources, resources...)
	e.config.Reset(e.resources, e.revision)
}

// webhook adds a webhook of acme.
func (e *env) webhook(n int, more func(*configv1.Webhook)) string {
	w := &configv1.Webhook{Id: hook(n), Organization: "acme", Triggers: []string{"meeting.*"}}
	if more != nil {
		more(w)
	}
	e.configure(resource(w))
	return w.GetId()
}

// run runs something until the test ends, or stop is called.
func (e *env) run(t *testing.T, f func(context.Context) error) (stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- f(ctx) }()
	stop = sync.OnceFunc(func() {
		cancel()
		require.NoError(t, <-done)
	})
	t.Cleanup(stop)
	return stop
}

// fanOut runs the live fan-out.
func (e *env) fanOut(t *testing.T) {
	t.Helper()
	e.run(t, func(ctx context.Context) error {
		return bus.RunAll(ctx,
			func(ctx context.Context) error { return e.worker.Run(ctx, "meeting.booked") },
			func(ctx context.Context) error { return e.worker.Run(ctx, "meeting.canceled") },
			e.worker.RunIndex,
		)
	})
}

// operate runs an instance that works on operations.
func (e *env) operate(t *testing.T) (stop func()) {
	t.Helper()
	steps := &operations.Operations{
		Steps: e.store, Rows: e.rows, Streams: e.worker, Webhooks: e.webhooks, Delivery: e.delivery.client(t), Configuration: e.config,
		Now: time.Now, SecondPass: 50 * time.Millisecond,
	}
	runner, err := operation.NewRunner(operation.Config{
		Store: e.store, Handlers: steps.Handlers(), Logger: discard(), Now: time.Now, Poll: 20 * time.Millisecond, Lease: 2 * time.Second,
	})
	require.NoError(t, err)
	return e.run(t, runner.Run)
}

// begin begins an operation of acme.
func (e *env) begin(t *testing.T, kind string, rate float64, dryRun bool, parameters any) string {
	t.Helper()
	encoded, err := operations.Encode(parameters)
	require.NoError(t, err)
	o, err := e.store.Begin(newContext(t), operation.Operation{
		Organization: "acme", Type: kind, Target: "organizations/acme", Parameters: encoded, Rate: rate, DryRun: dryRun,
	}, "")
	require.NoError(t, err)
	return o.ID
}

// await waits until an operation has ended in a state.
func (e *env) await(t *testing.T, id string, state operation.State) operation.Operation {
	t.Helper()
	var o operation.Operation
	require.Eventually(t, func() bool {
		var err error
		o, err = e.store.Operation(newContext(t), "acme", id)
		require.NoError(t, err)
		return o.Done()
	}, patience, tick)
	require.Equal(t, state, o.State, "%+v", o)
	return o
}

// past selects everything that has happened.
func past(webhook string) operations.Send {
	return operations.Send{Webhook: webhook, Start: time.Now().Add(-time.Hour), End: time.Now()}
}

// publish publishes an event and returns its sequence.
func (e *env) publish(t *testing.T, organization, trigger, id, data string) int64 {
	t.Helper()
	body := fmt.Sprintf(`{"specversion":"1.0","id":%q,"source":"/s","type":%q,"data":%s}`, id, trigger, data)
	ack, err := e.js.Publish(newContext(t), bus.EventSubject(organization, trigger), []byte(body))
	require.NoError(t, err)
	return int64(ack.Sequence)
}

// publishMany publishes n events of acme.
func (e *env) publishMany(t *testing.T, n int) {
	t.Helper()
	for _, id := range ids(n) {
		e.publish(t, "acme", "meeting.booked", id, `{}`)
	}
}

// indexed waits until the index knows so many events, and nothing of them is on its way there any more.
func (e *env) indexed(t *testing.T, n int) {
	t.Helper()
	require.Eventually(t, func() bool {
		var have int
		require.NoError(t, e.pool.QueryRow(newContext(t), `SELECT count(*) FROM ingest.event`).Scan(&have))
		stream, err := e.js.Stream(newContext(t), bus.StreamFanOuts)
		require.NoError(t, err)
		return have == n && stream.CachedInfo().State.Msgs == 0
	}, patience, tick)
}

// delivery is a delivery that makes every delivery at once and remembers it.
type delivery struct {
	deliveryv1.UnimplementedInternalServiceServer

	listener net.Listener

	mu     sync.Mutex
	made   map[string][]nats.Header // by webhook and event id
	known  map[string]*deliveryv1.FindDeliveriesResponse_Known
	behind time.Duration // of the records
	kept   time.Time
	erased [][]int64
	failed int  // how often an erasure still fails
	slow   bool // it takes deliveries, and tells of none
}

func newDelivery(t *testing.T, js jetstream.JetStream) *delivery {
	t.Helper()
	d := &delivery{made: make(map[string][]nats.Header), known: make(map[string]*deliveryv1.FindDeliveriesResponse_Known)}
	var err error
	d.listener, err = net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	server := grpc.NewServer()
	deliveryv1.RegisterInternalServiceServer(server, d)
	served := make(chan error, 1)
	go func() { served <- server.Serve(d.listener) }()
	t.Cleanup(func() {
		server.Stop()
		require.NoError(t, <-served)
	})
	consumer, err := js.CreateConsumer(newContext(t), bus.StreamDeliveries, jetstream.ConsumerConfig{
		Durable: "all", AckPolicy: jetstream.AckExplicitPolicy,
	})
	require.NoError(t, err)
	consuming, err := consumer.Consume(func(msg jetstream.Msg) {
		d.make(msg.Headers())
		if err := msg.Ack(); err != nil && !errors.Is(err, nats.ErrConnectionClosed) {
			t.Error(err)
		}
	})
	require.NoError(t, err)
	t.Cleanup(func() {
		consuming.Stop()
		<-consuming.Closed()
	})
	return d
}

func (d *delivery) client(t *testing.T) deliveryv1.InternalServiceClient {
	t.Helper()
	conn, err := grpc.NewClient(d.listener.Addr().String(), grpc.WithTransportCredentials(insecure.NewCredentials()))
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, conn.Close()) })
	return deliveryv1.NewInternalServiceClient(conn)
}

func (d *delivery) make(header nats.Header) {
	d.mu.Lock()
	defer d.mu.Unlock()
	key := header.Get(bus.HeaderWebhookID) + " " + header.Get(bus.HeaderEventID)
	d.made[key] = append(d.made[key], header)
	if d.slow {
		return
	}
	id := header.Get(bus.HeaderDeliveryID)
	d.known[id] = &deliveryv1.FindDeliveriesResponse_Known{
		Delivery: id, State: int32(deliveryv1.Delivery_STATE_SUCCEEDED), AttemptCount: d.known[id].GetAttemptCount() + 1,
	}
}

// state changes what is known of a delivery of acme.
func (d *delivery) state(webhook, event string, state deliveryv1.Delivery_State, attempts int32) {
	d.mu.Lock()
	defer d.mu.Unlock()
	id := bus.DeliveryID("acme", "/s", event, webhook)
	d.known[id] = &deliveryv1.FindDeliveriesResponse_Known{Delivery: id, State: int32(state), AttemptCount: attempts}
}

// set changes something.
func (d *delivery) set(f func(*delivery)) {
	d.mu.Lock()
	defer d.mu.Unlock()
	f(d)
}

// of returns the deliveries of an event to a webhook.
func (d *delivery) of(webhook, event string) []nats.Header {
	d.mu.Lock()
	defer d.mu.Unlock()
	return append([]nats.Header(nil), d.made[webhook+" "+event]...)
}

// count returns how many deliveries were made.
func (d *delivery) count() (n int) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, all := range d.made {
		n += len(all)
	}
	return n
}

// requireOnce waits until a webhook has got events, each once, and that none comes twice.
func (e *env) requireOnce(t *testing.T, webhook string, events ...string) {
	t.Helper()
	require.Eventually(t, func() bool {
		for _, event := range events {
			if len(e.delivery.of(webhook, event)) == 0 {
				return false
			}
		}
		stream, err := e.js.Stream(newContext(t), bus.StreamDeliveries)
		require.NoError(t, err)
		return stream.CachedInfo().State.Msgs == 0
	}, patience, tick)
	for _, event := range events {
		require.Len(t, e.delivery.of(webhook, event), 1, event)
	}
}

func (d *delivery) FindDeliveries(_ context.Context, request *deliveryv1.FindDeliveriesRequest) (*deliveryv1.FindDeliveriesResponse, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	response := &deliveryv1.FindDeliveriesResponse{RecordedUntil: stamp(time.Now().Add(-d.behind)), KeptSince: stamp(d.kept)}
	for _, id := range request.GetDeliveries() {
		if known := d.known[id]; known != nil {
			response.Deliveries = append(response.Deliveries, known)
		}
	}
	return response, nil
}

func (d *delivery) EraseEvents(_ context.Context, request *deliveryv1.EraseEventsRequest) (*deliveryv1.EraseEventsResponse, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.failed > 0 {
		d.failed--
		return nil, errAway
	}
	d.erased = append(d.erased, request.GetEventSequences())
	return &deliveryv1.EraseEventsResponse{}, nil
}
