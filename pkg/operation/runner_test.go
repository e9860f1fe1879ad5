package operation_test

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/meetwire/meetwire/pkg/fault"
	"github.com/meetwire/meetwire/pkg/operation"
)

// progress is where a counting operation goes on.
type progress struct {
	At int64 `json:"at"`
}

// counting counts up to three, one by one, each of which is done with do.
func (e *env) counting(do func(ctx context.Context, at int64) error) operation.Handler {
	store := e.real()
	return func(ctx context.Context, w *operation.Work) (bool, error) {
		var p progress
		if err := json.Unmarshal(w.Progress, &p); err != nil {
			return false, err
		}
		if err := do(ctx, p.At); err != nil {
			return false, err
		}
		p.At++
		encoded, err := json.Marshal(p)
		if err != nil {
			return false, err
		}
		return p.At == 3, store.Advance(ctx, w, operation.Step{Progress: encoded, Processed: 1, Affected: 1})
	}
}

func nothing(context.Context, int64) error { return nil }

func TestOperationIsDoneStepByStep(t *testing.T) {
	t.Parallel()
	e := setup(t)
	var mu sync.Mutex
	var steps []int64
	handler := e.counting(func(_ context.Context, at int64) error {
		mu.Lock()
		defer mu.Unlock()
		steps = append(steps, at)
		return nil
	})
	begun := []operation.Operation{e.begin(t), e.begin(t), e.begin(t), e.begin(t), e.begin(t), e.begin(t)}
	for range 3 {
		e.run(t, 0, handler)
	}
	for _, o := range begun {
		o = e.await(t, o.ID)
		require.Equal(t, operation.Succeeded, o.State)
		require.EqualValues(t, 3, o.Processed)
		require.False(t, o.EndTime.IsZero())
	}
	mu.Lock()
	defer mu.Unlock()
	require.Len(t, steps, 3*len(begun), "every step was made once")
}

func TestFailuresThatPassAndThoseThatDoNot(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		kind  fault.Kind
		state operation.State
	}{
		{fault.Unavailable, operation.Succeeded}, {fault.ResourceExhausted, operation.Succeeded}, {fault.Aborted, operation.Succeeded},
		{fault.Internal, operation.Succeeded}, {fault.Unauthenticated, operation.Succeeded}, {fault.PermissionDenied, operation.Succeeded},
		{fault.NotFound, operation.Failed}, {fault.InvalidArgument, operation.Failed}, {fault.FailedPrecondition, operation.Failed},
	} {
		e := setup(t)
		var failed atomic.Bool
		proceed := make(chan struct{})
		handler := e.counting(func(_ context.Context, at int64) error {
			if at == 1 && failed.CompareAndSwap(false, true) {
				return fault.New(c.kind, "THE_REASON", "the message")
			}
			if at == 1 {
				<-proceed
			}
			return nil
		})
		o := e.begin(t)
		e.run(t, 0, handler)
		o = e.awaitThat(t, o.ID, func(o operation.Operation) bool { return o.ErrorReason != "" })
		require.Equal(t, "THE_REASON", o.ErrorReason)
		require.EqualValues(t, 1, o.Processed)
		require.Equal(t, c.state == operation.Failed, o.Done(), "what it met with is shown meanwhile")
		close(proceed)
		if o.Done() {
			_, err := e.real().Resume(t.Context(), "acme", o.ID)
			require.NoError(t, err)
		}
		o = e.await(t, o.ID)
		require.Equal(t, operation.Succeeded, o.State)
		require.Empty(t, o.ErrorReason)
		require.EqualValues(t, 3, o.Processed, "it went on where it had stopped")
	}
}

func TestUnknownErrorsAreNotShown(t *testing.T) {
	t.Parallel()
	for name, err := range map[string]error{"a secret": errors.New("SELECT secret"), "too slow": context.DeadlineExceeded} {
		e := setup(t)
		o := e.begin(t)
		e.run(t, 0, e.counting(func(context.Context, int64) error { return err }))
		o = e.awaitThat(t, o.ID, func(o operation.Operation) bool { return o.ErrorReason != "" })
		require.Equal(t, operation.Running, o.State, name)
		require.NotContains(t, o.ErrorMessage, "SELECT")
	}
}

func TestNothingToDoForAWhileIsNoFailure(t *testing.T) {
	t.Parallel()
	e := setup(t)
	var calls atomic.Int64
	o := e.begin(t)
	e.run(t, 0, e.counting(func(context.Context, int64) error {
		if calls.Add(1)%2 == 1 {
			return operation.Later(10 * time.Millisecond)
		}
		return nil
	}))
	o = e.await(t, o.ID)
	require.Equal(t, operation.Succeeded, o.State)
	require.EqualValues(t, 3, o.Processed)
	require.EqualValues(t, 6, calls.Load())
}

