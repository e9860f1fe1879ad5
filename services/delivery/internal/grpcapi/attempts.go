package grpcapi

import (
	"context"

	"github.com/google/uuid"
	"google.golang.org/protobuf/proto"

	deliveryv1 "github.com/meetwire/meetwire/proto/gen/meetwire/delivery/v1"
	"github.com/meetwire/meetwire/services/delivery/internal/pgstore"
)

// Attempts is what is recorded of the attempts of a delivery.
type Attempts interface {
	// Attempts returns a page, oldest first, and where it ended: fault.NotFound, fault.Unavailable.
	Attempts(ctx context.Context, organization string, id uuid.UUID, after pgstore.AttemptCursor, size int) ([]*deliveryv1.Attempt, pgstore.AttemptCursor, error)
}

// Bounds of reading attempts, whose payloads have up to about 1 MiB: how many are read at first, and how large those are,
// altogether, after which not more are read the next time.
const (
	firstAttempts = 16
	calmBytes     = 2 << 20
)

// someAttempts are attempts that were read at once.
type someAttempts struct {
	attempts []*deliveryv1.Attempt
	bytes    int
	end      pgstore.AttemptCursor // where they end
	last     bool                  // there are none behind them
}

// eachAttempts gives attempts of a delivery to a function, oldest first, some at once and at most so many altogether, until
// it wants no more. Errors: those of the store.
func eachAttempts(
	ctx context.Context, store Attempts, organization string, delivery uuid.UUID, after pgstore.AttemptCursor, most int,
	see func(some someAttempts) (more bool),
) error {
	for n := min(firstAttempts, most); n > 0; n = min(n, most) {
		page, end, err := store.Attempts(ctx, organization, delivery, after, n)
		if err != nil {
			return err
		}
		some := someAttempts{attempts: page, end: end, last: len(page) < n}
		for _, attempt := range page {
			some.bytes += proto.Size(readable(attempt))
		}
		if !see(some) || some.last {
			return nil
		}
		after, most = end, most-len(page)
		if some.bytes < calmBytes {
			n *= 2
		}
	}
	return nil
}
