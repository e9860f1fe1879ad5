package operation

import (
	"context"
	"errors"
	"log/slog"
	"time"

	"github.com/meetwire/meetwire/pkg/fault"
	"github.com/meetwire/meetwire/pkg/rpc"
)

const (
	// firstWait and maxWait bound the waits after a failure; each is twice as long as the one before.
	firstWait = time.Second
	maxWait   = time.Minute
	// maxDefects is how often in a row a failure of ours, which most likely does not pass, is tried again.
	maxDefects = 20
)

// laterError says that an operation has nothing to do for a while.
type laterError struct{ wait time.Duration }

func (e laterError) Error() string { return "to be continued in " + e.wait.String() }

// Later is what a handler returns that has nothing to do for a while: the operation is given back until then. It counts
// as no failure.
func Later(wait time.Duration) error { return laterError{wait} }

// later lets somebody go on with an operation that has nothing to do for a while. It reports whether it is such a one.
func (r *Runner) later(ctx context.Context, w Work, err error, logger *slog.Logger) bool {
	var later laterError
	if !errors.As(err, &later) || ctx.Err() != nil {
		return false
	}
	err = r.cfg.Store.Postpone(ctx, w, later.wait, nil)
	if err != nil && !errors.Is(err, ErrTaken) {
		logger.WarnContext(ctx, "operation not postponed: it goes on when its lease ends", "error", err)
	}
	return true
}

// failed stores a failure: the operation is tried again after a while when it may pass, and has failed when not.
func (r *Runner) failed(ctx context.Context, w Work, err error, logger *slog.Logger) {
	failure := failureOf(err)
	if passes(failure, w.Failures) {
		wait := firstWait << min(w.Failures, 10)
		wait = max(min(wait, maxWait), min(failure.RetryAfter, maxWait))
		logger.WarnContext(ctx, "operation goes on later", "wait", wait, "error", err)
		err = r.cfg.Store.Postpone(ctx, w, wait, failure)
	} else {
		logger.ErrorContext(ctx, "operation failed", "error", err)
		err = r.cfg.Store.End(ctx, w, failure)
	}
	if err != nil && !errors.Is(err, ErrTaken) {
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
