package pgstore

import (
	"context"
	"fmt"
	"time"

	"github.com/google/uuid"

	"github.com/meetwire/meetwire/pkg/pg"
	"github.com/meetwire/meetwire/services/ingest/internal/pgstore/sqlcgen"
)

// purgeBatch is how many events are removed in one transaction.
const purgeBatch = 5000

// PurgeOrganization removes every row of an organization and returns how many there were. Interrupted and called again,
// it goes on with what is left. Errors: fault.Unavailable.
func (s *Store) PurgeOrganization(ctx context.Context, organization string) (removed int64, err error) {
	q := sqlcgen.New(s.pool)
	for {
		n, err := q.PurgeEvents(ctx, sqlcgen.PurgeEventsParams{Organization: organization, BatchSize: purgeBatch})
		if err != nil {
			return removed, pg.Fault(fmt.Errorf("remove events: %w", err))
		}
		removed += n
		if n == 0 {
			break
		}
	}
	n, err := q.PurgeMatching(ctx, organization)
	if err != nil {
		return removed, pg.Fault(fmt.Errorf("remove how webhooks matched: %w", err))
	}
	return removed + n, nil
}

const (
	// forgetBatch is how many webhooks are looked at at once.
	forgetBatch = 1000
	// forgetAge is how long nothing must have been heard of a webhook that is not configured, to be forgotten: it may be
	// too new to be known.
	forgetAge = 24 * time.Hour
)

// ForgetWebhooks removes how webhooks matched that do not exist any more, and returns how many there were. Errors:
// fault.Unavailable.
func (s *Store) ForgetWebhooks(ctx context.Context, now time.Time, exists func(organization, webhook string) bool) (removed int64, err error) {
	q := sqlcgen.New(s.pool)
	for after := uuid.Nil; ; {
		page, err := q.ListMatchingWebhooks(ctx, sqlcgen.ListMatchingWebhooksParams{After: after, PageSize: forgetBatch})
		if err != nil {
			return removed, pg.Fault(fmt.Errorf("list webhooks: %w", err))
		}
		var gone []uuid.UUID
		for _, row := range page {
			if after = row.Webhook; !exists(row.Organization, row.Webhook.String()) {
				gone = append(gone, row.Webhook)
			}
		}
		if len(gone) > 0 {
			n, err := q.DeleteMatching(ctx, sqlcgen.DeleteMatchingParams{Webhook: gone, Before: now.Add(-forgetAge)})
			if err != nil {
				return removed, pg.Fault(fmt.Errorf("forget webhooks: %w", err))
			}
			removed += n
		}
		if len(page) < forgetBatch {
			return removed, nil
		}
	}
}

// EraseEvents removes what is known of events of an organization but their ids and times, and returns how many it was
// known of. Errors: fault.Unavailable.
func (s *Store) EraseEvents(ctx context.Context, organization string, sequences []int64, at time.Time) (int64, error) {
	n, err := sqlcgen.New(s.pool).EraseEvents(ctx, sqlcgen.EraseEventsParams{Organization: organization, Sequence: sequences, EraseTime: &at})
	if err != nil {
		return 0, pg.Fault(fmt.Errorf("erase events: %w", err))
	}
	return n, nil
}
