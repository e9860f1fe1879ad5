package pgstore

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"github.com/meetwire/meetwire/pkg/fault"
	"github.com/meetwire/meetwire/services/subscription/internal/core"
	"github.com/meetwire/meetwire/services/subscription/internal/pgstore/sqlcgen"
)

// operationLock is the advisory lock under which it is looked whether an operation runs already. The number is
// arbitrary.
const operationLock = 0x6d77_6f70_6572

// CancelOperation stops an operation. fault.NotFound when there is none, fault.FailedPrecondition when it cannot be
// stopped.
func (s *Store) CancelOperation(ctx context.Context, organization, id string) (core.Operation, error) {
	return s.changeOperation(ctx, organization, id, core.ActionCancel, core.Operation.CheckCancel,
		func(ctx context.Context, c *change, key uuid.UUID) (sqlcgen.OperationRow, error) {
			return c.CancelOperation(ctx, sqlcgen.CancelOperationParams{ID: key, Now: core.Stored(s.now())})
		})
}

// ResumeOperation lets an operation go on where it stopped. fault.NotFound when there is none,
// fault.FailedPrecondition when it has not stopped.
func (s *Store) ResumeOperation(ctx context.Context, organization, id string) (core.Operation, error) {
	return s.changeOperation(ctx, organization, id, core.ActionResume, core.Operation.CheckResume,
		func(ctx context.Context, c *change, key uuid.UUID) (sqlcgen.OperationRow, error) {
			return c.ResumeOperation(ctx, sqlcgen.ResumeOperationParams{ID: key, Now: core.Stored(s.now())})
		})
}

func (s *Store) changeOperation(ctx context.Context, organization, id string, action core.Action, check func(core.Operation) error,
	update func(context.Context, *change, uuid.UUID) (sqlcgen.OperationRow, error),
) (core.Operation, error) {
	key, err := uuid.Parse(id)
	if err != nil {
		return core.Operation{}, core.NoOperation(organization, id)
	}
	var after core.Operation
	err = s.write(ctx, func(ctx context.Context, c *change) error {
		row, err := c.LockOperation(ctx, sqlcgen.LockOperationParams{ID: key, Organization: optional(organization)})
		if err != nil {
			return read(fmt.Errorf("lock operation: %w", err), core.NoOperation(organization, id))
		}
		before, err := operation(row)
		if err != nil {
			return err
		}
		if err := check(before); err != nil {
			return err
		}
		if row, err = update(ctx, c, key); err != nil {
			return fmt.Errorf("change operation: %w", err)
		}
		if after, err = operation(row); err != nil {
			return err
		}
		return c.audit(ctx, action, organization, after.Name(), before.Document(), after.Document())
	})
	return after, err
}

// BeginReencryption begins the operation that encrypts all secrets with the primary key, or returns the one that
// runs.
func (s *Store) BeginReencryption(ctx context.Context) (core.Operation, error) {
	var begun core.Operation
	err := s.write(ctx, func(ctx context.Context, c *change) error {
		if err := c.LockStart(ctx, operationLock); err != nil {
			return fmt.Errorf("wait for other instances: %w", err)
		}
		row, err := c.RunningOperation(ctx, sqlcgen.RunningOperationParams{Type: string(core.OperationReencryptSecrets)})
		if err == nil {
			begun, err = operation(row)
			return err
		}
		if !errors.Is(err, pgx.ErrNoRows) {
			return fmt.Errorf("look for a running operation: %w", err)
		}
		if begun, err = c.beginOperation(ctx, core.NewReencryptOperation()); err != nil {
			return err
		}
		return c.audit(ctx, core.ActionReencrypt, "", begun.Name(), nil, begun.Document())
	})
	return begun, err
}

// TakeOperation takes over the operation that waits longest for somebody to work on it, for the time of a lease. It
// reports false when there is none.
func (s *Store) TakeOperation(ctx context.Context, lease time.Duration) (core.Work, bool, error) {
	now := core.Stored(s.now())
	row, err := s.queries.TakeOperation(ctx, sqlcgen.TakeOperationParams{LeaseTime: now.Add(lease), Now: now})
	if errors.Is(err, pgx.ErrNoRows) {
		return core.Work{}, false, nil
	}
	if err != nil {
		return core.Work{}, false, translate(fmt.Errorf("take over an operation: %w", err))
	}
	o, err := operation(row)
	if err != nil {
		return core.Work{}, false, err
	}
	return core.Work{Operation: o, Take: row.Take, Failures: int(row.Failures), Progress: row.Progress}, true, nil
}

// RenewOperation makes the lease last longer. core.ErrTaken when it is lost.
func (s *Store) RenewOperation(ctx context.Context, w core.Work, lease time.Duration) error {
	rows, err := s.queries.RenewOperation(ctx, sqlcgen.RenewOperationParams{
		ID: uuid.MustParse(w.ID), Take: w.Take, LeaseTime: core.Stored(s.now()).Add(lease),
	})
	return held(rows, err, "renew the lease of an operation")
}

