package recorder_test

import (
	"context"
	"log/slog"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/proto"

	"github.com/meetwire/meetwire/pkg/bus"
	"github.com/meetwire/meetwire/pkg/fault"
	"github.com/meetwire/meetwire/pkg/pgtest"
	deliveryv1 "github.com/meetwire/meetwire/proto/gen/meetwire/delivery/v1"
	"github.com/meetwire/meetwire/services/delivery/internal/core"
	"github.com/meetwire/meetwire/services/delivery/internal/pgstore"
	"github.com/meetwire/meetwire/services/delivery/internal/recorder"
)

func TestRecordsReachPostgres(t *testing.T) {
	t.Parallel()
	e := setup(t)
	pool := pgtest.Database(t, "delivery", pgstore.Migrate)
	before := e.publish(t, 2500) // more than a batch
	first := run(t, grace, e.recorder(pgstore.New(pool)))
	ids := append(before, e.publish(t, 50)...)
	requireStored(t, pool, ids)
	e.requireSettled(t, pool)
	require.NoError(t, first.stop())

	// What is published meanwhile waits for the next start.
	ids = append(ids, e.publish(t, 5)...)
	run(t, grace, e.recorder(pgstore.New(pool)))
	requireStored(t, pool, ids)
	require.Zero(t, e.leftOut())
}

func TestRecordsMakeWayForDeliveries(t *testing.T) {
	t.Parallel()
	e := setup(t)
	pool := pgtest.Database(t, "delivery", pgstore.Migrate)
	ids := e.publish(t, 200)
	const times = 3
	var asked, before atomic.Int64
	r := e.recorder(pgstore.New(pool))
	r.Strained = func() bool {
		n := asked.Add(1)
		if n > times {
			return false
		}
		written := int64(-1)
		err := pool.QueryRow(context.Background(), "SELECT count(*) FROM delivery.delivery").Scan(&written)
		if n == 1 { // a few may have come before all others
			before.Store(written)
		}
		assert.Equal(t, before.Load(), written, "%v", err)
		assert.Less(t, written, int64(len(ids)))
		return true
	}
	run(t, grace, r)
	requireStored(t, pool, ids)
	require.Greater(t, asked.Load(), int64(times))
}

func TestBadRecordsHoldUpNobody(t *testing.T) {
	t.Parallel()
	e := setup(t)
	pool := pgtest.Database(t, "delivery", pgstore.Migrate)
	ids := e.publish(t, 40)
	e.publishBody(t, []byte("not protobuf"))
	ids = append(ids, e.publish(t, 40)...)
	for _, spoil := range []func(*deliveryv1.Record){
		func(r *deliveryv1.Record) { r.Delivery = "no-uuid" },
		func(r *deliveryv1.Record) { r.EventId = "a\x00b" }, // Postgres itself refuses it
	} {
		record := newRecord()
		spoil(record)
		body, err := proto.Marshal(record)
		require.NoError(t, err)
		e.publishBody(t, body)
		ids = append(ids, e.publish(t, 40)...)
	}
	run(t, grace, e.recorder(pgstore.New(pool))) // all are there: they come in one batch
	requireStored(t, pool, ids)
	e.requireSettled(t, pool)
	require.Equal(t, 3, e.leftOut())
}

// What a receiver says must not hide what it does.
func TestRecordIsStoredWithoutWhatPostgresRefuses(t *testing.T) {
	t.Parallel()
	e := setup(t)
	pool := pgtest.Database(t, "delivery", pgstore.Migrate)
	webhook := e.webhook(1, core.Threshold{Consecutive: 10})
	record := newRecord()
	record.Webhook, record.WebhookGeneration, record.State = webhook, 1, deliveryv1.Delivery_STATE_PENDING
	record.Attempt.ErrorClass, record.Attempt.ErrorMessage, record.Attempt.StatusCode = core.ErrorTLS, "valid for a\x00b.example", 0
	record.Attempt.RequestBody = []byte("{}")
	e.publishRecord(t, record)
	ids := append(e.publish(t, 20), record.GetDelivery())
	run(t, grace, e.recorder(pgstore.New(pool)))
	requireStored(t, pool, ids)
	require.Zero(t, e.leftOut())
	store := pgstore.New(pool)
	attempts, _, err := store.Attempts(newContext(t), "acme", uuid.MustParse(record.GetDelivery()), pgstore.AttemptCursor{}, 10)
	require.NoError(t, err)
	require.Len(t, attempts, 1)
	require.Equal(t, core.ErrorTLS, attempts[0].GetErrorClass())
	require.Empty(t, attempts[0].GetErrorMessage())
	require.Empty(t, attempts[0].GetRequestBody())
	require.True(t, attempts[0].GetRequestTruncated())
	health, err := store.Health(newContext(t), "acme", uuid.MustParse(webhook))
	require.NoError(t, err)
	require.EqualValues(t, 1, health.ConsecutiveFailures)
}

