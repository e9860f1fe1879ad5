package grpcapi

import (
	"context"
	"time"

	"github.com/google/uuid"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/emptypb"
	"google.golang.org/protobuf/types/known/timestamppb"

	subscriptionv1 "github.com/meetwire/meetwire/proto/gen/meetwire/subscription/v1"
	"github.com/meetwire/meetwire/services/subscription/internal/core"
)

// WebhookReader looks webhooks up. All methods return fault.Unavailable while the store is away.
type WebhookReader interface {
	// Organization returns an organization, or fault.NotFound.
	Organization(ctx context.Context, id string) (core.Organization, error)
	// Webhook returns a webhook of an organization, or fault.NotFound.
	Webhook(ctx context.Context, organization, id string) (core.Webhook, error)
	// Webhooks returns at most limit webhooks of an organization that come after a time and id, oldest first.
	Webhooks(ctx context.Context, organization string, after time.Time, afterID uuid.UUID, limit int) ([]core.Webhook, error)
}

// Webhooks implements WebhookService.
type Webhooks struct {
	subscriptionv1.UnimplementedWebhookServiceServer

	steps  *core.Webhooks
	reader WebhookReader
}

// NewWebhooks returns the service over the steps that change webhooks and a reader of them.
func NewWebhooks(steps *core.Webhooks, reader WebhookReader) *Webhooks {
	return &Webhooks{steps: steps, reader: reader}
}

// CreateWebhook implements WebhookService.
func (s *Webhooks) CreateWebhook(ctx context.Context, req *subscriptionv1.CreateWebhookRequest) (*subscriptionv1.Webhook, error) {
	organization, err := parseOrganization("parent", req.GetParent())
	if err != nil {
		return nil, err
	}
	change, err := webhookChange(req.GetWebhook(), nil)
	if err != nil {
		return nil, err
	}
	w, secret, err := s.steps.Create(ctx, organization, change)
	if err != nil {
		return nil, err
	}
	message := webhookMessage(w)
	message.Secret = secret
	return message, nil
}

// GetWebhook implements WebhookService.
func (s *Webhooks) GetWebhook(ctx context.Context, req *subscriptionv1.GetWebhookRequest) (*subscriptionv1.Webhook, error) {
	organization, id, err := parseChild("name", "webhooks", req.GetName())
	if err != nil {
		return nil, err
	}
	w, err := s.reader.Webhook(ctx, organization, id)
	if err != nil {
		return nil, err
	}
	return webhookMessage(w), nil
}

// ListWebhooks implements WebhookService.
func (s *Webhooks) ListWebhooks(ctx context.Context, req *subscriptionv1.ListWebhooksRequest) (*subscriptionv1.ListWebhooksResponse, error) {
	organization, err := parseOrganization("parent", req.GetParent())
	if err != nil {
		return nil, err
	}
	if _, err := s.reader.Organization(ctx, organization); err != nil {
		return nil, err
	}
	webhooks, next, err := list(req,
		func(after webhookCursor, limit int) ([]core.Webhook, error) {
			return s.reader.Webhooks(ctx, organization, after.Time, after.ID, limit)
		},
		func(w core.Webhook) webhookCursor {
			return webhookCursor{Time: w.CreateTime, ID: uuid.MustParse(w.ID)} // it came out of a uuid column
		})
	if err != nil {
		return nil, err
	}
	return &subscriptionv1.ListWebhooksResponse{Webhooks: messages(webhooks, webhookMessage), NextPageToken: next}, nil
}

// UpdateWebhook implements WebhookService.
func (s *Webhooks) UpdateWebhook(ctx context.Context, req *subscriptionv1.UpdateWebhookRequest) (*subscriptionv1.Webhook, error) {
	wanted := req.GetWebhook()
	organization, id, err := parseChild("webhook.name", "webhooks", wanted.GetName())
	if err != nil {
		return nil, err
	}
	change, err := webhookChange(wanted, req.GetUpdateMask().GetPaths())
	if err != nil {
		return nil, err
	}
	w, err := s.steps.Update(ctx, organization, id, wanted.GetEtag(), change)
	if err != nil {
		return nil, err
	}
	return webhookMessage(w), nil
}

// DeleteWebhook implements WebhookService.
func (s *Webhooks) DeleteWebhook(ctx context.Context, req *subscriptionv1.DeleteWebhookRequest) (*emptypb.Empty, error) {
	organization, id, err := parseChild("name", "webhooks", req.GetName())
	if err != nil {
		return nil, err
	}
	if err := s.steps.Delete(ctx, organization, id, req.GetEtag()); err != nil {
		return nil, err
	}
	return &emptypb.Empty{}, nil
}

// webhookMessage never has the secret in it.
func webhookMessage(w core.Webhook) *subscriptionv1.Webhook {
	message := &subscriptionv1.Webhook{
		Name:        "organizations/" + w.Organization + "/webhooks/" + w.ID,
		DisplayName: w.DisplayName,
		TargetUrl:   w.TargetURL,
		Triggers:    w.Triggers,
		Status:      subscriptionv1.Webhook_STATUS_ACTIVE,
		Timeout:     durationpb.New(w.Timeout),
		Etag:        w.ETag(),
		CreateTime:  timestamppb.New(w.CreateTime),
		UpdateTime:  timestamppb.New(w.UpdateTime),
	}
	if w.Paused {
		message.Status = subscriptionv1.Webhook_STATUS_PAUSED
	}
	if p := w.RetryPolicy; p != nil {
		message.RetryPolicy = &subscriptionv1.RetryPolicy{
			MaxRetries: p.MaxRetries,
			FirstDelay: durationpb.New(p.FirstDelay),
			Factor:     p.Factor,
			MaxDelay:   durationpb.New(p.MaxDelay),
			Jitter:     p.Jitter,
		}
	}
	return message
}
