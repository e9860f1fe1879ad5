package delivery

import (
	"context"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/meetwire/meetwire/pkg/bus"
	"github.com/meetwire/meetwire/pkg/lifecycle"
	"github.com/meetwire/meetwire/services/delivery/internal/core"
	"github.com/meetwire/meetwire/services/delivery/internal/natsbus"
)

// tended names a webhook for which something may wait.
type tended struct{ organization, webhook string }

// backlog is a set of webhooks to be tended to, each once. Adding never blocks.
type backlog struct {
	mu      sync.Mutex
	pending map[tended]struct{}
	signal  chan struct{}
}

func newBacklog() *backlog {
	return &backlog{pending: make(map[tended]struct{}), signal: make(chan struct{}, 1)}
}

func (b *backlog) add(t tended) {
	b.mu.Lock()
	b.pending[t] = struct{}{}
	b.mu.Unlock()
	select {
	case b.signal <- struct{}{}:
	default:
	}
}

// take empties the set.
func (b *backlog) take() map[tended]struct{} {
	b.mu.Lock()
	defer b.mu.Unlock()
	pending := b.pending
	b.pending = make(map[tended]struct{})
	return pending
}

// run gives the webhooks that are added to a function, until the context ends.
func (b *backlog) run(ctx context.Context, do func(ctx context.Context, pending map[tended]struct{}) error) error {
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-b.signal:
		}
		if do(ctx, b.take()) != nil {
			return nil //nolint:nilerr // the context has ended
		}
	}
}

// each does something for one webhook after the other.
func each(do func(ctx context.Context, t tended) error) func(ctx context.Context, pending map[tended]struct{}) error {
	return func(ctx context.Context, pending map[tended]struct{}) error {
		for t := range pending {
			if err := do(ctx, t); err != nil {
				return err
			}
		}
		return nil
	}
}

// How many webhooks are looked after at once: disabled ones that are drained, and resumed ones whose parked deliveries
// are woken. One for which much waits holds up no other.
const (
	maxDrains = 4
	maxWakes  = 4
	// maxLooks is for how many disabled ones it is found out at once whether this process is to drain them.
	maxLooks = 64
)

// tender looks after what waits in RETRIES when a webhook's status changes: that of a resumed one is made due, that
// of a disabled one becomes dead letters, that of a deleted one is canceled. Each kind has goroutines of its own, since a
// drain can take a while.
type tender struct {
	webhooks interface {
		Webhook(id string) (*core.Webhook, bool)
	}
	logger  *slog.Logger
	drained func(moved int)
	share   func() (rank, count int) // of this process among all that tend

	wakes, cancels, drains *backlog
}

func newTender(logger *slog.Logger, drained func(int)) *tender {
	return &tender{logger: logger, drained: drained, wakes: newBacklog(), cancels: newBacklog(), drains: newBacklog()}
}

// tend has a webhook looked after, as its status demands.
func (t *tender) tend(organization, webhook string) {
	w, ok := t.webhooks.Webhook(webhook)
	switch which := (tended{organization, webhook}); {
	case !ok:
		t.cancels.add(which)
	case w.Status == core.StatusDisabled:
		t.drains.add(which)
	case w.Status == core.StatusActive:
		t.wakes.add(which)
	}
}

// Waits between attempts to look after a webhook.
const (
	minTendWait = 100 * time.Millisecond
	maxTendWait = 5 * time.Second
)

// again makes what may fail be done until it succeeds, or the context ends. What is refused for good is logged: it
// must not keep other webhooks from being looked after.
func (t *tender) again(what string, do func(ctx context.Context, t tended) error) func(ctx context.Context, t tended) error {
	return func(ctx context.Context, which tended) error {
		err := lifecycle.Retry(ctx, t.logger, what, minTendWait, maxTendWait, func(ctx context.Context) error {
			return do(ctx, which)
		})
		if err != nil && ctx.Err() == nil {
			t.logger.ErrorContext(ctx, "webhook cannot be looked after", "what", what,
				"organization", which.organization, "webhook", which.webhook, "error", err)
			return nil
		}
		return err
	}
}

// timers is what waits, for a tender that wakes it.
type timers interface {
	// HasTimers reports whether anything waits for an organization.
	HasTimers(ctx context.Context, organization string) (bool, error)
	// Wake makes due what is parked for a webhook.
	Wake(ctx context.Context, organization, webhook string) error
}

