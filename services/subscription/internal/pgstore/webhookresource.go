package pgstore

import (
	"time"

	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/meetwire/meetwire/pkg/dialect"
	configv1 "github.com/meetwire/meetwire/proto/gen/meetwire/config/v1"
	"github.com/meetwire/meetwire/services/subscription/internal/core"
)

func webhookResource(w core.Webhook) *configv1.Resource {
	told := &configv1.Webhook{
		Id:                 w.ID,
		Organization:       w.Organization,
		TargetUrl:          w.TargetURL,
		Triggers:           w.Triggers,
		RetryPolicy:        toldPolicy(w.RetryPolicy),
		Timeout:            durationpb.New(w.Timeout),
		Status:             toldStatus(w.Status),
		Generation:         w.Generation,
		EventTypes:         w.EventTypes,
		Teams:              w.Teams,
		Filter:             w.Filter,
		Dialect:            w.Dialect,
		SignatureEncoding:  w.DialectOptions.SignatureEncoding,
		ClientId:           w.DialectOptions.ClientID,
		OrganizationSecret: w.SecretSource == core.SecretOrganization,
		MaxConcurrency:     w.MaxConcurrency,
		RateLimit:          w.RateLimit,
	}
	if w.Status == core.StatusPaused {
		told.PauseTime = timestamppb.New(w.StatusTime)
	}
	for _, s := range w.Secrets {
		told.Secrets = append(told.Secrets, sealedSecret(s))
	}
	for _, h := range w.Headers {
		told.Headers = append(told.Headers, &configv1.SealedHeader{Name: h.Name, SealedValue: h.Sealed})
	}
	tellFailures(told, w)
	return &configv1.Resource{Resource: &configv1.Resource_Webhook{Webhook: told}}
}

func deletedWebhookResource(id string) *configv1.Resource {
	return &configv1.Resource{Resource: &configv1.Resource_DeletedWebhook{DeletedWebhook: id}}
}

func toldStatus(status core.WebhookStatus) configv1.WebhookStatus {
	switch status {
	case core.StatusActive:
		return configv1.WebhookStatus_WEBHOOK_STATUS_ACTIVE
	case core.StatusPaused:
		return configv1.WebhookStatus_WEBHOOK_STATUS_PAUSED
	case core.StatusDisabled:
		return configv1.WebhookStatus_WEBHOOK_STATUS_DISABLED
	}
	return configv1.WebhookStatus_WEBHOOK_STATUS_UNSPECIFIED
}

// tellFailures fills in when the webhook is disabled: as it says, or else as its dialect has it.
func tellFailures(told *configv1.Webhook, w core.Webhook) {
	var traits dialect.Traits
	if d, ok := dialect.Lookup(w.Dialect); ok {
		traits = d.Traits()
	}
	consecutive, without := int32(traits.Failures.Consecutive), traits.Failures.WithoutSuccess //nolint:gosec // G115: dialects have small numbers
	told.GoneDisables = traits.GoneDisables
	if f := w.FailureThreshold; f != nil {
		consecutive, without = f.ConsecutiveFailures, f.WithoutSuccess
		told.GoneDisables = told.GoneDisables && !f.Off
	}
	if consecutive == 0 && without == 0 {
		return
	}
	told.FailureThreshold = &configv1.FailureThreshold{ConsecutiveFailures: consecutive}
	if without != 0 {
		told.FailureThreshold.WithoutSuccess = durationpb.New(without)
	}
}

// toldPolicy is nil for the schedule of the dialect. A preset is told by its waits.
func toldPolicy(p *core.RetryPolicy) *configv1.RetryPolicy {
	if p == nil {
		return nil
	}
	told := &configv1.RetryPolicy{}
	if p.GiveUpAge != 0 {
		told.GiveUpAge = durationpb.New(p.GiveUpAge)
	}
	switch p.Preset {
	case core.PresetNone:
	case core.PresetStandard:
		tellDelays(told, dialect.Standard)
	case core.PresetExponential:
		tellDelays(told, dialect.Axcelerate)
	default:
		told.MaxRetries, told.Factor, told.Jitter = p.MaxRetries, p.Factor, p.Jitter
		told.FirstDelay, told.MaxDelay = durationpb.New(p.FirstDelay), durationpb.New(p.MaxDelay)
	}
	return told
}

// tellDelays fills in the schedule that a dialect has, and that a preset is named after.
func tellDelays(told *configv1.RetryPolicy, of dialect.Name) {
	var retry dialect.Retry
	if d, ok := dialect.Lookup(of); ok {
		retry = d.Traits().Retry
	}
	told.MaxRetries, told.Jitter = int32(len(retry.Delays)), retry.Jitter //nolint:gosec // G115: at most 30
	told.Delays = toldDurations(retry.Delays)
}

func toldDurations(durations []time.Duration) []*durationpb.Duration {
	told := make([]*durationpb.Duration, len(durations))
	for i, d := range durations {
		told[i] = durationpb.New(d)
	}
	return told
}
