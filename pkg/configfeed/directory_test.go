package configfeed_test

import (
	"context"
	"crypto/sha256"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/meetwire/meetwire/pkg/configfeed"
	"github.com/meetwire/meetwire/pkg/fault"
	"github.com/meetwire/meetwire/pkg/rpc"
	accessv1 "github.com/meetwire/meetwire/proto/gen/meetwire/access/v1"
	configv1 "github.com/meetwire/meetwire/proto/gen/meetwire/config/v1"
)

var (
	_ rpc.Keys    = (*configfeed.Watcher)(nil)
	_ rpc.KeyUses = (*configfeed.Watcher)(nil)
)

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
	e := setup(t)
	kind := func(id string) fault.Kind {
		_, err := e.watcher.Key(t.Context(), id)
		return fault.KindOf(err)
	}
	s := e.stream(t)
	s.snapshot(1, organization("acme"), apiKey("k1", "acme", accessv1.Role_ROLE_ADMIN))
	e.waitFor(t, 1)
	for range 2 {
		e.ahead.Add(int64(maxAge + time.Second))
		require.Equal(t, fault.Unavailable, kind("k1"))
		require.Equal(t, fault.Unavailable, kind("k2"), "neither can be told")
		_, err := e.watcher.Key(t.Context(), "k1")
		requireFault(t, err, fault.Unavailable, "CONFIGURATION_STALE")
		require.NoError(t, e.watcher.Ready(t.Context()), "deliveries go on with what there is")
		require.True(t, e.watcher.HasOrganization("acme"))

		// Any sign of life will do.
		s.send(heartbeat(1))
		require.Eventually(t, func() bool { return kind("k2") == fault.NotFound }, patience, tick)
		_, err = e.watcher.Key(t.Context(), "k1")
		require.NoError(t, err)
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
	s.snapshot(1, trigger("meeting.canceled"), ownTrigger("acme", "custom.door.opened"), trigger("meeting.booked"), organization("acme"))
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

func TestKeyEndsWhenItExpires(t *testing.T) {
	t.Parallel()
	e := setup(t)
	s := e.stream(t)
	soon, late := apiKey("k1", "acme", accessv1.Role_ROLE_ADMIN), apiKey("k2", "acme", accessv1.Role_ROLE_ADMIN)
	soon.GetApiKey().ExpireTime = timestamppb.New(e.now().Add(20 * time.Second))
	late.GetApiKey().ExpireTime = timestamppb.New(e.now().Add(time.Hour))
	s.snapshot(1, organization("acme"), soon, late, apiKey("k3", "acme", accessv1.Role_ROLE_ADMIN))
	e.waitFor(t, 1)
	for _, id := range []string{"k1", "k2", "k3"} {
		_, err := e.watcher.Key(t.Context(), id)
		require.NoError(t, err)
	}
	e.ahead.Store(int64(21 * time.Second))
	_, err := e.watcher.Key(t.Context(), "k1")
	requireFault(t, err, fault.NotFound, "KEY_NOT_FOUND")
	for _, id := range []string{"k2", "k3"} {
		_, err := e.watcher.Key(t.Context(), id)
		require.NoError(t, err)
	}
	// It can be given more time.
	later := apiKey("k1", "acme", accessv1.Role_ROLE_ADMIN)
	later.GetApiKey().ExpireTime = timestamppb.New(e.now().Add(time.Minute))
	s.change(2, later)
	e.waitFor(t, 2)
	_, err = e.watcher.Key(t.Context(), "k1")
	require.NoError(t, err)
}

func TestOrganizationsComeAndGoWithAllThatIsTheirs(t *testing.T) {
	t.Parallel()
	e := setup(t)
	s := e.stream(t)
	acme := organization("acme")
	acme.GetOrganization().IngestQuota = &configv1.IngestQuota{EventsPerSecond: 5, Burst: 7}
	s.snapshot(1, acme, organization("beta"), apiKey("k1", "acme", accessv1.Role_ROLE_ADMIN),
		apiKey("k2", "beta", accessv1.Role_ROLE_ADMIN), apiKey("k3", "", accessv1.Role_ROLE_OPERATOR), trigger("meeting.booked"))
	e.waitFor(t, 1)
	require.EqualValues(t, 7, e.watcher.Organization("acme").GetIngestQuota().GetBurst())
	require.Nil(t, e.watcher.Organization("gamma"))

	// Nothing was said of the key, and still it ends with its organization.
	s.change(2, deletedOrganization("acme"))
	e.waitFor(t, 2)
	require.False(t, e.watcher.HasOrganization("acme"))
	_, err := e.watcher.Key(t.Context(), "k1")
	requireFault(t, err, fault.NotFound, "KEY_NOT_FOUND")
	for _, id := range []string{"k2", "k3"} {
		_, err := e.watcher.Key(t.Context(), id)
		require.NoError(t, err)
	}
	require.True(t, e.watcher.HasOrganization("beta"))
	lanes := e.watcher.Lanes(t.Context())
	require.Equal(t, []string{"meeting.booked"}, receive(t, lanes))
}

func TestTriggersOfThePlatformAndThoseOfOrganizationsAreNotMixedUp(t *testing.T) {
	t.Parallel()
	e := setup(t)
	s := e.stream(t)
	created := time.Date(2026, 1, 31, 12, 0, 0, 0, time.UTC)
	booked := trigger("meeting.booked")
	booked.GetTrigger().CreateTime = timestamppb.New(created)
	s.snapshot(1, booked, trigger("meeting.canceled"), ownTrigger("acme", "custom.door"), ownTrigger("beta", "custom.door"))
	e.waitFor(t, 1)
	require.Equal(t, created, e.watcher.TriggerCreateTime("meeting.booked"))
	require.Zero(t, e.watcher.TriggerCreateTime("meeting.canceled"))
	require.Zero(t, e.watcher.TriggerCreateTime("custom.door"))

	s.change(2, deletedTrigger("", "meeting.canceled"), deletedTrigger("acme", "meeting.booked"))
	e.waitFor(t, 2)
	ctx, cancel := context.WithCancel(t.Context())
	require.Equal(t, []string{"meeting.booked"}, receive(t, e.watcher.Lanes(ctx)), "what is another's stays")
	cancel()
	s.change(3, deletedTrigger("", "meeting.booked"))
	e.waitFor(t, 3)
	require.Zero(t, e.watcher.TriggerCreateTime("meeting.booked"))
}
