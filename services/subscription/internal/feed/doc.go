// Package feed owns ConfigService: it tells the other services the configuration as it is, and then every change
// of it, in order and without a gap. It reads the change feed and must never write to it, and a watcher that is
// slow must cost nobody anything: each reads the feed by itself, in batches, at its own pace.
package feed

import (
	"context"
	"time"

	configv1 "github.com/meetwire/meetwire/proto/gen/meetwire/config/v1"
)

// Source is where the configuration is kept. All methods return fault.Unavailable while it is away.
type Source interface {
	// Revision returns the newest revision.
	Revision(ctx context.Context) (int64, error)
	// Changes returns what came after a revision, at most limit changes; core.ErrGap when the feed does not
	// reach back that far although newest is committed.
	Changes(ctx context.Context, after, newest int64, limit int) ([]*configv1.Change, error)
	// Snapshot gives everything as of one revision to yield, page by page, the last one marked so. It returns an
	// error of yield.
	Snapshot(ctx context.Context, yield func(*configv1.SnapshotPage) error) error
	// Listen calls wake when there may be a new revision, until the context ends or it returns an error.
	Listen(ctx context.Context, wake func()) error
	// TrimFeed removes the entries before a time from the beginning of the feed, and returns how many.
	TrimFeed(ctx context.Context, before time.Time) (int64, error)
}
