package index_test

import (
	"context"
	"log/slog"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/stretchr/testify/require"

	"github.com/meetwire/meetwire/pkg/fault"
	"github.com/meetwire/meetwire/pkg/pgtest"
	ingestv1 "github.com/meetwire/meetwire/proto/gen/meetwire/ingest/v1"
	"github.com/meetwire/meetwire/services/ingest/internal/index"
	"github.com/meetwire/meetwire/services/ingest/internal/pgstore"
)

func TestNotesReachPostgres(t *testing.T) {
	t.Parallel()
	e, pool := setup(t), database(t)
	sequences := e.publish(t, 1500) // more than a batch
	first := run(t, e.writer(pgstore.New(pool)).Run)
	sequences = append(sequences, e.publish(t, 50)...)
	requireStored(t, pool, sequences)
	e.requireSettled(t)
	require.NoError(t, first.stop())

	// What is published meanwhile waits for the next start.
	sequences = append(sequences, e.publish(t, 5)...)
	waiting, err := e.writer(nil).Waiting(newContext(t))
	require.NoError(t, err)
	require.EqualValues(t, 5, waiting)
	second := run(t, e.writer(pgstore.New(pool)).Run)
	requireStored(t, pool, sequences)
	e.requireSettled(t)
	require.NoError(t, second.stop())
	require.Zero(t, e.leftOut())
	require.Len(t, sequences, int(testutil.ToFloat64(e.metrics.Rows)))
}

func TestInstancesShareTheWorkAndCountOnce(t *testing.T) {
	t.Parallel()
	e, pool := setup(t), database(t)
	webhook := uuid.New()
	const n = 900
	var sequences []int64
	for range n {
		note := e.note()
		note.Skips = []*ingestv1.FanOut_Skip{{Webhook: webhook.String(), Generation: 1}}
		sequences = append(sequences, note.GetEventSequence())
		for range 2 { // told twice, as after a crash
			e.publishNote(t, note)
		}
	}
	for range 3 {
		run(t, e.writer(pgstore.New(pool)).Run)
	}
	requireStored(t, pool, sequences)
	e.requireSettled(t)
	matching, err := pgstore.New(pool).Matching(newContext(t), "acme", webhook)
	require.NoError(t, err)
	require.EqualValues(t, n, matching.Skipped)
	require.Equal(t, now().Add(time.Millisecond), matching.SkippedSince)
}

func TestBadNotesHoldUpNobody(t *testing.T) {
	t.Parallel()
	e, pool := setup(t), database(t)
	sequences := e.publish(t, 40)
	e.publishBody(t, []byte("not protobuf"))
	sequences = append(sequences, e.publish(t, 40)...)
	for _, spoil := range []func(*ingestv1.FanOut){
		func(n *ingestv1.FanOut) { n.Skips = []*ingestv1.FanOut_Skip{{Webhook: "no-uuid"}} },
		func(n *ingestv1.FanOut) { n.AcceptTime = nil },
	} {
		bad := e.note()
		spoil(bad)
		e.publishNote(t, bad)
		sequences = append(sequences, e.publish(t, 40)...)
	}
	run(t, e.writer(pgstore.New(pool)).Run) // all are there: they come in one batch
	requireStored(t, pool, sequences)
	e.requireSettled(t)
	require.Equal(t, 3, e.leftOut())
}

func TestIndexCatchesUpAfterPostgresWasAway(t *testing.T) {
	t.Parallel()
	e := setup(t)
	server := pgtest.Server(t)
	pool, err := pgxpool.New(newContext(t), server.URL().Reveal())
	require.NoError(t, err)
	t.Cleanup(pool.Close)
	require.NoError(t, pgstore.Migrate(newContext(t), pool))
	for range 2 {
		run(t, e.writer(pgstore.New(pool)).Run)
	}
	sequences := e.publish(t, 20)
	requireStored(t, pool, sequences)

	require.NoError(t, server.Stop(newContext(t)))
	sequences = append(sequences, e.publish(t, 1200)...)
	require.Eventually(t, func() bool { return e.logged("write the index of events") }, patience, tick)
	require.Eventually(t, func() bool { return testutil.ToFloat64(e.metrics.Lag) > 0 }, patience, tick)
	pgtest.Restart(t, server)
	requireStored(t, pool, sequences)
	e.requireSettled(t)
	require.Eventually(t, func() bool { return testutil.ToFloat64(e.metrics.Lag) == 0 }, patience, tick)
	require.Zero(t, e.leftOut())
}

func TestIndexGoesOnAfterNATSWasAway(t *testing.T) {
	t.Parallel()
	e, pool := setup(t), database(t)
	run(t, e.writer(pgstore.New(pool)).Run)
	sequences := e.publish(t, 20)
	requireStored(t, pool, sequences)
	e.server.Shutdown()
	require.Eventually(t, func() bool { return !e.js.Conn().IsConnected() }, patience, tick)
	e.server.Restart(t)
	require.Eventually(t, e.js.Conn().IsConnected, patience, tick)
	sequences = append(sequences, e.publish(t, 300)...)
	requireStored(t, pool, sequences)
	e.requireSettled(t)
}

