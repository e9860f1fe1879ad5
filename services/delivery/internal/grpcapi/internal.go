package grpcapi

import (
	"context"
	"fmt"
	"time"

	"github.com/meetwire/meetwire/pkg/fault"
	deliveryv1 "github.com/meetwire/meetwire/proto/gen/meetwire/delivery/v1"
)

// Organizations is what is configured.
type Organizations interface {
	// WaitFor waits until a revision of the configuration is in force. It returns the context's error.
	WaitFor(ctx context.Context, revision int64) error
	// HasOrganization reports whether an organization exists.
	HasOrganization(id string) bool
}

// Purger removes what is kept of an organization in one place.
type Purger interface {
	// Purge removes it and returns how much it was. It can be repeated: fault.Unavailable.
	Purge(ctx context.Context, organization string) (int64, error)
}

// Internal implements InternalService.
type Internal struct {
	deliveryv1.UnimplementedInternalServiceServer
	Organizations Organizations
	Messages      Purger
	Rows          Purger
	Ledger        Ledger
	Waiting       Waiting
	Eraser        Eraser
	Tests         *Tests
	// KeptSince returns since when the deliveries of an organization's events are kept.
	KeptSince func(organization string) time.Time
}

// PurgeOrganization implements InternalService.
func (i *Internal) PurgeOrganization(
	ctx context.Context, request *deliveryv1.PurgeOrganizationRequest,
) (*deliveryv1.PurgeOrganizationResponse, error) {
	organization := request.GetOrganization()
	if err := checkOrganization(organization); err != nil {
		return nil, err
	}
	if err := i.Organizations.WaitFor(ctx, request.GetRevision()); err != nil {
		return nil, fault.Wrap(fault.Unavailable, "CONFIGURATION_STALE", fmt.Errorf("wait for the deletion: %w", err),
			"the deletion of the organization is not known here yet; repeat the call")
	}
	if i.Organizations.HasOrganization(organization) {
		return nil, fault.New(fault.FailedPrecondition, "ORGANIZATION_EXISTS", "organization %s exists", organization)
	}
	messages, err := i.Messages.Purge(ctx, organization)
	if err != nil {
		return nil, err
	}
	rows, err := i.Rows.Purge(ctx, organization)
	if err != nil {
		return nil, err
	}
	return &deliveryv1.PurgeOrganizationResponse{MessageCount: messages, RowCount: rows}, nil
}
