package pgstore_test

import (
	"context"
	"log/slog"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/stretchr/testify/require"

	"github.com/meetwire/meetwire/pkg/fault"
	"github.com/meetwire/meetwire/pkg/pgtest"
	configv1 "github.com/meetwire/meetwire/proto/gen/meetwire/config/v1"
	"github.com/meetwire/meetwire/services/subscription/internal/core"
	"github.com/meetwire/meetwire/services/subscription/internal/pgstore"
)

func TestMain(m *testing.M) { pgtest.Main(m) }

// setup returns a store over an empty database.
func setup(t *testing.T) (*pgstore.Store, *pgxpool.Pool) {
	t.Helper()
	pool := pgtest.Database(t, "pgstore", pgstore.Migrate)
	return pgstore.New(pool, slog.New(slog.DiscardHandler), time.Now), pool
}

// tenant returns a new organization.
func tenant(id string) core.Organization {
	now := core.Stored(time.Now())
	return core.Organization{ID: id, DisplayName: id, WebhooksAvailable: true, Version: 1, CreateTime: now, UpdateTime: now}
}

func TestSnapshotOfNothingIsOnePage(t *testing.T) {
	t.Parallel()
	store, _ := setup(t)
	var pages []*configv1.SnapshotPage
	require.NoError(t, store.Snapshot(t.Context(), func(page *configv1.SnapshotPage) error {
		pages = append(pages, page)
		return nil
	}))
	require.Len(t, pages, 1)
	require.True(t, pages[0].GetLast())
	require.Empty(t, pages[0].GetResources())
	require.EqualValues(t, 1, pages[0].GetRevision(), "0 is what a watcher says that has nothing")
}

func TestSnapshotReturnsTheErrorOfYield(t *testing.T) {
	t.Parallel()
	store, pool := setup(t)
	stop := fault.New(fault.Aborted, "STOP", "stop")
	require.ErrorIs(t, store.Snapshot(t.Context(), func(*configv1.SnapshotPage) error { return stop }), stop)
	require.Zero(t, pool.Stat().AcquiredConns())
}

func TestListenWakesForEachChange(t *testing.T) {
	t.Parallel()
	store, _ := setup(t)
	ctx, cancel := context.WithCancel(t.Context())
	woken, done := make(chan struct{}, 10), make(chan error, 1)
	go func() { done <- store.Listen(ctx, func() { woken <- struct{}{} }) }()
	<-woken // it listens
	for _, id := range []string{"one", "two"} {
		require.NoError(t, store.InsertOrganization(t.Context(), tenant(id), core.Request{}))
		<-woken
	}
	cancel()
	require.ErrorIs(t, <-done, context.Canceled)
}

func TestCanceledWriteLeavesNothing(t *testing.T) {
	t.Parallel()
	store, _ := setup(t)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	require.ErrorIs(t, store.InsertOrganization(ctx, tenant("acme"), core.Request{}), context.Canceled)
	revision, err := store.Revision(t.Context())
	require.NoError(t, err)
	require.EqualValues(t, 1, revision)
	_, err = store.Organization(t.Context(), "acme")
	require.True(t, fault.Is(err, fault.NotFound))
}

func TestMalformedWebhookIDIsUnknown(t *testing.T) {
	t.Parallel()
	store, _ := setup(t)
	const id = "------------------------------------"
	_, err := store.Webhook(t.Context(), "acme", id)
	require.True(t, fault.Is(err, fault.NotFound), "%v", err)
	_, _, err = store.UpdateWebhook(t.Context(), "acme", id, false, nil)
	require.True(t, fault.Is(err, fault.NotFound), "%v", err)
	require.True(t, fault.Is(store.DeleteWebhook(t.Context(), "acme", id, nil), fault.NotFound))
}

func TestWhatPostgresCannotStoreIsTheCallersFault(t *testing.T) {
	t.Parallel()
	store, _ := setup(t)
	err := store.InsertOrganization(t.Context(), core.Organization{ID: "acme", DisplayName: "a\x00b", CreateTime: time.Now()}, core.Request{})
	require.True(t, fault.Is(err, fault.InvalidArgument), "%v", err)
}

func TestGapIsTold(t *testing.T) {
	t.Parallel()
	store, pool := setup(t)
	for _, id := range []string{"a", "b", "c"} {
		require.NoError(t, store.InsertOrganization(t.Context(), tenant(id), core.Request{}))
	}
	changes, err := store.Changes(t.Context(), 1, 4, 2)
	require.NoError(t, err)
	require.Len(t, changes, 2)
	require.EqualValues(t, 2, changes[0].GetRevision())
	changes, err = store.Changes(t.Context(), 4, 4, 2)
	require.NoError(t, err)
	require.Empty(t, changes)

	removed, err := store.TrimFeed(t.Context(), time.Now().Add(-time.Hour))
	require.NoError(t, err)
	require.Zero(t, removed)
	_, err = pool.Exec(t.Context(), "UPDATE subscription.feed SET create_time = '2020-01-01Z' WHERE revision = 3")
	require.NoError(t, err)
	removed, err = store.TrimFeed(t.Context(), time.Now().Add(-time.Hour))
	require.NoError(t, err)
	require.EqualValues(t, 2, removed, "never a hole, whatever the clocks said")
	_, err = store.Changes(t.Context(), 1, 4, 2)
	require.ErrorIs(t, err, core.ErrGap)
	_, err = pool.Exec(t.Context(), "DELETE FROM subscription.feed")
	require.NoError(t, err)
	_, err = store.Changes(t.Context(), 3, 4, 2)
	require.ErrorIs(t, err, core.ErrGap)
}
