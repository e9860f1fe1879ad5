package pgstore

import (
	"context"
	"fmt"

	"github.com/meetwire/meetwire/pkg/fault"
	"github.com/meetwire/meetwire/services/subscription/internal/core"
	"github.com/meetwire/meetwire/services/subscription/internal/pgstore/sqlcgen"
)

// InsertOrganization stores a new organization. fault.AlreadyExists when its slug is, or was, in use.
func (s *Store) InsertOrganization(ctx context.Context, o core.Organization) error {
	return s.write(ctx, func(ctx context.Context, c *change) error {
		err := c.InsertOrganization(ctx, sqlcgen.InsertOrganizationParams{
			ID: o.ID, DisplayName: o.DisplayName, AllowHTTP: o.AllowHTTP, CreateTime: o.CreateTime,
		})
		if err != nil {
			err = translate(fmt.Errorf("insert organization: %w", err))
			if fault.Is(err, fault.AlreadyExists) {
				return core.OrganizationExists(o.ID)
			}
			return err
		}
		c.add(organizationResource(o))
		return nil
	})
}

// Organization returns an organization, or fault.NotFound.
func (s *Store) Organization(ctx context.Context, id string) (core.Organization, error) {
	row, err := s.queries.Organization(ctx, id)
	if err != nil {
		return core.Organization{}, read(fmt.Errorf("read organization: %w", err), core.NoOrganization(id))
	}
	return organization(row), nil
}

// Organizations returns at most limit organizations whose slug comes after the given one, in their order.
func (s *Store) Organizations(ctx context.Context, after string, limit int) ([]core.Organization, error) {
	rows, err := s.queries.OrganizationsAfter(ctx, sqlcgen.OrganizationsAfterParams{After: after, MaxRows: int64(limit)})
	if err != nil {
		return nil, translate(fmt.Errorf("list organizations: %w", err))
	}
	return convert(rows, organization), nil
}

func organization(row sqlcgen.OrganizationRow) core.Organization {
	return core.Organization{
		ID: row.ID, DisplayName: row.DisplayName, AllowHTTP: row.AllowHTTP, CreateTime: row.CreateTime.UTC(),
	}
}

// convert makes domain values of rows.
func convert[R, V any](rows []R, f func(R) V) []V {
	values := make([]V, len(rows))
	for i, row := range rows {
		values[i] = f(row)
	}
	return values
}
