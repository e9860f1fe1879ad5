// Package pgstore owns ingest's tables in Postgres, schema `ingest`: the index of the events in EVENTS, and how events
// have matched each webhook. It stores what the messages of FANOUTS say and decides nothing.
package pgstore

import (
	"context"
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"sync"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/meetwire/meetwire/pkg/pg"
	"github.com/meetwire/meetwire/services/ingest/internal/pgstore/sqlcgen"
)

// Schema is the Postgres schema of this service.
const Schema = "ingest"

//go:embed migrations/*.sql
var migrations embed.FS

// Migrate brings the schema up to date.
func Migrate(ctx context.Context, pool *pgxpool.Pool) error {
	files, err := fs.Sub(migrations, "migrations")
	if err != nil {
		return fmt.Errorf("open the migrations: %w", err)
	}
	return pg.Migrate(ctx, pool, Schema, files)
}

// Store reads and writes the tables.
type Store struct {
	pool *pgxpool.Pool

	mu   sync.Mutex
	days map[time.Time]bool // whose partitions are known to exist
}

// New makes a store.
func New(pool *pgxpool.Pool) *Store {
	return &Store{pool: pool, days: make(map[time.Time]bool)}
}

// day is the UTC day whose partition an event is in that EVENTS stored at t.
func day(t time.Time) time.Time { return t.UTC().Truncate(24 * time.Hour) }

// noPartition reports whether Postgres found no partition for a row, which it tells as a check violation. The tables
// that are written here have no check constraints.
func noPartition(err error) bool {
	var pgErr *pgconn.PgError
	return errors.As(err, &pgErr) && pgErr.Code == "23514" && pgErr.ConstraintName == ""
}

// forget makes ensureDay look again.
func (s *Store) forget(days []time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, d := range days {
		delete(s.days, d)
	}
}

// ensureDay makes the partitions of a day once.
func (s *Store) ensureDay(ctx context.Context, d time.Time) error {
	s.mu.Lock()
	known := s.days[d]
	s.mu.Unlock()
	if known {
		return nil
	}
	if err := sqlcgen.New(s.pool).EnsureDay(ctx, d); err != nil {
		return pg.Fault(fmt.Errorf("make the partitions of a day: %w", err))
	}
	s.mu.Lock()
	s.days[d] = true
	s.mu.Unlock()
	return nil
}

// aheadDays is how many days of partitions are made before they are needed.
const aheadDays = 7

// Maintain makes the partitions of the coming days and drops those of events stored before keepFrom. Errors:
// fault.Unavailable.
func (s *Store) Maintain(ctx context.Context, now, keepFrom time.Time) (dropped int, err error) {
	for ahead := range aheadDays + 1 {
		if err := s.ensureDay(ctx, day(now).AddDate(0, 0, ahead)); err != nil {
			return 0, err
		}
	}
	s.mu.Lock()
	for known := range s.days {
		if known.Before(day(keepFrom)) {
			delete(s.days, known)
		}
	}
	s.mu.Unlock()
	tables, err := sqlcgen.New(s.pool).DropDaysBefore(ctx, day(keepFrom))
	if err != nil {
		return 0, pg.Fault(fmt.Errorf("drop old partitions: %w", err))
	}
	return int(tables), nil
}
