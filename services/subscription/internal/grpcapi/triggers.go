package grpcapi

import (
	"context"

	subscriptionv1 "github.com/meetwire/meetwire/proto/gen/meetwire/subscription/v1"
	"github.com/meetwire/meetwire/services/subscription/internal/core"
)

// TriggerStore keeps triggers. All methods return fault.Unavailable while it is away.
type TriggerStore interface {
	// Organization returns an organization, or fault.NotFound.
	Organization(ctx context.Context, id string) (core.Organization, error)
	// Trigger returns a trigger, or fault.NotFound that names the organization too.
	Trigger(ctx context.Context, organization, id string) (core.Trigger, error)
	// Triggers returns at most limit triggers that come after a group and id, in the order of both.
	Triggers(ctx context.Context, afterGroup, afterID string, limit int) ([]core.Trigger, error)
}

// Triggers implements TriggerService.
type Triggers struct {
	subscriptionv1.UnimplementedTriggerServiceServer

	store TriggerStore
}

// NewTriggers returns the service over a store.
func NewTriggers(store TriggerStore) *Triggers { return &Triggers{store: store} }

// GetTrigger implements TriggerService.
func (s *Triggers) GetTrigger(ctx context.Context, req *subscriptionv1.GetTriggerRequest) (*subscriptionv1.Trigger, error) {
	organization, id, err := parseChild("name", "triggers", req.GetName())
	if err != nil {
		return nil, err
	}
	if _, err := s.store.Organization(ctx, organization); err != nil {
		return nil, err
	}
	t, err := s.store.Trigger(ctx, organization, id)
	if err != nil {
		return nil, err
	}
	return triggerMessage(organization, t), nil
}

// ListTriggers implements TriggerService.
func (s *Triggers) ListTriggers(ctx context.Context, req *subscriptionv1.ListTriggersRequest) (*subscriptionv1.ListTriggersResponse, error) {
	organization, err := parseOrganization("parent", req.GetParent())
	if err != nil {
		return nil, err
	}
	if _, err := s.store.Organization(ctx, organization); err != nil {
		return nil, err
	}
	triggers, next, err := list(req,
		func(after triggerCursor, limit int) ([]core.Trigger, error) {
			return s.store.Triggers(ctx, after.Group, after.ID, limit)
		},
		func(t core.Trigger) triggerCursor { return triggerCursor{Group: t.Group, ID: t.ID} })
	if err != nil {
		return nil, err
	}
	return &subscriptionv1.ListTriggersResponse{
		Triggers: messages(triggers, func(t core.Trigger) *subscriptionv1.Trigger {
			return triggerMessage(organization, t)
		}),
		NextPageToken: next,
	}, nil
}

func triggerMessage(organization string, t core.Trigger) *subscriptionv1.Trigger {
	return &subscriptionv1.Trigger{
		Name:        "organizations/" + organization + "/triggers/" + t.ID,
		DisplayName: t.DisplayName,
		Description: t.Description,
		Group:       t.Group,
		Schema:      t.Schema,
		Sample:      t.Sample,
	}
}
