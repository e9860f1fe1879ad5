package delivery

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"testing"
	"testing/synctest"

	"github.com/stretchr/testify/require"

	"github.com/meetwire/meetwire/pkg/lifecycle"
	"github.com/meetwire/meetwire/services/delivery/internal/core"
)

// known is what tests configure.
type known map[string]*core.Webhook

func (k known) Webhook(id string) (*core.Webhook, bool) {
	w, ok := k[id]
	return w, ok
}

func TestTendingDependsOnTheStatus(t *testing.T) {
	t.Parallel()
	tender := newTender(slog.New(slog.DiscardHandler), nil)
	tender.webhooks = known{
		"active": {Status: core.StatusActive}, "paused": {Status: core.StatusPaused}, "disabled": {Status: core.StatusDisabled},
	}
	for _, webhook := range []string{"active", "paused", "disabled", "deleted", "active"} {
		tender.tend("acme", webhook)
	}
	set := func(webhook string) map[tended]struct{} { return map[tended]struct{}{{"acme", webhook}: {}} }
	require.Equal(t, set("active"), tender.wakes.take())
	require.Equal(t, set("disabled"), tender.drains.take())
	require.Equal(t, set("deleted"), tender.cancels.take())
}

func TestDrainsOfOneWebhookFollowEachOther(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		tender := newTender(slog.New(slog.DiscardHandler), nil)
		release := make(chan struct{})
		var mu sync.Mutex
		began, active, most := make(map[string]int), 0, 0
		drain := func(ctx context.Context, w tended) error {
			mu.Lock()
			began[w.webhook]++
			active++
			most = max(most, active)
			mu.Unlock()
			<-release
			mu.Lock()
			active--
			mu.Unlock()
			return ctx.Err()
		}
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { done <- tender.drainAll(ctx, drain) }()
		a := tended{"acme", "a"}
		tender.drains.add(a)
		synctest.Wait()
		for range 3 { // while it runs
			tender.drains.add(a)
			synctest.Wait()
		}
		require.Equal(t, map[string]int{"a": 1}, began)
		for _, other := range []string{"b", "c", "d", "e", "f"} {
			tender.drains.add(tended{"acme", other})
		}
		synctest.Wait()
		require.Equal(t, maxDrains, active)
		close(release)
		synctest.Wait()
		require.Equal(t, map[string]int{"a": 2, "b": 1, "c": 1, "d": 1, "e": 1, "f": 1}, began, "it is looked at once more")
		require.Equal(t, maxDrains, most)
		cancel()
		require.NoError(t, <-done)
	})
}

func TestWhatIsRefusedForGoodKeepsNobodyElseWaiting(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		tender := newTender(slog.New(slog.DiscardHandler), nil)
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		looked := make(chan string)
		go func() {
			done <- tender.cancels.run(ctx, each(tender.again("cancel", func(_ context.Context, w tended) error {
				looked <- w.webhook
				return lifecycle.Permanent(errors.New("refused"))
			})))
		}()
		for _, webhook := range []string{"a", "b"} {
			tender.cancels.add(tended{"acme", webhook})
			require.Equal(t, webhook, <-looked)
			synctest.Wait()
		}
		cancel()
		require.NoError(t, <-done)
	})
}
