package core

import (
	"context"
	"fmt"
	"maps"
	"strings"
	"time"

	"github.com/meetwire/meetwire/pkg/fault"
)

// Triggers of events about webhooks.
const (
	TriggerWebhookEnabled = "webhook.enabled"
	TriggerWebhookDeleted = "webhook.deleted"
	TriggerSecretRotated  = "secret.rotated"
)

// act makes a step that looks at nothing but the webhook itself.
func (s *Webhooks) act(ctx context.Context, organization, id string, step func(current Webhook, now time.Time) (WebhookStep, error)) (Webhook, *Operation, error) {
	return s.Store.UpdateWebhook(ctx, organization, id, false,
		func(_ context.Context, _ WebhookView, current Webhook) (WebhookStep, error) {
			now := Stored(s.Now())
			made, err := step(current, now)
			if made.Write {
				made.Webhook.UpdateTime = now
			}
			return made, err
		})
}

// Pause makes events wait. Nothing changes for a webhook that is paused; fault.FailedPrecondition for one that is
// disabled.
func (s *Webhooks) Pause(ctx context.Context, organization, id string) (Webhook, error) {
	w, _, err := s.act(ctx, organization, id, func(current Webhook, now time.Time) (WebhookStep, error) {
		switch current.Status {
		case StatusPaused:
			return WebhookStep{Webhook: current}, nil
		case StatusDisabled:
			return WebhookStep{}, disabledFault(current)
		}
		return WebhookStep{Webhook: current.WithStatus(StatusPaused, "", now), Write: true, Action: ActionPause}, nil
	})
	return w, err
}

// Resume makes a paused webhook active again, and with sendMissed begins the operation that sends it what happened
// meanwhile. Nothing changes for one that is active; fault.FailedPrecondition for one that is disabled.
func (s *Webhooks) Resume(ctx context.Context, organization, id string, sendMissed bool) (Webhook, *Operation, error) {
	return s.act(ctx, organization, id, func(current Webhook, now time.Time) (WebhookStep, error) {
		switch current.Status {
		case StatusActive:
			return WebhookStep{Webhook: current}, nil
		case StatusDisabled:
			return WebhookStep{}, disabledFault(current)
		}
		next := current.WithStatus(StatusActive, "", now)
		step := WebhookStep{Webhook: next, Write: true, Action: ActionResume}
		if sendMissed {
			work := NewResumeOperation(organization, id, current.StatusTime, next.StatusTime)
			step.Operation = &work
		}
		return step, nil
	})
}

// Enable makes a disabled webhook active again, in its next generation. Nothing changes for one that is active;
// fault.FailedPrecondition for one that is paused.
func (s *Webhooks) Enable(ctx context.Context, organization, id string) (Webhook, error) {
	w, _, err := s.act(ctx, organization, id, func(current Webhook, now time.Time) (WebhookStep, error) {
		switch current.Status {
		case StatusActive:
			return WebhookStep{Webhook: current}, nil
		case StatusPaused:
			return WebhookStep{}, fault.New(fault.FailedPrecondition, "WEBHOOK_PAUSED", "%s is paused: resume it", current.Name())
		}
		next := current.WithStatus(StatusActive, "", now)
		return WebhookStep{Webhook: next, Write: true, Action: ActionEnable, Events: []WebhookEvent{{
			Trigger: TriggerWebhookEnabled,
			Data:    Document{"generation": next.Generation, "time": eventTime(next.StatusTime)},
		}}}, nil
	})
	return w, err
}

