package subscription_test

import (
	"fmt"
	"io"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/proto"

	configv1 "github.com/meetwire/meetwire/proto/gen/meetwire/config/v1"
	subscriptionv1 "github.com/meetwire/meetwire/proto/gen/meetwire/subscription/v1"
)

// mirrorOf returns what pages of a snapshot say.
func mirrorOf(pages []*configv1.SnapshotPage) map[string]string {
	resources := map[string]string{}
	for _, page := range pages {
		for _, resource := range page.GetResources() {
			put(resources, resource)
		}
	}
	return resources
}

func TestSnapshotComesFirstAndThenEveryChange(t *testing.T) {
	t.Parallel()
	i := setupTenant(t)
	i.admin.webhook(t, "acme", full())
	before := i.revision(t)
	s := i.watch(t, 0)
	pages := s.snapshot(t)
	require.Equal(t, before, pages[0].GetRevision())
	require.Equal(t, i.stored(t), mirrorOf(pages))

	created := i.admin.webhook(t, "acme", booking())
	change := s.change(t)
	require.Equal(t, before+1, change.GetRevision())
	require.Len(t, change.GetResources(), 1)
	w := change.GetResources()[0].GetWebhook()
	require.Equal(t, "https://example.com/hook", w.GetTargetUrl())
	require.Equal(t, 15*time.Second, w.GetTimeout().AsDuration())
	require.Nil(t, w.GetRetryPolicy())
	require.Len(t, w.GetSecrets(), 1)

	i.update(t, &subscriptionv1.Webhook{Name: created.GetName(), RetryPolicy: &subscriptionv1.RetryPolicy{MaxRetries: 2}})
	policy := s.change(t).GetResources()[0].GetWebhook().GetRetryPolicy()
	require.EqualValues(t, 2, policy.GetMaxRetries())
	require.Equal(t, time.Second, policy.GetFirstDelay().AsDuration())
	require.InDelta(t, 2.0, policy.GetFactor(), 0)
	require.Equal(t, 24*time.Hour, policy.GetMaxDelay().AsDuration())

	_, err := i.admin.webhooks.DeleteWebhook(t.Context(), &subscriptionv1.DeleteWebhookRequest{Name: created.GetName()})
	require.NoError(t, err)
	change = s.change(t)
	require.Equal(t, before+3, change.GetRevision())
	require.Equal(t, w.GetId(), change.GetResources()[0].GetDeletedWebhook())
}

func TestWatcherGoesOnFromItsRevision(t *testing.T) {
	t.Parallel()
	i := setupTenant(t)
	before := i.revision(t)
	for range 3 {
		i.admin.webhook(t, "acme", booking())
	}
	for skip := range int64(3) {
		s := i.watch(t, before+skip)
		for n := skip; n < 3; n++ {
			require.Equal(t, before+n+1, s.change(t).GetRevision())
		}
	}
	s := i.watch(t, before+3)
	require.Equal(t, before+3, s.next(t).GetHeartbeat().GetRevision(), "nothing to tell")

	for _, ahead := range []int64{before + 4, 1 << 62} {
		require.Equal(t, i.stored(t), mirrorOf(i.watch(t, ahead).snapshot(t)), "seen before a restore")
	}
	_, err := i.watch(t, -1).Recv()
	requireField(t, err, "after_revision", "")
}

func TestWatcherThatIsTooFarBehindGetsASnapshot(t *testing.T) {
	t.Parallel()
	i := setupTenant(t)
	before := i.revision(t)
	for range 3 {
		i.admin.webhook(t, "acme", booking())
	}
	_, err := i.pool.Exec(t.Context(), "DELETE FROM subscription.feed WHERE revision <= $1", before+1)
	require.NoError(t, err)
	require.Equal(t, before+3, i.watch(t, before).snapshot(t)[0].GetRevision())
	require.Equal(t, before+2, i.watch(t, before+1).change(t).GetRevision())

	_, err = i.pool.Exec(t.Context(), "DELETE FROM subscription.feed")
	require.NoError(t, err)
	require.Equal(t, before+3, i.watch(t, before+2).snapshot(t)[0].GetRevision())
	require.Equal(t, before+3, i.watch(t, before+3).next(t).GetHeartbeat().GetRevision())
}

func TestHeartbeatComesEachSecond(t *testing.T) {
	t.Parallel()
	i := setup(t)
	s := i.watch(t, 0)
	s.snapshot(t)
	began := time.Now()
	for range 3 {
		require.Equal(t, i.revision(t), s.next(t).GetHeartbeat().GetRevision())
	}
	require.Greater(t, time.Since(began), 1500*time.Millisecond)
	require.Less(t, time.Since(began), 12*time.Second, "about one each second, also on a busy machine")
}

func TestChangeIsSeenAtOnceThroughEveryInstance(t *testing.T) {
	t.Parallel()
	i := setupTenant(t)
	other := i.start(t)
	s := other.watch(t, i.revision(t))
	s.next(t) // the first heartbeat: both listen by now
	var waits []time.Duration
	for range 11 {
		i.admin.webhook(t, "acme", booking())
		began := time.Now()
		s.change(t)
		waits = append(waits, time.Since(began))
	}
	slices.Sort(waits)
	require.Less(t, waits[len(waits)/2], time.Second, "in force within a second; the median, since a busy machine has moments")
}

