package pgstore_test

import (
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/types/known/timestamppb"

	deliveryv1 "github.com/meetwire/meetwire/proto/gen/meetwire/delivery/v1"
	"github.com/meetwire/meetwire/services/delivery/internal/core"
)

// A webhook that works must not cost a row for each attempt.
func TestSuccessAfterSuccessWritesNoHealth(t *testing.T) {
	t.Parallel()
	store, pool := setup(t)
	ctx := newContext(t)
	webhook := uuid.New()
	at := accepted()
	// attempt stores an attempt that ended a while later, and reports whether the row was written or locked for it.
	attempt := func(later time.Duration, class string, status int32) bool {
		t.Helper()
		version := func() (v string) {
			err := pool.QueryRow(ctx, "SELECT coalesce(min(ctid::text || '/' || xmin::text || '/' || xmax::text), '') FROM delivery.webhook_health").Scan(&v)
			require.NoError(t, err)
			return v
		}
		before := version()
		at = at.Add(later)
		record := newRecord()
		record.Webhook, record.Time = webhook.String(), timestamppb.New(at)
		record.Attempt.ErrorClass, record.Attempt.StatusCode = class, status
		require.NoError(t, write(t, store, []*deliveryv1.Record{record}))
		return version() != before
	}
	success := func() time.Time {
		health, err := store.Health(ctx, "acme", webhook)
		require.NoError(t, err)
		return health.LastSuccess
	}
	require.True(t, attempt(0, "", 200), "it is the first")
	first := at
	for range 3 {
		require.False(t, attempt(3*time.Second, "", 200))
	}
	require.Equal(t, first, success())
	require.True(t, attempt(time.Second, "", 200), "ten seconds are over")
	require.Equal(t, at, success())
	require.True(t, attempt(time.Second, "", 204), "its answer is another")
	require.True(t, attempt(time.Second, core.ErrorStatus, 500))
	require.True(t, attempt(time.Second, "", 204), "it works again")
	require.Equal(t, at, success())
	require.False(t, attempt(time.Second, "", 204))

	// A failure between two successes counts, though the batch ends as the one before.
	failed, worked := newRecord(), newRecord()
	for _, record := range []*deliveryv1.Record{failed, worked} {
		record.Webhook, record.Time = webhook.String(), timestamppb.New(at)
		record.Attempt.ErrorClass, record.Attempt.StatusCode = "", 204
	}
	failed.Attempt.ErrorClass, failed.Attempt.StatusCode = core.ErrorTimeout, 0
	require.NoError(t, write(t, store, []*deliveryv1.Record{failed, worked}))
	health, err := store.Health(ctx, "acme", webhook)
	require.NoError(t, err)
	require.Equal(t, at, health.LastFailure)
	require.Zero(t, health.ConsecutiveFailures)
}
