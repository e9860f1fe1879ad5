package subscription_test

import (
	"context"
	"io"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"google.golang.org/grpc/codes"

	"github.com/meetwire/meetwire/pkg/pgtest"
	"github.com/meetwire/meetwire/pkg/rpc"
	"github.com/meetwire/meetwire/pkg/secret"
	accessv1 "github.com/meetwire/meetwire/proto/gen/meetwire/access/v1"
	configv1 "github.com/meetwire/meetwire/proto/gen/meetwire/config/v1"
	subscriptionv1 "github.com/meetwire/meetwire/proto/gen/meetwire/subscription/v1"
	"github.com/meetwire/meetwire/services/subscription"
)

// tryList calls something that only operators may.
func tryList(t *testing.T, c *caller) error {
	t.Helper()
	_, err := c.organizations.ListOrganizations(t.Context(), &subscriptionv1.ListOrganizationsRequest{})
	return err
}

func newKey(t *testing.T) secret.String {
	t.Helper()
	_, key, _, err := rpc.NewKey()
	require.NoError(t, err)
	return key
}

func TestOperatorKeyOfAnEarlierStartIsRevoked(t *testing.T) {
	t.Parallel()
	i := newInstallation(t)
	old := i.operatorKey
	first := i.start(t)
	require.NoError(t, tryList(t, first.as(t, old)))
	follower := first.follow(t)
	follower.waitFor(t, i.revision(t))
	require.Equal(t, []string{idOf(old)}, follower.operatorKeys())

	i.operatorKey = newKey(t)
	second := i.start(t)
	for _, instance := range []*instance{first, second} {
		require.NoError(t, tryList(t, instance.as(t, i.operatorKey)))
		requireCode(t, tryList(t, instance.as(t, old)), codes.Unauthenticated)
	}
	follower.waitFor(t, i.revision(t))
	require.Equal(t, []string{idOf(i.operatorKey)}, follower.operatorKeys())

	// The same id with another secret is another key.
	half := idOf(i.operatorKey)
	changed := secret.New("mwk_" + half + "_" + strings.SplitN(newKey(t).Reveal(), "_", 3)[2])
	previous := i.operatorKey
	i.operatorKey = changed
	third := i.start(t)
	require.NoError(t, tryList(t, third.as(t, changed)))
	requireCode(t, tryList(t, third.as(t, previous)), codes.Unauthenticated)

	cfg := i.config()
	cfg.OperatorKey = secret.New("")
	fourth := i.startWith(t, cfg)
	requireCode(t, tryList(t, fourth.as(t, changed)), codes.Unauthenticated)
	follower.waitFor(t, i.revision(t))
	require.Empty(t, follower.operatorKeys())
	var noted []string
	require.NoError(t, i.pool.QueryRow(t.Context(), `SELECT array_agg(resource ORDER BY create_time, id) FROM subscription.audit_log
		WHERE action = 'delete' AND organization IS NULL AND actor = 'system'`).Scan(&noted))
	revoked := []string{idOf(old), idOf(previous), idOf(changed)}
	for n, id := range revoked {
		revoked[n] = "organizations/-/apiKeys/" + id
	}
	require.Equal(t, revoked, noted, "each revocation is in the audit log")
}

// idOf returns the id within an API key.
func idOf(key secret.String) string { return strings.SplitN(key.Reveal(), "_", 3)[1] }

func TestOperatorKeyMustNotBeAnotherKey(t *testing.T) {
	t.Parallel()
	i := setup(t)
	operator := i.operator(t)
	operator.organization(t, "acme", false)
	cfg := i.config()
	cfg.OperatorKey = operator.key(t, "acme", accessv1.Role_ROLE_ADMIN)
	service, _ := i.make(t, cfg)
	require.ErrorContains(t, service.Run(t.Context()), "operator key")
	require.Error(t, service.Ready(t.Context()))
	require.NoError(t, tryList(t, operator), "what was there stays")
}

