package pgstore

import (
	"google.golang.org/protobuf/types/known/durationpb"

	accessv1 "github.com/meetwire/meetwire/proto/gen/meetwire/access/v1"
	configv1 "github.com/meetwire/meetwire/proto/gen/meetwire/config/v1"
	"github.com/meetwire/meetwire/services/subscription/internal/core"
)

// What the other services are told of each resource.

func organizationResource(o core.Organization) *configv1.Resource {
	return &configv1.Resource{Resource: &configv1.Resource_Organization{Organization: &configv1.Organization{
		Id: o.ID,
	}}}
}

func triggerResource(t core.Trigger) *configv1.Resource {
	return &configv1.Resource{Resource: &configv1.Resource_Trigger{Trigger: &configv1.Trigger{
		Id: t.ID, Schema: t.Schema,
	}}}
}

func apiKeyResource(k core.APIKey) *configv1.Resource {
	return &configv1.Resource{Resource: &configv1.Resource_ApiKey{ApiKey: &configv1.ApiKey{
		Id:           k.ID,
		Organization: k.Organization,
		Role:         accessv1.Role(k.Role),
		SecretSha256: k.SecretSHA256[:],
	}}}
}

func deletedAPIKeyResource(id string) *configv1.Resource {
	return &configv1.Resource{Resource: &configv1.Resource_DeletedApiKey{DeletedApiKey: id}}
}

func webhookResource(w core.Webhook) *configv1.Resource {
	webhook := &configv1.Webhook{
		Id:            w.ID,
		Organization:  w.Organization,
		TargetUrl:     w.TargetURL,
		Triggers:      w.Triggers,
		SealedSecrets: w.SealedSecrets,
		Paused:        w.Paused,
		Timeout:       durationpb.New(w.Timeout),
	}
	if p := w.RetryPolicy; p != nil {
		webhook.RetryPolicy = &configv1.RetryPolicy{
			MaxRetries: p.MaxRetries,
			FirstDelay: durationpb.New(p.FirstDelay),
			Factor:     p.Factor,
			MaxDelay:   durationpb.New(p.MaxDelay),
			Jitter:     p.Jitter,
		}
	}
	return &configv1.Resource{Resource: &configv1.Resource_Webhook{Webhook: webhook}}
}

func deletedWebhookResource(id string) *configv1.Resource {
	return &configv1.Resource{Resource: &configv1.Resource_DeletedWebhook{DeletedWebhook: id}}
}
