package feed

import (
	"context"
	"errors"
	"time"

	"google.golang.org/grpc"

	"github.com/meetwire/meetwire/pkg/fault"
	configv1 "github.com/meetwire/meetwire/proto/gen/meetwire/config/v1"
)

const (
	// concurrentSnapshots is how many watchers of this process are sent a snapshot at a time; others wait. A
	// snapshot holds a database connection, and most of those must be left to everyone else.
	concurrentSnapshots = 2
	// snapshotTimeout is how long one may take, so that a watcher that does not read cannot hold its connection.
	snapshotTimeout = 2 * time.Minute
	// pagesAhead is how many pages, of about 1 MiB, are read before the watcher has taken them.
	pagesAhead = 4
)

// errClosed ends a snapshot because this instance stops.
var errClosed = errors.New("this instance stops")

// snapshot sends everything to a watcher and returns the revision of it.
func (s *Server) snapshot(ctx context.Context, stream grpc.ServerStreamingServer[configv1.WatchConfigResponse]) (int64, error) {
	select {
	case s.snapshots <- struct{}{}:
	case <-ctx.Done():
		return 0, ctx.Err()
	case <-s.closed:
		return 0, errClosed
	}
	pages := make(chan *configv1.SnapshotPage, pagesAhead)
	result := make(chan error, 1)
	ctx, cancel := context.WithTimeoutCause(ctx, s.snapshotTimeout, errSlow())
	defer cancel()
	// Sending can block for as long as the watcher pleases. So someone else reads the database, and gives its
	// connection back in time.
	go func() {
		defer close(pages)
		defer func() { <-s.snapshots }()
		result <- s.source.Snapshot(ctx, func(page *configv1.SnapshotPage) error {
			select {
			case pages <- page:
				return nil
			case <-ctx.Done():
				return context.Cause(ctx)
			}
		})
	}()
	revision, failure := int64(0), error(nil)
	for page := range pages { // to the end in any case: that joins the reader
		if failure != nil {
			continue
		}
		revision = page.GetRevision()
		failure = stream.Send(&configv1.WatchConfigResponse{
			Message: &configv1.WatchConfigResponse_SnapshotPage{SnapshotPage: page},
		})
		if failure != nil {
			cancel()
		}
	}
	if failure != nil {
		return 0, failure
	}
	if err := <-result; err != nil {
		return 0, err
	}
	return revision, nil
}

func errSlow() error {
	return fault.New(fault.Aborted, "WATCHER_TOO_SLOW", "the snapshot was not read in time")
}
