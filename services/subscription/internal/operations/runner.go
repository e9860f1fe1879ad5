// Package operations owns the work that takes longer than a request. Several instances share it: each takes over what
// nobody works on, for the time of a lease that it renews, and goes on where the one before has stopped. Every step may
// be repeated. It must not decide what is begun, and holds no state of its own.
package operations

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/meetwire/meetwire/pkg/fault"
	"github.com/meetwire/meetwire/pkg/rpc"
	deliveryv1 "github.com/meetwire/meetwire/proto/gen/meetwire/delivery/v1"
	ingestv1 "github.com/meetwire/meetwire/proto/gen/meetwire/ingest/v1"
	"github.com/meetwire/meetwire/services/subscription/internal/core"
)

// Defaults and limits.
const (
	defaultLease = 30 * time.Second
	defaultPoll  = time.Second
	// workers is how many operations one instance works on at once.
	workers = 4
	// callTimeout bounds one call of another service.
	callTimeout = 2 * time.Minute
	// releaseTimeout bounds giving up a lease when the service stops.
	releaseTimeout = 5 * time.Second
	// firstWait and maxWait bound the waits after a failure; each is twice as long as the one before.
	firstWait = time.Second
	maxWait   = time.Minute
	// maxDefects is how often in a row a failure of ours, which most likely does not pass, is tried again.
	maxDefects = 20
)

// Store keeps operations. Besides what each method names, all return fault.Unavailable while it is away.
type Store interface {
	// TakeOperation takes over the operation that waits longest for somebody to work on it. It reports false when
	// there is none.
	TakeOperation(ctx context.Context, lease time.Duration) (core.Work, bool, error)
	// RenewOperation makes the lease last longer. core.ErrTaken when it is lost.
	RenewOperation(ctx context.Context, w core.Work, lease time.Duration) error
	// ReleaseOperation lets another instance take the operation over at once.
	ReleaseOperation(ctx context.Context, w core.Work) error
	// AdvanceOperation stores what a step has done. core.ErrTaken when the lease is lost.
	AdvanceOperation(ctx context.Context, w core.Work, step core.Step) error
	// PostponeOperation lets somebody take the operation over after a wait. It stores a failure that may pass; nil:
	// there is none.
	PostponeOperation(ctx context.Context, w core.Work, wait time.Duration, failure *fault.Error) error
	// EndOperation stores that the operation has succeeded, or with a failure that it has failed.
	EndOperation(ctx context.Context, w core.Work, failure *fault.Error) error

	organizationStore
	secretStore
}

// Config is what a Runner is made of. All of it but the times is required.
type Config struct {
	Store    Store
	Secrets  Secrets
	Ingest   ingestv1.InternalServiceClient
	Delivery deliveryv1.InternalServiceClient
	Logger   *slog.Logger
	Now      func() time.Time
	Lease    time.Duration // 0: 30 s
	Poll     time.Duration // how often it is looked for work; 0: 1 s
	Settle   time.Duration // after how long nothing is under way of what was deleted; 0: 40 s
}

// Runner works on operations.
type Runner struct {
	cfg Config
}

// New returns a runner.
func New(cfg Config) (*Runner, error) {
	if cfg.Store == nil || cfg.Secrets == nil || cfg.Ingest == nil || cfg.Delivery == nil || cfg.Logger == nil || cfg.Now == nil {
		return nil, errors.New("a store, secrets, clients of ingest and delivery, a logger and a clock are required")
	}
	if cfg.Lease == 0 {
		cfg.Lease = defaultLease
	}
	if cfg.Poll == 0 {
		cfg.Poll = defaultPoll
	}
	if cfg.Settle == 0 {
		cfg.Settle = defaultSettle
	}
	return &Runner{cfg: cfg}, nil
}

// Run works until the context ends. What is under way then goes on at the next start, or in another instance.
func (r *Runner) Run(ctx context.Context) error {
	var running sync.WaitGroup
	for range workers {
		running.Go(func() { r.work(ctx) })
	}
	running.Wait()
	return nil
}

