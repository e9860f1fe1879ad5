package feed

import (
	"context"
	"log/slog"
	"sync"
	"time"

	"github.com/meetwire/meetwire/pkg/lifecycle"
)

const (
	// pollInterval is how late a change is seen at most when the hint of it was lost.
	pollInterval = 500 * time.Millisecond
	// pollTimeout bounds one look at the newest revision.
	pollTimeout = 2 * time.Second
	// maxSilence is how old the last look may be for a heartbeat to be true.
	maxSilence = 2 * time.Second

	minListenBackoff = 100 * time.Millisecond
	maxListenBackoff = 5 * time.Second
)

// hub looks for new revisions, once for all watchers of the process, and wakes them.
type hub struct {
	source Source
	logger *slog.Logger
	hints  chan struct{} // holds one hint that has not been looked after yet

	mu    sync.Mutex
	state state
}

// state is what the hub knows.
type state struct {
	revision int64         // the newest one; 0: not known yet
	restored int           // how many times revisions went backwards, which only another database explains
	polled   time.Time     // when the database last said so
	learned  time.Time     // when a watcher was last told of a newer one than the hub had seen
	changed  chan struct{} // closed when revision or restored change
}

func newHub(source Source, logger *slog.Logger) *hub {
	return &hub{
		source: source,
		logger: logger,
		hints:  make(chan struct{}, 1),
		state:  state{changed: make(chan struct{})},
	}
}

// now returns what is known at the moment.
func (h *hub) now() state {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.state
}

// alive reports whether the revision was read a moment ago.
func (s state) alive() bool { return !s.polled.IsZero() && time.Since(s.polled) <= maxSilence }

// hint asks for a look before the next regular one.
func (h *hub) hint() {
	select {
	case h.hints <- struct{}{}:
	default: // one is waiting, and the look that it causes comes after this change
	}
}

// run looks for new revisions until the context ends.
func (h *hub) run(ctx context.Context) error {
	var listener sync.WaitGroup
	defer listener.Wait()
	listener.Go(func() {
		// It only ends with the context: while nobody listens, polling goes on.
		_ = lifecycle.Retry(ctx, h.logger, "listen for changes of the configuration", minListenBackoff, maxListenBackoff,
			func(ctx context.Context) error { return h.source.Listen(ctx, h.hint) })
	})
	ticker := time.NewTicker(pollInterval)
	defer ticker.Stop()
	failing := false
	for {
		err := h.poll(ctx)
		if ctx.Err() != nil {
			return nil
		}
		if failed := err != nil; failed != failing {
			failing = failed
			if failed {
				h.logger.WarnContext(ctx, "configuration cannot be read, watchers get no heartbeat", "error", err)
			} else {
				h.logger.InfoContext(ctx, "configuration can be read again")
			}
		}
		select {
		case <-ctx.Done():
			return nil
		case <-ticker.C:
		case <-h.hints:
		}
	}
}

// poll looks for a new revision once.
func (h *hub) poll(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, pollTimeout)
	defer cancel()
	asked := time.Now()
	revision, err := h.source.Revision(ctx)
	if err != nil {
		return err
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	h.state.polled = asked
	if revision == h.state.revision {
		return nil
	}
	if revision < h.state.revision && !asked.After(h.state.learned) {
		return nil // it may have been the newest when it was asked for
	}
	if revision < h.state.revision {
		h.logger.WarnContext(ctx, "revisions went backwards, watchers begin anew",
			"revision", revision, "revision_before", h.state.revision)
		h.state.restored++
	}
	h.set(revision)
	return nil
}

// learn takes in a revision that a watcher has been told of, which can be newer than what was last looked for: else it would
// not be noticed when revisions go backwards behind it. What was told before a restore says nothing.
func (h *hub) learn(revision int64, restored int) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if restored == h.state.restored && revision > h.state.revision {
		h.state.learned = time.Now()
		h.set(revision)
	}
}

// set changes the revision and wakes everybody.
func (h *hub) set(revision int64) {
	h.state.revision = revision
	close(h.state.changed)
	h.state.changed = make(chan struct{})
}
