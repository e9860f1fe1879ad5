package pgstore

import (
	"context"
	"errors"
	"fmt"

	"github.com/meetwire/meetwire/services/subscription/internal/core"
	"github.com/meetwire/meetwire/services/subscription/internal/pgstore/sqlcgen"
)

// outboxLock is the advisory lock of the one instance that empties the outbox, so that events are published in their
// order. The number is arbitrary.
const outboxLock = 0x6d77_6f75_7462

// RelayOutbox gives the oldest events of the outbox, at most limit, to publish, one after the other, and removes those
// that it has taken. It stops at the first one that fails, whose error it returns. While it works nobody else does:
// then it returns 0. An event is given again when the process dies before it is removed.
func (s *Store) RelayOutbox(ctx context.Context, limit int, publish func(context.Context, core.OutboxEvent) error) (int, error) {
	var published int
	var failure error
	err := s.write(ctx, func(ctx context.Context, c *change) error {
		published, failure = 0, nil
		mine, err := c.TryLock(ctx, outboxLock)
		if err != nil {
			return fmt.Errorf("lock the outbox: %w", err)
		}
		if !mine {
			return nil
		}
		rows, err := c.LockOutbox(ctx, int64(limit))
		if err != nil {
			return fmt.Errorf("read the outbox: %w", err)
		}
		done := make([]int64, 0, len(rows))
		for _, row := range rows {
			if failure = publish(ctx, outboxEvent(row)); failure != nil {
				break
			}
			done = append(done, row.Position)
		}
		if len(done) == 0 {
			return nil
		}
		if err := c.DeleteOutbox(ctx, done); err != nil {
			return fmt.Errorf("remove what was published from the outbox: %w", err)
		}
		published = len(done)
		return nil
	})
	return published, errors.Join(failure, err)
}

func outboxEvent(row sqlcgen.OutboxRow) core.OutboxEvent {
	return core.OutboxEvent{
		Position: row.Position, Organization: row.Organization, Trigger: row.Trigger, ID: row.EventID,
		Data: row.Data, Time: row.CreateTime.UTC(),
	}
}
