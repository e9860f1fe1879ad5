package pgstore

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strconv"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"google.golang.org/protobuf/proto"

	"github.com/meetwire/meetwire/pkg/fault"
	"github.com/meetwire/meetwire/pkg/pg"
	configv1 "github.com/meetwire/meetwire/proto/gen/meetwire/config/v1"
	"github.com/meetwire/meetwire/services/subscription/internal/core"
	"github.com/meetwire/meetwire/services/subscription/internal/pgstore/sqlcgen"
)

// notifyTimeout bounds the hint after a commit; whoever misses it polls.
const notifyTimeout = time.Second

// Store keeps the configuration in Postgres.
type Store struct {
	pool    *pgxpool.Pool
	queries *sqlcgen.Queries
	logger  *slog.Logger
	now     func() time.Time
}

// New returns a store over a pool. The schema need not be there yet.
func New(pool *pgxpool.Pool, logger *slog.Logger, now func() time.Time) *Store {
	return &Store{pool: pool, queries: sqlcgen.New(pool), logger: logger, now: now}
}

// Ready reports whether the database answers and its schema is at least as new as this program.
func (s *Store) Ready(ctx context.Context) error {
	expected, err := newestMigration()
	if err != nil {
		return err
	}
	var version int64
	const query = `SELECT COALESCE(max(version_id), 0) FROM subscription.schema_version WHERE is_applied`
	if err := s.pool.QueryRow(ctx, query).Scan(&version); err != nil {
		return translate(fmt.Errorf("read the schema version: %w", err))
	}
	if version < expected {
		return fmt.Errorf("schema %s is at version %d, and %d is expected", Schema, version, expected)
	}
	return nil
}

// change is a transaction that changes the configuration.
type change struct {
	*sqlcgen.Queries
	now       func() time.Time
	resources []*configv1.Resource
	revision  int64 // 0: not counted yet
	flushed   int64 // the last one that is in the feed
}

// add notes what a resource is from now on.
func (c *change) add(resource *configv1.Resource) { c.resources = append(c.resources, resource) }

// next returns the revision of this change. It locks the counter until the commit, and so every other writer: all
// rows that exist already must be locked before, or two writers could wait for each other.
func (c *change) next(ctx context.Context) (int64, error) {
	if c.revision != 0 {
		return c.revision, nil
	}
	revision, err := c.NextRevision(ctx)
	if err != nil {
		return 0, fmt.Errorf("count the revision: %w", err)
	}
	c.revision = revision
	return revision, nil
}

// flush appends what was noted to the feed when that is at least so much, and goes on with the next revision of the same
// transaction: no entry of the feed may be larger than a message.
func (c *change) flush(ctx context.Context, atLeast int) error {
	if len(c.resources) < max(atLeast, 1) {
		return nil
	}
	revision, err := c.next(ctx)
	if err != nil {
		return err
	}
	serialized, err := proto.Marshal(&configv1.Change{Revision: revision, Resources: c.resources})
	if err != nil {
		return fmt.Errorf("serialize revision %d: %w", revision, err)
	}
	entry := sqlcgen.AppendFeedParams{Revision: revision, Change: serialized, CreateTime: core.Stored(c.now())}
	if err := c.AppendFeed(ctx, entry); err != nil {
		return fmt.Errorf("append revision %d to the feed: %w", revision, err)
	}
	c.flushed, c.revision, c.resources = revision, 0, nil
	return nil
}

// write runs f in a transaction and appends what it noted to the feed; nothing, when it noted nothing. f may run
// several times.
func (s *Store) write(ctx context.Context, f func(ctx context.Context, c *change) error) error {
	var revision int64
	err := pg.InTx(ctx, s.pool, pgx.TxOptions{}, func(ctx context.Context, tx pgx.Tx) error {
		c := &change{Queries: sqlcgen.New(tx), now: s.now}
		if err := f(ctx, c); err != nil {
			return err
		}
		if err := c.flush(ctx, 1); err != nil {
			return err
		}
		revision = c.flushed
		return nil
	})
	if err != nil {
		return translate(err)
	}
	if revision != 0 {
		s.notify(ctx, revision)
	}
	return nil
}

// notify tells the watchers in all processes that there is a new revision. It is a hint: who misses it, polls.
// It follows the commit so that a full notification queue cannot fail a change.
func (s *Store) notify(ctx context.Context, revision int64) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), notifyTimeout)
	defer cancel()
	if err := s.queries.Notify(ctx, strconv.FormatInt(revision, 10)); err != nil {
		s.logger.DebugContext(ctx, "feed hint not sent", "revision", revision, "error", err)
	}
}

// translate makes a fault of what Postgres said, and leaves what is a fault, or a word of core, already alone.
func translate(err error) error {
	var known *fault.Error
	var repeated *core.RepeatedRequestError
	if err == nil || errors.As(err, &known) || errors.As(err, &repeated) {
		return err
	}
	return pg.Fault(err)
}

// read makes a fault of the error of a query: missing when there is no such row.
func read(err, missing error) error {
	if errors.Is(err, pgx.ErrNoRows) {
		return missing
	}
	return translate(err)
}
