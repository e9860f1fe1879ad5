package recorder_test

import (
	"bytes"
	"context"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/meetwire/meetwire/pkg/bus"
	"github.com/meetwire/meetwire/pkg/lifecycle"
	"github.com/meetwire/meetwire/pkg/natstest"
	"github.com/meetwire/meetwire/pkg/pgtest"
	deliveryv1 "github.com/meetwire/meetwire/proto/gen/meetwire/delivery/v1"
	"github.com/meetwire/meetwire/services/delivery/internal/core"
	"github.com/meetwire/meetwire/services/delivery/internal/recorder"
)

func TestMain(m *testing.M) { pgtest.Main(m) }

const (
	// patience is how long a test waits for something that should be there at once.
	patience = 20 * time.Second
	tick     = 10 * time.Millisecond
)

func newContext(t *testing.T) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	t.Cleanup(cancel)
	return ctx
}

// env is a nats-server with the streams, and the log of the recorders on it.
type env struct {
	server *natstest.Server
	js     jetstream.JetStream
	log    lockedBuffer

	configuration *configuration
}

func setup(t *testing.T) *env {
	t.Helper()
	return setupWith(t)
}

func setupWith(t testing.TB) *env {
	t.Helper()
	e := &env{configuration: newConfiguration()}
	e.server = natstest.Start(t)
	_, e.js = e.server.Connect(t)
	require.NoError(t, bus.EnsureStreams(t.Context(), e.js, bus.DefaultConfig(), slog.New(slog.DiscardHandler)))
	return e
}

// recorder returns an instance of the recorder that writes to a store.
func (e *env) recorder(store recorder.Store) *recorder.Recorder {
	return &recorder.Recorder{
		JetStream:     e.js,
		Store:         store,
		Configuration: e.configuration,
		Loaded:        func(context.Context) error { return nil },
		Logger:        slog.New(slog.NewJSONHandler(&e.log, nil)),
		Now:           now,
		Lag:           prometheus.NewGauge(prometheus.GaugeOpts{Name: "lag", Help: "lag"}),
		Yielded:       prometheus.NewCounter(prometheus.CounterOpts{Name: "yielded", Help: "yielded"}),
		ID:            uuid.New(),
	}
}

// configuration is what tests configure.
type configuration struct {
	mu          sync.Mutex
	webhooks    map[string]*core.Webhook
	operational map[string]bool
	deleted     map[string]bool
}

func newConfiguration() *configuration {
	return &configuration{webhooks: make(map[string]*core.Webhook), operational: make(map[string]bool), deleted: make(map[string]bool)}
}

func (c *configuration) put(w *core.Webhook) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.webhooks[w.ID] = w
}

func (c *configuration) Webhook(id string) (*core.Webhook, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	w, ok := c.webhooks[id]
	return w, ok
}

func (c *configuration) Operational(trigger string) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.operational[trigger]
}

func (c *configuration) OrganizationDeleted(id string) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.deleted[id]
}

func now() time.Time { return time.Date(2026, 3, 14, 15, 9, 26, 0, time.UTC) }

// leftOut is how many records were logged as left out.
func (e *env) leftOut() int {
	return strings.Count(e.log.String(), "record cannot be stored and is left out")
}

// grace is how long a recorder may take to stop, unless a test says otherwise.
const grace = 10 * time.Second

// running is a recorder that runs.
type running struct {
	cancel context.CancelFunc // tells it to stop
	done   chan struct{}
	err    error
}

// run runs a recorder as a service does, until the test ends or it is stopped.
func run(t testing.TB, grace time.Duration, r *recorder.Recorder) *running {
	t.Helper()
	group := lifecycle.NewGroup(slog.New(slog.DiscardHandler), grace)
	group.Add("recorder", r.Run)
	ctx, cancel := context.WithCancel(t.Context())
	running := &running{cancel: cancel, done: make(chan struct{})}
	go func() {
		defer close(running.done)
		running.err = group.Run(ctx)
	}()
	t.Cleanup(func() { _ = running.stop() })
	return running
}

// stop stops the recorder and returns what it returned.
func (r *running) stop() error {
	r.cancel()
	<-r.done
	return r.err
}

func newRecord() *deliveryv1.Record {
	return &deliveryv1.Record{
		Id:           uuid.Must(uuid.NewV7()).String(),
		Time:         timestamppb.New(now()),
		Organization: "acme",
		Delivery:     uuid.NewString(),
		Webhook:      uuid.NewString(),
		Trigger:      "meeting.booked",
		EventSource:  "/booking",
		EventId:      "bk_1",
		AcceptTime:   timestamppb.New(now()),
		AttemptCount: 1,
		State:        deliveryv1.Delivery_STATE_SUCCEEDED,
		Attempt:      &deliveryv1.Attempt{Number: 1, StartTime: timestamppb.New(now()), StatusCode: 200},
	}
}

// publish publishes new records and returns the ids of their deliveries.
func (e *env) publish(t *testing.T, count int) []string {
	t.Helper()
	ids := make([]string, count)
	for i := range ids {
		record := newRecord()
		ids[i] = record.GetDelivery()
		body, err := proto.Marshal(record)
		require.NoError(t, err)
		e.publishBody(t, body)
	}
	return ids
}

func (e *env) publishBody(t *testing.T, body []byte) {
	t.Helper()
	_, err := e.js.Publish(newContext(t), bus.RecordSubject("acme", "webhook"), body)
	require.NoError(t, err)
}

// last is the sequence of the newest record.
func (e *env) last(t *testing.T) uint64 {
	t.Helper()
	stream, err := e.js.Stream(newContext(t), bus.StreamRecords)
	require.NoError(t, err)
	return stream.CachedInfo().State.LastSeq
}

// requireSettled waits until every record has been taken in.
func (e *env) requireSettled(t *testing.T, pool *pgxpool.Pool) {
	t.Helper()
	ctx, last := newContext(t), e.last(t)
	require.EventuallyWithT(t, func(c *assert.CollectT) {
		var position uint64
		require.NoError(c, pool.QueryRow(ctx, "SELECT position FROM delivery.recorder").Scan(&position))
		require.Equal(c, last, position)
	}, patience, tick)
}

// requireStored waits until exactly these deliveries are in Postgres, each with its attempt.
func requireStored(t *testing.T, pool *pgxpool.Pool, ids []string) {
	t.Helper()
	ctx := newContext(t)
	require.EventuallyWithT(t, func(c *assert.CollectT) {
		var all, wanted int
		require.NoError(c, pool.QueryRow(ctx, `SELECT count(*), count(*) FILTER (WHERE d.id::text = ANY($1))
			FROM delivery.delivery d JOIN delivery.attempt a ON a.delivery = d.id`, ids).Scan(&all, &wanted))
		require.Len(c, ids, wanted)
		require.Len(c, ids, all)
	}, patience, tick)
}

// lockedBuffer is a buffer that goroutines share.
type lockedBuffer struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (b *lockedBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.Write(p)
}

func (b *lockedBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.String()
}
