package operations_test

import (
	"context"
	"fmt"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/meetwire/meetwire/pkg/fault"
	ingestv1 "github.com/meetwire/meetwire/proto/gen/meetwire/ingest/v1"
	"github.com/meetwire/meetwire/services/subscription/internal/core"
	"github.com/meetwire/meetwire/services/subscription/internal/operations"
)

// parts answers with a number of parts of ten events each, of which three match.
func parts(number int64) func(context.Context, *ingestv1.FanOutHistoryRequest) (*ingestv1.FanOutHistoryResponse, error) {
	return func(_ context.Context, req *ingestv1.FanOutHistoryRequest) (*ingestv1.FanOutHistoryResponse, error) {
		next := req.GetAfterSequence() + 10
		return &ingestv1.FanOutHistoryResponse{AfterSequence: next, EventCount: 10, MatchedCount: 3, Done: next == 10*number}, nil
	}
}

func TestMissedEventsAreSentPartByPart(t *testing.T) {
	t.Parallel()
	e := setup(t)
	e.peer.history = parts(4)
	o := e.begin(t)
	e.run(t, e.box, 0)
	o = e.await(t, o)
	require.Equal(t, core.OperationSucceeded, o.State, "%+v", o)
	require.EqualValues(t, 40, o.ProcessedCount)
	require.EqualValues(t, 12, o.AffectedCount)
	require.Empty(t, o.ErrorReason)
	require.False(t, o.EndTime.IsZero())
	var after []int64
	for _, req := range e.peer.requests() {
		after = append(after, req.GetAfterSequence())
		require.Equal(t, "acme", req.GetOrganization())
		require.Equal(t, o.ID, req.GetWebhook())
		require.Equal(t, time.Date(2026, 5, 1, 0, 0, 0, 0, time.UTC), req.GetStartTime().AsTime())
		require.Equal(t, time.Date(2026, 5, 2, 0, 0, 0, 0, time.UTC), req.GetEndTime().AsTime())
		require.EqualValues(t, 7, req.GetRevision())
	}
	require.Equal(t, []int64{0, 10, 20, 30}, after)
}

func TestFailureThatPassesIsTriedAgain(t *testing.T) {
	t.Parallel()
	e := setup(t)
	var calls atomic.Int64
	proceed := make(chan struct{})
	e.peer.history = func(ctx context.Context, req *ingestv1.FanOutHistoryRequest) (*ingestv1.FanOutHistoryResponse, error) {
		if req.GetAfterSequence() == 10 && calls.Add(1) == 1 {
			return nil, fault.New(fault.ResourceExhausted, "STREAM_FULL", "the stream is full")
		}
		if req.GetAfterSequence() == 10 {
			<-proceed
		}
		return parts(2)(ctx, req)
	}
	o := e.begin(t)
	e.run(t, e.box, 0)
	o = e.awaitThat(t, o, func(o core.Operation) bool { return o.ErrorReason != "" })
	require.Equal(t, core.OperationRunning, o.State, "what it met with is shown meanwhile")
	require.Equal(t, "STREAM_FULL", o.ErrorReason)
	require.Equal(t, "the stream is full", o.ErrorMessage)
	close(proceed)
	o = e.await(t, o)
	require.Equal(t, core.OperationSucceeded, o.State)
	require.Empty(t, o.ErrorReason)
	require.EqualValues(t, 20, o.ProcessedCount, "no part is counted twice")
}

func TestFailureThatDoesNotPassEndsItAndItCanBeResumed(t *testing.T) {
	t.Parallel()
	e := setup(t)
	var mended atomic.Bool
	e.peer.history = func(ctx context.Context, req *ingestv1.FanOutHistoryRequest) (*ingestv1.FanOutHistoryResponse, error) {
		if req.GetAfterSequence() == 10 && !mended.Load() {
			return nil, fault.New(fault.NotFound, "WEBHOOK_NOT_FOUND", "no such webhook")
		}
		return parts(2)(ctx, req)
	}
	o := e.begin(t)
	e.run(t, e.box, 0)
	o = e.await(t, o)
	require.Equal(t, core.OperationFailed, o.State)
	require.Equal(t, "WEBHOOK_NOT_FOUND", o.ErrorReason)
	require.EqualValues(t, 10, o.ProcessedCount)
	_, err := e.store.CancelOperation(t.Context(), "acme", o.ID)
	require.True(t, fault.Is(err, fault.FailedPrecondition), "%v", err)

	mended.Store(true)
	o, err = e.store.ResumeOperation(t.Context(), "acme", o.ID)
	require.NoError(t, err)
	require.Equal(t, core.OperationRunning, o.State)
	require.True(t, o.EndTime.IsZero())
	o = e.await(t, o)
	require.Equal(t, core.OperationSucceeded, o.State)
	require.EqualValues(t, 20, o.ProcessedCount, "it went on where it had stopped")
	_, err = e.store.ResumeOperation(t.Context(), "acme", o.ID)
	require.True(t, fault.Is(err, fault.FailedPrecondition), "%v", err)
}