// sizedStore notes how much it is given at once.
type sizedStore struct {
	*pgstore.Store
	greatest atomic.Int64
}

func (s *sizedStore) Write(ctx context.Context, batch pgstore.Batch, ttl time.Duration) error {
	var bytes int64
	for _, record := range batch.Records {
		bytes += int64(len(record.GetAttempt().GetRequestBody()))
	}
	s.greatest.Store(max(s.greatest.Load(), bytes))
	return s.Store.Write(ctx, batch, ttl)
}

func TestLargeRecordsComeInSmallBatches(t *testing.T) {
	t.Parallel()
	e := setup(t)
	pool := pgtest.Database(t, "delivery", pgstore.Migrate)
	var ids []string
	for i := range 40 {
		record := newRecord()
		record.Attempt.RequestBody = make([]byte, 1_000_000)
		if i%4 == 0 {
			record.Attempt.RequestBody = nil
		}
		e.publishRecord(t, record)
		ids = append(ids, record.GetDelivery())
	}
	store := &sizedStore{Store: pgstore.New(pool)}
	run(t, grace, e.recorder(store))
	requireStored(t, pool, ids)
	require.LessOrEqual(t, store.greatest.Load(), int64(9<<20))
	require.Greater(t, store.greatest.Load(), int64(1<<20), "they do come together")
}

func TestRecorderCatchesUpAfterPostgresWasAway(t *testing.T) {
	t.Parallel()
	e := setup(t)
	server := pgtest.Server(t)
	pool, err := pgxpool.New(newContext(t), server.URL().Reveal())
	require.NoError(t, err)
	t.Cleanup(pool.Close)
	require.NoError(t, pgstore.Migrate(newContext(t), pool))
	run(t, grace, e.recorder(pgstore.New(pool)))
	ids := e.publish(t, 20)
	requireStored(t, pool, ids)

	require.NoError(t, server.Stop(newContext(t)))
	ids = append(ids, e.publish(t, 2100)...)
	require.Eventually(t, func() bool { return strings.Contains(e.log.String(), "will be tried again") }, patience, tick)
	pgtest.Restart(t, server)
	requireStored(t, pool, ids)
	e.requireSettled(t, pool)
	require.Zero(t, e.leftOut())
}

func TestRecorderGoesOnAfterNATSWasAway(t *testing.T) {
	t.Parallel()
	e := setup(t)
	pool := pgtest.Database(t, "delivery", pgstore.Migrate)
	run(t, grace, e.recorder(pgstore.New(pool)))
	ids := e.publish(t, 20)
	requireStored(t, pool, ids)
	e.server.Shutdown()
	require.Eventually(t, func() bool { return !e.js.Conn().IsConnected() }, patience, tick)
	e.server.Restart(t)
	require.Eventually(t, e.js.Conn().IsConnected, patience, tick) // what is published to a connection that breaks is lost
	ids = append(ids, e.publish(t, 2100)...)
	requireStored(t, pool, ids)
	e.requireSettled(t, pool)
}

// A stream that was deleted, or lost, begins anew with the first sequence.
func TestRecorderFollowsAStreamThatWasMadeAnew(t *testing.T) {
	t.Parallel()
	e := setup(t)
	pool := pgtest.Database(t, "delivery", pgstore.Migrate)
	first := run(t, grace, e.recorder(pgstore.New(pool)))
	ids := e.publish(t, 20)
	requireStored(t, pool, ids)
	require.NoError(t, first.stop())
	require.NoError(t, e.js.DeleteStream(newContext(t), bus.StreamRecords))
	require.NoError(t, bus.EnsureStreams(newContext(t), e.js, bus.DefaultConfig(), slog.New(slog.DiscardHandler)))
	ids = append(ids, e.publish(t, 5)...)
	run(t, grace, e.recorder(pgstore.New(pool)))
	requireStored(t, pool, ids)
}

func TestConsumerOfEarlierVersionsIsRemoved(t *testing.T) {
	t.Parallel()
	e := setup(t)
	pool := pgtest.Database(t, "delivery", pgstore.Migrate)
	const durable = "recorder"
	_, err := e.js.CreateConsumer(newContext(t), bus.StreamRecords, jetstream.ConsumerConfig{
		Durable: durable, AckPolicy: jetstream.AckExplicitPolicy, FilterSubject: "records.>",
	})
	require.NoError(t, err)
	ids := e.publish(t, 3)
	run(t, grace, e.recorder(pgstore.New(pool)))
	requireStored(t, pool, ids)
	_, err = e.js.Consumer(newContext(t), bus.StreamRecords, durable)
	require.ErrorIs(t, err, jetstream.ErrConsumerNotFound)
}

