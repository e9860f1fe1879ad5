package pgstore

import (
	"context"
	"fmt"
	"strconv"
	"time"

	"github.com/google/uuid"

	"github.com/meetwire/meetwire/pkg/fault"
	"github.com/meetwire/meetwire/services/subscription/internal/core"
	"github.com/meetwire/meetwire/services/subscription/internal/pgstore/sqlcgen"
)

// InsertWebhook implements core.WebhookStore.
func (s *Store) InsertWebhook(ctx context.Context, organization, id string, request core.Request,
	make func(context.Context, core.WebhookView) (core.WebhookStep, error),
) (core.Webhook, error) {
	var w core.Webhook
	err := s.write(ctx, func(ctx context.Context, c *change) error {
		view, err := c.viewWebhooks(ctx, organization, true)
		if err != nil {
			return err
		}
		if err := c.claim(ctx, organization, request, id); err != nil {
			return err
		}
		step, err := make(ctx, view)
		if err != nil {
			return err
		}
		if w = step.Webhook; !step.Write {
			return nil
		}
		if w.Revision, err = c.next(ctx); err != nil {
			return err
		}
		row, err := webhookRow(w)
		if err != nil {
			return err
		}
		if err := c.InsertWebhook(ctx, insertWebhook(row)); err != nil {
			return fmt.Errorf("insert webhook: %w", err)
		}
		_, err = c.finishWebhook(ctx, step, nil, w.Document(), w)
		return err
	})
	if err != nil {
		return core.Webhook{}, err
	}
	return w, nil
}

// UpdateWebhook implements core.WebhookStore.
func (s *Store) UpdateWebhook(ctx context.Context, organization, id string, alone bool,
	update func(context.Context, core.WebhookView, core.Webhook) (core.WebhookStep, error),
) (w core.Webhook, begun *core.Operation, err error) {
	key, err := uuid.Parse(id)
	if err != nil {
		return core.Webhook{}, nil, core.NoWebhook(organization, id)
	}
	err = s.write(ctx, func(ctx context.Context, c *change) error {
		view, err := c.viewWebhooks(ctx, organization, alone)
		if err != nil {
			return err
		}
		current, err := c.lockWebhook(ctx, organization, key)
		if err != nil {
			return err
		}
		step, err := update(ctx, view, current)
		if err != nil {
			return err
		}
		if w = step.Webhook; !step.Write {
			if step.Action == "" {
				return nil
			}
			return c.audit(ctx, step.Action, organization, w.Name(), nil, nil)
		}
		w, begun, err = c.storeWebhook(ctx, step, current)
		return err
	})
	if err != nil {
		return core.Webhook{}, nil, err
	}
	return w, begun, nil
}

// DisableWebhook makes Meetwire give up on a webhook, whose deliveries in this generation have failed. It reports
// whether it has: not when the webhook is gone, is disabled already, was enabled again since, or is never to be disabled;
// nor when it was paused while that was being reported, since what waits for a paused one is kept. Resuming begins the
// next generation, in which failures are counted anew.
// also is called in the same transaction when it does.
func (s *Store) DisableWebhook(ctx context.Context, organization, id string, generation int64, reason string, at time.Time,
	also func(ctx context.Context, c *change, before, after core.Webhook) error,
) (w core.Webhook, disabled bool, err error) {
	key, err := uuid.Parse(id)
	if err != nil {
		return core.Webhook{}, false, nil //nolint:nilerr // no webhook has such an id
	}
	err = s.write(ctx, func(ctx context.Context, c *change) error {
		disabled = false
		if _, err := c.viewWebhooks(ctx, organization, false); err != nil {
			return err
		}
		current, err := c.lockWebhook(ctx, organization, key)
		if err != nil {
			return err
		}
		off := current.FailureThreshold != nil && current.FailureThreshold.Off
		if w = current; off || current.Status != core.StatusActive || current.Generation != generation {
			return nil
		}
		disabled = true
		step := core.WebhookStep{Webhook: current.WithStatus(core.StatusDisabled, reason, at), Write: true, Action: core.ActionDisable}
		if w, _, err = c.storeWebhook(ctx, step, current); err != nil || also == nil {
			return err
		}
		return also(ctx, c, current, w)
	})
	if fault.Is(err, fault.NotFound) {
		return core.Webhook{}, false, nil
	}
	if err != nil {
		return core.Webhook{}, false, err
	}
	return w, disabled, nil
}

