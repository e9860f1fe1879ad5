package pgstore

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/meetwire/meetwire/pkg/fault"
	"github.com/meetwire/meetwire/services/subscription/internal/core"
	"github.com/meetwire/meetwire/services/subscription/internal/pgstore/sqlcgen"
)

// startLock is the advisory lock under which an instance writes what its program and its configuration bring
// along, so that several may start at once. The number is arbitrary.
const startLock = 0x6d77_7375_6273

// triggersPerChange keeps one entry of the feed well below the size of a gRPC message.
const triggersPerChange = 50

// InstallTriggers stores the triggers that come with the program. Only those that are new or different are
// written; one that the program no longer has stays, since webhooks may ask for it.
func (s *Store) InstallTriggers(ctx context.Context, triggers []core.Trigger) error {
	triggers = slices.Clone(triggers)
	slices.SortFunc(triggers, func(a, b core.Trigger) int { return strings.Compare(a.ID, b.ID) })
	for part := range slices.Chunk(triggers, triggersPerChange) {
		if err := s.installTriggers(ctx, part); err != nil {
			return err
		}
	}
	return nil
}

func (s *Store) installTriggers(ctx context.Context, triggers []core.Trigger) error {
	now := core.Stored(s.now())
	return s.write(ctx, func(ctx context.Context, c *change) error {
		if err := c.LockStart(ctx, startLock); err != nil {
			return fmt.Errorf("wait for other instances: %w", err)
		}
		for _, t := range triggers {
			written, err := c.UpsertTrigger(ctx, sqlcgen.UpsertTriggerParams{
				ID: t.ID, DisplayName: t.DisplayName, Description: t.Description,
				GroupName: t.Group, Schema: t.Schema, Sample: t.Sample, Now: now,
			})
			if err != nil {
				return fmt.Errorf("store trigger %s: %w", t.ID, err)
			}
			if written > 0 {
				c.add(triggerResource(t))
			}
		}
		return nil
	})
}

// InstallBootstrapKey makes key the one operator's key that comes from the configuration; nil: there is none.
// Those of earlier starts are revoked. fault.FailedPrecondition when the id is that of a key made otherwise.
func (s *Store) InstallBootstrapKey(ctx context.Context, key *core.APIKey) error {
	return s.write(ctx, func(ctx context.Context, c *change) error {
		if err := c.LockStart(ctx, startLock); err != nil {
			return fmt.Errorf("wait for other instances: %w", err)
		}
		current, err := c.BootstrapAPIKeys(ctx)
		if err != nil {
			return fmt.Errorf("read the operator's key: %w", err)
		}
		for _, row := range current {
			old := apiKey(row)
			if key != nil && old.ID == key.ID && old.SecretSHA256 == key.SecretSHA256 {
				return nil
			}
			if err := c.DeleteAPIKey(ctx, old.ID); err != nil {
				return fmt.Errorf("revoke the operator's earlier key: %w", err)
			}
			// With the same id, what follows in this change takes its place.
			if key == nil || old.ID != key.ID {
				c.add(deletedAPIKeyResource(old.ID))
			}
		}
		if key == nil {
			return nil
		}
		err = c.insertAPIKey(ctx, *key)
		if err = translate(err); fault.Is(err, fault.AlreadyExists) {
			return fault.Wrap(fault.FailedPrecondition, "API_KEY_EXISTS", err,
				"the operator key of the configuration has the id of a key that was made otherwise")
		}
		return err
	})
}
