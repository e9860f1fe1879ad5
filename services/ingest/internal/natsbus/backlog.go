package natsbus

import (
	"context"
	"log/slog"
	"sync"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/meetwire/meetwire/pkg/bus"
)

// MaxBacklog is how many dead letters may wait for a disabled webhook before what is for it is skipped.
const MaxBacklog = 100_000

const (
	// recount is how often the dead letters of a webhook that gets events are counted.
	recount = 10 * time.Second
	// recountSoon is how soon they are counted again when a part of the limit has been added since: other instances may
	// have added as much.
	recountSoon  = time.Second
	recountAfter = 10 // a tenth
	// forgetAfter is after which time without an event a webhook is forgotten.
	forgetAfter = 10 * time.Minute
)

// Backlogs knows how many dead letters wait for disabled webhooks. It implements core.Backlog: events do not wait while
// dead letters are counted. Instances count alike, and know of what others add when they count anew.
type Backlogs struct {
	js     jetstream.JetStream
	limit  int
	logger *slog.Logger
	now    func() time.Time
	wake   chan struct{} // has room for one

	mu       sync.Mutex
	webhooks map[string]*backlog
}

// backlog is what is known of one webhook.
type backlog struct {
	organization string
	waiting      int       // as counted
	added        int       // events since then
	counted      time.Time // zero: not yet
	asked        time.Time // when an event was for it last
}

// NewBacklogs makes one that knows nothing yet: until they are counted, no dead letters wait.
func NewBacklogs(js jetstream.JetStream, limit int, logger *slog.Logger, now func() time.Time) *Backlogs {
	return &Backlogs{js: js, limit: limit, logger: logger, now: now, wake: make(chan struct{}, 1), webhooks: make(map[string]*backlog)}
}

// Full implements core.Backlog. Where it says no, the event counts as one more that waits.
func (b *Backlogs) Full(organization, webhook string) bool { return b.full(organization, webhook, 1) }

// IsFull implements core.Backlog.
func (b *Backlogs) IsFull(organization, webhook string) bool { return b.full(organization, webhook, 0) }

// full reports whether a webhook is full, and adds events where it is not.
func (b *Backlogs) full(organization, webhook string, events int) bool {
	now := b.now()
	b.mu.Lock()
	defer b.mu.Unlock()
	known := b.webhooks[webhook]
	if known == nil {
		known = &backlog{organization: organization}
		b.webhooks[webhook] = known
	}
	known.asked = now
	full := known.waiting+known.added >= b.limit
	if !full {
		known.added += events
	}
	if b.due(known, now) {
		select {
		case b.wake <- struct{}{}:
		default: // it is awake
		}
	}
	return full
}

// due reports whether the dead letters of a webhook are to be counted.
func (b *Backlogs) due(known *backlog, now time.Time) bool {
	age := now.Sub(known.counted)
	return known.counted.IsZero() || known.added > max(b.limit/recountAfter, 1) && age >= recountSoon ||
		known.asked.After(known.counted) && age >= recount
}

// Run counts until the context ends.
func (b *Backlogs) Run(ctx context.Context) error {
	ticker := time.NewTicker(recount)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-b.wake:
		case <-ticker.C:
		}
		for webhook, organization := range b.dueNow() {
			b.count(ctx, organization, webhook)
		}
	}
}

// dueNow returns the webhooks whose dead letters are to be counted, with their organizations, and forgets those that get
// no events any more.
func (b *Backlogs) dueNow() map[string]string {
	now := b.now()
	b.mu.Lock()
	defer b.mu.Unlock()
	due := make(map[string]string)
	for webhook, known := range b.webhooks {
		switch {
		case now.Sub(known.asked) >= forgetAfter:
			delete(b.webhooks, webhook)
		case b.due(known, now):
			due[webhook] = known.organization
		}
	}
	return due
}

// count counts the dead letters of one webhook. A count that fails is made again later, and until then the last one
// counts.
func (b *Backlogs) count(ctx context.Context, organization, webhook string) {
	waiting, err := b.deadLetters(ctx, organization, webhook)
	if err != nil && ctx.Err() == nil {
		b.logger.WarnContext(ctx, "dead letters of a disabled webhook cannot be counted", "organization", organization, "webhook", webhook, "error", err)
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	known := b.webhooks[webhook]
	if known == nil {
		return
	}
	if known.counted = b.now(); err == nil {
		known.waiting, known.added = waiting, 0
	}
}

// deadLetters asks the server how many there are: a consumer is told so when it is made, from what the stream knows of
// its subjects.
func (b *Backlogs) deadLetters(ctx context.Context, organization, webhook string) (int, error) {
	stream, err := request(ctx, func(ctx context.Context) (jetstream.Stream, error) {
		return b.js.Stream(ctx, bus.StreamDeadLetters)
	})
	if err != nil {
		return 0, err
	}
	counter, err := request(ctx, func(ctx context.Context) (jetstream.Consumer, error) {
		return stream.CreateConsumer(ctx, jetstream.ConsumerConfig{
			FilterSubject:     bus.DeadLetterSubject(bus.AnyToken, organization, webhook, bus.AnyToken),
			AckPolicy:         jetstream.AckNonePolicy,
			HeadersOnly:       true,
			InactiveThreshold: historyIdle,
			MemoryStorage:     true,
			Replicas:          1,
		})
	})
	if err != nil {
		return 0, err
	}
	info := counter.CachedInfo()
	_, err = request(ctx, func(ctx context.Context) (struct{}, error) {
		return struct{}{}, stream.DeleteConsumer(ctx, info.Name)
	})
	if err != nil {
		b.logger.DebugContext(ctx, "counter of dead letters was not removed and will expire", "error", err)
	}
	return int(info.NumPending), nil //nolint:gosec // G115: a count
}
