package subscription_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"path"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/types/known/durationpb"
	"pgregory.net/rapid"

	accessv1 "github.com/meetwire/meetwire/proto/gen/meetwire/access/v1"
	configv1 "github.com/meetwire/meetwire/proto/gen/meetwire/config/v1"
	subscriptionv1 "github.com/meetwire/meetwire/proto/gen/meetwire/subscription/v1"
)

// writer changes one organization's things at random, one after the other.
type writer struct {
	caller       *caller
	organization string
	webhooks     []string
	keys         []string
	updates      int
}

// step makes one change, chosen by a number.
func (w *writer) step(ctx context.Context, choice, pick int) error {
	switch {
	case choice < 3 || len(w.webhooks) == 0:
		wanted := booking()
		if pick%2 == 0 {
			wanted = full()
		}
		created, err := w.caller.webhooks.CreateWebhook(ctx, &subscriptionv1.CreateWebhookRequest{
			Parent: "organizations/" + w.organization, Webhook: wanted,
		})
		w.webhooks = append(w.webhooks, created.GetName())
		return err
	case choice < 5:
		return w.updateWebhook(ctx, w.webhooks[pick%len(w.webhooks)], pick)
	case choice < 6:
		_, err := w.caller.webhooks.RotateWebhookSecret(ctx, &subscriptionv1.RotateWebhookSecretRequest{
			Name: w.webhooks[pick%len(w.webhooks)], GracePeriod: durationpb.New(time.Duration(pick%3) * time.Hour),
		})
		return err
	case choice < 8:
		return w.deleteWebhook(ctx, pick%len(w.webhooks))
	case choice < 9 || len(w.keys) == 0:
		created, err := w.caller.apiKeys.CreateApiKey(ctx, &subscriptionv1.CreateApiKeyRequest{
			Parent: "organizations/" + w.organization,
			ApiKey: &subscriptionv1.ApiKey{DisplayName: "k", Role: accessv1.Role_ROLE_VIEWER},
		})
		w.keys = append(w.keys, created.GetName())
		return err
	default:
		return w.deleteKey(ctx, pick%len(w.keys))
	}
}

// updateWebhook changes several fields of a webhook.
func (w *writer) updateWebhook(ctx context.Context, name string, pick int) error {
	w.updates++ // no two are the same, so each changes something
	changed := &subscriptionv1.Webhook{
		Name: name, DisplayName: fmt.Sprint(w.updates), Status: subscriptionv1.Webhook_Status(1 + pick%2),
		Timeout: durationpb.New(time.Second + time.Duration(pick%1000)*time.Millisecond),
	}
	switch pick % 7 {
	case 1:
		changed.RetryPolicy = &subscriptionv1.RetryPolicy{Preset: subscriptionv1.RetryPolicy_Preset(1 + pick%3)}
	case 2:
		changed.FailureThreshold = &subscriptionv1.FailureThreshold{ConsecutiveFailures: int32(pick), Off: pick == 0}
	case 3:
		changed.Headers = []*subscriptionv1.Header{{Name: "X-Number", Value: fmt.Sprint(pick)}}
	case 4:
		changed.Triggers, changed.EventTypes = []string{"meeting.*"}, []string{fmt.Sprint("type-", pick)}
	case 5:
		changed.Filter, changed.MaxConcurrency = fmt.Sprintf("event.data.n > %d", pick), int32(1+pick%1000)
	case 6:
		changed.Metadata, changed.RateLimit = map[string]string{"pick": fmt.Sprint(pick)}, 0.5+float64(pick)
	}
	_, err := w.caller.webhooks.UpdateWebhook(ctx, &subscriptionv1.UpdateWebhookRequest{Webhook: changed})
	return err
}

func (w *writer) deleteWebhook(ctx context.Context, n int) error {
	_, err := w.caller.webhooks.DeleteWebhook(ctx, &subscriptionv1.DeleteWebhookRequest{Name: w.webhooks[n]})
	w.webhooks = slices.Delete(w.webhooks, n, n+1)
	return err
}

func (w *writer) deleteKey(ctx context.Context, n int) error {
	_, err := w.caller.apiKeys.DeleteApiKey(ctx, &subscriptionv1.DeleteApiKeyRequest{Name: w.keys[n]})
	w.keys = slices.Delete(w.keys, n, n+1)
	return err
}

