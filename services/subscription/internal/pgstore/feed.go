package pgstore

import (
	"context"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
	"google.golang.org/protobuf/proto"

	configv1 "github.com/meetwire/meetwire/proto/gen/meetwire/config/v1"
	"github.com/meetwire/meetwire/services/subscription/internal/core"
	"github.com/meetwire/meetwire/services/subscription/internal/pgstore/sqlcgen"
)

// feedChannel is where the hint is sent that there is a new revision; the query Notify names it too.
const feedChannel = "subscription_feed"

// closeTimeout bounds the goodbye to the server when listening ends.
const closeTimeout = time.Second

// Revision returns the newest revision.
func (s *Store) Revision(ctx context.Context) (int64, error) {
	revision, err := s.queries.Revision(ctx)
	if err != nil {
		return 0, translate(fmt.Errorf("read the revision: %w", err))
	}
	return revision, nil
}

// Changes returns what came after a revision, in its order and without a gap, at most limit changes of it.
// newest is a revision that is known to be committed: core.ErrGap is returned when something between the two is not
// in the feed any more.
func (s *Store) Changes(ctx context.Context, after, newest int64, limit int) ([]*configv1.Change, error) {
	rows, err := s.queries.FeedAfter(ctx, sqlcgen.FeedAfterParams{After: after, MaxRows: int64(limit)})
	if err != nil {
		return nil, translate(fmt.Errorf("read the feed: %w", err))
	}
	if len(rows) == 0 && after < newest {
		return nil, core.ErrGap
	}
	changes := make([]*configv1.Change, len(rows))
	for i, row := range rows {
		if row.Revision != after+int64(i)+1 {
			return nil, core.ErrGap
		}
		changes[i] = &configv1.Change{}
		if err := proto.Unmarshal(row.Change, changes[i]); err != nil {
			return nil, fmt.Errorf("parse revision %d of the feed: %w", row.Revision, err)
		}
	}
	return changes, nil
}

// TrimFeed removes the beginning of the feed, up to the last entry that is older than the given time, and
// returns how many entries it removed.
func (s *Store) TrimFeed(ctx context.Context, before time.Time) (int64, error) {
	removed, err := s.queries.TrimFeed(ctx, before)
	if err != nil {
		return 0, translate(fmt.Errorf("trim the feed: %w", err))
	}
	return removed, nil
}

// Listen calls wake once when it listens, and then each time someone says that there is a new revision. It
// blocks until the context ends or the connection, which is one of its own, breaks.
func (s *Store) Listen(ctx context.Context, wake func()) error {
	conn, err := pgx.ConnectConfig(ctx, s.pool.Config().ConnConfig)
	if err != nil {
		return translate(fmt.Errorf("connect to listen: %w", err))
	}
	defer func() {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), closeTimeout)
		defer cancel()
		if err := conn.Close(ctx); err != nil {
			s.logger.DebugContext(ctx, "listening connection not closed in order", "error", err)
		}
	}()
	if _, err := conn.Exec(ctx, "LISTEN "+feedChannel); err != nil {
		return translate(fmt.Errorf("listen: %w", err))
	}
	wake() // for what came while nobody listened
	for {
		if _, err := conn.WaitForNotification(ctx); err != nil {
			return translate(fmt.Errorf("wait for a hint: %w", err))
		}
		wake()
	}
}
