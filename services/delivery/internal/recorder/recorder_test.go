package recorder_test

import (
	"context"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/proto"

	"github.com/meetwire/meetwire/pkg/fault"
	"github.com/meetwire/meetwire/pkg/pgtest"
	deliveryv1 "github.com/meetwire/meetwire/proto/gen/meetwire/delivery/v1"
	"github.com/meetwire/meetwire/services/delivery/internal/pgstore"
)

func TestRecordsReachPostgres(t *testing.T) {
	t.Parallel()
	e := setup(t)
	pool := pgtest.Database(t, "delivery", pgstore.Migrate)
	before := e.publish(t, 700) // more than a batch
	first := run(t, grace, e.recorder(pgstore.New(pool)))
	ids := append(before, e.publish(t, 50)...)
	requireStored(t, pool, ids)
	e.requireSettled(t)
	require.NoError(t, first.stop())

	// What is published meanwhile waits for the next start.
	ids = append(ids, e.publish(t, 5)...)
	run(t, grace, e.recorder(pgstore.New(pool)))
	requireStored(t, pool, ids)
	require.Zero(t, e.leftOut())
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
	e.requireSettled(t)
	require.Equal(t, 3, e.leftOut())
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
	ids = append(ids, e.publish(t, 600)...)
	ctx := newContext(t)
	require.Eventually(t, func() bool {
		taken, _ := e.state(ctx, t)
		return taken > 0
	}, patience, tick)
	pgtest.Restart(t, server)
	requireStored(t, pool, ids)
	e.requireSettled(t)
	require.Zero(t, e.leftOut())
}

// fakeStore counts what is written, and fails or waits as a test tells it.
type fakeStore struct {
	entered chan struct{} // receives a value for each call of Write
	release chan struct{} // Write waits for it, unless nil
	err     error         // of Write

	mu      sync.Mutex
	written map[string]bool
	calls   []maintained
}

// maintained is a call of Maintain.
type maintained struct{ now, keepFrom time.Time }

func newFakeStore() *fakeStore {
	return &fakeStore{entered: make(chan struct{}, 1000), written: make(map[string]bool)}
}

func (s *fakeStore) Write(ctx context.Context, records []*deliveryv1.Record) error {
	s.entered <- struct{}{}
	if s.release != nil {
		<-s.release
	}
	if s.err != nil {
		return s.err
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, record := range records {
		s.written[record.GetDelivery()] = true
	}
	return nil
}

func (s *fakeStore) Maintain(_ context.Context, now, keepFrom time.Time) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.calls = append(s.calls, maintained{now: now, keepFrom: keepFrom})
	return 0, fault.New(fault.Unavailable, "AWAY", "away")
}

func (s *fakeStore) maintained() []maintained {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.calls
}

func (s *fakeStore) count() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.written)
}

func TestStopWritesWhatWasTaken(t *testing.T) {
	t.Parallel()
	e := setup(t)
	store := newFakeStore()
	store.release = make(chan struct{})
	const count = 30
	e.publish(t, count)
	running := run(t, grace, e.recorder(store))
	<-store.entered
	running.cancel()
	close(store.release)
	require.NoError(t, running.stop())

	taken, waiting := e.state(newContext(t), t)
	require.Zero(t, taken, "nothing may be left with a recorder that has stopped")
	require.Positive(t, store.count())
	require.Equal(t, count, store.count()+int(waiting))
}

func TestStopGivesBackWhatCannotBeWritten(t *testing.T) {
	t.Parallel()
	e := setup(t)
	store := newFakeStore()
	store.err = fault.New(fault.Unavailable, "AWAY", "away")
	const count = 30
	e.publish(t, count)
	running := run(t, 50*time.Millisecond, e.recorder(store))
	<-store.entered
	_ = running.stop() // it may say that the grace period was too short

	next := newFakeStore()
	run(t, grace, e.recorder(next))
	require.Eventually(t, func() bool { return next.count() == count }, patience, tick)
	e.requireSettled(t)
	require.Zero(t, e.leftOut())
}

func TestFailedMaintenanceDoesNotStopTheRecorder(t *testing.T) {
	t.Parallel()
	e := setup(t)
	store := newFakeStore()
	run(t, grace, e.recorder(store))
	require.Eventually(t, func() bool { return len(store.maintained()) == 1 }, patience, tick)
	require.Equal(t, []maintained{{now: now(), keepFrom: now().AddDate(0, 0, -30)}}, store.maintained())
	e.publish(t, 3)
	require.Eventually(t, func() bool { return store.count() == 3 }, patience, tick)
}
