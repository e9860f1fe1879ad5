package grpcapi

import (
	"context"

	"github.com/meetwire/meetwire/pkg/fault"
	subscriptionv1 "github.com/meetwire/meetwire/proto/gen/meetwire/subscription/v1"
	"github.com/meetwire/meetwire/services/subscription/internal/core"
)

// PauseWebhook implements WebhookService.
func (s *Webhooks) PauseWebhook(ctx context.Context, req *subscriptionv1.PauseWebhookRequest) (*subscriptionv1.Webhook, error) {
	return s.one(req.GetName(), func(organization, id string) (core.Webhook, error) {
		return s.rules.Pause(ctx, organization, id)
	})
}

// ResumeWebhook implements WebhookService.
func (s *Webhooks) ResumeWebhook(ctx context.Context, req *subscriptionv1.ResumeWebhookRequest) (*subscriptionv1.ResumeWebhookResponse, error) {
	answer := &subscriptionv1.ResumeWebhookResponse{}
	var err error
	answer.Webhook, err = s.one(req.GetName(), func(organization, id string) (core.Webhook, error) {
		w, operation, err := s.rules.Resume(ctx, organization, id, req.GetSendMissed())
		if err != nil || operation == nil {
			return w, err
		}
		answer.Operation, err = operationMessage(*operation)
		return w, err
	})
	if err != nil {
		return nil, err
	}
	return answer, nil
}

// EnableWebhook implements WebhookService.
func (s *Webhooks) EnableWebhook(ctx context.Context, req *subscriptionv1.EnableWebhookRequest) (*subscriptionv1.Webhook, error) {
	return s.one(req.GetName(), func(organization, id string) (core.Webhook, error) {
		return s.rules.Enable(ctx, organization, id)
	})
}

// RotateWebhookSecret implements WebhookService.
func (s *Webhooks) RotateWebhookSecret(ctx context.Context, req *subscriptionv1.RotateWebhookSecretRequest) (*subscriptionv1.Webhook, error) {
	grace := core.DefaultGracePeriod
	if req.GetGracePeriod() != nil {
		grace = req.GetGracePeriod().AsDuration()
	}
	secret := req.GetSecret()
	message, err := s.one(req.GetName(), func(organization, id string) (w core.Webhook, err error) {
		w, secret, err = s.rules.RotateSecret(ctx, organization, id, secret, grace)
		return w, err
	})
	if err != nil {
		return nil, err
	}
	message.Secret = secret
	return message, nil
}

// ActivateWebhookSecret implements WebhookService.
func (s *Webhooks) ActivateWebhookSecret(ctx context.Context, req *subscriptionv1.ActivateWebhookSecretRequest) (*subscriptionv1.Webhook, error) {
	return s.one(req.GetName(), func(organization, id string) (core.Webhook, error) {
		return s.rules.ActivateSecret(ctx, organization, id)
	})
}

// RevealWebhookSecret implements WebhookService.
func (s *Webhooks) RevealWebhookSecret(ctx context.Context, req *subscriptionv1.RevealWebhookSecretRequest) (*subscriptionv1.RevealWebhookSecretResponse, error) {
	organization, id, err := parseChild("name", "webhooks", req.GetName())
	if err != nil {
		return nil, err
	}
	secrets, err := s.rules.RevealSecret(ctx, organization, id)
	if err != nil {
		return nil, err
	}
	return &subscriptionv1.RevealWebhookSecretResponse{Secrets: secrets}, nil
}

// PreviewWebhook implements WebhookService.
func (s *Webhooks) PreviewWebhook(ctx context.Context, req *subscriptionv1.PreviewWebhookRequest) (*subscriptionv1.PreviewWebhookResponse, error) {
	wanted, err := wantedPreview(req.GetParent(), req.GetWebhook())
	if err != nil {
		return nil, err
	}
	wanted.Trigger, wanted.Event = req.GetTrigger(), req.GetEvent()
	rendered, err := s.previews.Preview(ctx, wanted)
	if err != nil {
		return nil, err
	}
	answer := &subscriptionv1.PreviewWebhookResponse{
		Method: rendered.Method, Url: rendered.URL, Body: rendered.Body,
		Matches: rendered.Mismatch == "", Mismatch: rendered.Mismatch,
	}
	for _, h := range rendered.Headers {
		answer.Headers = append(answer.Headers, &subscriptionv1.PreviewWebhookResponse_PreviewHeader{Name: h.Name, Value: h.Value})
	}
	return answer, nil
}

// savedWebhook returns the id of a saved webhook of an organization, of which only the name is given.
func savedWebhook(organization string, w *subscriptionv1.Webhook) (string, error) {
	const path = "webhook.name"
	owner, id, err := parseChild(path, "webhooks", w.GetName())
	if err != nil {
		return "", err
	}
	if owner != organization {
		return "", fault.Invalid(fault.Field{Path: path, Rule: "parent", Message: "must be a webhook of organizations/" + organization})
	}
	if len(populated(w)) > 0 {
		return "", fault.Invalid(fault.Field{
			Path: path, Rule: "exclusive",
			Message: "must be the only field of a saved webhook: leave it out for one that is not saved",
		})
	}
	return id, nil
}

// CheckDuplicateWebhooks implements WebhookService.
func (s *Webhooks) CheckDuplicateWebhooks(ctx context.Context, req *subscriptionv1.CheckDuplicateWebhooksRequest) (*subscriptionv1.CheckDuplicateWebhooksResponse, error) {
	organization, err := parseOrganization("parent", req.GetParent())
	if err != nil {
		return nil, err
	}
	found, err := core.FindDuplicates(ctx, s.reader, organization, req.GetTargetUrl(), req.GetTriggers())
	if err != nil {
		return nil, err
	}
	answer := &subscriptionv1.CheckDuplicateWebhooksResponse{}
	for _, d := range found {
		answer.Duplicates = append(answer.Duplicates, &subscriptionv1.CheckDuplicateWebhooksResponse_Duplicate{
			Webhook: d.Webhook.Name(), Triggers: d.Triggers,
		})
	}
	return answer, nil
}