// ReleaseOperation lets another instance take the operation over at once. core.ErrTaken when one has already.
func (s *Store) ReleaseOperation(ctx context.Context, w core.Work) error {
	rows, err := s.queries.ReleaseOperation(ctx, sqlcgen.ReleaseOperationParams{
		ID: uuid.MustParse(w.ID), Take: w.Take, Now: core.Stored(s.now()),
	})
	return held(rows, err, "release an operation")
}

// AdvanceOperation stores what a step has done. core.ErrTaken when the lease is lost.
func (s *Store) AdvanceOperation(ctx context.Context, w core.Work, step core.Step) error {
	rows, err := s.queries.AdvanceOperation(ctx, s.advance(w, step))
	return held(rows, err, "store the progress of an operation")
}

func (s *Store) advance(w core.Work, step core.Step) sqlcgen.AdvanceOperationParams {
	return sqlcgen.AdvanceOperationParams{
		ID: uuid.MustParse(w.ID), Take: w.Take, Progress: step.Progress,
		Processed: step.Processed, Affected: step.Affected, Now: core.Stored(s.now()),
	}
}

// PostponeOperation says after which wait the operation is to be taken over again, because of a failure that may pass;
// nil: there is none. core.ErrTaken when the lease is lost.
func (s *Store) PostponeOperation(ctx context.Context, w core.Work, wait time.Duration, failure *fault.Error) error {
	now := core.Stored(s.now())
	params := sqlcgen.PostponeOperationParams{ID: uuid.MustParse(w.ID), Take: w.Take, LeaseTime: now.Add(wait), Now: now}
	if failure != nil {
		params.Failures, params.ErrorReason, params.ErrorMessage = 1, failure.Reason, storable(failure.Message)
	}
	rows, err := s.queries.PostponeOperation(ctx, params)
	return held(rows, err, "postpone an operation")
}

// EndOperation stores that an operation has succeeded, or with a failure that it has failed. core.ErrTaken when the
// lease is lost.
func (s *Store) EndOperation(ctx context.Context, w core.Work, failure *fault.Error) error {
	params := sqlcgen.EndOperationParams{
		ID: uuid.MustParse(w.ID), Take: w.Take, State: string(core.OperationSucceeded), Now: core.Stored(s.now()),
	}
	if failure != nil {
		params.State, params.ErrorReason = string(core.OperationFailed), failure.Reason
		params.ErrorMessage = storable(failure.Message)
	}
	rows, err := s.queries.EndOperation(ctx, params)
	return held(rows, err, "end an operation")
}

// within runs f in a transaction during which nobody stops or takes over the operation, and stores the step that f has
// done in it. core.ErrTaken when the lease is lost.
func (s *Store) within(ctx context.Context, w core.Work, f func(ctx context.Context, c *change) (core.Step, error)) error {
	return s.write(ctx, func(ctx context.Context, c *change) error {
		_, err := c.HoldOperation(ctx, sqlcgen.HoldOperationParams{ID: uuid.MustParse(w.ID), Take: w.Take})
		if errors.Is(err, pgx.ErrNoRows) {
			return core.ErrTaken
		}
		if err != nil {
			return fmt.Errorf("hold an operation: %w", err)
		}
		step, err := f(ctx, c)
		if err != nil {
			return err
		}
		rows, err := c.AdvanceOperation(ctx, s.advance(w, step))
		return held(rows, err, "store the progress of an operation")
	})
}

// held is core.ErrTaken when no row was changed.
func held(rows int64, err error, what string) error {
	if err != nil {
		return translate(fmt.Errorf("%s: %w", what, err))
	}
	if rows == 0 {
		return core.ErrTaken
	}
	return nil
}

// maxStoredMessage is the greatest length of the message of an error that is stored, in characters.
const maxStoredMessage = 1000

// storable returns a text that Postgres takes.
func storable(text string) string {
	valid := make([]rune, 0, len(text))
	for _, r := range text {
		if r != 0 && len(valid) < maxStoredMessage {
			valid = append(valid, r)
		}
	}
	return string(valid)
}

// RemoveEndedOperations removes at most limit operations that have ended before a time, and returns how many. Errors:
// fault.Unavailable.
func (s *Store) RemoveEndedOperations(ctx context.Context, before time.Time, limit int) (int64, error) {
	removed, err := sqlcgen.New(s.pool).RemoveEndedOperations(ctx, sqlcgen.RemoveEndedOperationsParams{Before: before, MaxRows: int64(limit)})
	if err != nil {
		return 0, translate(fmt.Errorf("remove operations that ended long ago: %w", err))
	}
	return removed, nil
}
