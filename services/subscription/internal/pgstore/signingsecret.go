package pgstore

import (
	"context"
	"fmt"
	"time"

	"github.com/meetwire/meetwire/services/subscription/internal/core"
)

// ChangeSigningSecrets implements core.SigningSecretStore. The organization itself stays as it is, and so does its etag.
func (s *Store) ChangeSigningSecrets(ctx context.Context, id string,
	update func(core.Organization) (core.SecretChange, error),
) (core.Organization, error) {
	var o core.Organization
	err := s.write(ctx, func(ctx context.Context, c *change) error {
		current, err := c.lockOrganization(ctx, id)
		if err != nil {
			return err
		}
		next, err := update(current)
		if err != nil {
			return err
		}
		if o = current; next.Action == "" {
			return nil
		}
		o.Secrets = next.Secrets
		if err := c.putOrganization(ctx, current, o); err != nil {
			return err
		}
		if next.Announced {
			if err := c.announceRotation(ctx, id, next.GracePeriod); err != nil {
				return err
			}
		}
		return c.audit(ctx, next.Action, id, core.SigningSecretName(id), current.SecretDocument(), o.SecretDocument())
	})
	if err != nil {
		return core.Organization{}, err
	}
	return o, nil
}

// announceRotation tells whoever asked for it that the signing secret of an organization was replaced.
func (c *change) announceRotation(ctx context.Context, id string, grace time.Duration) error {
	revision, err := c.next(ctx)
	if err != nil {
		return err
	}
	return c.announce(ctx, id, core.TriggerSecretRotated, fmt.Sprintf("%s:%s:%d", core.SigningSecretName(id), core.TriggerSecretRotated, revision), core.Document{
		"grace_period_seconds": int64(grace / time.Second), "time": core.Stored(c.now()).Format(time.RFC3339Nano),
	})
}

// NoteReveal implements core.SigningSecretStore.
func (s *Store) NoteReveal(ctx context.Context, id string, check func(core.Organization) error) (core.Organization, error) {
	var o core.Organization
	err := s.write(ctx, func(ctx context.Context, c *change) error {
		row, err := c.ShareOrganization(ctx, id)
		if err != nil {
			return read(fmt.Errorf("read organization: %w", err), core.NoOrganization(id))
		}
		o = organization(row)
		if err := check(o); err != nil {
			return err
		}
		return c.audit(ctx, core.ActionReveal, id, core.SigningSecretName(id), nil, nil)
	})
	if err != nil {
		return core.Organization{}, err
	}
	return o, nil
}
