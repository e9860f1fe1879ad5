package grpcapi

import (
	"context"
	"time"

	"github.com/google/uuid"
	spb "google.golang.org/genproto/googleapis/rpc/status"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/meetwire/meetwire/pkg/fault"
	"github.com/meetwire/meetwire/pkg/rpc"
	operationv1 "github.com/meetwire/meetwire/proto/gen/meetwire/operation/v1"
	"github.com/meetwire/meetwire/services/subscription/internal/core"
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
	// CancelOperation stops an operation: fault.NotFound, or fault.FailedPrecondition when it cannot be stopped.
	CancelOperation(ctx context.Context, organization, id string) (core.Operation, error)
	// ResumeOperation lets one go on: fault.NotFound, or fault.FailedPrecondition when it has not stopped.
	ResumeOperation(ctx context.Context, organization, id string) (core.Operation, error)
}

// Operations implements OperationService.
type Operations struct {
	operationv1.UnimplementedOperationServiceServer

	store OperationStore
}

// NewOperations returns the service over a store.
func NewOperations(store OperationStore) *Operations { return &Operations{store: store} }

// GetOperation implements OperationService.
func (s *Operations) GetOperation(ctx context.Context, req *operationv1.GetOperationRequest) (*operationv1.Operation, error) {
	return oneOperation(ctx, req.GetName(), s.store.Operation)
}

// CancelOperation implements OperationService.
func (s *Operations) CancelOperation(ctx context.Context, req *operationv1.CancelOperationRequest) (*operationv1.Operation, error) {
	return oneOperation(ctx, req.GetName(), s.store.CancelOperation)
}

// ResumeOperation implements OperationService.
func (s *Operations) ResumeOperation(ctx context.Context, req *operationv1.ResumeOperationRequest) (*operationv1.Operation, error) {
	return oneOperation(ctx, req.GetName(), s.store.ResumeOperation)
}

func oneOperation(ctx context.Context, name string,
	do func(ctx context.Context, organization, id string) (core.Operation, error),
) (*operationv1.Operation, error) {
	organization, id, err := parseChild("name", "operations", name)
	if err != nil {
		return nil, err
	}
	o, err := do(ctx, ofOrganization(organization), id)
	if err != nil {
		return nil, err
	}
	return operationMessage(o), nil
}

// ListOperations implements OperationService.
func (s *Operations) ListOperations(ctx context.Context, req *operationv1.ListOperationsRequest) (*operationv1.ListOperationsResponse, error) {
	parent, err := parseOrganization("parent", req.GetParent())
	if err != nil {
		return nil, err
	}
	organization := ofOrganization(parent)
	operations, next, err := list(req,
		func(after newestCursor, limit int) ([]core.Operation, error) {
			return s.store.Operations(ctx, organization, after.time(), after.id(), limit)
		},
		func(o core.Operation) newestCursor { return newestCursor{Time: o.CreateTime, ID: uuid.MustParse(o.ID)} })
	if err != nil {
		return nil, err
	}
	if len(operations) == 0 && organization != "" {
		// Those of an organization that is gone are still shown; one that never was is not there.
		if _, err := s.store.Organization(ctx, organization); err != nil {
			return nil, err
		}
	}
	return &operationv1.ListOperationsResponse{Operations: messages(operations, operationMessage), NextPageToken: next}, nil
}

// ofOrganization is empty, which is the installation, for organizations/-.
func ofOrganization(slug string) string {
	if slug == core.AnyOrganization {
		return ""
	}
	return slug
}

// newestCursor is a place in a list that begins with the newest. Its zero value is the beginning.
type newestCursor struct {
	Time time.Time `json:"time"`
	ID   uuid.UUID `json:"id"`
}

func (c newestCursor) valid() bool { return !c.Time.IsZero() }

// time is later than everything that is stored at the beginning.
func (c newestCursor) time() time.Time {
	if c.Time.IsZero() {
		return time.Date(9999, 12, 31, 0, 0, 0, 0, time.UTC)
	}
	return c.Time
}

func (c newestCursor) id() uuid.UUID {
	if c.Time.IsZero() {
		return uuid.Max
	}
	return c.ID
}

func operationMessage(o core.Operation) *operationv1.Operation {
	message := &operationv1.Operation{
		Name: o.Name(), Type: string(o.Type), Target: o.Target, State: operationState(o.State), Done: o.Done(),
		ProcessedCount: o.ProcessedCount, AffectedCount: o.AffectedCount,
		CreateTime: timestamppb.New(o.CreateTime), UpdateTime: timestamppb.New(o.UpdateTime), EndTime: timestamp(o.EndTime),
	}
	if o.ErrorReason != "" {
		message.Error = operationError(o)
	}
	return message
}

// operationError is the error of an operation in the form that errors of calls have.
func operationError(o core.Operation) *spb.Status {
	kind := fault.Unavailable // it is tried again
	if o.State == core.OperationFailed {
		kind = fault.FailedPrecondition
	}
	return rpc.Status(fault.New(kind, o.ErrorReason, "%s", o.ErrorMessage)).Proto()
}

func operationState(state core.OperationState) operationv1.Operation_State {
	switch state {
	case core.OperationRunning:
		return operationv1.Operation_STATE_RUNNING
	case core.OperationSucceeded:
		return operationv1.Operation_STATE_SUCCEEDED
	case core.OperationFailed:
		return operationv1.Operation_STATE_FAILED
	case core.OperationCanceled:
		return operationv1.Operation_STATE_CANCELED
	default:
		return operationv1.Operation_STATE_UNSPECIFIED
	}
}
