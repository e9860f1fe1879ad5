package configfeed_test

import (
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	accessv1 "github.com/meetwire/meetwire/proto/gen/meetwire/access/v1"
)

func TestSnapshotComesIntoForceWithItsLastPage(t *testing.T) {
	t.Parallel()
	e := setup(t)
	first := e.stream(t)
	require.Zero(t, first.after)
	first.page(7, false, organization("acme"), trigger("meeting.booked"))
	first.page(7, false)
	require.Error(t, e.watcher.Ready(t.Context()))
	require.Zero(t, e.watcher.Revision())
	require.Never(t, func() bool { return e.watcher.HasOrganization("acme") }, 100*time.Millisecond, tick)

	first.page(7, true, webhook("w1"))
	require.Equal(t, told{true, 7, []string{"organization acme", "trigger meeting.booked", "webhook w1"}}, receive(t, e.sink.told))
	e.waitFor(t, 7)
	require.EqualValues(t, 7, e.watcher.Revision())
	require.NoError(t, e.watcher.Ready(t.Context()))
	require.True(t, e.watcher.HasOrganization("acme"))
	require.False(t, e.watcher.HasOrganization("other"))
}

func TestChangesAreAppliedInTheirOrder(t *testing.T) {
	t.Parallel()
	e := setup(t)
	s := e.stream(t)
	s.snapshot(1)
	require.Equal(t, told{true, 1, []string{}}, receive(t, e.sink.told))
	for revision := int64(2); revision <= 50; revision++ {
		s.change(revision, webhook("w1"), organization("acme"))
	}
	for revision := int64(2); revision <= 50; revision++ {
		require.Equal(t, told{false, revision, []string{"webhook w1", "organization acme"}}, receive(t, e.sink.told))
	}
	e.waitFor(t, 50)
	require.True(t, e.watcher.HasOrganization("acme"))
}

func TestLostFeedIsContinuedWhereItEnded(t *testing.T) {
	t.Parallel()
	e := setup(t)
	s := e.stream(t)
	s.snapshot(3, organization("acme"), apiKey("k1", "acme", accessv1.Role_ROLE_ADMIN))
	s.change(4, organization("beta"))
	e.waitFor(t, 4)
	for _, end := range []error{nil, status.Error(codes.Unavailable, "away"), status.Error(codes.Unauthenticated, "not yet"), status.Error(codes.Internal, "broken")} {
		s.end(end)
		s = e.stream(t)
		require.EqualValues(t, 4, s.after)
		// Meanwhile the last state stays in force.
		require.NoError(t, e.watcher.Ready(t.Context()))
		require.True(t, e.watcher.HasOrganization("beta"))
		_, err := e.watcher.Key(t.Context(), "k1")
		require.NoError(t, err)
	}
	s.change(5, organization("gamma"))
	e.waitFor(t, 5)
	require.True(t, e.watcher.HasOrganization("gamma"))
	require.True(t, receive(t, e.sink.told).reset)
	require.False(t, receive(t, e.sink.told).reset)
	require.False(t, receive(t, e.sink.told).reset)
	require.Empty(t, e.sink.told, "the snapshot came once")
}

func TestHalfASnapshotIsForgotten(t *testing.T) {
	t.Parallel()
	e := setup(t)
	s := e.stream(t)
	s.page(3, false, organization("half"))
	s.end(nil)
	s = e.stream(t)
	require.Zero(t, s.after)
	s.snapshot(4, organization("whole"))
	require.Equal(t, told{true, 4, []string{"organization whole"}}, receive(t, e.sink.told))
	e.waitFor(t, 4)
	require.False(t, e.watcher.HasOrganization("half"))
}