func TestFeedOfManyWritersIsWhatTheTablesSay(t *testing.T) {
	t.Parallel()
	i := setup(t)
	second := i.start(t)
	operators := []*caller{i.operator(t), second.operator(t)}
	const writers, steps = 20, 20
	before := i.revision(t)
	followers := []*follower{i.follow(t), second.follow(t), i.follow(t)}
	for _, f := range followers {
		f.cutOffOften()
	}
	var writing sync.WaitGroup
	for n := range writers {
		w := &writer{caller: operators[n%2], organization: fmt.Sprintf("org-%d", n)}
		w.caller.organization(t, w.organization, false)
		writing.Go(func() {
			for range steps {
				if !assert.NoError(t, w.step(t.Context(), rand.N(10), rand.N(1000))) {
					return
				}
			}
		})
	}
	// Meanwhile others begin at moments that nobody chose.
	var beginning sync.WaitGroup
	snapshots := make([][]*configv1.SnapshotPage, 30)
	for n := range snapshots {
		stream := i.watch(t, 0)
		beginning.Go(func() {
			var err error
			snapshots[n], err = stream.pages()
			assert.NoError(t, err)
		})
	}
	beginning.Wait()
	writing.Wait()

	newest := i.revision(t)
	require.Equal(t, before+writers*(steps+1), newest, "one revision for each change")
	want := i.stored(t)
	for _, f := range followers {
		f.waitFor(t, newest)
		_, got := f.known()
		require.Equal(t, want, got)
		require.Equal(t, 1, f.taken(), "who resumes needs no further snapshot")
		require.Greater(t, f.streams.Load(), int64(5))
	}
	requireReplay(t, i, newest, snapshots)
	var entries, newestEntry int64
	require.NoError(t, i.pool.QueryRow(t.Context(), "SELECT count(*), max(revision) FROM subscription.feed").Scan(&entries, &newestEntry))
	require.Equal(t, newest, newestEntry)
	require.Equal(t, newest-1, entries, "without a gap")
}

// requireReplay asserts that each snapshot is exactly what all changes up to its revision amount to.
func requireReplay(t *testing.T, i *instance, newest int64, snapshots [][]*configv1.SnapshotPage) {
	t.Helper()
	at := map[int64]map[string]string{}
	for _, pages := range snapshots {
		at[pages[0].GetRevision()] = mirrorOf(pages)
	}
	replayed := map[string]string{}
	whole := i.watch(t, 1)
	for n := int64(2); n <= newest; n++ {
		for _, resource := range whole.change(t).GetResources() {
			put(replayed, resource)
		}
		if want, ok := at[n]; ok {
			require.Equal(t, want, replayed)
			delete(at, n)
		}
	}
	require.Empty(t, at)
}

func TestAnySequenceOfChangesIsSeenThroughTheFeed(t *testing.T) {
	t.Parallel()
	i := setup(t)
	operator := i.operator(t)
	follower := i.follow(t)
	organizations := 0
	rapid.Check(t, func(r *rapid.T) {
		organizations++
		w := &writer{caller: operator, organization: fmt.Sprintf("org-%d", organizations)}
		operator.organization(t, w.organization, rapid.Bool().Draw(r, "allow http"))
		from := i.revision(t)
		late := i.watch(t, from)
		for range rapid.IntRange(0, 8).Draw(r, "changes") {
			require.NoError(r, w.step(t.Context(), rapid.IntRange(0, 9).Draw(r, "choice"), rapid.IntRange(0, 1000).Draw(r, "pick")))
			if rapid.Bool().Draw(r, "cut off") {
				follower.cutOff()
			}
		}
		newest := i.revision(t)
		for n := from + 1; n <= newest; n++ {
			require.Equal(r, n, late.change(t).GetRevision())
		}
		late.cancel()
		want := i.stored(r)
		require.Equal(r, want, mirrorOf(i.watch(t, 0).snapshot(t)))
		follower.waitFor(t, newest)
		_, got := follower.known()
		require.Equal(r, want, got)
		for _, name := range w.webhooks {
			require.Contains(r, got, "webhook "+path.Base(name))
		}
	})
}