func TestLargeSnapshotComesInPages(t *testing.T) {
	t.Parallel()
	i := setupTenant(t)
	_, err := i.pool.Exec(t.Context(), insertWebhooks, 1300, "", "meeting.booked", 1)
	require.NoError(t, err)
	pages := i.watch(t, 0).snapshot(t)
	require.GreaterOrEqual(t, len(pages), 3)
	for _, page := range pages {
		require.LessOrEqual(t, len(page.GetResources()), 500)
	}
	require.Equal(t, i.stored(t), mirrorOf(pages))

	// Webhooks as large as they can be: a page stays well below what a gRPC client takes.
	_, err = i.pool.Exec(t.Context(), insertWebhooks, 200, strings.Repeat("u", 2000), "meeting."+strings.Repeat("t", 120), 100)
	require.NoError(t, err)
	pages = i.watch(t, 0).snapshot(t)
	require.Equal(t, i.stored(t), mirrorOf(pages))
	for _, page := range pages {
		require.Less(t, proto.Size(page), 3<<19)
	}
}

func TestSlowWatcherHoldsNobodyUp(t *testing.T) {
	t.Parallel()
	i := setupTenant(t)
	before := i.revision(t)
	slow := i.watch(t, before) // reads nothing until the end
	large := full()
	large.TargetUrl = "https://example.com/" + strings.Repeat("x", 2000)
	const changes = 300 // much more than what fits into the buffers of a connection
	for range changes {
		i.admin.webhook(t, "acme", large)
	}
	fast := i.watch(t, before)
	for n := range int64(changes) {
		require.Equal(t, before+n+1, fast.change(t).GetRevision())
	}
	require.Eventually(t, func() bool { return i.pool.Stat().AcquiredConns() == 0 }, patience, poll, "it holds no connection")
	for n := range int64(changes) {
		require.Equal(t, before+n+1, slow.change(t).GetRevision())
	}
}

func TestWatcherThatReadsNoSnapshotHoldsNobodyUp(t *testing.T) {
	t.Parallel()
	i := setupTenant(t)
	_, err := i.pool.Exec(t.Context(), insertWebhooks, 5000, strings.Repeat("u", 2000), "meeting.booked", 100)
	require.NoError(t, err)
	for range 3 {
		i.watch(t, 0) // 20 MB that nobody reads
	}
	for n := range 20 {
		i.operator.organization(t, fmt.Sprintf("o-%d", n), false)
	}
	follower := i.watch(t, i.revision(t)-1)
	require.Equal(t, i.revision(t), follower.change(t).GetRevision())
}

func TestStreamsEndWhenTheInstanceStops(t *testing.T) {
	t.Parallel()
	i := setupTenant(t)
	other := i.start(t)
	follower := other.follow(t)
	follower.waitFor(t, i.revision(t))
	s := other.watch(t, 0)
	s.snapshot(t)
	began := time.Now()
	other.stop()
	require.Less(t, time.Since(began), 15*time.Second, "half of what streams that do not end are given")
	for {
		if _, err := s.Recv(); err != nil {
			require.ErrorIs(t, err, io.EOF)
			break
		}
	}
	require.NoError(t, tryList(t, i.operator), "the other instance goes on")
}

func TestRestoredDatabaseMakesWatchersBeginAnew(t *testing.T) {
	t.Parallel()
	i := setupTenant(t)
	w := i.admin.webhook(t, "acme", booking())
	follower := i.follow(t)
	follower.waitFor(t, i.revision(t))
	before := follower.taken()
	// As if the database had been restored from a time before the webhook.
	_, err := i.pool.Exec(t.Context(), `
		WITH gone AS (DELETE FROM subscription.webhook WHERE id = $1), entry AS (DELETE FROM subscription.feed WHERE revision = (SELECT max(revision) FROM subscription.feed))
		UPDATE subscription.revision SET value = value - 1`, w.GetName()[len("organizations/acme/webhooks/"):])
	require.NoError(t, err)
	require.Eventually(t, func() bool {
		_, resources := follower.known()
		return len(resources) == len(i.stored(t)) && follower.taken() > before
	}, patience, poll)
	revision, resources := follower.known()
	require.Equal(t, i.stored(t), resources)
	require.Equal(t, i.revision(t), revision)
}

// taken returns how many snapshots were taken in.
func (f *follower) taken() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.snapshots
}

func TestOldEntriesAreTrimmedFromTheFront(t *testing.T) {
	t.Parallel()
	i := newInstallation(t)
	i.start(t).stop()
	newest := i.revision(t)
	require.GreaterOrEqual(t, newest, int64(3))
	// Entry 3 is old, and so 2 goes with it, although its clock said otherwise.
	_, err := i.pool.Exec(t.Context(), "UPDATE subscription.feed SET create_time = now() - interval '2 days' WHERE revision = 3")
	require.NoError(t, err)
	instance := i.start(t)
	var oldest int64
	require.Eventually(t, func() bool {
		err := i.pool.QueryRow(t.Context(), "SELECT coalesce(min(revision), 0) FROM subscription.feed").Scan(&oldest)
		return err == nil && oldest != 2
	}, patience, poll)
	require.NotEqual(t, int64(2), oldest)
	require.NotEqual(t, int64(3), oldest)
	require.Equal(t, newest, instance.watch(t, 1).snapshot(t)[0].GetRevision())
}
