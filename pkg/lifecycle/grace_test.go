package lifecycle_test

import (
	"context"
	"runtime"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/meetwire/meetwire/pkg/lifecycle"
)

type traceKey struct{}

func TestGraceOutsideAGroupNeverEnds(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(context.WithValue(t.Context(), traceKey{}, "trace"))
	cancel()
	inFlight := lifecycle.Grace(ctx)
	require.NoError(t, inFlight.Err())
	require.Nil(t, inFlight.Done())
	require.Equal(t, "trace", inFlight.Value(traceKey{}))
}

// inPart runs f as the only part of a group that is stopped when f calls stop.
func inPart(ctx context.Context, f func(ctx context.Context, stop func()) error) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	g := lifecycle.NewGroup(discard(), grace)
	g.Add("part", func(ctx context.Context) error { return f(ctx, cancel) })
	return g.Run(ctx)
}

func TestGraceKeepsValuesAndOutlivesTheStop(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		outer := context.WithValue(t.Context(), traceKey{}, "outer")
		var inFlight context.Context
		err := inPart(outer, func(ctx context.Context, stop func()) error {
			require.Equal(t, "outer", ctx.Value(traceKey{}), "a part has the values of the group's context")
			handler, cancel := context.WithTimeout(context.WithValue(ctx, traceKey{}, "handler"), time.Second)
			defer cancel()
			inFlight = lifecycle.Grace(handler) //nolint:fatcontext // looked at after the group has stopped
			require.Equal(t, "handler", inFlight.Value(traceKey{}))
			_, has := inFlight.Deadline()
			require.False(t, has)
			stop()
			<-ctx.Done()
			<-handler.Done()
			require.NoError(t, inFlight.Err())
			require.NoError(t, context.Cause(inFlight), "the cause is not that of the context it outlives")
			return nil
		})
		require.NoError(t, err)
		<-inFlight.Done()
		require.ErrorIs(t, inFlight.Err(), context.Canceled, "after the group nothing is in flight")
		require.ErrorIs(t, context.Cause(inFlight), context.Canceled)
	})
}

func TestGraceEndsWithTheDeadlineForWhatDerivesFromIt(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		err := inPart(t.Context(), func(ctx context.Context, stop func()) error {
			request, cancel := context.WithTimeout(lifecycle.Grace(ctx), time.Hour)
			defer cancel()
			stop()
			began := time.Now()
			<-request.Done()
			require.Equal(t, grace, time.Since(began))
			require.ErrorIs(t, request.Err(), context.DeadlineExceeded)
			require.ErrorIs(t, context.Cause(request), context.DeadlineExceeded)

			late, cancelLate := context.WithCancel(lifecycle.Grace(ctx))
			defer cancelLate()
			require.ErrorIs(t, late.Err(), context.DeadlineExceeded, "also for what begins too late")
			return nil
		})
		require.ErrorIs(t, err, lifecycle.ErrGraceExceeded)
	})
}

func TestGraceCostsNoGoroutinePerDerivedContext(t *testing.T) {
	t.Parallel()
	err := inPart(t.Context(), func(ctx context.Context, stop func()) error {
		const requests = 1000
		before := runtime.NumGoroutine()
		for range requests {
			_, cancel := context.WithCancel(lifecycle.Grace(ctx))
			defer cancel()
		}
		require.Less(t, runtime.NumGoroutine(), before+requests/2, "other tests run at the same time")
		stop()
		<-ctx.Done()
		return nil
	})
	require.NoError(t, err)
}

func TestGroupInAGroupHeedsTheOuterDeadline(t *testing.T) {
	t.Parallel()
	tests := map[string]struct{ inner, want time.Duration }{
		"the inner one is shorter": {time.Second, time.Second},
		"the outer one is shorter": {time.Hour, grace},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				err := inPart(t.Context(), func(ctx context.Context, stop func()) error {
					inner := lifecycle.NewGroup(discard(), test.inner)
					inner.Add("inner", func(ctx context.Context) error {
						stop()
						<-ctx.Done()
						began := time.Now()
						inFlight := lifecycle.Grace(ctx)
						<-inFlight.Done()
						require.Equal(t, test.want, time.Since(began))
						require.ErrorIs(t, inFlight.Err(), context.DeadlineExceeded)
						return nil
					})
					return inner.Run(ctx)
				})
				require.ErrorIs(t, err, lifecycle.ErrGraceExceeded)
			})
		})
	}
}
