package grpcapi

import (
	"context"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	subscriptionv1 "github.com/meetwire/meetwire/proto/gen/meetwire/subscription/v1"
	"github.com/meetwire/meetwire/services/subscription/internal/core"
)

// OrganizationStore keeps organizations. All methods return fault.Unavailable while it is away.
type OrganizationStore interface {
	// InsertOrganization stores a new one. fault.AlreadyExists when its slug is, or was, in use.
	InsertOrganization(ctx context.Context, o core.Organization) error
	// Organization returns one, or fault.NotFound.
	Organization(ctx context.Context, id string) (core.Organization, error)
	// Organizations returns at most limit of them whose slug comes after the given one, in their order.
	Organizations(ctx context.Context, after string, limit int) ([]core.Organization, error)
}

// Organizations implements OrganizationService.
type Organizations struct {
	subscriptionv1.UnimplementedOrganizationServiceServer

	store OrganizationStore
	now   func() time.Time
}

// NewOrganizations returns the service over a store.
func NewOrganizations(store OrganizationStore, now func() time.Time) *Organizations {
	return &Organizations{store: store, now: now}
}

// CreateOrganization implements OrganizationService.
func (s *Organizations) CreateOrganization(ctx context.Context, req *subscriptionv1.CreateOrganizationRequest) (*subscriptionv1.Organization, error) {
	wanted := req.GetOrganization()
	o, err := core.NewOrganization(req.GetOrganizationId(), wanted.GetDisplayName(), wanted.GetAllowHttp(), s.now())
	if err != nil {
		return nil, err
	}
	if err := s.store.InsertOrganization(ctx, o); err != nil {
		return nil, err
	}
	return organizationMessage(o), nil
}

// GetOrganization implements OrganizationService.
func (s *Organizations) GetOrganization(ctx context.Context, req *subscriptionv1.GetOrganizationRequest) (*subscriptionv1.Organization, error) {
	id, err := parseOrganization("name", req.GetName())
	if err != nil {
		return nil, err
	}
	o, err := s.store.Organization(ctx, id)
	if err != nil {
		return nil, err
	}
	return organizationMessage(o), nil
}

// ListOrganizations implements OrganizationService.
func (s *Organizations) ListOrganizations(ctx context.Context, req *subscriptionv1.ListOrganizationsRequest) (*subscriptionv1.ListOrganizationsResponse, error) {
	organizations, next, err := list(req,
		func(after slugCursor, limit int) ([]core.Organization, error) {
			return s.store.Organizations(ctx, after.Slug, limit)
		},
		func(o core.Organization) slugCursor { return slugCursor{Slug: o.ID} })
	if err != nil {
		return nil, err
	}
	return &subscriptionv1.ListOrganizationsResponse{
		Organizations: messages(organizations, organizationMessage), NextPageToken: next,
	}, nil
}

func organizationMessage(o core.Organization) *subscriptionv1.Organization {
	return &subscriptionv1.Organization{
		Name:        "organizations/" + o.ID,
		DisplayName: o.DisplayName,
		AllowHttp:   o.AllowHTTP,
		CreateTime:  timestamppb.New(o.CreateTime),
	}
}

// messages makes messages of domain values.
func messages[V, M any](values []V, f func(V) M) []M {
	result := make([]M, len(values))
	for i, value := range values {
		result[i] = f(value)
	}
	return result
}
