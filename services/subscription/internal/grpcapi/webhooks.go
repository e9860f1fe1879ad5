package grpcapi

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/google/uuid"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/emptypb"

	"github.com/meetwire/meetwire/pkg/aip"
	"github.com/meetwire/meetwire/pkg/fault"
	subscriptionv1 "github.com/meetwire/meetwire/proto/gen/meetwire/subscription/v1"
	"github.com/meetwire/meetwire/services/subscription/internal/core"
)

// WebhookReader reads webhooks. All methods return fault.Unavailable while the store is away.
type WebhookReader interface {
	// Organization returns an organization, or fault.NotFound.
	Organization(ctx context.Context, id string) (core.Organization, error)
	// Webhook returns a webhook of an organization, or fault.NotFound.
	Webhook(ctx context.Context, organization, id string) (core.Webhook, error)
	// WebhooksByID returns those webhooks of an organization that have one of the ids, in no order.
	WebhooksByID(ctx context.Context, organization string, ids []string) ([]core.Webhook, error)
	// Webhooks returns the part of a list of an organization's webhooks that a query asks for.
	Webhooks(ctx context.Context, query core.WebhookQuery) ([]core.Webhook, error)
	// WebhooksAtHost is that of core.WebhooksAtHost.
	WebhooksAtHost(ctx context.Context, organization, host string, after core.Webhook, limit int) ([]core.Webhook, error)
}

// Webhooks implements WebhookService.
type Webhooks struct {
	subscriptionv1.UnimplementedWebhookServiceServer

	rules    *core.Webhooks
	previews *core.Previews
	reader   WebhookReader
	testing  Testing
}

// NewWebhooks returns the service over the steps that change and preview webhooks, a reader of them, and what sends tests.
func NewWebhooks(rules *core.Webhooks, previews *core.Previews, reader WebhookReader, testing Testing) *Webhooks {
	return &Webhooks{rules: rules, previews: previews, reader: reader, testing: testing}
}

// CreateWebhook implements WebhookService.
func (s *Webhooks) CreateWebhook(ctx context.Context, req *subscriptionv1.CreateWebhookRequest) (*subscriptionv1.Webhook, error) {
	organization, err := parseOrganization("parent", req.GetParent())
	if err != nil {
		return nil, err
	}
	change, err := webhookChange(organization, req.GetWebhook(), nil)
	if err != nil {
		return nil, err
	}
	request, err := requestOf("CreateWebhook", req)
	if err != nil {
		return nil, err
	}
	w, secret, err := s.rules.Create(ctx, organization, change, request, req.GetValidateOnly())
	if err != nil {
		return nil, err
	}
	message := s.message(w)
	message.Secret = secret
	return message, nil
}

// GetWebhook implements WebhookService.
func (s *Webhooks) GetWebhook(ctx context.Context, req *subscriptionv1.GetWebhookRequest) (*subscriptionv1.Webhook, error) {
	return s.one(req.GetName(), func(organization, id string) (core.Webhook, error) {
		return s.reader.Webhook(ctx, organization, id)
	})
}

// BatchGetWebhooks implements WebhookService.
func (s *Webhooks) BatchGetWebhooks(ctx context.Context, req *subscriptionv1.BatchGetWebhooksRequest) (*subscriptionv1.BatchGetWebhooksResponse, error) {
	parent, err := parseOrganization("parent", req.GetParent())
	if err != nil {
		return nil, err
	}
	ids := make([]string, len(req.GetNames()))
	for i, name := range req.GetNames() {
		path := fmt.Sprintf("names[%d]", i)
		organization, id, err := parseChild(path, "webhooks", name)
		if err != nil {
			return nil, err
		}
		if organization != parent {
			return nil, fault.Invalid(fault.Field{Path: path, Rule: "parent", Message: "must be a webhook of " + req.GetParent()})
		}
		ids[i] = id
	}
	found, err := s.reader.WebhooksByID(ctx, parent, ids)
	if err != nil {
		return nil, err
	}
	byID := make(map[string]core.Webhook, len(found))
	for _, w := range found {
		byID[w.ID] = w
	}
	answer := &subscriptionv1.BatchGetWebhooksResponse{}
	for _, id := range ids {
		w, ok := byID[id]
		if !ok {
			return nil, core.NoWebhook(parent, id)
		}
		answer.Webhooks = append(answer.Webhooks, s.message(w))
	}
	return answer, nil
}

// The fields by which webhooks are filtered. Those of the metadata follow a prefix.
const (
	byStatus       = "status"
	byTrigger      = "trigger"
	byDialect      = "dialect"
	byTargetURL    = "target_url"
	byTeam         = "team"
	metadataPrefix = "metadata."
)

// ListWebhooks implements WebhookService.
func (s *Webhooks) ListWebhooks(ctx context.Context, req *subscriptionv1.ListWebhooksRequest) (*subscriptionv1.ListWebhooksResponse, error) {
	organization, err := parseOrganization("parent", req.GetParent())
	if err != nil {
		return nil, err
	}
	query, err := webhookQuery(organization, req)
	if err != nil {
		return nil, err
	}
	if _, err := s.reader.Organization(ctx, organization); err != nil {
		return nil, err
	}
	webhooks, next, err := listWithin(req,
		func(after webhookCursor, limit int) ([]core.Webhook, error) {
			query.Limit = limit
			if after != (webhookCursor{}) {
				query.After = &core.WebhookPlace{Time: after.Time, DisplayName: after.Name, ID: after.ID.String()}
			}
			return s.reader.Webhooks(ctx, query)
		},
		func(w core.Webhook) webhookCursor { return placeOf(w, query.Order) },
		func(w core.Webhook) int { return proto.Size(s.message(w)) })
	if err != nil {
		return nil, err
	}
	return &subscriptionv1.ListWebhooksResponse{Webhooks: messages(webhooks, s.message), NextPageToken: next}, nil
}

