// Package configfeed owns a service's copy of the configuration: it follows ConfigService.WatchConfig, survives
// its absence, and gives every change to the sinks of the service. It also answers the two questions that every
// service asks, which API key belongs to whom and which triggers and organizations exist, and reports which keys are
// used. It decides nothing about webhooks, which each service keeps in a form of its own.
package configfeed

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"github.com/meetwire/meetwire/pkg/lifecycle"
	configv1 "github.com/meetwire/meetwire/proto/gen/meetwire/config/v1"
)

// Sink is a service's own view of the configuration. It is called from one goroutine.
type Sink interface {
	// Reset replaces everything.
	Reset(snapshot []*configv1.Resource, revision int64)
	// Apply makes one change.
	Apply(change *configv1.Change)
}

// minMaxAge is the least time for which API calls are answered without a sign of life from the feed: with one due
// each second, less would refuse calls whenever the feed hiccups.
const minMaxAge = 5 * time.Second

// CheckMaxAge reports a time that is too short to be given to New.
func CheckMaxAge(maxAge time.Duration) error {
	if maxAge < minMaxAge {
		return fmt.Errorf("max-config-age (MEETWIRE_MAX_CONFIG_AGE): must be at least %s", minMaxAge)
	}
	return nil
}

const (
	// silence is how long nothing may come, with a heartbeat due each second, before the feed is asked anew.
	silence    = 5 * time.Second
	minBackoff = 50 * time.Millisecond
	maxBackoff = 2 * time.Second
)

// errGap is returned when a change does not follow the one before: the copy is then fetched anew.
var errGap = errors.New("the feed has a gap")

// Watcher follows the feed.
type Watcher struct {
	client    configv1.ConfigServiceClient
	logger    *slog.Logger
	maxAge    time.Duration
	sinks     []Sink
	directory *directory
	uses      *uses
	now       func() time.Time

	reportEvery time.Duration // how often the uses of keys are reported

	lastSign atomic.Int64 // Unix nanoseconds of the last message

	mu       sync.Mutex
	revision int64
	loaded   bool
	waiters  map[chan struct{}]int64 // closed when the revision is reached
}

// New makes a watcher that gives what it learns to the sinks, in their order.
func New(client configv1.ConfigServiceClient, logger *slog.Logger, maxAge time.Duration, sinks ...Sink) *Watcher {
	directory := newDirectory()
	return &Watcher{
		client:    client,
		logger:    logger,
		maxAge:    maxAge,
		directory: directory,
		sinks:     append([]Sink{directory}, sinks...),
		uses:      newUses(),
		now:       time.Now,
		waiters:   make(map[chan struct{}]int64),

		reportEvery: time.Minute,
	}
}

// Run follows the feed until the context ends, and reports which keys are used. While the feed is away the last state
// stays in force.
func (w *Watcher) Run(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	var reporting sync.WaitGroup
	reporting.Go(func() { w.reportUses(ctx) })
	defer reporting.Wait()
	defer cancel()

	err := lifecycle.Retry(ctx, w.logger, "follow the configuration", minBackoff, maxBackoff, w.follow)
	if ctx.Err() != nil {
		return nil // told to stop
	}
	return fmt.Errorf("follow the configuration: %w", err)
}

// follow works off one stream.
func (w *Watcher) follow(ctx context.Context) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	watchdog := time.AfterFunc(silence, func() { cancel(fmt.Errorf("nothing came for %s", silence)) })
	defer watchdog.Stop()

	stream, err := w.client.WatchConfig(ctx, &configv1.WatchConfigRequest{AfterRevision: w.Revision()})
	if err != nil {
		return err
	}
	var snapshot []*configv1.Resource
	for {
		response, err := stream.Recv()
		if err != nil {
			if cause := context.Cause(ctx); cause != nil {
				return cause
			}
			return err
		}
		watchdog.Reset(silence)
		w.lastSign.Store(w.now().UnixNano())
		switch message := response.GetMessage().(type) {
		case *configv1.WatchConfigResponse_SnapshotPage:
			snapshot = append(snapshot, message.SnapshotPage.GetResources()...)
			if message.SnapshotPage.GetLast() {
				w.reset(snapshot, message.SnapshotPage.GetRevision())
				snapshot = nil
			}
		case *configv1.WatchConfigResponse_Change:
			if err := w.apply(message.Change); err != nil {
				return err
			}
		case *configv1.WatchConfigResponse_Heartbeat:
		}
	}
}

// largeSnapshot is from how many resources on a snapshot is worth a collection of garbage of its own.
const largeSnapshot = 10_000

func (w *Watcher) reset(snapshot []*configv1.Resource, revision int64) {
	if len(snapshot) >= largeSnapshot {
		// Receiving it has left as much garbage as it is large, and the sinks need as much again: without this, the
		// process would take for good what it needs only now.
		runtime.GC()
	}
	for _, sink := range w.sinks {
		sink.Reset(snapshot, revision)
	}
	w.advance(revision)
	w.logger.Info("configuration loaded", "revision", revision, "resources", len(snapshot))
}

func (w *Watcher) apply(change *configv1.Change) error {
	if have := w.Revision(); change.GetRevision() != have+1 {
		w.advance(0)
		return fmt.Errorf("%w: revision %d follows %d", errGap, change.GetRevision(), have)
	}
	for _, sink := range w.sinks {
		sink.Apply(change)
	}
	w.advance(change.GetRevision())
	return nil
}

// advance notes the revision that is in force now. 0 asks for a snapshot next; what is loaded stays in force.
func (w *Watcher) advance(revision int64) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.revision = revision
	if revision == 0 {
		return
	}
	w.loaded = true
	for waiter, wanted := range w.waiters {
		if revision >= wanted {
			close(waiter)
			delete(w.waiters, waiter)
		}
	}
}

// Revision returns the revision in force, 0 before the first snapshot.
func (w *Watcher) Revision() int64 {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.revision
}

// WaitFor waits until a revision, or a later one, is in force. Revision 0 waits for the first snapshot.
func (w *Watcher) WaitFor(ctx context.Context, revision int64) error {
	w.mu.Lock()
	if w.loaded && w.revision >= revision {
		w.mu.Unlock()
		return nil
	}
	waiter := make(chan struct{})
	w.waiters[waiter] = revision
	w.mu.Unlock()
	select {
	case <-waiter:
		return nil
	case <-ctx.Done():
		w.mu.Lock()
		delete(w.waiters, waiter)
		w.mu.Unlock()
		return fmt.Errorf("wait for configuration revision %d: %w", revision, ctx.Err())
	}
}

// Ready reports whether a configuration is in force. It may be old: deliveries go on with what there is.
func (w *Watcher) Ready(context.Context) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if !w.loaded {
		return errors.New("no configuration yet")
	}
	return nil
}

// HeardSince reports whether the feed has given a sign of life since a time: then what was configured by then is in
// force here.
func (w *Watcher) HeardSince(t time.Time) bool { return w.lastSign.Load() > t.UnixNano() }

// stale reports whether the feed has been silent for too long to trust an API key.
func (w *Watcher) stale() bool {
	return w.now().Sub(time.Unix(0, w.lastSign.Load())) > w.maxAge
}