// RotateSecret gives a webhook a new secret, made here when it is empty, and returns it. Those before stay valid for the
// grace period. fault.FailedPrecondition when the webhook has no secret of its own.
func (s *Webhooks) RotateSecret(ctx context.Context, organization, id, secret string, grace time.Duration) (Webhook, string, error) {
	if err := invalid(CheckGracePeriod("grace_period", grace)); err != nil {
		return Webhook{}, "", err
	}
	given := secret
	w, _, err := s.act(ctx, organization, id, func(current Webhook, now time.Time) (WebhookStep, error) {
		if err := current.hasOwnSecret(); err != nil {
			return WebhookStep{}, err
		}
		var err error
		if secret = given; secret == "" {
			if secret, err = s.Dialects.NewSecret(current.Dialect); err != nil {
				return WebhookStep{}, fmt.Errorf("make a signing secret: %w", err)
			}
		} else if problem := s.Dialects.CheckSecret(current.Dialect, secret); problem != "" {
			return WebhookStep{}, invalid(field("secret", ruleFormat, "%s", problem))
		}
		sealed, err := s.Sealer.Seal(secret, current.ID)
		if err != nil {
			return WebhookStep{}, fmt.Errorf("encrypt a signing secret: %w", err)
		}
		next := current
		next.Secrets = RotateSecrets(current.Secrets, sealed, grace, now)
		return WebhookStep{Webhook: next, Write: true, Action: ActionRotate, Events: []WebhookEvent{rotated(grace, now)}}, nil
	})
	if err != nil {
		return Webhook{}, "", err
	}
	return w, secret, nil
}

// rotated is the event that a webhook has a new secret.
func rotated(grace time.Duration, now time.Time) WebhookEvent {
	return WebhookEvent{Trigger: TriggerSecretRotated, Data: Document{
		"grace_period_seconds": int64(grace / time.Second), "time": eventTime(now),
	}}
}

// ActivateSecret ends the grace period of all secrets but the newest now. Nothing changes for one that is valid alone.
// fault.FailedPrecondition when the webhook has no secret of its own.
func (s *Webhooks) ActivateSecret(ctx context.Context, organization, id string) (Webhook, error) {
	w, _, err := s.act(ctx, organization, id, func(current Webhook, now time.Time) (WebhookStep, error) {
		if err := current.hasOwnSecret(); err != nil {
			return WebhookStep{}, err
		}
		if len(ValidSecrets(current.Secrets, now)) == 1 {
			return WebhookStep{Webhook: current}, nil
		}
		next := current
		next.Secrets = ActivateSecret(current.Secrets)
		return WebhookStep{Webhook: next, Write: true, Action: ActionActivate}, nil
	})
	return w, err
}

// RevealSecret returns the valid secrets of a webhook, the newest first, and notes in the audit log that somebody has
// seen them. fault.FailedPrecondition when the webhook has no secret of its own.
func (s *Webhooks) RevealSecret(ctx context.Context, organization, id string) ([]string, error) {
	var secrets []string
	_, _, err := s.act(ctx, organization, id, func(current Webhook, now time.Time) (WebhookStep, error) {
		if err := current.hasOwnSecret(); err != nil {
			return WebhookStep{}, err
		}
		var err error
		if secrets, err = s.open(ValidSecrets(current.Secrets, now), current.ID); err != nil {
			return WebhookStep{}, fmt.Errorf("open the secrets of %s: %w", current.Name(), err)
		}
		return WebhookStep{Webhook: current, Action: ActionReveal}, nil
	})
	return secrets, err
}

// open decrypts secrets.
func (s *Webhooks) open(sealed []SealedSecret, associated string) ([]string, error) {
	secrets := make([]string, len(sealed))
	for i, one := range sealed {
		secret, err := s.Sealer.Open(one.Sealed, associated)
		if err != nil {
			return nil, err
		}
		secrets[i] = secret
	}
	return secrets, nil
}

// hasOwnSecret returns fault.FailedPrecondition when the webhook has no secret of its own.
func (w Webhook) hasOwnSecret() error {
	if w.SecretSource == SecretOwn {
		return nil
	}
	return fault.New(fault.FailedPrecondition, "NO_OWN_SECRET",
		"%s has no secret of its own: its secret_source is SECRET_SOURCE_%s", w.Name(), strings.ToUpper(string(w.SecretSource)))
}

// Event returns the data of an event about the webhook.
func (w Webhook) Event(data Document) Document {
	full := Document{"webhook": Document{"name": w.Name(), "id": w.ID, "display_name": w.DisplayName}}
	maps.Copy(full, data)
	return full
}

// eventTime writes a time as events have it.
func eventTime(t time.Time) string { return t.UTC().Format(time.RFC3339Nano) }
