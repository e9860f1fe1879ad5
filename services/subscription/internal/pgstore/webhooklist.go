package pgstore

import (
	"context"
	"encoding/json"
	"fmt"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5/pgtype"

	"github.com/meetwire/meetwire/services/subscription/internal/core"
	"github.com/meetwire/meetwire/services/subscription/internal/pgstore/sqlcgen"
)

// Webhook implements core.WebhookStore.
func (s *Store) Webhook(ctx context.Context, organization, id string) (core.Webhook, error) {
	key, err := uuid.Parse(id)
	if err != nil {
		return core.Webhook{}, core.NoWebhook(organization, id)
	}
	row, err := s.queries.Webhook(ctx, sqlcgen.WebhookParams{ID: key, Organization: organization})
	if err != nil {
		return core.Webhook{}, read(fmt.Errorf("read webhook: %w", err), core.NoWebhook(organization, id))
	}
	return webhook(row)
}

// WebhooksByID returns those webhooks of an organization that have one of the ids, in no order.
func (s *Store) WebhooksByID(ctx context.Context, organization string, ids []string) ([]core.Webhook, error) {
	keys := make([]uuid.UUID, 0, len(ids))
	for _, id := range ids {
		if key, err := uuid.Parse(id); err == nil { // what is no id is nobody's
			keys = append(keys, key)
		}
	}
	rows, err := s.queries.WebhooksByID(ctx, sqlcgen.WebhooksByIDParams{Organization: organization, Ids: keys})
	if err != nil {
		return nil, translate(fmt.Errorf("read webhooks: %w", err))
	}
	return webhooks(rows)
}

// Webhooks returns the part of a list of an organization's webhooks that a query asks for.
func (s *Store) Webhooks(ctx context.Context, q core.WebhookQuery) ([]core.Webhook, error) {
	rows, err := s.webhookRows(ctx, q)
	if err != nil {
		return nil, translate(fmt.Errorf("list webhooks: %w", err))
	}
	return webhooks(rows)
}

func (s *Store) webhookRows(ctx context.Context, q core.WebhookQuery) ([]sqlcgen.WebhookRow, error) {
	base := sqlcgen.WebhooksByCreatedUpParams{
		Organization: q.Organization, Status: optional(string(q.Status)), Patterns: q.Patterns, Dialect: optional(q.Dialect),
		TargetURL: optional(q.TargetURL), Team: optional(q.Team), MaxRows: int64(q.Limit),
	}
	if len(q.Metadata) > 0 {
		var err error
		if base.Metadata, err = json.Marshal(q.Metadata); err != nil {
			return nil, fmt.Errorf("write a filter: %w", err)
		}
	}
	var name *string
	if after := q.After; after != nil {
		id, err := uuid.Parse(after.ID)
		if err != nil {
			return nil, fmt.Errorf("parse webhook id: %w", err)
		}
		base.AfterID = pgtype.UUID{Bytes: id, Valid: true}
		base.AfterTime, name = &after.Time, &after.DisplayName
	}
	byName := sqlcgen.WebhooksByNameUpParams{
		Organization: base.Organization, Status: base.Status, Patterns: base.Patterns, Dialect: base.Dialect,
		TargetURL: base.TargetURL, Team: base.Team, Metadata: base.Metadata, AfterName: name, AfterID: base.AfterID, MaxRows: base.MaxRows,
	}
	switch {
	case q.Order == core.OrderByName && q.Descending:
		return s.queries.WebhooksByNameDown(ctx, sqlcgen.WebhooksByNameDownParams(byName))
	case q.Order == core.OrderByName:
		return s.queries.WebhooksByNameUp(ctx, byName)
	case q.Order == core.OrderByUpdateTime && q.Descending:
		return s.queries.WebhooksByUpdatedDown(ctx, sqlcgen.WebhooksByUpdatedDownParams(base))
	case q.Order == core.OrderByUpdateTime:
		return s.queries.WebhooksByUpdatedUp(ctx, sqlcgen.WebhooksByUpdatedUpParams(base))
	case q.Descending:
		return s.queries.WebhooksByCreatedDown(ctx, sqlcgen.WebhooksByCreatedDownParams(base))
	default:
		return s.queries.WebhooksByCreatedUp(ctx, base)
	}
}

// WebhooksAtHost returns at most limit webhooks of an organization whose URL may be one with a host, which is in lower
// case, that come after another one, oldest first. after is the zero value for the first of them. They have no more than
// their id, their URL, their triggers and their age.
func (s *Store) WebhooksAtHost(ctx context.Context, organization, host string, after core.Webhook, limit int) ([]core.Webhook, error) {
	params := sqlcgen.WebhooksAtHostParams{Organization: organization, Host: host, AfterTime: after.CreateTime, MaxRows: int64(limit)}
	if after.ID != "" {
		var err error
		if params.AfterID, err = uuid.Parse(after.ID); err != nil {
			return nil, fmt.Errorf("parse webhook id: %w", err)
		}
	}
	rows, err := s.queries.WebhooksAtHost(ctx, params)
	if err != nil {
		return nil, translate(fmt.Errorf("look for webhooks at a host: %w", err))
	}
	return convert(rows, func(row sqlcgen.WebhooksAtHostRow) core.Webhook {
		return core.Webhook{
			ID: row.ID.String(), Organization: organization, TargetURL: row.TargetURL, Triggers: row.Triggers,
			CreateTime: row.CreateTime.UTC(),
		}
	}), nil
}

// TriggerSample implements core.Samples.
func (s *Store) TriggerSample(ctx context.Context, organization, trigger string) (string, error) {
	sample, err := s.queries.TriggerSample(ctx, sqlcgen.TriggerSampleParams{Organization: organization, ID: trigger})
	if err != nil {
		return "", read(fmt.Errorf("read the sample of a trigger: %w", err), core.NoTrigger(organization, trigger))
	}
	return sample, nil
}
