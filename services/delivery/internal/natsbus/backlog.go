package natsbus

import (
	"context"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/meetwire/meetwire/pkg/bus"
)

// MaxBacklog is how many timers may wait for one webhook. Of the lane bulk none is added beyond half of that, so that a
// replay leaves room for the retries of live deliveries.
const MaxBacklog = 100_000

const (
	// backlogSteps is how often a webhook's timers are counted on the way to as many as may be, if all are set by
	// this process.
	backlogSteps = 8
	// minBacklogStep is how many timers this process sets for a webhook at least before it counts them again.
	minBacklogStep = 200
	// fullTime is for how long a webhook is taken for full without looking again.
	fullTime = time.Second
	// backlogMemory is how long a webhook for which no timer is set is remembered.
	backlogMemory = 10 * time.Minute
)

// backlogs knows roughly how many timers wait for webhooks. A webhook for which few are set is never asked for.
type backlogs struct {
	limit  int
	count  func(ctx context.Context, organization, webhook string) (int, error)
	logger *slog.Logger
	now    func() time.Time

	mu     sync.Mutex
	all    map[string]*backlog // by webhook
	pruned time.Time
}

type backlog struct {
	known   int // how many there were when they were counted
	set     int // by this process since
	counted time.Time
	used    time.Time
	asking  bool
}

// step is after how many new timers they are counted again.
func (b *backlog) step(limit int) int { return max((limit-b.known)/backlogSteps, minBacklogStep) }

// full reports whether no further timer may be set for a webhook, of the lane bulk or another. Otherwise one is about to
// be.
func (b *backlogs) full(ctx context.Context, organization, webhook string, bulk bool) bool {
	limit := b.limit
	if bulk {
		limit /= 2
	}
	now := b.now()
	b.mu.Lock()
	defer b.mu.Unlock()
	b.prune(now)
	one := b.all[webhook]
	if one == nil {
		one = new(backlog)
		b.all[webhook] = one
	}
	one.used = now
	full := one.known >= limit
	if !one.asking && (full && now.Sub(one.counted) >= fullTime || !full && one.set >= one.step(limit)) {
		b.ask(ctx, one, organization, webhook)
		full = one.known >= limit
	}
	if !full {
		one.set++
	}
	return full
}

// ask counts the timers of a webhook. The others go by what is known meanwhile.
func (b *backlogs) ask(ctx context.Context, one *backlog, organization, webhook string) {
	one.asking = true
	b.mu.Unlock()
	n, err := b.count(ctx, organization, webhook)
	b.mu.Lock()
	one.asking, one.set, one.counted = false, 0, b.now()
	if err != nil {
		b.logger.WarnContext(ctx, "timers of a webhook cannot be counted", "organization", organization, "webhook", webhook, "error", err)
		return
	}
	one.known = n
}

// prune forgets webhooks for which no timers are set any more.
func (b *backlogs) prune(now time.Time) {
	if now.Sub(b.pruned) < backlogMemory {
		return
	}
	b.pruned = now
	for webhook, one := range b.all {
		if !one.asking && now.Sub(one.used) > backlogMemory {
			delete(b.all, webhook)
		}
	}
}

// LimitBacklog says how many timers may wait for one webhook, instead of MaxBacklog, before the first is set.
func (q *Queue) LimitBacklog(limit int) { q.backlogs.limit = limit }

// headerPending is in the answer to a batched get: how many messages there are beyond.
const headerPending = "Nats-Num-Pending"

// CountTimers returns how many timers wait for a webhook. The server tells with the first of them.
func (q *Queue) CountTimers(ctx context.Context, organization, webhook string) (int, error) {
	n, err := countMatching(ctx, q.timers, bus.RetryTimersFilter(organization, webhook))
	if err != nil {
		return 0, fmt.Errorf("count timers: %w", err)
	}
	return n, nil
}
