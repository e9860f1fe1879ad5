package core

import (
	"context"
	"fmt"
	"time"

	"github.com/meetwire/meetwire/pkg/fault"
)

// WebhookStore keeps webhooks. Besides what each method names, all return fault.Unavailable while the store is
// away.
type WebhookStore interface {
	// Organization returns an organization, or fault.NotFound.
	Organization(ctx context.Context, id string) (Organization, error)
	// KnownTriggers returns which of the ids are triggers.
	KnownTriggers(ctx context.Context, ids []string) (map[string]bool, error)
	// InsertWebhook stores a new webhook and returns it with its revision. fault.NotFound when its organization
	// is gone.
	InsertWebhook(ctx context.Context, w Webhook) (Webhook, error)
	// UpdateWebhook gives the current state to change, which nobody else can change meanwhile, and stores what
	// comes back, unless changed is false. change may be called several times. fault.NotFound when there is no
	// such webhook in the organization; an error of change comes back as it is.
	UpdateWebhook(ctx context.Context, organization, id string,
		change func(current Webhook) (next Webhook, changed bool, err error)) (Webhook, error)
	// DeleteWebhook removes a webhook for good when check accepts its current state. fault.NotFound when there is
	// no such webhook in the organization; an error of check comes back as it is.
	DeleteWebhook(ctx context.Context, organization, id string, check func(current Webhook) error) error
}

// Secrets makes and encrypts signing secrets.
type Secrets interface {
	// New returns a new random signing secret, whsec_….
	New() (string, error)
	// Seal encrypts a secret for the webhook with this id.
	Seal(secret, webhookID string) ([]byte, error)
}

// Webhooks makes, changes and deletes webhooks by their rules.
type Webhooks struct {
	store   WebhookStore
	secrets Secrets
	newID   func() string
	now     func() time.Time
}

// NewWebhooks returns the steps over a store. newID makes a UUIDv4.
func NewWebhooks(store WebhookStore, secrets Secrets, newID func() string, now func() time.Time) *Webhooks {
	return &Webhooks{store: store, secrets: secrets, newID: newID, now: now}
}

// Create makes a webhook, and a signing secret for it when none is given. It returns the secret, which cannot
// be had again. fault.InvalidArgument names every field at fault.
func (s *Webhooks) Create(ctx context.Context, organization string, change WebhookChange) (Webhook, string, error) {
	tenant, err := s.store.Organization(ctx, organization)
	if err != nil {
		return Webhook{}, "", err
	}
	change.require()
	if change.Secret == nil {
		secret, err := s.secrets.New()
		if err != nil {
			return Webhook{}, "", fmt.Errorf("make a signing secret: %w", err)
		}
		change.Secret = &secret
	}
	now := Stored(s.now())
	w, fields := change.apply(Webhook{ID: s.newID(), Organization: organization, CreateTime: now, UpdateTime: now}, tenant.AllowHTTP)
	if err := s.checkTriggersExist(ctx, change, fields); err != nil {
		return Webhook{}, "", err
	}
	sealed, err := s.seal(*change.Secret, w.ID)
	if err != nil {
		return Webhook{}, "", err
	}
	w.SealedSecrets = sealed
	if w, err = s.store.InsertWebhook(ctx, w); err != nil {
		return Webhook{}, "", err
	}
	return w, *change.Secret, nil
}

// Update changes a webhook. An etag that is not empty must be the current one, else fault.Aborted. A change
// that changes nothing leaves the webhook, its etag and its update time alone.
func (s *Webhooks) Update(ctx context.Context, organization, id, etag string, change WebhookChange) (Webhook, error) {
	tenant, err := s.store.Organization(ctx, organization)
	if err != nil {
		return Webhook{}, err
	}
	// Everything but the retry policy can be checked without the current state.
	independent := change
	independent.RetryPolicy = nil
	_, fields := independent.apply(Webhook{}, tenant.AllowHTTP)
	if err := s.checkTriggersExist(ctx, change, fields); err != nil {
		return Webhook{}, err
	}
	var sealed [][]byte
	if change.Secret != nil {
		if sealed, err = s.seal(*change.Secret, id); err != nil {
			return Webhook{}, err
		}
	}
	return s.store.UpdateWebhook(ctx, organization, id, func(current Webhook) (Webhook, bool, error) {
		if err := current.CheckETag(etag); err != nil {
			return Webhook{}, false, err
		}
		next, fields := change.apply(current, tenant.AllowHTTP)
		if err := invalid(fields); err != nil {
			return Webhook{}, false, err
		}
		if sealed != nil {
			next.SealedSecrets = sealed
		}
		if next.same(current) {
			return current, false, nil
		}
		next.UpdateTime = Stored(s.now())
		return next, true, nil
	})
}

// Delete removes a webhook for good. An etag that is not empty must be the current one, else fault.Aborted.
func (s *Webhooks) Delete(ctx context.Context, organization, id, etag string) error {
	return s.store.DeleteWebhook(ctx, organization, id, func(current Webhook) error {
		return current.CheckETag(etag)
	})
}

// checkTriggersExist returns the fault of the fields that are wrong already and of the triggers that do not
// exist.
func (s *Webhooks) checkTriggersExist(ctx context.Context, change WebhookChange, fields []fault.Field) error {
	if change.Triggers != nil && len(checkTriggers(*change.Triggers)) == 0 {
		known, err := s.store.KnownTriggers(ctx, *change.Triggers)
		if err != nil {
			return err
		}
		fields = append(fields, checkKnown(*change.Triggers, known)...)
	}
	return invalid(fields)
}

func (s *Webhooks) seal(secret, id string) ([][]byte, error) {
	sealed, err := s.secrets.Seal(secret, id)
	if err != nil {
		return nil, fmt.Errorf("encrypt a signing secret: %w", err)
	}
	return [][]byte{sealed}, nil
}

// require makes the fields that a new webhook needs be checked also when they are not given.
func (c *WebhookChange) require() {
	empty, none := "", []string(nil)
	if c.DisplayName == nil {
		c.DisplayName = &empty
	}
	if c.TargetURL == nil {
		c.TargetURL = &empty
	}
	if c.Triggers == nil {
		c.Triggers = &none
	}
}
