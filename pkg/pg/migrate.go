package pg

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"hash/fnv"
	"io/fs"
	"math/rand/v2"
	"regexp"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/jackc/pgx/v5/stdlib"
	"github.com/pressly/goose/v3"
)

const (
	// migrateLockEvery is the mean time between attempts to become the one who migrates.
	migrateLockEvery = 50 * time.Millisecond
	// unlockTimeout bounds giving the lock up, which happens even when the context has ended.
	unlockTimeout = 5 * time.Second
	// maxSchemaName is the length of the longest name that Postgres keeps whole, in bytes.
	maxSchemaName = 63
)

// Migrate brings a schema up to date: it creates the schema when it is absent and applies those of the files
// (goose migrations, named 0001_what.sql, at the root of files) that its table schema_version does not list, each
// in a transaction. The files name tables with their schema. Several processes may do this at once: one works,
// the others wait for it, as long as their contexts let them, and find nothing left to do.
func Migrate(ctx context.Context, pool *pgxpool.Pool, schema string, files fs.FS) (err error) {
	if len(schema) > maxSchemaName || !regexp.MustCompile(`^[a-z_][a-z0-9_]*$`).MatchString(schema) {
		return fmt.Errorf("migrate schema %q: the name must have at most %d characters of a-z, 0-9 and _, and not begin with a digit", schema, maxSchemaName)
	}
	db := stdlib.OpenDBFromPool(pool)
	defer func() { err = errors.Join(err, db.Close()) }()
	// One connection, kept from beginning to end, has the lock and does the work.
	db.SetMaxOpenConns(1)
	db.SetMaxIdleConns(1)

	provider, err := goose.NewProvider(goose.DialectPostgres, db, files,
		goose.WithTableName(schema+".schema_version"),
		goose.WithDisableGlobalRegistry(true),
		goose.WithLogger(goose.NopLogger()),
	)
	if err != nil {
		return fmt.Errorf("read the migrations of schema %s: %w", schema, err)
	}
	lock := schemaLock{db: db, schema: schema}
	if err := lock.acquire(ctx); err != nil {
		return Fault(fmt.Errorf("migrate schema %s: %w", schema, err))
	}
	defer func() { err = errors.Join(err, lock.release(ctx)) }()

	if _, err := db.ExecContext(ctx, "CREATE SCHEMA IF NOT EXISTS "+pgx.Identifier{schema}.Sanitize()); err != nil {
		return Fault(fmt.Errorf("create schema %s: %w", schema, err))
	}
	if _, err := provider.Up(ctx); err != nil {
		return Fault(fmt.Errorf("migrate schema %s: %w", schema, err))
	}
	return nil
}

// schemaLock is the lock that is held while a schema is migrated. It belongs to a session of Postgres, so db must
// have one connection only.
type schemaLock struct {
	db     *sql.DB
	schema string
}

// key is the advisory lock of the schema, which all versions of this program must agree on.
func (l schemaLock) key() int64 {
	h := fnv.New64a()
	h.Write([]byte("meetwire/migrate/" + l.schema))
	return int64(h.Sum64()) //nolint:gosec // G115: any 64 bits are a key
}

// acquire waits for the lock. It asks again and again instead of waiting in the database: a waiting statement
// has a snapshot, which an index that a migration builds concurrently would wait for, for ever.
func (l schemaLock) acquire(ctx context.Context) error {
	for {
		var locked bool
		if err := l.db.QueryRowContext(ctx, "SELECT pg_try_advisory_lock($1)", l.key()).Scan(&locked); err != nil {
			return fmt.Errorf("lock the schema: %w", err)
		}
		if locked {
			return nil
		}
		timer := time.NewTimer(migrateLockEvery/2 + rand.N(migrateLockEvery)) //nolint:gosec // G404: it only spreads
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			return fmt.Errorf("wait for another process that migrates the schema: %w", ctx.Err())
		}
	}
}

// release gives the lock up, also when the context has ended. The connection goes back to the pool, so when that
// fails it is closed, and the lock ends with it.
func (l schemaLock) release(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), unlockTimeout)
	defer cancel()
	conn, err := l.db.Conn(ctx)
	if err != nil {
		return nil // the connection broke, and the lock ended with it
	}
	defer conn.Close() //nolint:errcheck // it is closed already, or goes back
	var unlocked bool
	if err := conn.QueryRowContext(ctx, "SELECT pg_advisory_unlock($1)", l.key()).Scan(&unlocked); err == nil && unlocked {
		return nil
	}
	err = conn.Raw(func(driverConn any) error {
		c, ok := driverConn.(*stdlib.Conn)
		if !ok {
			return fmt.Errorf("unexpected connection %T", driverConn)
		}
		return c.Conn().Close(ctx)
	})
	if err != nil && !errors.Is(err, sql.ErrConnDone) {
		return fmt.Errorf("unlock the schema: %w", err)
	}
	return nil
}
