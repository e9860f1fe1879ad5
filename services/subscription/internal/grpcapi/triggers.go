package grpcapi

import (
	"context"
	"strings"
	"time"

	"google.golang.org/protobuf/types/known/emptypb"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/meetwire/meetwire/pkg/aip"
	"github.com/meetwire/meetwire/pkg/fault"
	subscriptionv1 "github.com/meetwire/meetwire/proto/gen/meetwire/subscription/v1"
	"github.com/meetwire/meetwire/services/subscription/internal/core"
)

// TriggerReader reads triggers. All methods return fault.Unavailable while the store is away.
type TriggerReader interface {
	// Organization returns an organization, or fault.NotFound.
	Organization(ctx context.Context, id string) (core.Organization, error)
	// Trigger returns a trigger of an organization's own, or with an empty one of the platform, or fault.NotFound.
	Trigger(ctx context.Context, organization, id string) (core.Trigger, error)
	// Triggers returns at most limit of the triggers that an organization knows, or with an empty one of the platform's,
	// that come after a group and id, in the order of both.
	Triggers(ctx context.Context, organization string, filter core.TriggerFilter, afterGroup, afterID string, limit int) ([]core.Trigger, error)
}

// Triggers implements TriggerService.
type Triggers struct {
	subscriptionv1.UnimplementedTriggerServiceServer

	steps     *core.Triggers
	reader    TriggerReader
	catalogue *publicCatalogue
}

// NewTriggers returns the service over the steps that change triggers and a reader of them.
func NewTriggers(steps *core.Triggers, reader TriggerReader, now func() time.Time) *Triggers {
	return &Triggers{steps: steps, reader: reader, catalogue: newPublicCatalogue(reader, now)}
}

// CreateTrigger implements TriggerService.
func (s *Triggers) CreateTrigger(ctx context.Context, req *subscriptionv1.CreateTriggerRequest) (*subscriptionv1.Trigger, error) {
	organization, err := parseOrganization("parent", req.GetParent())
	if err != nil {
		return nil, err
	}
	change, err := triggerChange(req.GetTrigger(), nil)
	if err != nil {
		return nil, err
	}
	request, err := requestOf("CreateTrigger", req)
	if err != nil {
		return nil, err
	}
	t, err := s.steps.Create(ctx, owner(organization), req.GetTriggerId(), change, request, req.GetValidateOnly())
	if err != nil {
		return nil, err
	}
	return triggerMessage(organization, t), nil
}

