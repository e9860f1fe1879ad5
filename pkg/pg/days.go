package pg

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
)

// aheadDays is how many days of partitions are made before they are needed.
const aheadDays = 7

// Day is the UTC day of a time, by which tables are partitioned.
func Day(t time.Time) time.Time { return t.UTC().Truncate(24 * time.Hour) }

// NoPartition reports whether Postgres found no partition for a row, which it tells as a check violation, but without the
// name of a constraint.
func NoPartition(err error) bool {
	var pgErr *pgconn.PgError
	return errors.As(err, &pgErr) && pgErr.Code == "23514" && pgErr.ConstraintName == ""
}

// Days makes and drops the partitions of days, and remembers which it has made.
type Days struct {
	ensure     func(ctx context.Context, day time.Time) error
	dropBefore func(ctx context.Context, day time.Time) (tables int32, err error)

	mu    sync.Mutex
	known map[time.Time]bool // whose partitions exist
}

// NewDays is told how to make the partitions of a day, also when they exist, and how to drop those before one.
func NewDays(ensure func(context.Context, time.Time) error, dropBefore func(context.Context, time.Time) (int32, error)) *Days {
	return &Days{ensure: ensure, dropBefore: dropBefore, known: make(map[time.Time]bool)}
}

// Ensure makes the partitions of days, each once. Errors: fault.Unavailable.
func (d *Days) Ensure(ctx context.Context, days ...time.Time) error {
	for _, day := range days {
		d.mu.Lock()
		known := d.known[day]
		d.mu.Unlock()
		if known {
			continue
		}
		if err := d.ensure(ctx, day); err != nil {
			return Fault(fmt.Errorf("make the partitions of a day: %w", err))
		}
		d.mu.Lock()
		d.known[day] = true
		d.mu.Unlock()
	}
	return nil
}

// Forget makes Ensure look again.
func (d *Days) Forget(days []time.Time) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, day := range days {
		delete(d.known, day)
	}
}

// Maintain makes the partitions of the coming days and drops those of the days before that of keepFrom. Errors:
// fault.Unavailable.
func (d *Days) Maintain(ctx context.Context, now, keepFrom time.Time) (dropped int, err error) {
	for ahead := range aheadDays + 1 {
		if err := d.Ensure(ctx, Day(now).AddDate(0, 0, ahead)); err != nil {
			return 0, err
		}
	}
	first := Day(keepFrom)
	d.mu.Lock()
	for known := range d.known {
		if known.Before(first) {
			delete(d.known, known)
		}
	}
	d.mu.Unlock()
	tables, err := d.dropBefore(ctx, first)
	if err != nil {
		return 0, Fault(fmt.Errorf("drop old partitions: %w", err))
	}
	return int(tables), nil
}
