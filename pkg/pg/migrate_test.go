package pg_test

import (
	"context"
	"io/fs"
	"sync"
	"testing"
	"testing/fstest"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/stretchr/testify/require"

	"github.com/meetwire/meetwire/pkg/fault"
	"github.com/meetwire/meetwire/pkg/pg"
	"github.com/meetwire/meetwire/pkg/pgtest"
)

// files makes migrations from name and SQL, alternating.
func files(namesAndSQL ...string) fs.FS {
	files := fstest.MapFS{}
	for i := 0; i < len(namesAndSQL); i += 2 {
		files[namesAndSQL[i]] = &fstest.MapFile{Data: []byte(namesAndSQL[i+1])}
	}
	return files
}

const (
	createOrders = "-- +goose Up\nCREATE TABLE shop.orders (id int PRIMARY KEY);\nINSERT INTO shop.orders VALUES (1);\n"
	addTotal     = "-- +goose Up\nALTER TABLE shop.orders ADD total int NOT NULL DEFAULT 5;\n"
	indexTotal   = "-- +goose NO TRANSACTION\n-- +goose Up\nCREATE INDEX CONCURRENTLY orders_total ON shop.orders (total);\n"
)

func emptyDatabase(t *testing.T) *pgxpool.Pool {
	t.Helper()
	return pgtest.Database(t, "empty", nil)
}

func query[T any](t *testing.T, pool *pgxpool.Pool, sql string) (value T) {
	t.Helper()
	require.NoError(t, pool.QueryRow(newContext(t), sql).Scan(&value))
	return value
}

// freeLock fails the test when a migration left its lock behind.
func freeLock(t *testing.T, pool *pgxpool.Pool) {
	t.Helper()
	require.Zero(t, query[int](t, pool, "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND database = (SELECT oid FROM pg_database WHERE datname = current_database())"))
}

func TestMigrateAppliesWhatIsMissing(t *testing.T) {
	t.Parallel()
	pool := emptyDatabase(t)
	ctx := newContext(t)
	require.NoError(t, pg.Migrate(ctx, pool, "shop", files("0001_orders.sql", createOrders)))
	require.NoError(t, pg.Migrate(ctx, pool, "shop", files("0001_orders.sql", createOrders)))
	require.EqualValues(t, 1, query[int64](t, pool, "SELECT max(version_id) FROM shop.schema_version"))

	require.NoError(t, pg.Migrate(ctx, pool, "shop", files("0001_orders.sql", createOrders, "0002_total.sql", addTotal)))
	require.Equal(t, 5, query[int](t, pool, "SELECT total FROM shop.orders"))
	require.EqualValues(t, 2, query[int64](t, pool, "SELECT max(version_id) FROM shop.schema_version"))
	freeLock(t, pool)
}

func TestMigrateKeepsSchemasApart(t *testing.T) {
	t.Parallel()
	pool := emptyDatabase(t)
	ctx := newContext(t)
	require.NoError(t, pg.Migrate(ctx, pool, "shop", files("0001_orders.sql", createOrders)))
	require.NoError(t, pg.Migrate(ctx, pool, "bakery", files("0001_bread.sql", "-- +goose Up\nCREATE TABLE bakery.bread (id int);\n")))
	require.Equal(t, 0, query[int](t, pool, "SELECT count(*) FROM bakery.bread"))
	require.EqualValues(t, 1, query[int64](t, pool, "SELECT max(version_id) FROM bakery.schema_version"))
	require.Equal(t, 0, query[int](t, pool, "SELECT count(*) FROM pg_tables WHERE schemaname = 'public'"))
}

// Eight processes, each with one connection of its own, start on an empty database. The last migration builds
// an index concurrently, which waits for everybody's snapshots.
func TestMigrateByManyAtOnce(t *testing.T) {
	t.Parallel()
	pool := emptyDatabase(t)
	all := files("0001_orders.sql", createOrders, "0002_total.sql", addTotal, "0003_index.sql", indexTotal)
	start := make(chan struct{})
	results := make(chan error, 8)
	for range cap(results) {
		own := open(t, pgtest.URL(pool), 1)
		go func() {
			<-start
			results <- pg.Migrate(newContext(t), own, "shop", all)
		}()
	}
	close(start)
	for range cap(results) {
		require.NoError(t, <-results)
	}
	require.Equal(t, 1, query[int](t, pool, "SELECT count(*) FROM shop.orders"))
	require.Equal(t, 4, query[int](t, pool, "SELECT count(*) FROM shop.schema_version"), "each once, and the zero version")
	require.True(t, query[bool](t, pool, "SELECT indisvalid FROM pg_index WHERE indexrelid = 'shop.orders_total'::regclass"))
	freeLock(t, pool)
}

