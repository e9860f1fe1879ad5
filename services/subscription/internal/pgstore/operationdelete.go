package pgstore

import (
	"context"
	"fmt"

	"github.com/google/uuid"

	"github.com/meetwire/meetwire/services/subscription/internal/core"
	"github.com/meetwire/meetwire/services/subscription/internal/pgstore/sqlcgen"
)

// RemoveAnnouncements removes what is still to be announced or sent for an organization that was deleted, and its other
// operations: from then on nothing new of it comes into a stream. It stores the progress of the operation with it.
// core.ErrTaken when the lease is lost.
func (s *Store) RemoveAnnouncements(ctx context.Context, w core.Work, progress []byte) error {
	organization := w.Parameters.Organization
	return s.within(ctx, w, func(ctx context.Context, c *change) (core.Step, error) {
		step := core.Step{Progress: progress}
		if err := c.mustBeDeleted(ctx, organization); err != nil {
			return step, err
		}
		params := sqlcgen.StopOtherOperationsParams{Organization: organization, ID: uuid.MustParse(w.ID)}
		if err := c.StopOtherOperations(ctx, params); err != nil {
			return step, fmt.Errorf("stop the operations of an organization: %w", err)
		}
		for _, remove := range []func(context.Context, string) (int64, error){c.RemoveOutbox, c.RemoveMail} {
			rows, err := remove(ctx, organization)
			if err != nil {
				return step, fmt.Errorf("remove the announcements of an organization: %w", err)
			}
			step.Processed += rows
		}
		step.Affected = step.Processed
		return step, nil
	})
}

// RemoveOrganizationRows removes at most limit rows of an organization that was deleted, and stores the progress of the
// operation with it. It returns how many; 0 when nothing but the organization's slug is left. core.ErrTaken when the
// lease is lost.
func (s *Store) RemoveOrganizationRows(ctx context.Context, w core.Work, limit int) (int64, error) {
	organization, rows := w.Parameters.Organization, int64(limit)
	var removed int64
	err := s.within(ctx, w, func(ctx context.Context, c *change) (core.Step, error) {
		removed = 0
		if err := c.mustBeDeleted(ctx, organization); err != nil {
			return core.Step{}, err
		}
		for _, remove := range []func() (int64, error){
			func() (int64, error) { return c.RemoveOutbox(ctx, organization) },
			func() (int64, error) { return c.RemoveMail(ctx, organization) },
			func() (int64, error) {
				return c.RemoveWebhooks(ctx, sqlcgen.RemoveWebhooksParams{Organization: organization, MaxRows: rows})
			},
			func() (int64, error) {
				return c.RemoveTriggers(ctx, sqlcgen.RemoveTriggersParams{Organization: organization, MaxRows: rows})
			},
			func() (int64, error) {
				return c.RemoveTeams(ctx, sqlcgen.RemoveTeamsParams{Organization: organization, MaxRows: rows})
			},
			func() (int64, error) {
				return c.RemoveAPIKeys(ctx, sqlcgen.RemoveAPIKeysParams{Organization: organization, MaxRows: rows})
			},
			func() (int64, error) {
				return c.RemoveRequests(ctx, sqlcgen.RemoveRequestsParams{Organization: organization, MaxRows: rows})
			},
			func() (int64, error) {
				return c.RemoveAuditEntries(ctx, sqlcgen.RemoveAuditEntriesParams{Organization: organization, MaxRows: rows})
			},
		} {
			n, err := remove()
			if err != nil {
				return core.Step{}, fmt.Errorf("remove rows of an organization: %w", err)
			}
			if removed += n; removed >= rows {
				break
			}
		}
		return core.Step{Progress: w.Progress, Processed: removed, Affected: removed}, nil
	})
	return removed, err
}

// ForgetOrganization removes what the feed has from before an organization was deleted. Watchers that are further behind
// begin anew. core.ErrTaken when the lease is lost.
func (s *Store) ForgetOrganization(ctx context.Context, w core.Work) error {
	return s.within(ctx, w, func(ctx context.Context, c *change) (core.Step, error) {
		if err := c.mustBeDeleted(ctx, w.Parameters.Organization); err != nil {
			return core.Step{}, err
		}
		if err := c.RemoveFeed(ctx, w.Parameters.Revision); err != nil {
			return core.Step{}, fmt.Errorf("remove an organization from the feed: %w", err)
		}
		return core.Step{Progress: w.Progress}, nil
	})
}

// mustBeDeleted makes sure that no organization that exists loses anything.
func (c *change) mustBeDeleted(ctx context.Context, organization string) error {
	deleted, err := c.IsOrganizationDeleted(ctx, organization)
	if err != nil {
		return fmt.Errorf("read organization: %w", err)
	}
	if !deleted {
		return core.OrganizationNotDeleted(organization)
	}
	return nil
}
