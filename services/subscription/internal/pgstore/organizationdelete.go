package pgstore

import (
	"context"
	"fmt"
	"slices"

	"github.com/meetwire/meetwire/services/subscription/internal/core"
	"github.com/meetwire/meetwire/services/subscription/internal/pgstore/sqlcgen"
)

// deletionsPerChange keeps one entry of the feed well below the size of a gRPC message.
const deletionsPerChange = 2000

// DeleteOrganization implements core.OrganizationStore. Everything that could still have an effect goes in this one
// transaction; what is left for the operation is history.
func (s *Store) DeleteOrganization(ctx context.Context, id string, check func(core.Organization) error) (core.Operation, error) {
	var operation core.Operation
	err := s.write(ctx, func(ctx context.Context, c *change) error {
		current, err := c.lockOrganization(ctx, id)
		if err != nil {
			return err
		}
		if err := check(current); err != nil {
			return err
		}
		if err := c.deleteOrganizationRows(ctx, id); err != nil {
			return err
		}
		c.add(deletedOrganizationResource(id))
		if operation, err = c.beginOperation(ctx, core.NewDeleteOperation(id)); err != nil {
			return err
		}
		// The entries of the organization go with it; that it was deleted is the installation's to know.
		return c.audit(ctx, core.ActionDelete, "", current.Name(), current.Document(), nil)
	})
	if err != nil {
		return core.Operation{}, err
	}
	return operation, nil
}

// deleteOrganizationRows marks a locked organization as deleted, and removes what belongs to it. All deletions but the
// last few are in the feed then.
func (c *change) deleteOrganizationRows(ctx context.Context, id string) error {
	now := core.Stored(c.now())
	if err := c.MarkOrganizationDeleted(ctx, sqlcgen.MarkOrganizationDeletedParams{ID: id, Now: now}); err != nil {
		return fmt.Errorf("mark organization: %w", err)
	}
	webhooks, err := c.DeleteOrganizationWebhooks(ctx, id)
	if err != nil {
		return fmt.Errorf("delete webhooks: %w", err)
	}
	keys, err := c.DeleteOrganizationKeys(ctx, id)
	if err != nil {
		return fmt.Errorf("delete API keys: %w", err)
	}
	triggers, err := c.DeleteOrganizationTriggers(ctx, id)
	if err != nil {
		return fmt.Errorf("delete triggers: %w", err)
	}
	if err := c.DeleteOrganizationTeams(ctx, id); err != nil {
		return fmt.Errorf("delete teams: %w", err)
	}
	for _, key := range keys {
		c.add(deletedAPIKeyResource(key))
	}
	for _, trigger := range triggers {
		c.add(deletedTriggerResource(id, trigger))
	}
	for part := range slices.Chunk(webhooks, deletionsPerChange) {
		if err := c.flush(ctx, deletionsPerChange); err != nil {
			return err
		}
		for _, webhook := range part {
			c.add(deletedWebhookResource(webhook.String()))
		}
	}
	return c.flush(ctx, deletionsPerChange)
}
