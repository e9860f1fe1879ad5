package pgstore

import (
	"context"
	"fmt"

	"github.com/meetwire/meetwire/pkg/fault"
	"github.com/meetwire/meetwire/services/subscription/internal/core"
	"github.com/meetwire/meetwire/services/subscription/internal/pgstore/sqlcgen"
)

// InsertTeam implements core.TeamStore.
func (s *Store) InsertTeam(ctx context.Context, t core.Team, request core.Request) error {
	return s.write(ctx, func(ctx context.Context, c *change) error {
		if _, err := c.ShareOrganization(ctx, t.Organization); err != nil {
			return read(fmt.Errorf("read organization: %w", err), core.NoOrganization(t.Organization))
		}
		if err := c.claim(ctx, t.Organization, request, t.ID); err != nil {
			return err
		}
		if err := c.InsertTeam(ctx, sqlcgen.InsertTeamParams(t)); err != nil {
			err = translate(fmt.Errorf("insert team: %w", err))
			if fault.Is(err, fault.AlreadyExists) {
				return core.TeamExists(t.Organization, t.ID)
			}
			return err
		}
		return c.audit(ctx, core.ActionCreate, t.Organization, t.Name(), nil, t.Document())
	})
}

// Team returns a team of an organization, or fault.NotFound.
func (s *Store) Team(ctx context.Context, organization, id string) (core.Team, error) {
	row, err := s.queries.Team(ctx, sqlcgen.TeamParams{Organization: organization, ID: id})
	if err != nil {
		return core.Team{}, read(fmt.Errorf("read team: %w", err), core.NoTeam(organization, id))
	}
	return team(row), nil
}

// Teams returns at most limit teams of an organization whose id comes after the given one, in their order.
func (s *Store) Teams(ctx context.Context, organization, after string, limit int) ([]core.Team, error) {
	rows, err := s.queries.TeamsAfter(ctx, sqlcgen.TeamsAfterParams{Organization: organization, After: after, MaxRows: int64(limit)})
	if err != nil {
		return nil, translate(fmt.Errorf("list teams: %w", err))
	}
	return convert(rows, team), nil
}

// UpdateTeam implements core.TeamStore.
func (s *Store) UpdateTeam(ctx context.Context, organization, id string,
	update func(core.Team) (core.Team, bool, error),
) (core.Team, error) {
	var t core.Team
	err := s.write(ctx, func(ctx context.Context, c *change) error {
		current, err := c.lockTeam(ctx, organization, id)
		if err != nil {
			return err
		}
		var changed bool
		if t, changed, err = update(current); err != nil || !changed {
			return err
		}
		err = c.UpdateTeam(ctx, sqlcgen.UpdateTeamParams{
			Organization: organization, ID: id, DisplayName: t.DisplayName, Version: t.Version, UpdateTime: t.UpdateTime,
		})
		if err != nil {
			return fmt.Errorf("update team: %w", err)
		}
		return c.audit(ctx, core.ActionUpdate, organization, t.Name(), current.Document(), t.Document())
	})
	if err != nil {
		return core.Team{}, err
	}
	return t, nil
}

// DeleteTeam implements core.TeamStore. The lock on the team keeps webhooks from asking for it meanwhile.
func (s *Store) DeleteTeam(ctx context.Context, organization, id string, check func(core.Team, core.InUse) error) error {
	return s.write(ctx, func(ctx context.Context, c *change) error {
		current, err := c.lockTeam(ctx, organization, id)
		if err != nil {
			return err
		}
		rows, err := c.WebhooksOfTeam(ctx, sqlcgen.WebhooksOfTeamParams{Organization: organization, Team: id, MaxRows: core.MaxNamed})
		if err != nil {
			return fmt.Errorf("find webhooks of the team: %w", err)
		}
		var asked core.InUse
		for _, row := range rows {
			asked.Add(row.Organization, row.ID.String(), row.DisplayName, row.Total)
		}
		if err := check(current, asked); err != nil {
			return err
		}
		if err := c.DeleteTeam(ctx, sqlcgen.DeleteTeamParams{Organization: organization, ID: id}); err != nil {
			return fmt.Errorf("delete team: %w", err)
		}
		return c.audit(ctx, core.ActionDelete, organization, current.Name(), current.Document(), nil)
	})
}

// lockTeam returns a team that nobody else can change before this transaction ends.
func (c *change) lockTeam(ctx context.Context, organization, id string) (core.Team, error) {
	row, err := c.LockTeam(ctx, sqlcgen.LockTeamParams{Organization: organization, ID: id})
	if err != nil {
		return core.Team{}, read(fmt.Errorf("lock team: %w", err), core.NoTeam(organization, id))
	}
	return team(row), nil
}

func team(row sqlcgen.TeamRow) core.Team {
	row.CreateTime, row.UpdateTime = row.CreateTime.UTC(), row.UpdateTime.UTC()
	return core.Team(row)
}
