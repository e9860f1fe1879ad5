// Package pgstore owns delivery's tables in Postgres, schema `delivery`: what became of deliveries, and their
// attempts. It stores what records say and decides nothing.
package pgstore

import (
	"context"
	"embed"
	"fmt"
	"io/fs"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/meetwire/meetwire/pkg/pg"
	"github.com/meetwire/meetwire/services/delivery/internal/pgstore/sqlcgen"
)

// Schema is the Postgres schema of this service.
const Schema = "delivery"

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
	days *pg.Days

	cautions cautions
	healthy  healthy
}

// New makes a store.
func New(pool *pgxpool.Pool) *Store {
	q := sqlcgen.New(pool)
	return &Store{pool: pool, days: pg.NewDays(q.EnsureDay, q.DropDaysBefore)}
}

// Maintain makes the partitions of the coming days and drops those of events stored before keepFrom. Errors:
// fault.Unavailable.
func (s *Store) Maintain(ctx context.Context, now, keepFrom time.Time) (dropped int, err error) {
	return s.days.Maintain(ctx, now, keepFrom)
}
