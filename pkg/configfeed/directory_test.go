package configfeed_test

import (
	"context"
	"crypto/sha256"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/meetwire/meetwire/pkg/configfeed"
	"github.com/meetwire/meetwire/pkg/fault"
	"github.com/meetwire/meetwire/pkg/rpc"
	accessv1 "github.com/meetwire/meetwire/proto/gen/meetwire/access/v1"
)

var _ rpc.Keys = (*configfeed.Watcher)(nil)

func requireFault(t *testing.T, err error, kind fault.Kind, reason string) {
	t.Helper()
	var f *fault.Error
	require.ErrorAs(t, err, &f)
	require.Equal(t, kind, f.Kind)
	require.Equal(t, reason, f.Reason)
}

func TestKeysComeAndGo(t *testing.T) {
	t.Parallel()
	e := setup(t)
	s := e.stream(t)
	s.snapshot(1, apiKey("k1", "acme", accessv1.Role_ROLE_PUBLISHER), apiKey("k2", "", accessv1.Role_ROLE_OPERATOR))
	e.waitFor(t, 1)
	key, err := e.watcher.Key(t.Context(), "k1")
	require.NoError(t, err)
	require.Equal(t, rpc.Key{
		ID: "k1", Organization: "acme", Role: accessv1.Role_ROLE_PUBLISHER, SecretSHA256: sha256.Sum256([]byte("k1")),
	}, key)
	key, err = e.watcher.Key(t.Context(), "k2")
	require.NoError(t, err)
	require.Empty(t, key.Organization)
	_, err = e.watcher.Key(t.Context(), "k3")
	requireFault(t, err, fault.NotFound, "KEY_NOT_FOUND")

	s.change(2, deletedKey("k1"), apiKey("k3", "acme", accessv1.Role_ROLE_VIEWER), apiKey("k2", "", accessv1.Role_ROLE_VIEWER))
	e.waitFor(t, 2)
	_, err = e.watcher.Key(t.Context(), "k1")
	requireFault(t, err, fault.NotFound, "KEY_NOT_FOUND")
	_, err = e.watcher.Key(t.Context(), "k3")
	require.NoError(t, err)
	key, err = e.watcher.Key(t.Context(), "k2")
	require.NoError(t, err)
	require.Equal(t, accessv1.Role_ROLE_VIEWER, key.Role)
}

// A key that is not there yet is not one that does not exist.
func TestKeysAreUnavailableBeforeTheSnapshot(t *testing.T) {
	t.Parallel()
	e := setup(t)
	_, err := e.watcher.Key(t.Context(), "k1")
	requireFault(t, err, fault.Unavailable, "CONFIGURATION_STALE")
	s := e.stream(t)
	s.page(1, false, organization("acme"))
	s.send(heartbeat(1))
	require.Never(t, func() bool {
		_, err := e.watcher.Key(t.Context(), "k1")
		return !fault.Is(err, fault.Unavailable)
	}, 200*time.Millisecond, tick)
	s.page(1, true, apiKey("k1", "acme", accessv1.Role_ROLE_ADMIN))
	e.waitFor(t, 1)
	_, err = e.watcher.Key(t.Context(), "k1")
	require.NoError(t, err)
}

func TestKeysAreUnavailableWhenTheFeedIsSilentForTooLong(t *testing.T) {
	t.Parallel()
	e := setupWith(t, 300*time.Millisecond)
	kind := func(id string) fault.Kind {
		_, err := e.watcher.Key(t.Context(), id)
		return fault.KindOf(err)
	}
	s := e.stream(t)
	s.snapshot(1, organization("acme"), apiKey("k1", "acme", accessv1.Role_ROLE_ADMIN))
	e.waitFor(t, 1)
	for range 2 {
		require.Eventually(t, func() bool { return kind("k1") == fault.Unavailable }, patience, tick)
		require.Equal(t, fault.Unavailable, kind("k2"), "neither can be told")
		_, err := e.watcher.Key(t.Context(), "k1")
		requireFault(t, err, fault.Unavailable, "CONFIGURATION_STALE")
		require.NoError(t, e.watcher.Ready(t.Context()), "deliveries go on with what there is")
		require.True(t, e.watcher.HasOrganization("acme"))

		// Any sign of life will do.
		require.Eventually(t, func() bool {
			s.send(heartbeat(1))
			_, err := e.watcher.Key(t.Context(), "k1")
			return err == nil
		}, patience, tick)
	}
}

func TestLanesAreThePlatformTriggers(t *testing.T) {
	t.Parallel()
	e := setup(t)
	ctx, cancel := context.WithCancel(t.Context())
	lanes := e.watcher.Lanes(ctx, "custom", "bulk")
	s := e.stream(t)
	select {
	case got := <-lanes:
		require.Fail(t, "lanes before the configuration", "%v", got)
	case <-time.After(50 * time.Millisecond):
	}
	s.snapshot(1, trigger("meeting.canceled"), trigger("custom.acme.door"), trigger("meeting.booked"), organization("acme"))
	require.Equal(t, []string{"meeting.booked", "meeting.canceled", "custom", "bulk"}, receive(t, lanes))

	s.change(2, organization("beta"))
	s.change(3, trigger("meeting.started"), webhook("w1"))
	require.Equal(t, []string{"meeting.booked", "meeting.canceled", "meeting.started", "custom", "bulk"}, receive(t, lanes))
	s.change(4, webhook("w2"))
	e.waitFor(t, 4)
	select {
	case got := <-lanes:
		require.Fail(t, "nothing was added", "%v", got)
	default:
	}
	cancel()
	s.change(5, trigger("meeting.ended"))
	e.waitFor(t, 5)
}
