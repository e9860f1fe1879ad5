package grpcapi

import (
	"context"
	"time"

	"github.com/google/uuid"

	"github.com/meetwire/meetwire/pkg/operation"
	operationv1 "github.com/meetwire/meetwire/proto/gen/meetwire/operation/v1"
	"github.com/meetwire/meetwire/services/subscription/internal/core"
	"github.com/meetwire/meetwire/services/subscription/internal/operations"
)

// OperationStore keeps operations. An empty organization stands for the installation. All methods return
// fault.Unavailable while it is away.
type OperationStore interface {
	// Organization returns an organization, or fault.NotFound.
	Organization(ctx context.Context, id string) (core.Organization, error)
	// Operation returns an operation, or fault.NotFound.
	Operation(ctx context.Context, organization, id string) (core.Operation, error)
	// Operations returns at most limit operations, with an empty organization those of all, that come before a time
	// and id, the newest first.
	Operations(ctx context.Context, organization string, before time.Time, beforeID uuid.UUID, limit int) ([]core.Operation, error)
	// CancelOperation stops an operation: fault.NotFound, or fault.FailedPrecondition when it cannot be stopped. It
	// writes that into the audit log.
	CancelOperation(ctx context.Context, organization, id string) (core.Operation, error)
	// ResumeOperation lets one go on: fault.NotFound, or fault.FailedPrecondition when it has not stopped. It writes
	// that into the audit log.
	ResumeOperation(ctx context.Context, organization, id string) (core.Operation, error)
}

// NewOperations returns OperationService over a store.
func NewOperations(store OperationStore) *operation.Service {
	return operation.NewService(sharedOperations{store}, nil) // the store writes the audit log
}

// sharedOperations is a store as the service that all have in common sees it.
type sharedOperations struct{ store OperationStore }

// Operation implements operation.ServiceStore.
func (s sharedOperations) Operation(ctx context.Context, organization, id string) (operation.Operation, error) {
	return shared(s.store.Operation(ctx, organization, id))
}

// Cancel implements operation.ServiceStore.
func (s sharedOperations) Cancel(ctx context.Context, organization, id string) (operation.Operation, error) {
	return shared(s.store.CancelOperation(ctx, organization, id))
}

// Resume implements operation.ServiceStore.
func (s sharedOperations) Resume(ctx context.Context, organization, id string) (operation.Operation, error) {
	return shared(s.store.ResumeOperation(ctx, organization, id))
}

// Operations implements operation.ServiceStore.
func (s sharedOperations) Operations(ctx context.Context, organization string, before time.Time, beforeID uuid.UUID, limit int) ([]operation.Operation, error) {
	found, err := s.store.Operations(ctx, organization, before, beforeID, limit)
	if err != nil {
		return nil, err
	}
	if len(found) == 0 && organization != "" {
		// Those of an organization that is gone are still shown; one that never was is not there.
		if _, err := s.store.Organization(ctx, organization); err != nil {
			return nil, err
		}
	}
	all := make([]operation.Operation, len(found))
	for i, o := range found {
		if all[i], err = operations.Shared(o); err != nil {
			return nil, err
		}
	}
	return all, nil
}

func shared(o core.Operation, err error) (operation.Operation, error) {
	if err != nil {
		return operation.Operation{}, err
	}
	return operations.Shared(o)
}

// operationMessage returns an operation as the API shows it.
func operationMessage(o core.Operation) (*operationv1.Operation, error) {
	all, err := operations.Shared(o)
	if err != nil {
		return nil, err
	}
	return operation.Message(all), nil
}