// A feed that no longer reaches back to what the watcher has begins with a snapshot.
func TestSnapshotReplacesEverything(t *testing.T) {
	t.Parallel()
	e := setup(t)
	s := e.stream(t)
	s.snapshot(3, organization("old"), apiKey("old", "old", accessv1.Role_ROLE_ADMIN), trigger("old.one"))
	e.waitFor(t, 3)
	s.end(nil)
	s = e.stream(t)
	require.EqualValues(t, 3, s.after)
	s.snapshot(900, organization("new"))
	e.waitFor(t, 900)
	require.True(t, e.watcher.HasOrganization("new"))
	require.False(t, e.watcher.HasOrganization("old"))
	_, err := e.watcher.Key(t.Context(), "old")
	require.Error(t, err, "it was revoked meanwhile")
	s.change(901, organization("next"))
	e.waitFor(t, 901)
}

func TestGapAsksForASnapshot(t *testing.T) {
	t.Parallel()
	for name, revision := range map[string]int64{"a change is missing": 6, "a change comes again": 4, "time goes back": 2} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			e := setup(t)
			s := e.stream(t)
			s.snapshot(3, organization("acme"))
			s.change(4)
			e.waitFor(t, 4)
			s.change(revision, organization("from nowhere"))
			s = e.stream(t)
			require.Zero(t, s.after, "everything is asked for")
			require.NoError(t, e.watcher.Ready(t.Context()))
			require.True(t, e.watcher.HasOrganization("acme"), "what there is stays in force")
			require.False(t, e.watcher.HasOrganization("from nowhere"))
			s.snapshot(9, organization("beta"))
			e.waitFor(t, 9)
			require.False(t, e.watcher.HasOrganization("acme"))
		})
	}
}

func TestSilentFeedIsAskedAnew(t *testing.T) {
	t.Parallel()
	e := setup(t)
	s := e.stream(t)
	s.snapshot(3)
	e.waitFor(t, 3)
	began := time.Now()
	next := e.stream(t)
	require.EqualValues(t, 3, next.after)
	require.Greater(t, time.Since(began), 4*time.Second)
	require.Error(t, s.stream.Context().Err(), "the silent one is given up")
	next.change(4)
	e.waitFor(t, 4)
}

func TestHeartbeatsKeepTheFeed(t *testing.T) {
	t.Parallel()
	e := setup(t)
	s := e.stream(t)
	s.snapshot(3)
	e.waitFor(t, 3)
	ticker := time.NewTicker(time.Second)
	defer ticker.Stop()
	for range 7 {
		select {
		case <-ticker.C:
			s.send(heartbeat(3))
		case <-e.feed.streams:
			require.Fail(t, "the feed was given up")
		}
	}
	require.NoError(t, s.stream.Context().Err())
}

func TestWaitForARevision(t *testing.T) {
	t.Parallel()
	e := setup(t)
	wait := func(revision int64) <-chan error {
		ch := make(chan error, 1)
		ctx, cancel := context.WithTimeout(t.Context(), patience)
		t.Cleanup(cancel)
		go func() { ch <- e.watcher.WaitFor(ctx, revision) }()
		return ch
	}
	loaded, three, five, seven := wait(0), wait(3), wait(5), wait(7)
	s := e.stream(t)
	s.snapshot(4)
	require.NoError(t, receive(t, loaded))
	require.NoError(t, receive(t, three), "a later one will do")
	s.change(5)
	require.NoError(t, receive(t, five))
	e.waitFor(t, 2)
	require.Empty(t, seven)

	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	require.ErrorIs(t, e.watcher.WaitFor(ctx, 6), context.Canceled)
	s.change(6)
	s.change(7)
	require.NoError(t, receive(t, seven))
}

func TestRunEndsWithItsContext(t *testing.T) {
	t.Parallel()
	e := setup(t)
	s := e.stream(t)
	s.snapshot(1)
	e.waitFor(t, 1)
	require.NoError(t, e.stop())
	require.Eventually(t, func() bool { return s.stream.Context().Err() != nil }, patience, tick)
	require.NoError(t, e.watcher.Ready(t.Context()), "what is in flight still needs it")
}