func TestCanceledOperationStopsItsHandler(t *testing.T) {
	t.Parallel()
	e := setup(t)
	reached := make(chan struct{}, 1)
	o := e.begin(t)
	e.run(t, 3*time.Second, e.counting(func(ctx context.Context, _ int64) error {
		reached <- struct{}{}
		<-ctx.Done()
		return ctx.Err()
	}))
	<-reached
	canceled, err := e.real().Cancel(t.Context(), "acme", o.ID)
	require.NoError(t, err)
	next := e.begin(t)
	select {
	case <-reached: // by another worker, or by the one that was stopped
	case <-time.After(patience):
		require.Fail(t, "nobody goes on")
	}
	require.Equal(t, canceled, e.get(t, o.ID))
	_, err = e.real().Cancel(t.Context(), "acme", next.ID)
	require.NoError(t, err)
}

func TestStoppedInstanceHandsOver(t *testing.T) {
	t.Parallel()
	e := setup(t)
	reached := make(chan struct{}, 1)
	o := e.begin(t)
	stop := e.run(t, time.Hour, e.counting(func(ctx context.Context, at int64) error {
		if at == 1 {
			reached <- struct{}{}
			<-ctx.Done()
		}
		return ctx.Err()
	}))
	<-reached
	stop()
	e.run(t, time.Hour, e.counting(nothing))
	o = e.await(t, o.ID)
	require.Equal(t, operation.Succeeded, o.State, "long before the lease has ended")
	require.Empty(t, o.ErrorReason)
	require.EqualValues(t, 3, o.Processed)
}

func TestOperationOfADeadInstanceIsTakenOver(t *testing.T) {
	t.Parallel()
	e := setup(t)
	o := e.begin(t)
	dead, ok, err := e.real().Take(t.Context(), time.Hour)
	require.NoError(t, err)
	require.True(t, ok)
	require.NoError(t, e.Advance(t.Context(), &dead, operation.Step{Progress: []byte(`{"at":2}`), Processed: 2}))
	_, err = e.pool.Exec(t.Context(), "UPDATE work.operation SET lease_time = now()")
	require.NoError(t, err)
	e.run(t, 0, e.counting(nothing))
	require.EqualValues(t, 3, e.await(t, o.ID).Processed)
	require.ErrorIs(t, e.Renew(t.Context(), dead, time.Hour), operation.ErrTaken)
}

func TestOperationOfANewerVersionWaits(t *testing.T) {
	t.Parallel()
	e := setup(t)
	o, err := e.Begin(t.Context(), operation.Operation{Organization: "acme", Type: "polish"}, "")
	require.NoError(t, err)
	e.run(t, 0, e.counting(nothing))
	o = e.awaitThat(t, o.ID, func(o operation.Operation) bool { return o.ErrorReason != "" })
	require.Equal(t, "OPERATION_UNKNOWN", o.ErrorReason)
	require.Equal(t, operation.Running, o.State, "an instance that knows it will do it")
}

func TestNewRunnerNeedsEverything(t *testing.T) {
	t.Parallel()
	_, err := operation.NewRunner(operation.Config{Logger: slog.New(slog.DiscardHandler)})
	require.ErrorContains(t, err, "are required")
}

func TestPaceKeepsToTheRate(t *testing.T) {
	t.Parallel()
	e := setup(t)
	o, err := e.Begin(t.Context(), operation.Operation{Organization: "acme", Type: "count", Rate: 50}, "")
	require.NoError(t, err)
	store := e.real()
	began := time.Now()
	e.run(t, 0, func(ctx context.Context, w *operation.Work) (bool, error) {
		if err := operation.Pace(ctx, w, 5); err != nil {
			return false, err
		}
		err := store.Advance(ctx, w, operation.Step{Affected: 5})
		return w.Affected == 30, err
	})
	require.EqualValues(t, 30, e.await(t, o.ID).Affected)
	require.GreaterOrEqual(t, time.Since(began), 600*time.Millisecond, "30 at 50 per second")
}

func TestPaceWithoutWaiting(t *testing.T) {
	t.Parallel()
	for name, w := range map[string]*operation.Work{
		"no rate": {}, "a dry run": {Operation: operation.Operation{Rate: 1e-9, DryRun: true}},
		"a great rate": {Operation: operation.Operation{Rate: 1e12}},
	} {
		require.NoError(t, operation.Pace(t.Context(), w, 1000), name)
		require.Equal(t, 100, w.Batch(100), name)
	}
	slow := &operation.Work{Operation: operation.Operation{Rate: 0.001}}
	require.NoError(t, operation.Pace(t.Context(), slow, 0))
	require.Equal(t, 1, slow.Batch(100))
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	require.ErrorIs(t, operation.Pace(ctx, slow, 1), context.Canceled)
	require.ErrorIs(t, operation.Pace(ctx, &operation.Work{}, 1), context.Canceled)
	require.Equal(t, 7, (&operation.Work{Operation: operation.Operation{Rate: 7.9}}).Batch(100))
}