// BenchmarkRecorder takes in ten thousand records of a hundred webhooks.
func BenchmarkRecorder(b *testing.B) {
	e := setupWith(b)
	pool := pgtest.Database(b, "delivery", pgstore.Migrate)
	webhooks := make([]string, 100)
	for i := range webhooks {
		webhooks[i] = e.webhook(1, core.Threshold{Consecutive: 10})
	}
	const count = 10_000
	stored := 0
	for b.Loop() {
		b.StopTimer()
		for i := range count {
			record := newRecord()
			record.Webhook, record.WebhookGeneration = webhooks[i%len(webhooks)], 1
			body, err := proto.Marshal(record)
			require.NoError(b, err)
			_, err = e.js.PublishAsync(bus.RecordSubject("acme", "webhook"), body)
			require.NoError(b, err)
		}
		<-e.js.PublishAsyncComplete()
		b.StartTimer()
		running := run(b, grace, e.recorder(pgstore.New(pool)))
		stored += count
		for have := 0; have < stored; {
			require.NoError(b, pool.QueryRow(b.Context(), "SELECT count(*) FROM delivery.attempt").Scan(&have))
		}
		b.StopTimer()
		require.NoError(b, running.stop())
		b.StartTimer()
	}
}

// heldStore lets nothing be written before it is told to.
type heldStore struct {
	*pgstore.Store
	entered chan struct{} // receives a value for each call of Write
	release chan struct{}
}

func (s *heldStore) Write(ctx context.Context, batch pgstore.Batch, ttl time.Duration) error {
	s.entered <- struct{}{}
	<-s.release
	return s.Store.Write(ctx, batch, ttl)
}

func TestStopWritesWhatWasPublishedBefore(t *testing.T) {
	t.Parallel()
	e := setup(t)
	pool := pgtest.Database(t, "delivery", pgstore.Migrate)
	store := &heldStore{Store: pgstore.New(pool), entered: make(chan struct{}, 100), release: make(chan struct{})}
	ids := e.publish(t, 30)
	running := run(t, grace, e.recorder(store))
	<-store.entered
	ids = append(ids, e.publish(t, 2100)...)
	running.cancel()
	close(store.release)
	require.NoError(t, running.stop())
	requireStored(t, pool, ids)
}

// brokenStore cannot write.
type brokenStore struct{ *pgstore.Store }

func (s brokenStore) Write(context.Context, pgstore.Batch, time.Duration) error {
	return fault.New(fault.Unavailable, "AWAY", "away")
}

func TestStopLeavesWhatCannotBeWritten(t *testing.T) {
	t.Parallel()
	e := setup(t)
	pool := pgtest.Database(t, "delivery", pgstore.Migrate)
	ids := e.publish(t, 30)
	running := run(t, 50*time.Millisecond, e.recorder(brokenStore{pgstore.New(pool)}))
	require.Eventually(t, func() bool { return strings.Contains(e.log.String(), "write records") }, patience, tick)
	_ = running.stop() // it may say that the grace period was too short
	run(t, grace, e.recorder(pgstore.New(pool)))
	requireStored(t, pool, ids)
	require.Zero(t, e.leftOut())
}

// tables are ones that cannot be looked after.
type tables struct {
	mu        sync.Mutex
	calls     [][2]time.Time
	forgotten [][2]time.Time
	retained  map[string]time.Time
}

func (s *tables) Maintain(_ context.Context, now, keepFrom time.Time) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.calls = append(s.calls, [2]time.Time{now, keepFrom})
	return 0, fault.New(fault.Unavailable, "AWAY", "away")
}

func (s *tables) Forget(_ context.Context, before, keepPayloads time.Time) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.forgotten = append(s.forgotten, [2]time.Time{before, keepPayloads})
	return 1, nil
}

func (s *tables) Retain(_ context.Context, organization string, keepFrom time.Time) (int64, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.retained[organization] = keepFrom
	return 0, nil
}

func TestTablesAreLookedAfter(t *testing.T) {
	t.Parallel()
	store := &tables{retained: make(map[string]time.Time)}
	const days = 24 * time.Hour
	m := &recorder.Maintainer{
		Tables: store, Retention: 30 * days, PayloadRetention: 3 * days, Logger: slog.New(slog.DiscardHandler), Now: now,
		Loaded: func(context.Context) error { return nil },
		Retentions: func() map[string]time.Duration {
			return map[string]time.Duration{"short": 7 * days, "long": 60 * days, "same": 30 * days}
		},
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- m.Run(ctx) }()
	require.Eventually(t, func() bool {
		store.mu.Lock()
		defer store.mu.Unlock()
		return len(store.retained) > 0
	}, patience, tick)
	cancel()
	require.NoError(t, <-done)
	require.Equal(t, [][2]time.Time{{now(), now().AddDate(0, 0, -30)}}, store.calls)
	require.Equal(t, [][2]time.Time{{now().AddDate(0, 0, -30), now().AddDate(0, 0, -3)}}, store.forgotten)
	require.Equal(t, map[string]time.Time{"short": now().AddDate(0, 0, -7)}, store.retained, "the others are dropped by partition")
}
