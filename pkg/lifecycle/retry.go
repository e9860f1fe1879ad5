package lifecycle

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"time"
)

// permanentError marks a failure that no repetition can mend.
type permanentError struct{ error }

func (e permanentError) Unwrap() error { return e.error }

// Permanent marks an error so that Retry returns it at once. A nil error stays nil.
func Permanent(err error) error {
	if err == nil {
		return nil
	}
	return permanentError{err}
}

// leastWait keeps Retry from spinning.
const leastWait = time.Millisecond

// Retry calls f until it succeeds, fails with an error that is or wraps one marked by Permanent, or the context
// ends. Between calls it waits: at first least (1 ms or more), then twice as long each time, at most most; each
// wait is shortened at random by up to half. A call that has lasted longer than most begins again with least.
//
// Every failure that is repeated is logged as a warning with what, a few words such as "connect to nats".
// Retry returns nil, the permanent error, or the context's error together with the text of the last failure.
func Retry(ctx context.Context, logger *slog.Logger, what string, least, most time.Duration, f func(context.Context) error) error {
	least = max(least, leastWait)
	most = max(most, least)
	wait := least
	for {
		began := time.Now()
		err := f(ctx)
		if err == nil {
			return nil
		}
		if permanent := (permanentError{}); errors.As(err, &permanent) {
			return err
		}
		if ctx.Err() != nil {
			return interrupted(ctx, err)
		}
		if time.Since(began) > most {
			wait = least
		}
		pause := wait - rand.N(wait/2+1) //nolint:gosec // G404: spreading load needs no secrecy
		logger.WarnContext(ctx, "failed and will be tried again", "what", what, "wait", pause, "error", err)
		timer := time.NewTimer(pause)
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			return interrupted(ctx, err)
		}
		wait = min(2*wait, most)
	}
}

// interrupted returns the context's error with the text of the last failure, which only people need.
func interrupted(ctx context.Context, last error) error {
	if errors.Is(last, ctx.Err()) {
		return ctx.Err()
	}
	return fmt.Errorf("%w, last failure: %s", ctx.Err(), last.Error())
}