// webhookQuery returns what a list is to have.
func webhookQuery(organization string, req *subscriptionv1.ListWebhooksRequest) (core.WebhookQuery, error) {
	order, descending, err := aip.ParseOrder(req.GetOrderBy(),
		string(core.OrderByCreateTime), string(core.OrderByUpdateTime), string(core.OrderByName))
	if err != nil {
		return core.WebhookQuery{}, err
	}
	values, err := aip.ParseFilter(req.GetFilter(), byStatus, byTrigger, byDialect, byTargetURL, byTeam, metadataPrefix+"*")
	if err != nil {
		return core.WebhookQuery{}, err
	}
	query := core.WebhookQuery{
		Organization: organization, Dialect: values[byDialect], TargetURL: values[byTargetURL],
		Order: core.WebhookOrder(order), Descending: descending,
	}
	if saved, wrong := core.ParseTargetURL(query.TargetURL, true); len(wrong) == 0 {
		query.TargetURL = saved // with its host as it was saved
	}
	if status, ok := values[byStatus]; ok {
		if query.Status = webhookStatus(subscriptionv1.Webhook_Status(subscriptionv1.Webhook_Status_value[status])); query.Status == "" {
			return core.WebhookQuery{}, invalidFilter("status must be STATUS_ACTIVE, STATUS_PAUSED or STATUS_DISABLED")
		}
	}
	if trigger, ok := values[byTrigger]; ok {
		if !core.IsTrigger(trigger) {
			return core.WebhookQuery{}, invalidFilter("trigger must be the id of a trigger, such as meeting.booked")
		}
		query.Patterns = append(core.TriggerGroups(trigger), trigger)
	}
	if team, ok := values[byTeam]; ok {
		parts, err := aip.ParseNameField("filter", team, "organizations/{organization}/teams/{team}")
		if err != nil {
			return core.WebhookQuery{}, err
		}
		if parts[0] != organization {
			return core.WebhookQuery{}, invalidFilter("team must be one of organizations/" + organization)
		}
		query.Team = parts[1]
	}
	for field, value := range values {
		if key, ok := strings.CutPrefix(field, metadataPrefix); ok {
			if query.Metadata == nil {
				query.Metadata = map[string]string{}
			}
			query.Metadata[key] = value
		}
	}
	return query, nil
}

func invalidFilter(message string) error {
	return fault.Invalid(fault.Field{Path: "filter", Rule: "filter", Message: message})
}

// UpdateWebhook implements WebhookService.
func (s *Webhooks) UpdateWebhook(ctx context.Context, req *subscriptionv1.UpdateWebhookRequest) (*subscriptionv1.Webhook, error) {
	wanted := req.GetWebhook()
	return s.one(wanted.GetName(), func(organization, id string) (core.Webhook, error) {
		change, err := webhookChange(organization, wanted, req.GetUpdateMask().GetPaths())
		if err != nil {
			return core.Webhook{}, err
		}
		return s.rules.Update(ctx, organization, id, wanted.GetEtag(), change, req.GetValidateOnly())
	})
}

// DeleteWebhook implements WebhookService.
func (s *Webhooks) DeleteWebhook(ctx context.Context, req *subscriptionv1.DeleteWebhookRequest) (*emptypb.Empty, error) {
	organization, id, err := parseChild("name", "webhooks", req.GetName())
	if err != nil {
		return nil, err
	}
	if err := s.rules.Delete(ctx, organization, id, req.GetEtag()); err != nil {
		return nil, err
	}
	return &emptypb.Empty{}, nil
}

// one does something with the webhook that has a name, and returns what comes of it.
func (s *Webhooks) one(name string, do func(organization, id string) (core.Webhook, error)) (*subscriptionv1.Webhook, error) {
	organization, id, err := parseChild("name", "webhooks", name)
	if err != nil {
		return nil, err
	}
	w, err := do(organization, id)
	if err != nil {
		return nil, err
	}
	return s.message(w), nil
}

// webhookCursor is a place in a list of webhooks.
type webhookCursor struct {
	Time time.Time `json:"time,omitzero"`
	Name string    `json:"name,omitempty"`
	ID   uuid.UUID `json:"id"`
}

func (c webhookCursor) valid() bool {
	return c.ID != uuid.Nil && !strings.Contains(c.Name, "\x00") && c.Time.IsZero() == (c.Name != "")
}

// placeOf returns where a webhook is in a list with an order.
func placeOf(w core.Webhook, order core.WebhookOrder) webhookCursor {
	place := webhookCursor{ID: uuid.MustParse(w.ID)} // it came out of a uuid column
	switch order {
	case core.OrderByName:
		place.Name = w.DisplayName
	case core.OrderByUpdateTime:
		place.Time = w.UpdateTime
	default:
		place.Time = w.CreateTime
	}
	return place
}
