package subscription_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"google.golang.org/grpc/codes"

	"github.com/meetwire/meetwire/pkg/pg"
	"github.com/meetwire/meetwire/pkg/pgtest"
	configv1 "github.com/meetwire/meetwire/proto/gen/meetwire/config/v1"
	subscriptionv1 "github.com/meetwire/meetwire/proto/gen/meetwire/subscription/v1"
)

func TestServiceOutlivesItsDatabase(t *testing.T) {
	t.Parallel()
	server := pgtest.Server(t)
	i := newInstallation(t)
	pool, err := pg.Open(t.Context(), pg.Config{DatabaseURL: server.URL()})
	require.NoError(t, err)
	t.Cleanup(pool.Close)
	i.pool = pool
	instance := i.start(t)
	operator := instance.operator(t)
	operator.organization(t, "acme", false)
	operator.webhook(t, "acme", booking())
	follower := instance.follow(t)
	follower.waitFor(t, i.revision(t))
	s := instance.watch(t, i.revision(t))
	s.next(t)

	require.NoError(t, server.Stop(t.Context()))
	requireCode(t, tryList(t, operator), codes.Unavailable)
	require.Error(t, instance.service.Ready(t.Context()))
	// A watcher must not believe that its copy of the API keys is up to date.
	silent := make(chan *configv1.WatchConfigResponse, 100)
	go func() {
		defer close(silent)
		for {
			message, err := s.Recv()
			if err != nil {
				return
			}
			silent <- message
		}
	}()
	require.Eventually(t, func() bool {
		quiet := time.After(2500 * time.Millisecond)
		for {
			select {
			case <-silent:
				return false
			case <-quiet:
				return true
			}
		}
	}, patience, poll)

	server = pgtest.Restart(t, server)
	require.Eventually(t, func() bool { return instance.service.Ready(t.Context()) == nil }, patience, 20*time.Millisecond)
	_, err = operator.webhooks.CreateWebhook(t.Context(), &subscriptionv1.CreateWebhookRequest{Parent: "organizations/acme", Webhook: booking()})
	require.NoError(t, err)
	follower.waitFor(t, i.revision(t))
	_, resources := follower.known()
	require.Equal(t, i.stored(t), resources)
	require.Eventually(t, func() bool { return (<-silent).GetHeartbeat() != nil }, patience, poll)
	s.cancel()
	for range silent { // until the stream has ended
	}
	require.NotNil(t, server)
}
