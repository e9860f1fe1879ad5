package pgstore

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/meetwire/meetwire/pkg/fault"
	"github.com/meetwire/meetwire/services/subscription/internal/core"
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
		ids := make([]string, len(triggers))
		for i, t := range triggers {
			ids[i] = t.ID
		}
		rows, err := c.LockPlatformTriggers(ctx, ids)
		if err != nil {
			return fmt.Errorf("read the triggers of an earlier start: %w", err)
		}
		stored := make(map[string]core.Trigger, len(rows))
		for _, row := range rows {
			stored[row.ID] = trigger(row)
		}
		for _, t := range triggers {
			if err := c.installTrigger(ctx, t, stored, now); err != nil {
				return err
			}
		}
		return nil
	})
}

// installTrigger stores a trigger of the program unless it is there just so. What operators have decided about it stays.
// One that operators had registered under the same id becomes the program's.
func (c *change) installTrigger(ctx context.Context, t core.Trigger, stored map[string]core.Trigger, now time.Time) error {
	t.BuiltIn, t.Version, t.CreateTime, t.UpdateTime = true, 1, now, now
	before, exists := stored[t.ID]
	if !exists {
		return c.insertTrigger(ctx, t)
	}
	t.Deprecated, t.WarnOnly = before.Deprecated, before.WarnOnly
	t.Version, t.CreateTime, t.UpdateTime = before.Version, before.CreateTime, before.UpdateTime
	if t == before {
		return nil
	}
	t.Version++
	t.UpdateTime = now
	return c.putTrigger(ctx, before, t)
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
			if err := c.audit(ctx, core.ActionDelete, "", old.Name(), old.Document(), nil); err != nil {
				return err
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
