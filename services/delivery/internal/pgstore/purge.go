package pgstore

import (
	"context"
	"fmt"
	"math"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/meetwire/meetwire/pkg/pg"
	"github.com/meetwire/meetwire/services/delivery/internal/pgstore/sqlcgen"
)

// purgeBatch is how many deliveries are removed in one transaction.
const purgeBatch = 1000

// always is after everything.
func always() time.Time { return time.Date(math.MaxInt16, 1, 1, 0, 0, 0, 0, time.UTC) }

// Purge removes every row of an organization and returns how many there were. Interrupted and called again, it goes on
// with what is left. Errors: fault.Unavailable.
func (s *Store) Purge(ctx context.Context, organization string) (removed int64, err error) {
	q := sqlcgen.New(s.pool)
	for {
		n, err := purgeDeliveries(ctx, q, organization, always())
		removed += n.Deliveries + n.Attempts
		if err != nil {
			return removed, err
		}
		if n.Deliveries == 0 {
			break
		}
	}
	hours := func(ctx context.Context, organization string) (int64, error) {
		return q.PurgeHours(ctx, sqlcgen.PurgeHoursParams{Organization: organization, Before: always()})
	}
	for _, purge := range []func(context.Context, string) (int64, error){q.PurgeHealth, q.PurgeCounts, hours} {
		n, err := purge(ctx, organization)
		if err != nil {
			return removed, pg.Fault(fmt.Errorf("remove what is known of an organization: %w", err))
		}
		removed += n
	}
	return removed, nil
}

// Retain removes the deliveries of an organization whose events were accepted on the days before the one of keepFrom,
// and the statistics of those days, and returns how many deliveries there were. One instance does so at a time: while another does, nothing is done.
func (s *Store) Retain(ctx context.Context, organization string, keepFrom time.Time) (removed int64, err error) {
	for {
		var n sqlcgen.PurgeDeliveriesRow
		err := pg.InTx(ctx, s.pool, pgx.TxOptions{}, func(ctx context.Context, tx pgx.Tx) error {
			n = sqlcgen.PurgeDeliveriesRow{}
			q := sqlcgen.New(tx)
			locked, err := q.TryRetentionLock(ctx)
			if err != nil || !locked {
				return err
			}
			if n, err = purgeDeliveries(ctx, q, organization, pg.Day(keepFrom)); err != nil || n.Deliveries > 0 {
				return err
			}
			// The last time round.
			if _, err = q.PurgeHours(ctx, sqlcgen.PurgeHoursParams{Organization: organization, Before: pg.Day(keepFrom)}); err != nil {
				return fmt.Errorf("remove statistics: %w", err)
			}
			return nil
		})
		if err != nil || n.Deliveries == 0 {
			return removed, pg.Fault(err)
		}
		removed += n.Deliveries
	}
}

func purgeDeliveries(ctx context.Context, q *sqlcgen.Queries, organization string, before time.Time) (sqlcgen.PurgeDeliveriesRow, error) {
	n, err := q.PurgeDeliveries(ctx, sqlcgen.PurgeDeliveriesParams{Organization: organization, Before: before, BatchSize: purgeBatch})
	if err != nil {
		return n, pg.Fault(fmt.Errorf("remove deliveries: %w", err))
	}
	return n, nil
}
