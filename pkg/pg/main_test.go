package pg_test

import (
	"context"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/stretchr/testify/require"

	"github.com/meetwire/meetwire/pkg/pg"
	"github.com/meetwire/meetwire/pkg/pgtest"
	"github.com/meetwire/meetwire/pkg/secret"
)

func TestMain(m *testing.M) { pgtest.Main(m) }

// createTables makes what the tests of this package work on.
func createTables(ctx context.Context, pool *pgxpool.Pool) error {
	_, err := pool.Exec(ctx, `
		CREATE TABLE parents (id int PRIMARY KEY);
		CREATE TABLE children (
			id     int PRIMARY KEY,
			parent int REFERENCES parents,
			age    int NOT NULL DEFAULT 1 CONSTRAINT children_age CHECK (age > 0),
			name   varchar(3),
			nick   text CONSTRAINT children_nick UNIQUE DEFERRABLE INITIALLY DEFERRED
		);
		CREATE TABLE doctors (id int PRIMARY KEY, on_call bool NOT NULL);
		INSERT INTO parents VALUES (1);
		INSERT INTO children (id, parent) VALUES (1, 1);
		INSERT INTO doctors VALUES (1, true), (2, true);`)
	return err
}

func setup(t *testing.T) *pgxpool.Pool {
	t.Helper()
	return pgtest.Database(t, "pg", createTables)
}

func newContext(t *testing.T) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	t.Cleanup(cancel)
	return ctx
}

func open(t *testing.T, url secret.String, maxConns int32) *pgxpool.Pool {
	t.Helper()
	pool, err := pg.Open(newContext(t), pg.Config{DatabaseURL: url, MaxConns: maxConns})
	require.NoError(t, err)
	t.Cleanup(pool.Close)
	return pool
}