// DeleteWebhook implements core.WebhookStore.
func (s *Store) DeleteWebhook(ctx context.Context, organization, id string, check func(core.Webhook) error) error {
	key, err := uuid.Parse(id)
	if err != nil {
		return core.NoWebhook(organization, id)
	}
	return s.write(ctx, func(ctx context.Context, c *change) error {
		if _, err := c.viewWebhooks(ctx, organization, false); err != nil {
			return err
		}
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
		if err := c.audit(ctx, core.ActionDelete, organization, current.Name(), current.Document(), nil); err != nil {
			return err
		}
		deleted := core.WebhookEvent{
			Trigger: core.TriggerWebhookDeleted, Data: core.Document{"time": core.Stored(s.now()).Format(time.RFC3339Nano)},
		}
		revision, err := c.next(ctx)
		if err != nil {
			return err
		}
		return c.announceWebhook(ctx, current, revision, deleted)
	})
}

// storeWebhook stores the next state of a webhook with everything that belongs to its change.
func (c *change) storeWebhook(ctx context.Context, step core.WebhookStep, current core.Webhook) (core.Webhook, *core.Operation, error) {
	w := step.Webhook
	var err error
	w.Secrets = core.ValidSecrets(w.Secrets, c.now())
	if w.Revision, err = c.next(ctx); err != nil {
		return core.Webhook{}, nil, err
	}
	row, err := webhookRow(w)
	if err != nil {
		return core.Webhook{}, nil, err
	}
	if err := c.UpdateWebhook(ctx, updateWebhook(row)); err != nil {
		return core.Webhook{}, nil, fmt.Errorf("update webhook: %w", err)
	}
	begun, err := c.finishWebhook(ctx, step, current.Document(), w.DocumentSince(current), w)
	return w, begun, err
}

// finishWebhook does what belongs to a change of a webhook that is stored already: the feed, the audit log, events, and
// an operation. before and after are what the audit log shows.
func (c *change) finishWebhook(ctx context.Context, step core.WebhookStep, before, after core.Document, w core.Webhook) (*core.Operation, error) {
	c.add(webhookResource(w))
	if err := c.audit(ctx, step.Action, w.Organization, w.Name(), before, after); err != nil {
		return nil, err
	}
	for _, event := range step.Events {
		if err := c.announceWebhook(ctx, w, w.Revision, event); err != nil {
			return nil, err
		}
	}
	if step.Operation == nil {
		return nil, nil //nolint:nilnil // there need not be one
	}
	begun, err := c.beginOperation(ctx, *step.Operation)
	return &begun, err
}

// announceWebhook puts an event about a webhook into the outbox.
func (c *change) announceWebhook(ctx context.Context, w core.Webhook, revision int64, event core.WebhookEvent) error {
	id := w.ID + ":" + event.Trigger + ":" + strconv.FormatInt(revision, 10)
	return c.announce(ctx, w.Organization, event.Trigger, id, w.Event(event.Data))
}

// lockWebhook returns a webhook that nobody else can change before this transaction ends.
func (c *change) lockWebhook(ctx context.Context, organization string, id uuid.UUID) (core.Webhook, error) {
	row, err := c.LockWebhook(ctx, sqlcgen.LockWebhookParams{ID: id, Organization: organization})
	if err != nil {
		return core.Webhook{}, read(fmt.Errorf("lock webhook: %w", err), core.NoWebhook(organization, id.String()))
	}
	return webhook(row)
}

func insertWebhook(row sqlcgen.WebhookRow) sqlcgen.InsertWebhookParams {
	return sqlcgen.InsertWebhookParams{
		ID: row.ID, Organization: row.Organization, DisplayName: row.DisplayName, TargetURL: row.TargetURL, Triggers: row.Triggers,
		Status: row.Status, StatusReason: row.StatusReason, StatusTime: row.StatusTime, Generation: row.Generation,
		Dialect: row.Dialect, EventTypes: row.EventTypes, Teams: row.Teams, Filter: row.Filter, Metadata: row.Metadata,
		Settings: row.Settings, Secrets: row.Secrets, Revision: row.Revision, CreateTime: row.CreateTime, UpdateTime: row.UpdateTime,
	}
}

func updateWebhook(row sqlcgen.WebhookRow) sqlcgen.UpdateWebhookParams {
	return sqlcgen.UpdateWebhookParams{
		ID: row.ID, DisplayName: row.DisplayName, TargetURL: row.TargetURL, Triggers: row.Triggers,
		Status: row.Status, StatusReason: row.StatusReason, StatusTime: row.StatusTime, Generation: row.Generation,
		Dialect: row.Dialect, EventTypes: row.EventTypes, Teams: row.Teams, Filter: row.Filter, Metadata: row.Metadata,
		Settings: row.Settings, Secrets: row.Secrets, Revision: row.Revision, UpdateTime: row.UpdateTime,
	}
}