// make puts an instance together without running it.
func (i *installation) make(t *testing.T, cfg subscription.Config) (*subscription.Service, string) {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	service, err := subscription.New(cfg, i.deps(t, listener))
	require.NoError(t, err)
	return service, listener.Addr().String()
}

func TestStartingAgainChangesNothing(t *testing.T) {
	t.Parallel()
	i := newInstallation(t)
	require.EqualValues(t, 1, i.revision(t))
	i.start(t).stop()
	first := i.revision(t)
	require.Greater(t, first, int64(1))
	i.start(t).stop()
	require.Equal(t, first, i.revision(t))

	// What differs is brought back, and is the only thing that watchers hear of.
	_, err := i.pool.Exec(t.Context(), `UPDATE subscription.trigger SET schema = '{"not":{}}' WHERE id = 'meeting.booked'`)
	require.NoError(t, err)
	_, err = i.pool.Exec(t.Context(), "DELETE FROM subscription.trigger WHERE id = 'meeting.canceled'")
	require.NoError(t, err)
	instance := i.start(t)
	require.Equal(t, first+1, i.revision(t))
	stream := instance.watch(t, first)
	change := stream.change(t)
	var ids []string
	for _, resource := range change.GetResources() {
		ids = append(ids, resource.GetTrigger().GetId())
	}
	require.Equal(t, []string{"meeting.booked", "meeting.canceled"}, ids)
	require.NotContains(t, change.GetResources()[0].GetTrigger().GetSchema(), `{"not":{}}`)
}

func TestSeveralInstancesStartAtOnce(t *testing.T) {
	t.Parallel()
	i := newInstallation(t)
	i.pool = pgtest.Database(t, "empty", nil) // so that they migrate too
	ctx, cancel := context.WithCancel(t.Context())
	var running sync.WaitGroup
	defer running.Wait()
	defer cancel()
	var addresses []string
	for range 5 {
		service, address := i.make(t, i.config())
		addresses = append(addresses, address)
		running.Go(func() { assert.NoError(t, service.Run(ctx)) })
	}
	for _, address := range addresses {
		at := &instance{installation: i, address: address}
		require.Eventually(t, func() bool { return tryList(t, at.operator(t)) == nil }, patience, poll)
	}
	var keys, triggers int
	require.NoError(t, i.pool.QueryRow(t.Context(), "SELECT count(*) FROM subscription.api_key").Scan(&keys))
	require.NoError(t, i.pool.QueryRow(t.Context(), "SELECT count(*) FROM subscription.trigger").Scan(&triggers))
	require.Equal(t, 1, keys)
	require.Positive(t, triggers)
	seen := map[string]bool{}
	stream := (&instance{installation: i, address: addresses[0]}).watch(t, 1)
	for range i.revision(t) - 1 {
		for _, resource := range stream.change(t).GetResources() {
			id := resource.GetTrigger().GetId() + resource.GetApiKey().GetId()
			require.NotContains(t, seen, id, "told once")
			seen[id] = true
		}
	}
	require.Len(t, seen, keys+triggers)
}

func TestOperatorKeysOfInstancesThatDisagree(t *testing.T) {
	t.Parallel()
	i := newInstallation(t)
	ctx, cancel := context.WithCancel(t.Context())
	var running sync.WaitGroup
	defer running.Wait()
	defer cancel()
	var keys []secret.String
	var addresses []string
	for range 4 {
		cfg := i.config()
		cfg.OperatorKey = newKey(t)
		service, address := i.make(t, cfg)
		keys, addresses = append(keys, cfg.OperatorKey), append(addresses, address)
		running.Go(func() { assert.NoError(t, service.Run(ctx)) })
		require.Eventually(t, func() bool { return service.Ready(t.Context()) == nil }, patience, poll)
	}
	valid := 0
	for _, key := range keys {
		if tryList(t, (&instance{installation: i, address: addresses[0]}).as(t, key)) == nil {
			valid++
		}
	}
	require.Equal(t, 1, valid)
}