// What belongs to nobody must not come back after it was removed, and what belongs to somebody new must not get lost.
func TestOrganizationsThatAreNotKnown(t *testing.T) {
	t.Parallel()
	e, pool := setup(t), database(t)
	e.known.change(func() { e.known.heard = false })
	young := e.note()
	young.Organization = "new"
	e.publishNote(t, young)
	sequences := append(e.publish(t, 1), young.GetEventSequence())
	run(t, e.writer(pgstore.New(pool)).Run)
	requireStored(t, pool, sequences[:1])
	e.known.change(func() { e.known.organizations["new"] = true })
	requireStored(t, pool, sequences)

	e.known.change(func() { e.known.heard = true })
	gone := e.note()
	gone.Organization = "gone"
	e.publishNote(t, gone)
	e.requireSettled(t)
	requireStored(t, pool, sequences)
	require.Zero(t, e.leftOut())
}

// held is a store whose writes wait to be let go.
type held struct {
	*pgstore.Store

	entered, release chan struct{}
}

func (h *held) Write(ctx context.Context, notes []*ingestv1.FanOut) (int, error) {
	h.entered <- struct{}{}
	<-h.release
	return h.Store.Write(ctx, notes)
}

func TestStopWritesWhatHasBegun(t *testing.T) {
	t.Parallel()
	e, pool := setup(t), database(t)
	store := &held{Store: pgstore.New(pool), entered: make(chan struct{}, 100), release: make(chan struct{})}
	sequences := e.publish(t, 30)
	running := run(t, e.writer(store).Run)
	<-store.entered
	running.cancel()
	close(store.release)
	require.NoError(t, running.stop())
	// What had not begun is for another instance, at once.
	run(t, e.writer(pgstore.New(pool)).Run)
	requireStored(t, pool, sequences)
	e.requireSettled(t)
}

func TestOrganizationThatIsDeletedMeanwhileIsNotWritten(t *testing.T) {
	t.Parallel()
	e, pool := setup(t), database(t)
	e.known.change(func() { e.known.organizations["gone"] = true })
	store := &failing{Store: pgstore.New(pool), failed: make(chan struct{}, 100)}
	store.away.Store(true)
	gone := e.note()
	gone.Organization = "gone"
	e.publishNote(t, gone)
	sequences := e.publish(t, 3)
	run(t, e.writer(store).Run)
	<-store.failed
	e.known.change(func() { e.known.organizations["gone"] = false })
	store.away.Store(false)
	requireStored(t, pool, sequences)
	e.requireSettled(t)
}

// failing is a store that fails while it is told to.
type failing struct {
	*pgstore.Store

	away   atomic.Bool
	failed chan struct{}
}

func (f *failing) Write(ctx context.Context, notes []*ingestv1.FanOut) (int, error) {
	if f.away.Load() {
		f.failed <- struct{}{}
		return 0, fault.New(fault.Unavailable, "AWAY", "away")
	}
	return f.Store.Write(ctx, notes)
}

func TestStopGivesBackWhatCannotBeWritten(t *testing.T) {
	t.Parallel()
	e, pool := setup(t), database(t)
	away, err := pgxpool.New(newContext(t), pgtest.URL(pool).Reveal())
	require.NoError(t, err)
	away.Close()
	sequences := e.publish(t, 30)
	running := run(t, e.writer(pgstore.New(away)).Run)
	require.Eventually(t, func() bool { return e.logged("write the index of events") }, patience, tick)
	require.NoError(t, running.stop())
	run(t, e.writer(pgstore.New(pool)).Run)
	requireStored(t, pool, sequences)
	e.requireSettled(t)
}

func TestTablesAreLookedAfter(t *testing.T) {
	t.Parallel()
	pool := database(t)
	store := pgstore.New(pool)
	e := setup(t)
	old := e.note()
	old.AcceptTime.Seconds -= 40 * 86400
	_, err := store.Write(newContext(t), []*ingestv1.FanOut{old, e.note()})
	require.NoError(t, err)
	kept, gone := uuid.New(), uuid.New()
	skipping := e.note()
	for _, webhook := range []uuid.UUID{kept, gone} {
		skipping.Skips = append(skipping.Skips, &ingestv1.FanOut_Skip{Webhook: webhook.String(), Generation: 1})
	}
	_, err = store.Write(newContext(t), []*ingestv1.FanOut{skipping})
	require.NoError(t, err)
	m := &index.Maintainer{
		Tables: store, Age: 30 * 24 * time.Hour, Logger: slog.New(slog.DiscardHandler), Now: func() time.Time { return now().AddDate(0, 0, 2) },
		Loaded: func(context.Context) error { return nil },
		Exists: func(organization, webhook string) bool { return organization == "acme" && webhook == kept.String() },
	}
	running := run(t, m.Run)
	requireStored(t, pool, []int64{2, 3})
	require.Eventually(t, func() bool {
		_, err := store.Matching(newContext(t), "acme", gone)
		return fault.Is(err, fault.NotFound)
	}, patience, tick)
	_, err = store.Matching(newContext(t), "acme", kept)
	require.NoError(t, err)
	var days int
	require.NoError(t, pool.QueryRow(newContext(t), "SELECT count(*) FROM pg_inherits WHERE inhparent = 'ingest.event'::regclass").Scan(&days))
	require.Equal(t, 1+8, days)
	require.NoError(t, running.stop())
}
