package pgstore

import (
	"context"
	"fmt"

	"github.com/meetwire/meetwire/services/subscription/internal/core"
	"github.com/meetwire/meetwire/services/subscription/internal/pgstore/sqlcgen"
)

// Trigger returns a trigger; organization is only for the text of the fault.NotFound.
func (s *Store) Trigger(ctx context.Context, organization, id string) (core.Trigger, error) {
	row, err := s.queries.Trigger(ctx, id)
	if err != nil {
		return core.Trigger{}, read(fmt.Errorf("read trigger: %w", err), core.NoTrigger(organization, id))
	}
	return trigger(row), nil
}

// Triggers returns at most limit triggers that come after the given group and id, in the order of both.
func (s *Store) Triggers(ctx context.Context, afterGroup, afterID string, limit int) ([]core.Trigger, error) {
	rows, err := s.queries.TriggersByGroupAfter(ctx, sqlcgen.TriggersByGroupAfterParams{
		AfterGroup: afterGroup, AfterID: afterID, MaxRows: int64(limit),
	})
	if err != nil {
		return nil, translate(fmt.Errorf("list triggers: %w", err))
	}
	return convert(rows, trigger), nil
}

// KnownTriggers returns which of the ids are triggers.
func (s *Store) KnownTriggers(ctx context.Context, ids []string) (map[string]bool, error) {
	found, err := s.queries.KnownTriggers(ctx, ids)
	if err != nil {
		return nil, translate(fmt.Errorf("look up triggers: %w", err))
	}
	known := make(map[string]bool, len(found))
	for _, id := range found {
		known[id] = true
	}
	return known, nil
}

func trigger(row sqlcgen.TriggerRow) core.Trigger {
	return core.Trigger{
		ID: row.ID, DisplayName: row.DisplayName, Description: row.Description,
		Group: row.GroupName, Schema: row.Schema, Sample: row.Sample,
	}
}