func TestNotReadyWithoutItsSchema(t *testing.T) {
	t.Parallel()
	i := newInstallation(t)
	i.pool = pgtest.Database(t, "empty", nil)
	cfg := i.config()
	cfg.Migrate = false
	service, _ := i.make(t, cfg)
	require.Error(t, service.Ready(t.Context()))
	require.Error(t, service.Run(t.Context()), "it does not serve on a schema that is not there")
}

func TestNotReadyOnAnOlderSchema(t *testing.T) {
	t.Parallel()
	i := setup(t)
	require.NoError(t, i.service.Ready(t.Context()))
	_, err := i.pool.Exec(t.Context(), "UPDATE subscription.schema_version SET version_id = 0")
	require.NoError(t, err)
	require.ErrorContains(t, i.service.Ready(t.Context()), "version 0")
}

func TestNewRefusesWhatIsMissing(t *testing.T) {
	t.Parallel()
	i := newInstallation(t)
	for name, spoil := range map[string]func(*subscription.Config){
		"MEETWIRE_OPERATOR_KEY":   func(c *subscription.Config) { c.OperatorKey = secret.New("mwk_hunter2") },
		"MEETWIRE_SERVICE_TOKEN":  func(c *subscription.Config) { c.ServiceToken = secret.New("hunter2-hunter2-hunter2-hunter2") },
		"MEETWIRE_KEYSET":         func(c *subscription.Config) { c.Keyset = secret.New("hunter2") },
		"MEETWIRE_FEED_RETENTION": func(c *subscription.Config) { c.FeedRetention = time.Minute },
	} {
		cfg := i.config()
		spoil(&cfg)
		_, err := subscription.New(cfg, subscription.Deps{})
		require.ErrorContains(t, err, name)
		require.NotContains(t, err.Error(), "hunter2")
	}
	_, err := subscription.New(subscription.Config{}, subscription.Deps{})
	require.ErrorContains(t, err, "MEETWIRE_KEYSET")
	require.ErrorContains(t, err, "MEETWIRE_SERVICE_TOKEN")
	_, err = subscription.New(i.config(), subscription.Deps{})
	require.ErrorContains(t, err, "listener")
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	deps := i.deps(t, listener)
	for _, spoil := range []func(*subscription.Deps){
		func(d *subscription.Deps) { d.NATS = nil },
		func(d *subscription.Deps) { d.Ingest = nil },
		func(d *subscription.Deps) { d.Delivery = nil },
	} {
		spoiled := deps
		spoil(&spoiled)
		_, err = subscription.New(i.config(), spoiled)
		require.ErrorContains(t, err, "NATS, ingest and delivery")
	}
	require.NoError(t, listener.Close())
}

func TestUsageErrorsOfTheProcess(t *testing.T) {
	t.Parallel()
	require.Equal(t, 2, subscription.Main([]string{"--no-such-flag"}, io.Discard))
}

func TestServiceTokenOnlyFollows(t *testing.T) {
	t.Parallel()
	i := setup(t)
	i.operator(t).organization(t, "acme", false)
	for _, credential := range []secret.String{i.operatorKey, i.operator(t).key(t, "acme", accessv1.Role_ROLE_ADMIN)} {
		stream, err := i.as(t, credential).config.WatchConfig(t.Context(), &configv1.WatchConfigRequest{})
		require.NoError(t, err)
		_, err = stream.Recv()
		requireCode(t, err, codes.PermissionDenied)
	}
	stream, err := i.as(t, secret.New("wrong-"+i.serviceToken.Reveal())).config.WatchConfig(t.Context(), &configv1.WatchConfigRequest{})
	require.NoError(t, err)
	_, err = stream.Recv()
	requireCode(t, err, codes.Unauthenticated)
	_, err = i.as(t, i.serviceToken).webhooks.ListWebhooks(t.Context(), &subscriptionv1.ListWebhooksRequest{Parent: "organizations/acme"})
	requireCode(t, err, codes.PermissionDenied)
}
