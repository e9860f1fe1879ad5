package pgstore_test

import (
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	deliveryv1 "github.com/meetwire/meetwire/proto/gen/meetwire/delivery/v1"
	"github.com/meetwire/meetwire/services/delivery/internal/core"
	"github.com/meetwire/meetwire/services/delivery/internal/pgstore"
)

func TestHealthOfWebhooksThatWorkIsReadOnce(t *testing.T) {
	t.Parallel()
	store, _, sent := traced(t)
	webhook, other := uuid.New(), uuid.New()
	began := accepted().Add(20 * time.Millisecond)
	reads := func(records ...*deliveryv1.Record) bool {
		t.Helper()
		sent.take()
		require.NoError(t, write(t, store, records))
		return sent.has("-- name: Health :many")
	}
	success := func(webhook uuid.UUID) *deliveryv1.Record { return took(webhook, began, time.Second, "") }
	require.True(t, reads(success(webhook)))
	require.False(t, reads(success(webhook), success(webhook)))
	require.True(t, reads(success(webhook), success(other)))
	require.False(t, reads(success(other), success(webhook)))
	require.False(t, reads(took(webhook, began, time.Second, core.ErrorTimeout)), "it is locked at once")
	require.True(t, reads(success(webhook)), "it had failed")
	require.False(t, reads(success(webhook)))
	health, err := store.Health(newContext(t), "acme", webhook)
	require.NoError(t, err)
	require.Zero(t, health.ConsecutiveFailures)

	require.NoError(t, store.Release(newContext(t), holder()))
	require.True(t, reads(success(webhook)), "another may have written since")

	gone := newRecord()
	gone.Delivery, gone.Attempt, gone.Webhook, gone.State = "", nil, webhook.String(), deliveryv1.Delivery_STATE_DROPPED
	require.False(t, reads(success(webhook), gone))
	require.True(t, reads(success(webhook)), "its row was removed")
}

// TestHealthThatAnotherInstanceHasWritten is a failure at another instance between two successes at one.
func TestHealthThatAnotherInstanceHasWritten(t *testing.T) {
	t.Parallel()
	one, pool := setup(t)
	other := pgstore.New(pool)
	webhook, began := uuid.New(), accepted().Add(20*time.Millisecond)
	for range 2 {
		require.NoError(t, write(t, one, []*deliveryv1.Record{took(webhook, began, time.Second, "")}))
	}
	require.NoError(t, write(t, other, []*deliveryv1.Record{took(webhook, began, time.Second, core.ErrorTimeout)}))
	health, err := one.Health(newContext(t), "acme", webhook)
	require.NoError(t, err)
	require.EqualValues(t, 1, health.ConsecutiveFailures)
	require.NoError(t, write(t, one, []*deliveryv1.Record{took(webhook, began, time.Second, "")}))
	health, err = one.Health(newContext(t), "acme", webhook)
	require.NoError(t, err)
	require.Zero(t, health.ConsecutiveFailures)
}