func TestCanceledOperationStops(t *testing.T) {
	t.Parallel()
	e := setup(t)
	reached, proceed := make(chan struct{}), make(chan struct{})
	e.peer.history = func(ctx context.Context, req *ingestv1.FanOutHistoryRequest) (*ingestv1.FanOutHistoryResponse, error) {
		if req.GetAfterSequence() == 20 {
			close(reached)
			<-proceed
		}
		return parts(100)(ctx, req)
	}
	o := e.begin(t)
	e.run(t, e.box, 0)
	<-reached
	canceled, err := e.store.CancelOperation(t.Context(), "acme", o.ID)
	require.NoError(t, err)
	require.Equal(t, core.OperationCanceled, canceled.State)
	close(proceed)
	e.peer.mu.Lock()
	e.peer.history = parts(1)
	e.peer.mu.Unlock()
	next := e.begin(t)
	require.Equal(t, core.OperationSucceeded, e.await(t, next).State)
	o, err = e.store.Operation(t.Context(), "acme", o.ID)
	require.NoError(t, err)
	require.Equal(t, canceled, o, "what comes after the cancellation is void")
	require.EqualValues(t, 20, o.ProcessedCount)
}

func TestOperationOfADeadInstanceIsTakenOver(t *testing.T) {
	t.Parallel()
	e := setup(t)
	e.peer.history = parts(2)
	o := e.begin(t)
	dead, ok, err := e.store.TakeOperation(t.Context(), time.Hour)
	require.NoError(t, err)
	require.True(t, ok)
	require.NoError(t, e.store.AdvanceOperation(t.Context(), dead, core.Step{Progress: []byte(`{"after_sequence":10}`), Processed: 10}))
	_, ok, err = e.store.TakeOperation(t.Context(), time.Minute)
	require.NoError(t, err)
	require.False(t, ok, "while the lease lasts nobody else takes it")
	_, err = e.pool.Exec(t.Context(), "UPDATE subscription.operation SET lease_time = now()")
	require.NoError(t, err)

	e.run(t, e.box, 0)
	o = e.await(t, o)
	require.Equal(t, core.OperationSucceeded, o.State)
	require.Len(t, e.peer.requests(), 1)
	require.EqualValues(t, 20, o.ProcessedCount)
	require.ErrorIs(t, e.store.AdvanceOperation(t.Context(), dead, core.Step{Progress: []byte(`{}`)}), core.ErrTaken)
	require.ErrorIs(t, e.store.RenewOperation(t.Context(), dead, time.Minute), core.ErrTaken)
	require.ErrorIs(t, e.store.EndOperation(t.Context(), dead, nil), core.ErrTaken)
	require.ErrorIs(t, e.store.PostponeOperation(t.Context(), dead, time.Minute, fault.New(fault.Internal, "X", "x")), core.ErrTaken)
}

func TestLeaseIsRenewedWhileAPartLasts(t *testing.T) {
	t.Parallel()
	e := setup(t)
	reached, proceed := make(chan struct{}), make(chan struct{})
	e.peer.history = func(ctx context.Context, req *ingestv1.FanOutHistoryRequest) (*ingestv1.FanOutHistoryResponse, error) {
		close(reached) // a second call would panic
		<-proceed
		return parts(1)(ctx, req)
	}
	o := e.begin(t)
	const lease = 3 * time.Second // a busy machine renews it late
	e.run(t, e.box, lease)
	<-reached
	e.run(t, e.box, lease)
	require.Never(t, func() bool { return len(e.peer.requests()) > 1 }, lease+lease/2, tick)
	close(proceed)
	require.Equal(t, core.OperationSucceeded, e.await(t, o).State)
}

