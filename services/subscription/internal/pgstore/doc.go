// Package pgstore owns the Postgres schema `subscription`: its migrations, all SQL on it, and the rule that every
// change of configuration is one transaction that also appends to the change feed. It must not decide what a
// valid organization, key, trigger or webhook is.
package pgstore

import (
	"context"
	"embed"
	"fmt"
	"io/fs"
	"path"
	"strconv"
	"strings"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/meetwire/meetwire/pkg/pg"
)

// Schema is the Postgres schema of the subscription service.
const Schema = "subscription"

//go:embed migrations/*.sql
var migrations embed.FS

// Migrate brings the schema up to date. Several processes may do so at once.
func Migrate(ctx context.Context, pool *pgxpool.Pool) error {
	files, err := fs.Sub(migrations, "migrations")
	if err != nil {
		return fmt.Errorf("open the embedded migrations: %w", err)
	}
	if err := pg.Migrate(ctx, pool, Schema, files); err != nil {
		return fmt.Errorf("migrate schema %s: %w", Schema, err)
	}
	return nil
}

// newestMigration returns the version that the schema has after Migrate.
func newestMigration() (int64, error) {
	files, err := fs.Glob(migrations, "migrations/*.sql")
	if err != nil {
		return 0, fmt.Errorf("list the embedded migrations: %w", err)
	}
	var newest int64
	for _, file := range files {
		prefix, _, _ := strings.Cut(path.Base(file), "_")
		version, err := strconv.ParseInt(prefix, 10, 64)
		if err != nil {
			return 0, fmt.Errorf("read the version of migration %s: %w", file, err)
		}
		newest = max(newest, version)
	}
	return newest, nil
}
