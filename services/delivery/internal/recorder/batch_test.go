package recorder_test

import (
	"context"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/meetwire/meetwire/pkg/pgtest"
	"github.com/meetwire/meetwire/services/delivery/internal/pgstore"
)

// countingStore notes of how many records a batch was at most.
type countingStore struct {
	*pgstore.Store
	largest atomic.Int64
}

func (s *countingStore) Write(ctx context.Context, batch pgstore.Batch, ttl time.Duration) error {
	s.largest.Store(max(s.largest.Load(), int64(len(batch.Records))))
	return s.Store.Write(ctx, batch, ttl)
}

// A record costs Postgres less among many.
func TestManyRecordsComeInLargeBatches(t *testing.T) {
	t.Parallel()
	e := setup(t)
	pool := pgtest.Database(t, "delivery", pgstore.Migrate)
	store := &countingStore{Store: pgstore.New(pool)}
	for began := time.Now(); store.largest.Load() <= 500; { // a busy machine may not read so many in time
		require.Less(t, time.Since(began), patience)
		e.publish(t, 1000)
		running := run(t, grace, e.recorder(store))
		e.requireSettled(t, pool)
		require.NoError(t, running.stop())
	}
}