func TestStoppedInstanceHandsOver(t *testing.T) {
	t.Parallel()
	e := setup(t)
	reached := make(chan struct{}, 1)
	e.peer.history = func(ctx context.Context, req *ingestv1.FanOutHistoryRequest) (*ingestv1.FanOutHistoryResponse, error) {
		if req.GetAfterSequence() == 10 {
			select {
			case reached <- struct{}{}:
				<-ctx.Done()
				return nil, ctx.Err()
			default:
			}
		}
		return parts(3)(ctx, req)
	}
	o := e.begin(t)
	stop := e.run(t, e.box, time.Hour)
	require.Eventually(t, func() bool { return len(reached) == 1 }, patience, tick)
	stop()
	e.run(t, e.box, time.Hour)
	o = e.await(t, o)
	require.Equal(t, core.OperationSucceeded, o.State, "long before the lease has ended")
	require.Empty(t, o.ErrorReason)
	require.EqualValues(t, 30, o.ProcessedCount)
}

func TestInstancesShareTheWork(t *testing.T) {
	t.Parallel()
	e := setup(t)
	e.peer.history = parts(3)
	var begun []core.Operation
	for range 20 {
		begun = append(begun, e.begin(t))
	}
	for range 3 {
		e.run(t, e.box, 0)
	}
	for _, o := range begun {
		o = e.await(t, o)
		require.Equal(t, core.OperationSucceeded, o.State)
		require.EqualValues(t, 30, o.ProcessedCount)
	}
	var asked []string
	for _, req := range e.peer.requests() {
		asked = append(asked, fmt.Sprint(req.GetWebhook(), req.GetAfterSequence()))
	}
	slices.Sort(asked)
	require.Len(t, asked, 60)
	require.Len(t, slices.Compact(asked), 60, "every part was sent once")
}

func TestNothingIsMissedInNoTime(t *testing.T) {
	t.Parallel()
	e := setup(t)
	o := e.begin(t)
	_, err := e.pool.Exec(t.Context(), `
		UPDATE subscription.operation SET parameters = jsonb_set(parameters, '{end_time}', parameters -> 'start_time')`)
	require.NoError(t, err)
	e.run(t, e.box, 0)
	require.Equal(t, core.OperationSucceeded, e.await(t, o).State)
	require.Empty(t, e.peer.requests())
}

func TestOperationOfANewerVersionWaits(t *testing.T) {
	t.Parallel()
	e := setup(t)
	o := e.begin(t)
	_, err := e.pool.Exec(t.Context(), "UPDATE subscription.operation SET type = 'polish_webhook'")
	require.NoError(t, err)
	e.run(t, e.box, 0)
	o = e.awaitThat(t, o, func(o core.Operation) bool { return o.ErrorReason != "" })
	require.Equal(t, "OPERATION_UNKNOWN", o.ErrorReason)
	require.Equal(t, core.OperationRunning, o.State, "an instance that knows it will do it")
}

func TestNewNeedsEverything(t *testing.T) {
	t.Parallel()
	_, err := operations.New(operations.Config{})
	require.ErrorContains(t, err, "are required")
}

func TestOperationsThatEndedLongAgoAreRemoved(t *testing.T) {
	t.Parallel()
	e := setup(t)
	old, recent := e.begin(t), e.begin(t)
	for _, ended := range []struct {
		id  string
		ago string
	}{{old.ID, "31 days"}, {recent.ID, "29 days"}} {
		_, err := e.pool.Exec(t.Context(), `UPDATE subscription.operation SET state = 'succeeded', end_time = now() - $2::interval WHERE id = $1`, ended.id, ended.ago)
		require.NoError(t, err)
	}
	e.run(t, e.box, 0)
	require.Eventually(t, func() bool {
		_, err := e.store.Operation(t.Context(), "acme", old.ID)
		return fault.Is(err, fault.NotFound)
	}, patience, tick)
	_, err := e.store.Operation(t.Context(), "acme", recent.ID)
	require.NoError(t, err)
}
