package pgstore

import (
	"context"
	"fmt"
	"time"

	"github.com/meetwire/meetwire/pkg/fault"
	"github.com/meetwire/meetwire/services/subscription/internal/core"
	"github.com/meetwire/meetwire/services/subscription/internal/pgstore/sqlcgen"
)

// InsertAPIKey stores a new key of an organization. fault.NotFound when the organization does not exist.
func (s *Store) InsertAPIKey(ctx context.Context, k core.APIKey) error {
	return s.write(ctx, func(ctx context.Context, c *change) error {
		if _, err := c.ShareOrganization(ctx, k.Organization); err != nil {
			return read(fmt.Errorf("read organization: %w", err), core.NoOrganization(k.Organization))
		}
		return c.insertAPIKey(ctx, k)
	})
}

// insertAPIKey stores a key and notes it for the feed.
func (c *change) insertAPIKey(ctx context.Context, k core.APIKey) error {
	params := sqlcgen.InsertAPIKeyParams{
		ID: k.ID, DisplayName: k.DisplayName, Role: int32(k.Role), SecretSHA256: k.SecretSHA256[:],
		Bootstrap: k.Bootstrap, CreateTime: k.CreateTime,
	}
	if k.Organization != "" {
		params.Organization = &k.Organization
	}
	if err := c.InsertAPIKey(ctx, params); err != nil {
		return fmt.Errorf("insert API key: %w", err)
	}
	c.add(apiKeyResource(k))
	return nil
}

// APIKey returns a key of anyone, or fault.NotFound.
func (s *Store) APIKey(ctx context.Context, id string) (core.APIKey, error) {
	row, err := s.queries.APIKey(ctx, id)
	if err != nil {
		return core.APIKey{}, read(fmt.Errorf("read API key: %w", err), fault.New(fault.NotFound, "API_KEY_NOT_FOUND", "no such API key"))
	}
	return apiKey(row), nil
}

// APIKeys returns at most limit keys of an organization that come after the given time and id, oldest first.
func (s *Store) APIKeys(ctx context.Context, organization string, after time.Time, afterID string, limit int) ([]core.APIKey, error) {
	rows, err := s.queries.OrganizationAPIKeysAfter(ctx, sqlcgen.OrganizationAPIKeysAfterParams{
		Organization: organization, AfterTime: after, AfterID: afterID, MaxRows: int64(limit),
	})
	if err != nil {
		return nil, translate(fmt.Errorf("list API keys: %w", err))
	}
	return convert(rows, apiKey), nil
}

// DeleteAPIKey revokes a key of an organization. fault.NotFound when it has no such key.
func (s *Store) DeleteAPIKey(ctx context.Context, organization, id string) error {
	return s.write(ctx, func(ctx context.Context, c *change) error {
		deleted, err := c.DeleteOrganizationAPIKey(ctx, sqlcgen.DeleteOrganizationAPIKeyParams{ID: id, Organization: organization})
		if err != nil {
			return fmt.Errorf("delete API key: %w", err)
		}
		if deleted == 0 {
			return core.NoAPIKey(organization, id)
		}
		c.add(deletedAPIKeyResource(id))
		return nil
	})
}

func apiKey(row sqlcgen.APIKeyRow) core.APIKey {
	k := core.APIKey{
		ID: row.ID, DisplayName: row.DisplayName, Role: core.Role(row.Role),
		SecretSHA256: [32]byte(row.SecretSHA256), // the table has a check on the length
		Bootstrap:    row.Bootstrap, CreateTime: row.CreateTime.UTC(),
	}
	if row.Organization != nil {
		k.Organization = *row.Organization
	}
	return k
}
