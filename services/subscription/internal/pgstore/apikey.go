package pgstore

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/meetwire/meetwire/pkg/fault"
	"github.com/meetwire/meetwire/services/subscription/internal/core"
	"github.com/meetwire/meetwire/services/subscription/internal/pgstore/sqlcgen"
)

// InsertAPIKey stores a new key of an organization. fault.NotFound when the organization does not exist,
// *core.RepeatedRequestError when the request was made before.
func (s *Store) InsertAPIKey(ctx context.Context, k core.APIKey, request core.Request) error {
	return s.write(ctx, func(ctx context.Context, c *change) error {
		if _, err := c.ShareOrganization(ctx, k.Organization); err != nil {
			return read(fmt.Errorf("read organization: %w", err), core.NoOrganization(k.Organization))
		}
		if err := c.claim(ctx, k.Organization, request, k.ID); err != nil {
			return err
		}
		return c.insertAPIKey(ctx, k)
	})
}

// insertAPIKey stores a key and notes it for the audit log and for the feed.
func (c *change) insertAPIKey(ctx context.Context, k core.APIKey) error {
	params := sqlcgen.InsertAPIKeyParams{
		ID: k.ID, Organization: optional(k.Organization), DisplayName: k.DisplayName, Role: int32(k.Role),
		SecretSHA256: k.SecretSHA256[:], Bootstrap: k.Bootstrap, CreateTime: k.CreateTime, ExpireTime: optionalTime(k.ExpireTime),
	}
	if err := c.InsertAPIKey(ctx, params); err != nil {
		return fmt.Errorf("insert API key: %w", err)
	}
	c.add(apiKeyResource(k))
	return c.audit(ctx, core.ActionCreate, k.Organization, k.Name(), nil, k.Document())
}

// APIKey returns a key of anyone, or fault.NotFound.
func (s *Store) APIKey(ctx context.Context, id string) (core.APIKey, error) {
	row, err := s.queries.APIKey(ctx, id)
	if err != nil {
		return core.APIKey{}, read(fmt.Errorf("read API key: %w", err), fault.New(fault.NotFound, "API_KEY_NOT_FOUND", "no such API key"))
	}
	return apiKey(row), nil
}

// OrganizationAPIKey returns a key of an organization, or fault.NotFound.
func (s *Store) OrganizationAPIKey(ctx context.Context, organization, id string) (core.APIKey, error) {
	row, err := s.queries.OrganizationAPIKey(ctx, sqlcgen.OrganizationAPIKeyParams{ID: id, Organization: organization})
	if err != nil {
		return core.APIKey{}, read(fmt.Errorf("read API key: %w", err), core.NoAPIKey(organization, id))
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
		row, err := c.DeleteOrganizationAPIKey(ctx, sqlcgen.DeleteOrganizationAPIKeyParams{ID: id, Organization: organization})
		if err != nil {
			return read(fmt.Errorf("delete API key: %w", err), core.NoAPIKey(organization, id))
		}
		k := apiKey(row)
		c.add(deletedAPIKeyResource(id))
		return c.audit(ctx, core.ActionDelete, organization, k.Name(), k.Document(), nil)
	})
}

// TouchAPIKeys notes when keys were used. An earlier time than the one that is known is passed over, as is a key that
// is gone; one that is still to come counts as now.
func (s *Store) TouchAPIKeys(ctx context.Context, uses []core.KeyUse) error {
	now := core.Stored(s.now())
	newest := make(map[string]time.Time, len(uses))
	for _, use := range uses {
		used := core.Stored(use.Time)
		if used.After(now) {
			used = now
		}
		if used.After(newest[use.ID]) {
			newest[use.ID] = used
		}
	}
	params := sqlcgen.TouchAPIKeysParams{}
	for id, used := range newest {
		if strings.ContainsRune(id, 0) {
			continue
		}
		params.Ids, params.Times = append(params.Ids, id), append(params.Times, used)
	}
	if len(params.Ids) == 0 {
		return nil
	}
	return s.write(ctx, func(ctx context.Context, c *change) error {
		if _, err := c.TouchAPIKeys(ctx, params); err != nil {
			return fmt.Errorf("note the use of API keys: %w", err)
		}
		return nil
	})
}

func apiKey(row sqlcgen.APIKeyRow) core.APIKey {
	k := core.APIKey{
		ID: row.ID, DisplayName: row.DisplayName, Role: core.Role(row.Role),
		SecretSHA256: [32]byte(row.SecretSHA256), // the table has a check on the length
		Bootstrap:    row.Bootstrap, CreateTime: row.CreateTime.UTC(),
		ExpireTime: timeOf(row.ExpireTime), LastUseTime: timeOf(row.LastUseTime),
	}
	if row.Organization != nil {
		k.Organization = *row.Organization
	}
	return k
}

// timeOf is the zero time for NULL.
func timeOf(t *time.Time) time.Time {
	if t == nil {
		return time.Time{}
	}
	return t.UTC()
}

// optionalTime is NULL for the zero time.
func optionalTime(t time.Time) *time.Time {
	if t.IsZero() {
		return nil
	}
	return &t
}
