package operation

import (
	"context"
	"errors"
	"log/slog"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/meetwire/meetwire/pkg/fault"
)

// Defaults and limits.
const (
	defaultLease = 30 * time.Second
	defaultPoll  = time.Second
	// defaultWorkers is how many operations one instance works on at once.
	defaultWorkers = 4
	// releaseTimeout bounds giving up a lease when the service stops.
	releaseTimeout = 5 * time.Second
	// cleanPeriod is how often it is looked for operations that ended long ago.
	cleanPeriod = time.Hour
)

// Store keeps operations under leases. Besides what each method names, all return fault.Unavailable while it is away.
type Store interface {
	// Take takes over the operation that waits longest for somebody to work on it. It reports false when there is none.
	Take(ctx context.Context, lease time.Duration) (Work, bool, error)
	// Renew makes the lease last longer. ErrTaken when it is lost.
	Renew(ctx context.Context, w Work, lease time.Duration) error
	// Release lets another instance take the operation over at once. ErrTaken when one has already.
	Release(ctx context.Context, w Work) error
	// Postpone lets somebody take the operation over after a wait. It stores a failure that may pass; nil: there is
	// none. ErrTaken when the lease is lost.
	Postpone(ctx context.Context, w Work, wait time.Duration, failure *fault.Error) error
	// End stores that the operation has succeeded, or with a failure that it has failed. ErrTaken when the lease is lost.
	End(ctx context.Context, w Work, failure *fault.Error) error
}

// Handler makes the next step of an operation: a part of the work that can be repeated, of a second or so, after which
// it stores where the next one begins (PgStore.Advance, or Within). It reports whether that was the last. An error that
// may pass (fault.Unavailable, ResourceExhausted, Aborted) makes the operation go on later, with longer waits each time;
// one that is a defect (also fault.Unauthenticated and PermissionDenied) does so for a while; any other ends it as failed.
// Later is no failure.
type Handler func(ctx context.Context, w *Work) (done bool, err error)

// Config is what a Runner is made of. Store, Handlers, Logger and Now are required.
type Config struct {
	Store    Store
	Handlers map[string]Handler // by type of operation
	Logger   *slog.Logger
	Now      func() time.Time
	Lease    time.Duration // 0: 30 s
	Poll     time.Duration // how often it is looked for work; 0: 1 s
	Workers  int           // how many operations are worked on at once; 0: 4
	// Clean is called at the start and every hour (PgStore.RemoveEnded); nil: nothing is removed.
	Clean func(ctx context.Context) error
}

// Runner works on operations.
type Runner struct {
	cfg Config
}

// NewRunner returns a runner.
func NewRunner(cfg Config) (*Runner, error) {
	if cfg.Store == nil || cfg.Handlers == nil || cfg.Logger == nil || cfg.Now == nil {
		return nil, errors.New("a store, handlers, a logger and a clock are required")
	}
	if cfg.Lease == 0 {
		cfg.Lease = defaultLease
	}
	if cfg.Poll == 0 {
		cfg.Poll = defaultPoll
	}
	if cfg.Workers == 0 {
		cfg.Workers = defaultWorkers
	}
	return &Runner{cfg: cfg}, nil
}

// Run works until the context ends. What is under way then goes on at the next start, or in another instance.
func (r *Runner) Run(ctx context.Context) error {
	var running sync.WaitGroup
	for range r.cfg.Workers {
		running.Go(func() { r.work(ctx) })
	}
	if r.cfg.Clean != nil {
		running.Go(func() { r.clean(ctx) })
	}
	running.Wait()
	return nil
}

func (r *Runner) clean(ctx context.Context) {
	ticker := time.NewTicker(cleanPeriod)
	defer ticker.Stop()
	for {
		if err := r.cfg.Clean(ctx); err != nil && ctx.Err() == nil {
			r.cfg.Logger.WarnContext(ctx, "operations that ended long ago not removed", "error", err)
		}
		select {
		case <-ticker.C:
		case <-ctx.Done():
			return
		}
	}
}

func (r *Runner) work(ctx context.Context) {
	for ctx.Err() == nil {
		w, ok, err := r.cfg.Store.Take(ctx, r.cfg.Lease)
		if err != nil && ctx.Err() == nil {
			r.cfg.Logger.WarnContext(ctx, "operations not read", "error", err)
		}
		if ok {
			w.pace.now = r.cfg.Now
			r.run(ctx, w)
			continue
		}
		timer := time.NewTimer(r.cfg.Poll/2 + rand.N(r.cfg.Poll/2+1)) //nolint:gosec // G404: spreading load needs no secrecy
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
		}
	}
}

// run works on an operation until it ends, fails or is lost.
func (r *Runner) run(ctx context.Context, w Work) {
	logger := r.cfg.Logger.With("operation", w.ID, "type", w.Type, "target", w.Target)
	leased, lose := context.WithCancelCause(ctx)
	var renewing sync.WaitGroup
	defer func() { lose(nil); renewing.Wait() }()
	held := w // the steps change w
	renewing.Go(func() { r.renew(leased, held, lose, logger) })

	err := r.steps(leased, &w)
	lose(nil)
	switch {
	case errors.Is(err, ErrTaken) || errors.Is(context.Cause(leased), ErrTaken):
		logger.InfoContext(ctx, "operation stopped, or taken over by another instance")
	case err == nil:
		logger.InfoContext(ctx, "operation succeeded")
	case r.later(ctx, w, err, logger):
	case ctx.Err() != nil:
		last, cancel := context.WithTimeout(context.WithoutCancel(ctx), releaseTimeout)
		defer cancel()
		if err := r.cfg.Store.Release(last, w); err != nil && !errors.Is(err, ErrTaken) {
			logger.WarnContext(ctx, "operation not released: it goes on when its lease ends", "error", err)
		}
	default:
		r.failed(ctx, w, err, logger)
	}
}

// steps makes step after step, and ends the operation after the last one.
func (r *Runner) steps(ctx context.Context, w *Work) error {
	handler, known := r.cfg.Handlers[w.Type]
	if !known {
		// A newer version of the program has begun it.
		return fault.New(fault.Unavailable, "OPERATION_UNKNOWN", "this version of Meetwire knows no operation of the type %s", w.Type)
	}
	for {
		done, err := handler(ctx, w)
		if err != nil {
			return err
		}
		w.Failures = 0
		if done {
			return r.cfg.Store.End(ctx, *w, nil)
		}
	}
}

// renew keeps the lease until the context ends, and cancels it with ErrTaken when the lease is lost.
func (r *Runner) renew(ctx context.Context, w Work, lose context.CancelCauseFunc, logger *slog.Logger) {
	ticker := time.NewTicker(r.cfg.Lease / 3)
	defer ticker.Stop()
	renewed := time.Now()
	for {
		select {
		case <-ticker.C:
		case <-ctx.Done():
			return
		}
		err := r.cfg.Store.Renew(ctx, w, r.cfg.Lease)
		switch {
		case ctx.Err() != nil:
			return
		case err == nil:
			renewed = time.Now()
		case errors.Is(err, ErrTaken) || time.Since(renewed) > r.cfg.Lease:
			lose(ErrTaken)
			return
		default:
			logger.WarnContext(ctx, "lease of the operation not renewed", "error", err)
		}
	}
}