func TestMigrateByManyWithOnePool(t *testing.T) {
	t.Parallel()
	pool := emptyDatabase(t)
	few := open(t, pgtest.URL(pool), 2)
	var all sync.WaitGroup
	for range 8 {
		all.Go(func() {
			if err := pg.Migrate(newContext(t), few, "shop", files("0001_orders.sql", createOrders)); err != nil {
				t.Errorf("migrate: %v", err)
			}
		})
	}
	all.Wait()
	require.Equal(t, 1, query[int](t, pool, "SELECT count(*) FROM shop.orders"))
	freeLock(t, pool)
}

func TestMigrateAfterAFailure(t *testing.T) {
	t.Parallel()
	pool := emptyDatabase(t)
	ctx := newContext(t)
	err := pg.Migrate(ctx, pool, "shop", files("0001_orders.sql", createOrders,
		"0002_broken.sql", "-- +goose Up\nCREATE TABLE shop.half (id int);\nINSERT INTO shop.orders VALUES (1);\n"))
	require.True(t, fault.Is(err, fault.AlreadyExists), "%v", err)
	require.ErrorContains(t, err, "migrate schema shop")
	require.ErrorContains(t, err, "version:2")
	freeLock(t, pool)
	require.Nil(t, query[*string](t, pool, "SELECT to_regclass('shop.half')::text"), "a migration is all or nothing")
	require.EqualValues(t, 1, query[int64](t, pool, "SELECT max(version_id) FROM shop.schema_version"))

	require.NoError(t, pg.Migrate(ctx, pool, "shop", files("0001_orders.sql", createOrders, "0002_total.sql", addTotal)))
}

func TestMigrateRefusesWhatCannotBeRight(t *testing.T) {
	t.Parallel()
	pool := emptyDatabase(t)
	for _, schema := range []string{"", "1st", "Shop", "a.b", `a"b`, "a;drop", "a b", "x23456789012345678901234567890123456789012345678901234567890123x"} {
		require.ErrorContains(t, pg.Migrate(newContext(t), pool, schema, files("0001_orders.sql", createOrders)), "the name must", schema)
	}
	require.Error(t, pg.Migrate(newContext(t), pool, "shop", files()), "no migrations at all is a mistake in packaging")
	require.Error(t, pg.Migrate(newContext(t), pool, "shop", files("0001_a.sql", createOrders, "0001_b.sql", addTotal)))
}

func TestMigrateWaitsNoLongerThanItsContext(t *testing.T) {
	t.Parallel()
	pool := emptyDatabase(t)
	// Somebody migrates, and takes his time.
	slow, cancelSlow := context.WithCancel(newContext(t))
	defer cancelSlow()
	slowResult := make(chan error, 1)
	go func() {
		slowResult <- pg.Migrate(slow, pool, "shop", files("0001_slow.sql", "-- +goose Up\nSELECT pg_sleep(60);\n"))
	}()
	require.Eventually(t, func() bool {
		return query[int](t, pool, "SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'PgSleep' AND datname = current_database()") == 1
	}, 10*time.Second, 5*time.Millisecond)

	ctx, cancel := context.WithTimeout(newContext(t), 200*time.Millisecond)
	defer cancel()
	err := pg.Migrate(ctx, pool, "shop", files("0001_orders.sql", createOrders))
	require.ErrorIs(t, err, context.DeadlineExceeded)

	cancelSlow()
	require.Error(t, <-slowResult)
	require.Eventually(t, func() bool {
		return pg.Migrate(newContext(t), pool, "shop", files("0001_orders.sql", createOrders)) == nil
	}, 10*time.Second, 5*time.Millisecond, "the lock of a migration that was given up must be free")
	freeLock(t, pool)
}
