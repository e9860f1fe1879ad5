package operation

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/google/uuid"

	"github.com/meetwire/meetwire/pkg/aip"
	"github.com/meetwire/meetwire/pkg/audit"
	"github.com/meetwire/meetwire/pkg/fault"
	operationv1 "github.com/meetwire/meetwire/proto/gen/meetwire/operation/v1"
)

// ServiceStore is what the service shows and changes. An empty organization stands for the installation. All methods
// return fault.Unavailable while the store is away. PgStore implements it.
type ServiceStore interface {
	// Operation returns an operation, or fault.NotFound.
	Operation(ctx context.Context, organization, id string) (Operation, error)
	// Operations returns at most limit operations, with an empty organization those of all, that come before a time
	// and id, the newest first.
	Operations(ctx context.Context, organization string, before time.Time, beforeID uuid.UUID, limit int) ([]Operation, error)
	// Cancel stops an operation: fault.NotFound, or fault.FailedPrecondition when it cannot be stopped.
	Cancel(ctx context.Context, organization, id string) (Operation, error)
	// Resume lets one go on: fault.NotFound, or fault.FailedPrecondition when it has not stopped.
	Resume(ctx context.Context, organization, id string) (Operation, error)
}

// Audit writes what somebody does into the audit log.
type Audit interface {
	// Record writes an action of the context's caller, once. fault.Unavailable while that is not possible.
	Record(ctx context.Context, action audit.Action) error
}

// Service implements OperationService over a store.
type Service struct {
	operationv1.UnimplementedOperationServiceServer

	store ServiceStore
	audit Audit

	closeOnce sync.Once
	closed    chan struct{}
}

// NewService returns the service. Cancellations and resumptions are recorded before they happen; a nil Audit is for a
// store that does so itself. Close must be called when the gRPC server is to stop.
func NewService(store ServiceStore, audit Audit) *Service {
	return &Service{store: store, audit: audit, closed: make(chan struct{})}
}

// Close ends all streams, so that the gRPC server can stop: context.AfterFunc(ctx, service.Close).
func (s *Service) Close() { s.closeOnce.Do(func() { close(s.closed) }) }

// GetOperation implements OperationService.
func (s *Service) GetOperation(ctx context.Context, req *operationv1.GetOperationRequest) (*operationv1.Operation, error) {
	organization, id, err := parseName(req.GetName())
	if err != nil {
		return nil, err
	}
	o, err := s.store.Operation(ctx, organization, id)
	if err != nil {
		return nil, err
	}
	return Message(o), nil
}

// CancelOperation implements OperationService.
func (s *Service) CancelOperation(ctx context.Context, req *operationv1.CancelOperationRequest) (*operationv1.Operation, error) {
	return s.change(ctx, req.GetName(), audit.Cancel, Operation.CheckCancel, s.store.Cancel)
}

// ResumeOperation implements OperationService.
func (s *Service) ResumeOperation(ctx context.Context, req *operationv1.ResumeOperationRequest) (*operationv1.Operation, error) {
	return s.change(ctx, req.GetName(), audit.Resume, Operation.CheckResume, s.store.Resume)
}

// change records a change of an operation, when it is possible, and makes it.
func (s *Service) change(ctx context.Context, name, action string, check func(Operation) error,
	do func(ctx context.Context, organization, id string) (Operation, error),
) (*operationv1.Operation, error) {
	organization, id, err := parseName(name)
	if err != nil {
		return nil, err
	}
	if s.audit != nil {
		o, err := s.store.Operation(ctx, organization, id)
		if err != nil {
			return nil, err
		}
		if err := check(o); err != nil {
			return nil, err
		}
		err = s.audit.Record(ctx, audit.Action{
			Organization: organization, Action: action, Resource: o.Name(),
			Details: map[string]any{"type": o.Type, "target": o.Target, "state": string(o.State)},
		})
		if err != nil {
			return nil, err
		}
	}
	o, err := do(ctx, organization, id)
	if err != nil {
		return nil, err
	}
	return Message(o), nil
}

// ListOperations implements OperationService.
func (s *Service) ListOperations(ctx context.Context, req *operationv1.ListOperationsRequest) (*operationv1.ListOperationsResponse, error) {
	ids, err := aip.ParseNameField("parent", req.GetParent(), "organizations/{organization}")
	if err != nil {
		return nil, err
	}
	after := aip.NewestFirst()
	if err := aip.DecodeToken(req, req.GetPageToken(), &after); err != nil {
		return nil, err
	}
	if !after.Valid() {
		return nil, fault.Invalid(fault.Field{
			Path: "page_token", Rule: "format", Message: "must be the next_page_token of the page before",
		})
	}
	size := aip.PageSize(req.GetPageSize())
	operations, err := s.store.Operations(ctx, ofOrganization(ids[0]), after.Time, after.ID, size+1)
	if err != nil {
		return nil, err
	}
	answer := &operationv1.ListOperationsResponse{}
	if len(operations) > size {
		operations = operations[:size]
		last := operations[size-1]
		id, err := uuid.Parse(last.ID)
		if err != nil {
			return nil, fmt.Errorf("parse the id of an operation: %w", err)
		}
		if answer.NextPageToken, err = aip.EncodeToken(req, aip.Newest{Time: last.CreateTime, ID: id}); err != nil {
			return nil, err
		}
	}
	for _, o := range operations {
		answer.Operations = append(answer.Operations, Message(o))
	}
	return answer, nil
}

// parseName returns the slug, empty for the installation, and the id within the name of an operation.
func parseName(name string) (organization, id string, err error) {
	ids, err := aip.ParseNameField("name", name, "organizations/{organization}/operations/{operation}")
	if err != nil {
		return "", "", err
	}
	return ofOrganization(ids[0]), ids[1], nil
}

// ofOrganization is empty, which is the installation, for organizations/-.
func ofOrganization(slug string) string {
	if slug == AnyOrganization {
		return ""
	}
	return slug
}
