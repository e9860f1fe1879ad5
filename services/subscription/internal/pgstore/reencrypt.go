package pgstore

import (
	"context"
	"fmt"

	"github.com/google/uuid"

	"github.com/meetwire/meetwire/services/subscription/internal/core"
	"github.com/meetwire/meetwire/services/subscription/internal/pgstore/column"
	"github.com/meetwire/meetwire/services/subscription/internal/pgstore/sqlcgen"
)

// ReencryptOrganizations gives reseal every secret of at most limit organizations whose slug comes after the given one,
// and stores what comes back and, as the progress of the operation, what next returns for the last of them. It returns
// that slug, empty when there was none. core.ErrTaken when the lease is lost. Neither an etag nor a time changes; the
// other services are told.
func (s *Store) ReencryptOrganizations(ctx context.Context, w core.Work, after string, limit int,
	reseal core.Reseal, next func(last string) ([]byte, error),
) (string, error) {
	return s.reencrypt(ctx, w, next, func(ctx context.Context, c *change) (string, int, error) {
		rows, err := c.LockOrganizationsAfter(ctx, sqlcgen.LockOrganizationsAfterParams{After: after, MaxRows: int64(limit)})
		if err != nil {
			return "", 0, fmt.Errorf("lock organizations: %w", err)
		}
		last := ""
		for _, row := range rows {
			o := organization(row)
			last = o.ID
			if len(o.Secrets) == 0 {
				continue
			}
			if err := resealSecrets(o.Secrets, o.Name(), reseal); err != nil {
				return "", 0, fmt.Errorf("encrypt the secrets of %s anew: %w", o.Name(), err)
			}
			params := sqlcgen.ResealOrganizationParams{ID: o.ID, Secrets: column.Secrets(o.Secrets)}
			if err := c.ResealOrganization(ctx, params); err != nil {
				return "", 0, fmt.Errorf("store the secrets of %s: %w", o.Name(), err)
			}
			c.add(organizationResource(o, c.now()))
		}
		return last, len(rows), nil
	})
}

// ReencryptWebhooks does the same with the secrets and the headers of webhooks, in the order of their ids.
func (s *Store) ReencryptWebhooks(ctx context.Context, w core.Work, after string, limit int,
	reseal core.Reseal, next func(last string) ([]byte, error),
) (string, error) {
	params := sqlcgen.LockWebhooksAfterParams{MaxRows: int64(limit)}
	if after != "" {
		var err error
		if params.After, err = uuid.Parse(after); err != nil {
			return "", fmt.Errorf("parse webhook id: %w", err)
		}
	}
	return s.reencrypt(ctx, w, next, func(ctx context.Context, c *change) (string, int, error) {
		rows, err := c.LockWebhooksAfter(ctx, params)
		if err != nil {
			return "", 0, fmt.Errorf("lock webhooks: %w", err)
		}
		last := ""
		for _, row := range rows {
			last = row.ID.String()
			if err := c.resealWebhook(ctx, row, reseal); err != nil {
				return "", 0, fmt.Errorf("encrypt the secrets of webhook %s anew: %w", last, err)
			}
		}
		return last, len(rows), nil
	})
}

// reencrypt encrypts one batch anew and stores how far that is.
func (s *Store) reencrypt(ctx context.Context, w core.Work, next func(last string) ([]byte, error),
	batch func(ctx context.Context, c *change) (last string, rows int, err error),
) (string, error) {
	var last string
	err := s.within(ctx, w, func(ctx context.Context, c *change) (core.Step, error) {
		var rows int
		var err error
		if last, rows, err = batch(ctx, c); err != nil {
			return core.Step{}, err
		}
		progress, err := next(last)
		return core.Step{Progress: progress, Processed: int64(rows), Affected: int64(len(c.resources))}, err
	})
	return last, err
}

func (c *change) resealWebhook(ctx context.Context, row sqlcgen.WebhookRow, reseal core.Reseal) error {
	w, err := webhook(row)
	if err != nil {
		return err
	}
	if len(w.Secrets) == 0 && len(w.Headers) == 0 {
		return nil
	}
	if err := resealSecrets(w.Secrets, w.ID, reseal); err != nil {
		return err
	}
	for i, h := range w.Headers {
		if w.Headers[i].Sealed, err = reseal(h.Sealed, core.HeaderPurpose(w.ID, h.Name)); err != nil {
			return err
		}
	}
	if row, err = webhookRow(w); err != nil {
		return err
	}
	params := sqlcgen.ResealWebhookParams{ID: row.ID, Secrets: row.Secrets, Settings: row.Settings}
	if err := c.ResealWebhook(ctx, params); err != nil {
		return fmt.Errorf("store secrets: %w", err)
	}
	c.add(webhookResource(w))
	return nil
}

func resealSecrets(secrets []core.SealedSecret, purpose string, reseal core.Reseal) error {
	for i, secret := range secrets {
		var err error
		if secrets[i].Sealed, err = reseal(secret.Sealed, purpose); err != nil {
			return err
		}
	}
	return nil
}

// ForgetFeed removes what the feed has from before now, but for the newest entry, so that nobody is sent what was
// encrypted with an earlier key: whatever the newest entry told of such a thing, writing that anew has made a newer one.
// Watchers that are behind begin anew.
func (s *Store) ForgetFeed(ctx context.Context) error {
	if _, err := s.queries.ForgetFeed(ctx); err != nil {
		return translate(fmt.Errorf("forget the feed: %w", err))
	}
	return nil
}
