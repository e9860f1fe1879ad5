package grpcapi

import (
	"maps"

	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	subscriptionv1 "github.com/meetwire/meetwire/proto/gen/meetwire/subscription/v1"
	"github.com/meetwire/meetwire/services/subscription/internal/core"
)

// message never has a secret in it. Policies that are the dialect's are shown as they are in force.
func (s *Webhooks) message(w core.Webhook) *subscriptionv1.Webhook {
	dialect, _ := s.rules.Dialects.Dialect(w.Dialect)
	message := &subscriptionv1.Webhook{
		Name:             w.Name(),
		DisplayName:      w.DisplayName,
		Description:      w.Description,
		TargetUrl:        w.TargetURL,
		Triggers:         w.Triggers,
		EventTypes:       w.EventTypes,
		Filter:           w.Filter,
		Dialect:          w.Dialect,
		SecretSource:     secretSourceOf(w.SecretSource),
		RetryPolicy:      retryPolicyMessage(w.Retries(dialect)),
		FailureThreshold: failureThresholdMessage(w.Failures(dialect)),
		MaxConcurrency:   w.MaxConcurrency,
		RateLimit:        w.RateLimit,
		Timeout:          durationpb.New(w.Timeout),
		AlertEmails:      w.AlertEmails,
		Metadata:         maps.Clone(w.Metadata),
		Status:           webhookStatusOf(w.Status),
		StatusReason:     w.StatusReason,
		StatusTime:       timestamppb.New(w.StatusTime),
		Generation:       w.Generation,
		Etag:             w.ETag(),
		CreateTime:       timestamppb.New(w.CreateTime),
		UpdateTime:       timestamppb.New(w.UpdateTime),
		SecretVersions:   secretVersions(core.ValidSecrets(w.Secrets, s.rules.Now())),
	}
	for _, id := range w.Teams {
		message.Teams = append(message.Teams, core.TeamName(w.Organization, id))
	}
	if o := w.DialectOptions; o != (core.DialectOptions{}) {
		message.DialectOptions = &subscriptionv1.DialectOptions{SignatureEncoding: o.SignatureEncoding, ClientId: o.ClientID}
	}
	for _, h := range w.Headers {
		message.Headers = append(message.Headers, &subscriptionv1.Header{Name: h.Name})
	}
	return message
}

func webhookStatus(status subscriptionv1.Webhook_Status) core.WebhookStatus {
	switch status {
	case subscriptionv1.Webhook_STATUS_ACTIVE:
		return core.StatusActive
	case subscriptionv1.Webhook_STATUS_PAUSED:
		return core.StatusPaused
	case subscriptionv1.Webhook_STATUS_DISABLED:
		return core.StatusDisabled
	default:
		return ""
	}
}

func webhookStatusOf(status core.WebhookStatus) subscriptionv1.Webhook_Status {
	switch status {
	case core.StatusActive:
		return subscriptionv1.Webhook_STATUS_ACTIVE
	case core.StatusPaused:
		return subscriptionv1.Webhook_STATUS_PAUSED
	case core.StatusDisabled:
		return subscriptionv1.Webhook_STATUS_DISABLED
	default:
		return subscriptionv1.Webhook_STATUS_UNSPECIFIED
	}
}

func secretSource(source subscriptionv1.Webhook_SecretSource) core.SecretSource {
	switch source {
	case subscriptionv1.Webhook_SECRET_SOURCE_OWN:
		return core.SecretOwn
	case subscriptionv1.Webhook_SECRET_SOURCE_ORGANIZATION:
		return core.SecretOrganization
	case subscriptionv1.Webhook_SECRET_SOURCE_NONE:
		return core.SecretNone
	default:
		return ""
	}
}

func secretSourceOf(source core.SecretSource) subscriptionv1.Webhook_SecretSource {
	switch source {
	case core.SecretOwn:
		return subscriptionv1.Webhook_SECRET_SOURCE_OWN
	case core.SecretOrganization:
		return subscriptionv1.Webhook_SECRET_SOURCE_ORGANIZATION
	case core.SecretNone:
		return subscriptionv1.Webhook_SECRET_SOURCE_NONE
	default:
		return subscriptionv1.Webhook_SECRET_SOURCE_UNSPECIFIED
	}
}