func (r *Runner) work(ctx context.Context) {
	for ctx.Err() == nil {
		w, ok, err := r.cfg.Store.TakeOperation(ctx, r.cfg.Lease)
		if err != nil && ctx.Err() == nil {
			r.cfg.Logger.WarnContext(ctx, "operations not read", "error", err)
		}
		if ok {
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
func (r *Runner) run(ctx context.Context, w core.Work) {
	logger := r.cfg.Logger.With("operation", w.ID, "type", string(w.Type), "target", w.Target)
	leased, lose := context.WithCancelCause(ctx)
	var renewing sync.WaitGroup
	defer func() { lose(nil); renewing.Wait() }()
	held := w // the steps change w
	renewing.Go(func() { r.renew(leased, held, lose, logger) })

	err := r.steps(leased, &w)
	lose(nil)
	switch {
	case errors.Is(err, core.ErrTaken) || errors.Is(context.Cause(leased), core.ErrTaken):
		logger.InfoContext(ctx, "operation stopped, or taken over by another instance")
	case err == nil:
		logger.InfoContext(ctx, "operation succeeded")
	case r.later(ctx, w, err, logger):
	case ctx.Err() != nil:
		last, cancel := context.WithTimeout(context.WithoutCancel(ctx), releaseTimeout)
		defer cancel()
		if err := r.cfg.Store.ReleaseOperation(last, w); err != nil && !errors.Is(err, core.ErrTaken) {
			logger.WarnContext(ctx, "operation not released: it goes on when its lease ends", "error", err)
		}
	default:
		r.failed(ctx, w, err, logger)
	}
}

// steps makes step after step, and ends the operation after the last one.
func (r *Runner) steps(ctx context.Context, w *core.Work) error {
	for {
		done, err := r.step(ctx, w)
		if err != nil {
			return err
		}
		w.Failures = 0
		if done {
			return r.cfg.Store.EndOperation(ctx, *w, nil)
		}
	}
}

// step makes the next step of an operation and stores how far it is. It reports whether that was the last.
func (r *Runner) step(ctx context.Context, w *core.Work) (bool, error) {
	switch w.Type {
	case core.OperationResumeWebhook:
		return r.resumeWebhook(ctx, w)
	case core.OperationDeleteOrganization:
		return r.deleteOrganization(ctx, w)
	case core.OperationReencryptSecrets:
		return r.reencryptSecrets(ctx, w)
	default:
		// A newer version of the program has begun it.
		return false, fault.New(fault.Unavailable, "OPERATION_UNKNOWN", "this version of Meetwire knows no operation of the type %s", w.Type)
	}
}

// renew keeps the lease until the context ends, and cancels it with core.ErrTaken when the lease is lost.
func (r *Runner) renew(ctx context.Context, w core.Work, lose context.CancelCauseFunc, logger *slog.Logger) {
	ticker := time.NewTicker(r.cfg.Lease / 3)
	defer ticker.Stop()
	renewed := time.Now()
	for {
		select {
		case <-ticker.C:
		case <-ctx.Done():
			return
		}
		err := r.cfg.Store.RenewOperation(ctx, w, r.cfg.Lease)
		switch {
		case ctx.Err() != nil:
			return
		case err == nil:
			renewed = time.Now()
		case errors.Is(err, core.ErrTaken) || time.Since(renewed) > r.cfg.Lease:
			lose(core.ErrTaken)
			return
		default:
			logger.WarnContext(ctx, "lease of the operation not renewed", "error", err)
		}
	}
}

// laterError says that an operation has nothing to do for a while.
type laterError struct{ wait time.Duration }

func (e laterError) Error() string { return "to be continued in " + e.wait.String() }

// later lets somebody go on with an operation that has nothing to do for a while. It reports whether it is such a one.
func (r *Runner) later(ctx context.Context, w core.Work, err error, logger *slog.Logger) bool {
	var later laterError
	if !errors.As(err, &later) || ctx.Err() != nil {
		return false
	}
	err = r.cfg.Store.PostponeOperation(ctx, w, later.wait, nil)
	if err != nil && !errors.Is(err, core.ErrTaken) {
		logger.WarnContext(ctx, "operation not postponed: it goes on when its lease ends", "error", err)
	}
	return true
}

// failed stores a failure: the operation is tried again after a while when it may pass, and has failed when not.
func (r *Runner) failed(ctx context.Context, w core.Work, err error, logger *slog.Logger) {
	failure := failureOf(err)
	if passes(failure, w.Failures) {
		wait := firstWait << min(w.Failures, 10)
		wait = max(min(wait, maxWait), min(failure.RetryAfter, maxWait))
		logger.WarnContext(ctx, "operation goes on later", "wait", wait, "error", err)
		err = r.cfg.Store.PostponeOperation(ctx, w, wait, failure)
	} else {
		logger.ErrorContext(ctx, "operation failed", "error", err)
		err = r.cfg.Store.EndOperation(ctx, w, failure)
	}
	if err != nil && !errors.Is(err, core.ErrTaken) {
		logger.WarnContext(ctx, "failure of the operation not stored", "error", err)
	}
}

// failureOf returns what may be shown of an error.
func failureOf(err error) *fault.Error {
	err = rpc.FaultFromStatus(err)
	if known := (*fault.Error)(nil); !errors.As(err, &known) &&
		(errors.Is(err, context.DeadlineExceeded) || errors.Is(err, context.Canceled)) {
		return fault.Wrap(fault.Unavailable, "DEADLINE_EXCEEDED", err, "a step took too long")
	}
	return fault.From(err)
}

// passes reports whether it is of use to try again.
func passes(failure *fault.Error, failures int) bool {
	switch failure.Kind {
	case fault.Unavailable, fault.ResourceExhausted, fault.Aborted:
		return true
	case fault.Unauthenticated, fault.PermissionDenied, fault.Internal:
		return failures < maxDefects // while versions and tokens change, services may disagree for a while
	default:
		return false
	}
}

// call calls another service.
func call[Q, A any](ctx context.Context, method func(context.Context, Q) (A, error), request Q, what string) (A, error) {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	answer, err := method(ctx, request)
	if err != nil {
		return answer, fmt.Errorf("%s: %w", what, rpc.FaultFromStatus(err))
	}
	return answer, nil
}
