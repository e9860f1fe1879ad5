package pgstore

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"github.com/google/uuid"

	"github.com/meetwire/meetwire/services/subscription/internal/core"
	"github.com/meetwire/meetwire/services/subscription/internal/pgstore/sqlcgen"
)

// beginOperation stores a new operation in the transaction of the change that asks for it, and returns it with its id
// and its times. A revision that it lacks is that of the change, which is counted then: lock rows before.
func (c *change) beginOperation(ctx context.Context, o core.Operation) (core.Operation, error) {
	id := uuid.New()
	if o.ID != "" {
		var err error
		if id, err = uuid.Parse(o.ID); err != nil {
			return core.Operation{}, fmt.Errorf("parse an operation's id: %w", err)
		}
	}
	if o.Parameters.Revision == 0 && o.Organization != "" {
		revision, err := c.next(ctx)
		if err != nil {
			return core.Operation{}, err
		}
		o.Parameters.Revision = revision
	}
	parameters, err := json.Marshal(o.Parameters)
	if err != nil {
		return core.Operation{}, fmt.Errorf("write the parameters of an operation: %w", err)
	}
	o.ID, o.State = id.String(), core.OperationRunning
	o.CreateTime = core.Stored(c.now())
	o.UpdateTime = o.CreateTime
	err = c.InsertOperation(ctx, sqlcgen.InsertOperationParams{
		ID: id, Organization: optional(o.Organization), Type: string(o.Type), Target: o.Target,
		Parameters: parameters, Now: o.CreateTime,
	})
	if err != nil {
		return core.Operation{}, fmt.Errorf("store an operation: %w", err)
	}
	return o, nil
}

// Operation returns an operation of an organization, or with an empty one of the installation. fault.NotFound when
// there is none.
func (s *Store) Operation(ctx context.Context, organization, id string) (core.Operation, error) {
	key, err := uuid.Parse(id)
	if err != nil {
		return core.Operation{}, core.NoOperation(organization, id)
	}
	row, err := s.queries.Operation(ctx, sqlcgen.OperationParams{ID: key, Organization: optional(organization)})
	if err != nil {
		return core.Operation{}, read(fmt.Errorf("read operation: %w", err), core.NoOperation(organization, id))
	}
	return operation(row)
}

// Operations returns at most limit operations of an organization, or with an empty one of the installation and of all
// organizations, that come before a time and id, the newest first.
func (s *Store) Operations(ctx context.Context, organization string, before time.Time, beforeID uuid.UUID, limit int) ([]core.Operation, error) {
	rows, err := s.queries.OperationsBefore(ctx, sqlcgen.OperationsBeforeParams{
		Organization: optional(organization), BeforeTime: before, BeforeID: beforeID, MaxRows: int64(limit),
	})
	if err != nil {
		return nil, translate(fmt.Errorf("list operations: %w", err))
	}
	operations := make([]core.Operation, len(rows))
	for i, row := range rows {
		if operations[i], err = operation(row); err != nil {
			return nil, err
		}
	}
	return operations, nil
}

func operation(row sqlcgen.OperationRow) (core.Operation, error) {
	o := core.Operation{
		ID: row.ID.String(), Type: core.OperationType(row.Type), Target: row.Target, State: core.OperationState(row.State),
		ProcessedCount: row.ProcessedCount, AffectedCount: row.AffectedCount,
		ErrorReason: row.ErrorReason, ErrorMessage: row.ErrorMessage,
		CreateTime: row.CreateTime.UTC(), UpdateTime: row.UpdateTime.UTC(), EndTime: timeOf(row.EndTime),
	}
	if row.Organization != nil {
		o.Organization = *row.Organization
	}
	if err := json.Unmarshal(row.Parameters, &o.Parameters); err != nil {
		return core.Operation{}, fmt.Errorf("read the parameters of operation %s: %w", o.ID, err)
	}
	return o, nil
}

// optional is NULL for an empty text.
func optional(s string) *string {
	if s == "" {
		return nil
	}
	return &s
}
