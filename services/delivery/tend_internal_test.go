package delivery

import (
	"context"
	"errors"
	"log/slog"
	"strconv"
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

// mine says of every webhook that this process is to drain it.
func mine(context.Context, tended) (done bool, err error) { return false, nil }

// While others drain webhooks, this process looks on, and drains its own. What it is left, it drains too.
func TestLookingOnHoldsUpNoDrain(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		tender := newTender(slog.New(slog.DiscardHandler), nil)
		var mu sync.Mutex
		drained := make(map[string]int)
		drain := func(_ context.Context, w tended) error {
			mu.Lock()
			defer mu.Unlock()
			drained[w.webhook]++
			return nil
		}
		left, finished := make(chan struct{}), make(chan struct{})
		look := func(ctx context.Context, w tended) (done bool, err error) {
			switch w.webhook[0] {
			case 'l':
				<-left
			case 'f':
				<-finished
				return true, ctx.Err()
			}
			return false, ctx.Err()
		}
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { done <- tender.drainAll(ctx, look, drain) }()
		for n := range maxDrains + 1 {
			tender.drains.add(tended{"acme", "l" + strconv.Itoa(n)})
			tender.drains.add(tended{"acme", "f" + strconv.Itoa(n)})
		}
		synctest.Wait()
		tender.drains.add(tended{"acme", "own"})
		synctest.Wait()
		require.Equal(t, map[string]int{"own": 1}, drained)
		close(finished)
		synctest.Wait()
		require.Equal(t, map[string]int{"own": 1}, drained)
		close(left)
		synctest.Wait()
		require.Len(t, drained, 1+maxDrains+1)
		require.NotContains(t, drained, "f0")
		cancel()
		require.NoError(t, <-done)
	})
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
		go func() { done <- tender.drainAll(ctx, mine, drain) }()
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

// parked is what waits of an organization: waking some of it takes long.
type parked struct {
	long  chan struct{}
	woken chan string
}

func (p *parked) HasTimers(_ context.Context, organization string) (bool, error) {
	return organization == "acme", nil
}

func (p *parked) Wake(ctx context.Context, _, webhook string) error {
	if webhook == "long" {
		select {
		case <-p.long:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	p.woken <- webhook
	return nil
}

func TestResumedWebhookDoesNotWaitForAnother(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		tender := newTender(slog.New(slog.DiscardHandler), nil)
		queue := &parked{long: make(chan struct{}), woken: make(chan string, 10)}
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { done <- tender.wakeAll(ctx, queue) }()
		tender.wakes.add(tended{"acme", "long"})
		synctest.Wait()
		for _, other := range []tended{{"acme", "a"}, {"nobody", "x"}, {"acme", "b"}} {
			tender.wakes.add(other)
			synctest.Wait()
		}
		require.Equal(t, []string{"a", "b"}, []string{<-queue.woken, <-queue.woken})
		require.Empty(t, queue.woken)
		tender.wakes.add(tended{"acme", "long"}) // resumed once more, while what was parked before is being woken
		synctest.Wait()
		close(queue.long)
		require.Equal(t, []string{"long", "long"}, []string{<-queue.woken, <-queue.woken})
		cancel()
		require.NoError(t, <-done)
		require.Empty(t, queue.woken)
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
