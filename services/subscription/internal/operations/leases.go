package operations

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/meetwire/meetwire/pkg/fault"
	"github.com/meetwire/meetwire/pkg/operation"
	"github.com/meetwire/meetwire/services/subscription/internal/core"
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

	// RemoveEndedOperations removes at most limit operations that have ended before a time, and returns how many.
	RemoveEndedOperations(ctx context.Context, before time.Time, limit int) (int64, error)

	organizationStore
	secretStore
}

// leases is a Store as the shared runner sees it.
type leases struct{ store Store }

// Take implements operation.Store.
func (l leases) Take(ctx context.Context, lease time.Duration) (operation.Work, bool, error) {
	taken, ok, err := l.store.TakeOperation(ctx, lease)
	if err != nil || !ok {
		return operation.Work{}, false, err
	}
	shared, err := Shared(taken.Operation)
	if err != nil {
		return operation.Work{}, false, err
	}
	return operation.Work{Operation: shared, Take: taken.Take, Failures: taken.Failures, Progress: taken.Progress}, true, nil
}

// Renew implements operation.Store.
func (l leases) Renew(ctx context.Context, w operation.Work, lease time.Duration) error {
	return lost(l.store.RenewOperation(ctx, held(w), lease))
}

// Release implements operation.Store.
func (l leases) Release(ctx context.Context, w operation.Work) error {
	return lost(l.store.ReleaseOperation(ctx, held(w)))
}

// Postpone implements operation.Store.
func (l leases) Postpone(ctx context.Context, w operation.Work, wait time.Duration, failure *fault.Error) error {
	return lost(l.store.PostponeOperation(ctx, held(w), wait, failure))
}

// End implements operation.Store.
func (l leases) End(ctx context.Context, w operation.Work, failure *fault.Error) error {
	return lost(l.store.EndOperation(ctx, held(w), failure))
}

// handler makes a step of this service one of the shared runner.
func handler(step func(ctx context.Context, w *core.Work) (bool, error)) operation.Handler {
	return func(ctx context.Context, w *operation.Work) (bool, error) {
		own := held(*w)
		own.CreateTime, own.Failures, own.Progress = w.CreateTime, w.Failures, w.Progress
		if err := json.Unmarshal(w.Parameters, &own.Parameters); err != nil {
			return false, fmt.Errorf("read the parameters of operation %s: %w", w.ID, err)
		}
		done, err := step(ctx, &own)
		w.Progress = own.Progress
		return done, lost(err)
	}
}

// held is what the store needs to know of an operation under a lease.
func held(w operation.Work) core.Work {
	return core.Work{Take: w.Take, Operation: core.Operation{
		ID: w.ID, Organization: w.Organization, Type: core.OperationType(w.Type), Target: w.Target,
	}}
}

// lost says in the words of the shared runner that the lease is lost.
func lost(err error) error {
	if errors.Is(err, core.ErrTaken) {
		return operation.ErrTaken
	}
	return err
}

// Shared returns an operation of this service as all services have it.
func Shared(o core.Operation) (operation.Operation, error) {
	parameters, err := json.Marshal(o.Parameters)
	if err != nil {
		return operation.Operation{}, fmt.Errorf("write the parameters of operation %s: %w", o.ID, err)
	}
	return operation.Operation{
		ID: o.ID, Organization: o.Organization, Type: string(o.Type), Target: o.Target, State: operation.State(o.State),
		Parameters: parameters, Processed: o.ProcessedCount, Affected: o.AffectedCount,
		ErrorReason: o.ErrorReason, ErrorMessage: o.ErrorMessage,
		CreateTime: o.CreateTime, UpdateTime: o.UpdateTime, EndTime: o.EndTime,
	}, nil
}
