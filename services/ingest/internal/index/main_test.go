package index_test

import (
	"bytes"
	"context"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/meetwire/meetwire/pkg/bus"
	"github.com/meetwire/meetwire/pkg/lifecycle"
	"github.com/meetwire/meetwire/pkg/natstest"
	"github.com/meetwire/meetwire/pkg/pgtest"
	ingestv1 "github.com/meetwire/meetwire/proto/gen/meetwire/ingest/v1"
	"github.com/meetwire/meetwire/services/ingest/internal/index"
	"github.com/meetwire/meetwire/services/ingest/internal/pgstore"
)

func TestMain(m *testing.M) { pgtest.Main(m) }

const (
	// patience is how long a test waits for something that should be there at once.
	patience = 30 * time.Second
	tick     = 10 * time.Millisecond
	// grace is how long a writer may take to stop.
	grace = 10 * time.Second
)

func newContext(t testing.TB) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	t.Cleanup(cancel)
	return ctx
}

func now() time.Time { return time.Date(2026, 3, 14, 15, 9, 26, 0, time.UTC) }

// env is a nats-server with the streams, and the log and the metrics of the writers on it.
type env struct {
	server  *natstest.Server
	js      jetstream.JetStream
	log     lockedBuffer
	metrics index.Metrics
	known   *known
	next    int64 // sequence of the next event
}

func setup(t testing.TB) *env {
	t.Helper()
	e := &env{server: natstest.Start(t), known: &known{organizations: map[string]bool{"acme": true}, heard: true}}
	_, e.js = e.server.Connect(t)
	require.NoError(t, bus.EnsureStreams(newContext(t), e.js, bus.DefaultConfig(), slog.New(slog.DiscardHandler)))
	e.metrics = index.Metrics{
		Rows:    prometheus.NewCounter(prometheus.CounterOpts{Name: "rows", Help: "rows"}),
		LeftOut: prometheus.NewCounter(prometheus.CounterOpts{Name: "left_out", Help: "left out"}),
		Lag:     prometheus.NewGauge(prometheus.GaugeOpts{Name: "lag", Help: "lag"}),
	}
	return e
}

// known is what has been configured.
type known struct {
	mu            sync.Mutex
	organizations map[string]bool
	heard         bool
}

func (k *known) HasOrganization(id string) bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.organizations[id]
}

func (k *known) HeardSince(time.Time) bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.heard
}

func (k *known) change(change func()) {
	k.mu.Lock()
	defer k.mu.Unlock()
	change()
}

// writer returns an instance that writes to a store. Events count as old, so that nothing is waited for.
func (e *env) writer(store index.Store) *index.Writer {
	return &index.Writer{
		JetStream: e.js, Config: bus.DefaultConfig(), Store: store, Configuration: e.known, Metrics: e.metrics,
		Logger: slog.New(slog.NewJSONHandler(&e.log, nil)), Now: func() time.Time { return now().Add(time.Hour) },
	}
}

// running is a writer that runs.
type running struct {
	cancel context.CancelFunc // tells it to stop
	done   chan struct{}
	err    error
}

// run runs something as a service does, until the test ends or it is stopped.
func run(t testing.TB, what func(context.Context) error) *running {
	t.Helper()
	group := lifecycle.NewGroup(slog.New(slog.DiscardHandler), grace)
	group.Add("tested", what)
	ctx, cancel := context.WithCancel(t.Context())
	r := &running{cancel: cancel, done: make(chan struct{})}
	go func() {
		defer close(r.done)
		r.err = group.Run(ctx)
	}()
	t.Cleanup(func() { _ = r.stop() })
	return r
}

func (r *running) stop() error {
	r.cancel()
	<-r.done
	return r.err
}

// note returns what became of the next event.
func (e *env) note() *ingestv1.FanOut {
	e.next++
	return &ingestv1.FanOut{
		EventSequence: e.next, Organization: "acme", Trigger: "meeting.booked", Source: "/s", Id: "1", MatchedCount: 1,
		AcceptTime: timestamppb.New(now().Add(time.Duration(e.next) * time.Millisecond)),
	}
}

// publish publishes what became of so many events, and returns their sequences.
func (e *env) publish(t testing.TB, count int) []int64 {
	t.Helper()
	sequences := make([]int64, count)
	for i := range sequences {
		note := e.note()
		sequences[i] = note.GetEventSequence()
		e.publishNote(t, note)
	}
	return sequences
}

func (e *env) publishNote(t testing.TB, note *ingestv1.FanOut) {
	t.Helper()
	body, err := proto.Marshal(note)
	require.NoError(t, err)
	e.publishBody(t, body)
}

func (e *env) publishBody(t testing.TB, body []byte) {
	t.Helper()
	// A connection that has come back may lose a request.
	require.EventuallyWithT(t, func(c *assert.CollectT) {
		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
		defer cancel()
		_, err := e.js.PublishMsg(ctx, &nats.Msg{Subject: bus.FanOutSubject("acme"), Data: body})
		require.NoError(c, err)
	}, patience, tick)
}

// requireStored waits until exactly these events are in the index.
func requireStored(t testing.TB, pool *pgxpool.Pool, sequences []int64) {
	t.Helper()
	ctx := newContext(t)
	require.EventuallyWithT(t, func(c *assert.CollectT) {
		var all, wanted int
		require.NoError(c, pool.QueryRow(ctx, `SELECT count(*), count(*) FILTER (WHERE sequence = ANY($1)) FROM ingest.event`, sequences).
			Scan(&all, &wanted))
		require.Len(c, sequences, wanted)
		require.Len(c, sequences, all)
	}, patience, tick)
}

// requireSettled waits until nothing waits for a writer.
func (e *env) requireSettled(t testing.TB) {
	t.Helper()
	require.Eventually(t, func() bool {
		waiting, err := e.writer(nil).Waiting(newContext(t))
		return err == nil && waiting == 0
	}, patience, tick)
}

func (e *env) leftOut() int { return int(testutil.ToFloat64(e.metrics.LeftOut)) }

func (e *env) logged(what string) bool { return strings.Contains(e.log.String(), what) }

// database returns a database with the tables.
func database(t testing.TB) *pgxpool.Pool {
	t.Helper()
	return pgtest.Database(t, "ingest", pgstore.Migrate)
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