// wakeAll makes due what is parked for webhooks, until the context ends. After a start these are all that are active: of
// an organization for which nothing waits, as for most, none is asked for by itself.
func (t *tender) wakeAll(ctx context.Context, queue timers) error {
	crew := newCrew(maxWakes, t.wakes, t.again("wake parked deliveries", func(ctx context.Context, w tended) error {
		return queue.Wake(ctx, w.organization, w.webhook)
	}))
	defer crew.wait()
	return t.wakes.run(ctx, func(ctx context.Context, pending map[tended]struct{}) error {
		waits := make(map[string]bool)
		return each(t.again("look for parked deliveries", func(ctx context.Context, w tended) error {
			if _, known := waits[w.organization]; !known {
				some, err := queue.HasTimers(ctx, w.organization)
				if err != nil {
					return err
				}
				waits[w.organization] = some
			}
			if !waits[w.organization] {
				return nil // what is parked from now on is looked after by whoever parks it
			}
			return crew.take(ctx, w)
		}))(ctx, pending)
	})
}

// run tends until the context ends.
func (t *tender) run(ctx context.Context, queue *natsbus.Queue, engine *core.Engine) error {
	return bus.RunAll(ctx,
		func(ctx context.Context) error {
			return t.cancels.run(ctx, each(t.again("cancel what waits for a deleted webhook", func(ctx context.Context, w tended) error {
				return t.cancel(ctx, queue, engine, w)
			})))
		},
		func(ctx context.Context) error { return t.wakeAll(ctx, queue) },
		func(ctx context.Context) error {
			return t.drainAll(ctx, func(ctx context.Context, w tended) (done bool, err error) {
				return t.lookOn(ctx, queue, w)
			}, t.again("drain a disabled webhook", func(ctx context.Context, w tended) error {
				return t.drain(ctx, queue, engine, w)
			}))
		},
	)
}

// cancel cancels the timers of a webhook that is gone.
func (t *tender) cancel(ctx context.Context, queue *natsbus.Queue, engine *core.Engine, w tended) error {
	if _, ok := t.webhooks.Webhook(w.webhook); ok {
		return nil
	}
	if err := queue.CancelTimers(ctx, w.organization, w.webhook); err != nil {
		return err
	}
	return engine.DropPending(ctx, w.organization, w.webhook)
}

// drainAll drains webhooks that are disabled, but for those that look says are done with, until the context ends.
func (t *tender) drainAll(
	ctx context.Context, look func(ctx context.Context, t tended) (done bool, err error), drain func(ctx context.Context, t tended) error,
) error {
	drains := newCrew(maxDrains, t.drains, drain)
	defer drains.wait()
	looks := newCrew(maxLooks, t.drains, t.again("look on while a webhook is drained", func(ctx context.Context, w tended) error {
		if done, err := look(ctx, w); done || err != nil {
			return err
		}
		return drains.take(ctx, w)
	}))
	defer looks.wait()
	return t.drains.run(ctx, each(looks.take))
}

// disabled returns a webhook if it is disabled, and whether it still is as it was then.
func (t *tender) disabled(w tended) (webhook *core.Webhook, still func() bool) {
	webhook, ok := t.webhooks.Webhook(w.webhook)
	if !ok || webhook.Status != core.StatusDisabled {
		return nil, nil
	}
	return webhook, func() bool {
		now, ok := t.webhooks.Webhook(w.webhook)
		return ok && now.Status == core.StatusDisabled && now.Generation == webhook.Generation
	}
}

// lookOn waits while another process drains a disabled webhook, and reports whether nothing is left to do.
func (t *tender) lookOn(ctx context.Context, queue *natsbus.Queue, w tended) (done bool, err error) {
	disabled, still := t.disabled(w)
	if disabled == nil {
		return true, nil
	}
	rank, count := t.share()
	return queue.LookOn(ctx, w.organization, w.webhook, rank, count, still)
}

// drain moves what waits for a disabled webhook to DEADLETTERS, until it is no longer disabled as it is now.
func (t *tender) drain(ctx context.Context, queue *natsbus.Queue, engine *core.Engine, w tended) error {
	disabled, still := t.disabled(w)
	if disabled == nil {
		return nil
	}
	moved, err := queue.Drain(ctx, w.organization, w.webhook, still, func(ctx context.Context, task *core.Task, replaces string) error {
		return engine.BuryWaiting(ctx, task, replaces, disabled)
	})
	t.drained(moved)
	if moved > 0 {
		t.logger.InfoContext(ctx, "deliveries that waited for a disabled webhook are dead letters now",
			"organization", w.organization, "webhook", w.webhook, "deliveries", moved)
	}
	if err != nil {
		return fmt.Errorf("drain webhook %s: %w", w.webhook, err)
	}
	return nil
}
