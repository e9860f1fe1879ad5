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
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/meetwire/meetwire/pkg/bus"
	"github.com/meetwire/meetwire/pkg/lifecycle"
	"github.com/meetwire/meetwire/pkg/natstest"
	"github.com/meetwire/meetwire/pkg/pgtest"
	deliveryv1 "github.com/meetwire/meetwire/proto/gen/meetwire/delivery/v1"
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
	js     jetstream.JetStream
	config bus.Config
	log    lockedBuffer
}

func setup(t *testing.T) *env {
	t.Helper()
	e := &env{config: bus.DefaultConfig()}
	_, e.js = natstest.Start(t).Connect(t)
	require.NoError(t, bus.EnsureStreams(newContext(t), e.js, e.config, slog.New(slog.DiscardHandler)))
	return e
}

// recorder returns a recorder that writes to a store.
func (e *env) recorder(store recorder.Store) *recorder.Recorder {
	return &recorder.Recorder{
		JetStream: e.js,
		Config:    e.config,
		Store:     store,
		Retention: 30 * 24 * time.Hour,
		Logger:    slog.New(slog.NewJSONHandler(&e.log, nil)),
		Now:       now,
	}
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
func run(t *testing.T, grace time.Duration, r *recorder.Recorder) *running {
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

// state returns how many messages the recorders have and how many still wait for one.
func (e *env) state(ctx context.Context, t require.TestingT) (taken int, waiting uint64) {
	consumer, err := e.js.Consumer(ctx, bus.StreamRecords, bus.DurableRecorder)
	require.NoError(t, err)
	info := consumer.CachedInfo()
	return info.NumAckPending, info.NumPending
}

// requireSettled waits until every record is settled.
func (e *env) requireSettled(t *testing.T) {
	t.Helper()
	ctx := newContext(t)
	require.EventuallyWithT(t, func(c *assert.CollectT) {
		taken, waiting := e.state(ctx, c)
		require.Zero(c, taken)
		require.Zero(c, waiting)
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