// GetTrigger implements TriggerService.
func (s *Triggers) GetTrigger(ctx context.Context, req *subscriptionv1.GetTriggerRequest) (*subscriptionv1.Trigger, error) {
	organization, t, err := s.trigger(ctx, req.GetName())
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
	filter, err := triggerFilter(req.GetFilter())
	if err != nil {
		return nil, err
	}
	if organization != core.AnyOrganization {
		if _, err := s.reader.Organization(ctx, organization); err != nil {
			return nil, err
		}
	}
	triggers, next, err := listWithin(req,
		func(after triggerCursor, limit int) ([]core.Trigger, error) {
			return s.reader.Triggers(ctx, owner(organization), filter, after.Group, after.ID, limit)
		},
		func(t core.Trigger) triggerCursor { return triggerCursor{Group: t.Group, ID: t.ID} },
		func(t core.Trigger) int { return len(t.Schema) + len(t.Sample) })
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

// UpdateTrigger implements TriggerService.
func (s *Triggers) UpdateTrigger(ctx context.Context, req *subscriptionv1.UpdateTriggerRequest) (*subscriptionv1.Trigger, error) {
	wanted := req.GetTrigger()
	organization, id, err := parseChild("trigger.name", "triggers", wanted.GetName())
	if err != nil {
		return nil, err
	}
	change, err := triggerChange(wanted, req.GetUpdateMask().GetPaths())
	if err != nil {
		return nil, err
	}
	t, err := s.steps.Update(ctx, owner(organization), id, core.TriggerUpdate{
		Change: change, ETag: wanted.GetEtag(), AllowIncompatible: req.GetAllowIncompatible(), Try: req.GetValidateOnly(),
	})
	if err != nil {
		return nil, err
	}
	return triggerMessage(organization, t), nil
}

// DeleteTrigger implements TriggerService.
func (s *Triggers) DeleteTrigger(ctx context.Context, req *subscriptionv1.DeleteTriggerRequest) (*emptypb.Empty, error) {
	organization, id, err := parseChild("name", "triggers", req.GetName())
	if err != nil {
		return nil, err
	}
	if err := s.steps.Delete(ctx, owner(organization), id, req.GetEtag()); err != nil {
		return nil, err
	}
	return &emptypb.Empty{}, nil
}

// trigger returns the trigger with a name, and the organization within it.
func (s *Triggers) trigger(ctx context.Context, name string) (string, core.Trigger, error) {
	organization, id, err := parseChild("name", "triggers", name)
	if err != nil {
		return "", core.Trigger{}, err
	}
	if organization != core.AnyOrganization {
		if _, err := s.reader.Organization(ctx, organization); err != nil {
			return "", core.Trigger{}, err
		}
	}
	of := ""
	if core.IsCustomTrigger(id) {
		of = owner(organization)
	}
	t, err := s.reader.Trigger(ctx, of, id)
	if fault.Is(err, fault.NotFound) {
		return "", core.Trigger{}, core.NoTrigger(organization, id)
	}
	return organization, t, err
}

// owner returns whose a trigger with an organization in its name is: empty for the platform.
func owner(organization string) string {
	if organization == core.AnyOrganization {
		return ""
	}
	return organization
}

// triggerChange returns what a request wants to be changed.
func triggerChange(t *subscriptionv1.Trigger, paths []string) (core.TriggerChange, error) {
	changed, err := changedFields(t, paths, "display_name", "description", "group", "schema", "sample", "deprecated", "schema_mode")
	if err != nil {
		return core.TriggerChange{}, err
	}
	var change core.TriggerChange
	for _, text := range []struct {
		name     string
		from, to **string
	}{
		{"display_name", new(&t.DisplayName), &change.DisplayName},
		{"description", new(&t.Description), &change.Description},
		{"group", new(&t.Group), &change.Group},
		{"schema", new(&t.Schema), &change.Schema},
		{"sample", new(&t.Sample), &change.Sample},
	} {
		if changed[text.name] {
			*text.to = *text.from
		}
	}
	if changed["deprecated"] {
		change.Deprecated = &t.Deprecated
	}
	if changed["schema_mode"] {
		change.WarnOnly = new(t.GetSchemaMode() == subscriptionv1.Trigger_SCHEMA_MODE_WARN)
	}
	return change, nil
}

// triggerFilter reads the filter of a list.
func triggerFilter(filter string) (core.TriggerFilter, error) {
	values, err := aip.ParseFilter(filter, "group", "deprecated", "built_in", "operational")
	if err != nil {
		return core.TriggerFilter{}, err
	}
	var wanted core.TriggerFilter
	for name, value := range values {
		if name == "group" {
			wanted.Group = &value
			continue
		}
		yes := value == "true"
		if !yes && value != "false" {
			return core.TriggerFilter{}, fault.Invalid(fault.Field{
				Path: "filter", Rule: "filter", Message: name + " must be compared with true or false",
			})
		}
		switch name {
		case "deprecated":
			wanted.Deprecated = &yes
		case "built_in":
			wanted.BuiltIn = &yes
		case "operational":
			wanted.Operational = &yes
		}
	}
	return wanted, nil
}

// triggerMessage returns the message of a trigger as an organization sees it.
func triggerMessage(organization string, t core.Trigger) *subscriptionv1.Trigger {
	mode := subscriptionv1.Trigger_SCHEMA_MODE_ENFORCE
	if t.WarnOnly {
		mode = subscriptionv1.Trigger_SCHEMA_MODE_WARN
	}
	return &subscriptionv1.Trigger{
		Name:        core.TriggerName(organization, t.ID),
		DisplayName: t.DisplayName,
		Description: t.Description,
		Group:       t.Group,
		Schema:      t.Schema,
		Sample:      t.Sample,
		Deprecated:  t.Deprecated,
		SchemaMode:  mode,
		BuiltIn:     t.BuiltIn,
		Operational: t.Operational,
		Etag:        t.ETag(),
		CreateTime:  timestamppb.New(t.CreateTime),
		UpdateTime:  timestamppb.New(t.UpdateTime),
	}
}

// triggerCursor is a place in a list that is ordered by group and id.
type triggerCursor struct {
	Group string `json:"group"`
	ID    string `json:"id"`
}

func (c triggerCursor) valid() bool {
	return core.IsTrigger(c.ID) && !strings.Contains(c.Group, "\x00")
}
