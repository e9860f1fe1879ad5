package pgstore

import (
	"context"
	"fmt"
	"time"

	"github.com/google/uuid"

	"github.com/meetwire/meetwire/services/subscription/internal/core"
	"github.com/meetwire/meetwire/services/subscription/internal/pgstore/sqlcgen"
)

// Webhook returns a webhook of an organization, or fault.NotFound.
func (s *Store) Webhook(ctx context.Context, organization, id string) (core.Webhook, error) {
	key, err := uuid.Parse(id)
	if err != nil {
		return core.Webhook{}, core.NoWebhook(organization, id)
	}
	row, err := s.queries.Webhook(ctx, sqlcgen.WebhookParams{ID: key, Organization: organization})
	if err != nil {
		return core.Webhook{}, read(fmt.Errorf("read webhook: %w", err), core.NoWebhook(organization, id))
	}
	return webhook(row), nil
}

// Webhooks returns at most limit webhooks of an organization that come after the given time and id, oldest
// first.
func (s *Store) Webhooks(ctx context.Context, organization string, after time.Time, afterID uuid.UUID, limit int) ([]core.Webhook, error) {
	rows, err := s.queries.OrganizationWebhooksAfter(ctx, sqlcgen.OrganizationWebhooksAfterParams{
		Organization: organization, AfterTime: after, AfterID: afterID, MaxRows: int64(limit),
	})
	if err != nil {
		return nil, translate(fmt.Errorf("list webhooks: %w", err))
	}
	return convert(rows, webhook), nil
}

// InsertWebhook implements core.WebhookStore.
func (s *Store) InsertWebhook(ctx context.Context, w core.Webhook) (core.Webhook, error) {
	id, err := uuid.Parse(w.ID)
	if err != nil {
		return core.Webhook{}, fmt.Errorf("parse webhook id: %w", err)
	}
	err = s.write(ctx, func(ctx context.Context, c *change) error {
		if _, err := c.ShareOrganization(ctx, w.Organization); err != nil {
			return read(fmt.Errorf("read organization: %w", err), core.NoOrganization(w.Organization))
		}
		if w.Revision, err = c.next(ctx); err != nil {
			return err
		}
		p := policyColumns(w.RetryPolicy)
		err := c.InsertWebhook(ctx, sqlcgen.InsertWebhookParams{
			ID: id, Organization: w.Organization, DisplayName: w.DisplayName, TargetURL: w.TargetURL,
			Triggers: w.Triggers, SealedSecrets: w.SealedSecrets, Paused: w.Paused,
			MaxRetries: p.maxRetries, FirstDelayNs: p.firstDelay, Factor: p.factor, MaxDelayNs: p.maxDelay, Jitter: p.jitter,
			TimeoutNs: int64(w.Timeout), Revision: w.Revision, CreateTime: w.CreateTime, UpdateTime: w.UpdateTime,
		})
		if err != nil {
			return fmt.Errorf("insert webhook: %w", err)
		}
		c.add(webhookResource(w))
		return nil
	})
	if err != nil {
		return core.Webhook{}, err
	}
	return w, nil
}

// UpdateWebhook implements core.WebhookStore.
func (s *Store) UpdateWebhook(ctx context.Context, organization, id string,
	update func(core.Webhook) (core.Webhook, bool, error),
) (core.Webhook, error) {
	key, err := uuid.Parse(id)
	if err != nil {
		return core.Webhook{}, core.NoWebhook(organization, id)
	}
	var w core.Webhook
	err = s.write(ctx, func(ctx context.Context, c *change) error {
		current, err := c.lockWebhook(ctx, organization, key)
		if err != nil {
			return err
		}
		var changed bool
		if w, changed, err = update(current); err != nil || !changed {
			return err
		}
		if w.Revision, err = c.next(ctx); err != nil {
			return err
		}
		p := policyColumns(w.RetryPolicy)
		err = c.UpdateWebhook(ctx, sqlcgen.UpdateWebhookParams{
			ID: key, DisplayName: w.DisplayName, TargetURL: w.TargetURL,
			Triggers: w.Triggers, SealedSecrets: w.SealedSecrets, Paused: w.Paused,
			MaxRetries: p.maxRetries, FirstDelayNs: p.firstDelay, Factor: p.factor, MaxDelayNs: p.maxDelay, Jitter: p.jitter,
			TimeoutNs: int64(w.Timeout), Revision: w.Revision, UpdateTime: w.UpdateTime,
		})
		if err != nil {
			return fmt.Errorf("update webhook: %w", err)
		}
		c.add(webhookResource(w))
		return nil
	})
	if err != nil {
		return core.Webhook{}, err
	}
	return w, nil
}

// DeleteWebhook implements core.WebhookStore.
func (s *Store) DeleteWebhook(ctx context.Context, organization, id string, check func(core.Webhook) error) error {
	key, err := uuid.Parse(id)
	if err != nil {
		return core.NoWebhook(organization, id)
	}
	return s.write(ctx, func(ctx context.Context, c *change) error {
		current, err := c.lockWebhook(ctx, organization, key)
		if err != nil {
			return err
		}
		if err := check(current); err != nil {
			return err
		}
		if err := c.DeleteWebhook(ctx, key); err != nil {
			return fmt.Errorf("delete webhook: %w", err)
		}
		c.add(deletedWebhookResource(current.ID))
		return nil
	})
}

// lockWebhook returns a webhook that nobody else can change before this transaction ends.
func (c *change) lockWebhook(ctx context.Context, organization string, id uuid.UUID) (core.Webhook, error) {
	row, err := c.LockWebhook(ctx, sqlcgen.LockWebhookParams{ID: id, Organization: organization})
	if err != nil {
		return core.Webhook{}, read(fmt.Errorf("lock webhook: %w", err), core.NoWebhook(organization, id.String()))
	}
	return webhook(row), nil
}

func webhook(row sqlcgen.WebhookRow) core.Webhook {
	w := core.Webhook{
		ID: row.ID.String(), Organization: row.Organization, DisplayName: row.DisplayName, TargetURL: row.TargetURL,
		Triggers: row.Triggers, SealedSecrets: row.SealedSecrets, Paused: row.Paused,
		Timeout: time.Duration(row.TimeoutNs), Revision: row.Revision,
		CreateTime: row.CreateTime.UTC(), UpdateTime: row.UpdateTime.UTC(),
	}
	if row.MaxRetries != nil { // the table has a check that all five are set, or none
		w.RetryPolicy = &core.RetryPolicy{
			MaxRetries: *row.MaxRetries, FirstDelay: time.Duration(*row.FirstDelayNs), Factor: *row.Factor,
			MaxDelay: time.Duration(*row.MaxDelayNs), Jitter: *row.Jitter,
		}
	}
	return w
}

// policy is a retry policy as columns: all nil for the default schedule.
type policy struct {
	maxRetries *int32
	firstDelay *int64
	factor     *float64
	maxDelay   *int64
	jitter     *float64
}

func policyColumns(p *core.RetryPolicy) policy {
	if p == nil {
		return policy{}
	}
	first, greatest := int64(p.FirstDelay), int64(p.MaxDelay)
	return policy{maxRetries: &p.MaxRetries, firstDelay: &first, factor: &p.Factor, maxDelay: &greatest, jitter: &p.Jitter}
}
