package pgstore

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/google/uuid"

	"github.com/meetwire/meetwire/services/subscription/internal/core"
	"github.com/meetwire/meetwire/services/subscription/internal/pgstore/sqlcgen"
)

// webhookView implements core.WebhookView within a transaction.
type webhookView struct {
	*change

	organization core.Organization
}

// viewWebhooks locks an organization, so that nobody can change it or take it away; with alone also so that nobody else
// can add to its webhooks.
func (c *change) viewWebhooks(ctx context.Context, slug string, alone bool) (*webhookView, error) {
	lock := c.ShareOrganization
	if alone {
		lock = c.HoldOrganization
	}
	row, err := lock(ctx, slug)
	if err != nil {
		return nil, read(fmt.Errorf("lock organization: %w", err), core.NoOrganization(slug))
	}
	return &webhookView{change: c, organization: organization(row)}, nil
}

// Organization implements core.WebhookView.
func (v *webhookView) Organization() core.Organization { return v.organization }

// Triggers implements core.WebhookView.
func (v *webhookView) Triggers(ctx context.Context, asked []string) ([]core.TriggerFacts, error) {
	named := slices.DeleteFunc(slices.Clone(asked), func(pattern string) bool { return strings.HasSuffix(pattern, "*") })
	if _, err := v.ShareTriggers(ctx, sqlcgen.ShareTriggersParams{Organization: v.organization.ID, Ids: named}); err != nil {
		return nil, fmt.Errorf("lock triggers: %w", err)
	}
	rows, err := v.TriggerFacts(ctx, v.organization.ID)
	if err != nil {
		return nil, fmt.Errorf("read triggers: %w", err)
	}
	facts := make([]core.TriggerFacts, len(rows))
	for i, row := range rows {
		facts[i] = core.TriggerFacts(row)
	}
	return facts, nil
}

// Teams implements core.WebhookView.
func (v *webhookView) Teams(ctx context.Context, ids []string) (map[string]bool, error) {
	found, err := v.ShareTeams(ctx, sqlcgen.ShareTeamsParams{Organization: v.organization.ID, Ids: ids})
	if err != nil {
		return nil, fmt.Errorf("look up teams: %w", err)
	}
	known := make(map[string]bool, len(found))
	for _, id := range found {
		known[id] = true
	}
	return known, nil
}

// TriggersOfOthers implements core.WebhookView.
func (v *webhookView) TriggersOfOthers(ctx context.Context, except string) ([][]string, error) {
	id, err := uuid.Parse(except)
	if err != nil {
		return nil, fmt.Errorf("parse webhook id: %w", err)
	}
	others, err := v.TriggersOfOtherWebhooks(ctx, sqlcgen.TriggersOfOtherWebhooksParams{Organization: v.organization.ID, But: id})
	if err != nil {
		return nil, fmt.Errorf("read what other webhooks ask for: %w", err)
	}
	return others, nil
}
