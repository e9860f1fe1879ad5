package grpcapi

import (
	"context"
	"encoding/json"
	"fmt"

	"github.com/google/uuid"
	"google.golang.org/protobuf/proto"

	"github.com/meetwire/meetwire/pkg/audit"
	"github.com/meetwire/meetwire/pkg/bus"
	"github.com/meetwire/meetwire/pkg/fault"
	"github.com/meetwire/meetwire/pkg/operation"
	operationv1 "github.com/meetwire/meetwire/proto/gen/meetwire/operation/v1"
	"github.com/meetwire/meetwire/services/delivery/internal/natsbus"
)

// Beginner keeps operations.
type Beginner interface {
	// Begin stores an operation, which is worked on from then on: fault.InvalidArgument when its request id was used by
	// another request, fault.Unavailable.
	Begin(ctx context.Context, o operation.Operation, requestID string) (operation.Operation, error)
}

// Auditor writes into the audit log.
type Auditor interface {
	// Record writes what the context's caller does: fault.Unavailable while that is not possible.
	Record(ctx context.Context, action audit.Action) error
}

// Work is what changes deliveries have in common: who has asked for them is recorded before anything happens.
type Work struct {
	Operations    Beginner
	Audit         Auditor
	Configuration natsbus.Configuration
}

// record records what somebody does with a resource of an organization.
func (w *Work) record(ctx context.Context, action, organization, resource, requestID string) error {
	return w.Audit.Record(ctx, audit.Action{
		ID: actionID(organization, action+":"+resource, requestID), Organization: organization, Action: action, Resource: resource,
	})
}

// begun is an operation that begins.
type begun struct {
	kind, action, organization, target, requestID string

	request    proto.Message
	parameters any
	rate       float64
	dryRun     bool
	details    map[string]any
}

// begin records who begins an operation, and begins it. That of all organizations is the installation's.
func (w *Work) begin(ctx context.Context, b begun) (*operationv1.Operation, error) {
	organization := b.organization
	if organization == bus.AnyToken {
		organization = ""
	} else if !w.Configuration.HasOrganization(organization) {
		return nil, fault.New(fault.NotFound, "ORGANIZATION_NOT_FOUND", "organization %s does not exist", organization)
	}
	o := operation.Operation{
		ID: uuid.NewString(), Organization: organization, Type: b.kind, Target: b.target, DryRun: b.dryRun, Rate: b.rate,
	}
	var err error
	if o.Parameters, err = json.Marshal(b.parameters); err != nil {
		return nil, fmt.Errorf("write the parameters of an operation: %w", err)
	}
	if o.Request, err = (proto.MarshalOptions{Deterministic: true}).Marshal(b.request); err != nil {
		return nil, fmt.Errorf("write the request of an operation: %w", err)
	}
	if b.dryRun {
		b.details["dry_run"] = true
	}
	err = w.Audit.Record(ctx, audit.Action{
		ID: actionID(organization, b.kind, b.requestID), Organization: organization, Action: b.action, Resource: b.target, Details: b.details,
	})
	if err != nil {
		return nil, err
	}
	o, err = w.Operations.Begin(ctx, o, b.requestID)
	if err != nil {
		return nil, err
	}
	return operation.Message(o), nil
}

// actionID is the id of what a request does: the same for one that is repeated. Empty: a new one.
func actionID(organization, what, requestID string) string {
	if requestID == "" {
		return ""
	}
	return uuid.NewSHA1(uuid.NameSpaceURL, []byte("meetwire:"+organization+":"+what+":"+requestID)).String()
}
