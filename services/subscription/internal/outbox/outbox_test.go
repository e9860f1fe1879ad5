package outbox_test

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/stretchr/testify/require"

	"github.com/meetwire/meetwire/pkg/bus"
	"github.com/meetwire/meetwire/pkg/natstest"
	"github.com/meetwire/meetwire/pkg/pgtest"
	"github.com/meetwire/meetwire/pkg/secret"
	"github.com/meetwire/meetwire/services/subscription/internal/core"
	"github.com/meetwire/meetwire/services/subscription/internal/outbox"
	"github.com/meetwire/meetwire/services/subscription/internal/pgstore"
)

func TestMain(m *testing.M) { pgtest.Main(m) }

const (
	patience = 30 * time.Second
	tick     = 10 * time.Millisecond
)

// token is what the services know each other by.
func token() secret.String { return secret.New("service-token-of-the-tests-0123456789") }

type env struct {
	pool   *pgxpool.Pool
	store  *pgstore.Store
	server *natstest.Server
	js     jetstream.JetStream
}

func setup(t *testing.T) *env {
	t.Helper()
	pool := pgtest.Database(t, "outbox", pgstore.Migrate)
	server := natstest.Start(t)
	_, js := server.Connect(t)
	require.NoError(t, bus.EnsureStreams(t.Context(), js, bus.DefaultConfig(), slog.New(slog.DiscardHandler)))
	e := &env{pool: pool, store: pgstore.New(pool, slog.New(slog.DiscardHandler), time.Now), server: server, js: js}
	now := core.Stored(time.Now())
	for _, id := range []string{"acme", "gone"} {
		require.NoError(t, e.store.InsertOrganization(t.Context(), core.Organization{
			ID: id, DisplayName: id, Version: 1, CreateTime: now, UpdateTime: now,
		}, core.Request{}))
	}
	return e
}

// announce puts an event into the outbox.
func (e *env) announce(t *testing.T, organization, id, data string) {
	t.Helper()
	_, err := e.pool.Exec(t.Context(), `
		INSERT INTO subscription.outbox (organization, trigger, event_id, data, create_time)
		VALUES ($1, 'webhook.disabled', $2, $3, '2026-05-01T10:00:00Z')`, organization, id, data)
	require.NoError(t, err)
}

// relay runs a relay over a store until the test, or stop, ends it.
func (e *env) relay(t *testing.T, store outbox.Store) (stop func()) {
	t.Helper()
	relay, err := outbox.New(outbox.Config{
		Store: store, JetStream: e.js, ServiceToken: token(), Logger: slog.New(slog.DiscardHandler), Registry: prometheus.NewRegistry(),
	})
	require.NoError(t, err)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- relay.Run(ctx) }()
	stop = sync.OnceFunc(func() { cancel(); require.NoError(t, <-done) })
	t.Cleanup(stop)
	return stop
}

// awaitEmpty waits until nothing is to be published.
func (e *env) awaitEmpty(t *testing.T) {
	t.Helper()
	require.Eventually(t, func() bool {
		var n int
		require.NoError(t, e.pool.QueryRow(t.Context(), "SELECT count(*) FROM subscription.outbox WHERE organization = 'acme'").Scan(&n))
		return n == 0
	}, patience, tick)
}

// published returns everything that is in EVENTS.
func (e *env) published(t *testing.T) []*jetstream.RawStreamMsg {
	t.Helper()
	stream, err := e.js.Stream(t.Context(), bus.StreamEvents)
	require.NoError(t, err)
	info, err := stream.Info(t.Context())
	require.NoError(t, err)
	var all []*jetstream.RawStreamMsg
	for n := info.State.FirstSeq; n > 0 && n <= info.State.LastSeq; n++ {
		msg, err := stream.GetMsg(t.Context(), n)
		require.NoError(t, err)
		all = append(all, msg)
	}
	return all
}

// ids returns the ids of events.
func ids(t *testing.T, messages []*jetstream.RawStreamMsg) []string {
	t.Helper()
	var all []string
	for _, msg := range messages {
		var event struct{ ID string }
		require.NoError(t, json.Unmarshal(msg.Data, &event))
		all = append(all, event.ID)
	}
	return all
}

// numbered puts events into the outbox and returns their ids.
func (e *env) numbered(t *testing.T, from, to int) []string {
	t.Helper()
	var want []string
	for n := from; n < to; n++ {
		id := fmt.Sprintf("event %d", n)
		e.announce(t, "acme", id, `{}`)
		want = append(want, id)
	}
	return want
}

func TestEventIsPublishedWithItsProof(t *testing.T) {
	t.Parallel()
	e := setup(t)
	e.announce(t, "acme", "w:gone:1", `{"webhook": {"display_name": "<é>"}, "generation": 1}`)
	e.relay(t, e.store)
	e.awaitEmpty(t)
	messages := e.published(t)
	require.Len(t, messages, 1)
	msg := messages[0]
	require.Equal(t, "events.acme.webhook.disabled", msg.Subject)
	id := bus.EventMsgID("acme", bus.OperationalSource, "w:gone:1")
	require.Equal(t, id, msg.Header.Get("Nats-Msg-Id"))
	require.True(t, bus.CheckOperational(token(), msg.Header, id))
	require.JSONEq(t, `{
		"specversion": "1.0", "id": "w:gone:1", "source": "//meetwire/subscription", "type": "webhook.disabled",
		"time": "2026-05-01T10:00:00Z", "datacontenttype": "application/json",
		"data": {"webhook": {"display_name": "<é>"}, "generation": 1}}`, string(msg.Data))
	require.Contains(t, string(msg.Data), "<é>", "people read events")
	require.NotContains(t, fmt.Sprint(msg.Header, string(msg.Data)), token().Reveal())
}

func TestEventsKeepTheirOrderWithSeveralInstances(t *testing.T) {
	t.Parallel()
	e := setup(t)
	want := e.numbered(t, 0, 250)
	for range 3 {
		e.relay(t, e.store)
	}
	want = append(want, e.numbered(t, 250, 300)...)
	e.awaitEmpty(t)
	require.Equal(t, want, ids(t, e.published(t)))
}

func TestEventsWaitWhileTheBrokerIsAway(t *testing.T) {
	t.Parallel()
	e := setup(t)
	e.server.Shutdown()
	want := e.numbered(t, 0, 5)
	failures := &watched{Store: e.store, failed: make(chan struct{}, 100)}
	e.relay(t, failures)
	<-failures.failed
	e.server.Restart(t)
	e.awaitEmpty(t)
	require.Equal(t, want, ids(t, e.published(t)))
}

// watched tells of failures.
type watched struct {
	outbox.Store

	failed chan struct{}
}

// RelayOutbox implements outbox.Store.
func (s *watched) RelayOutbox(ctx context.Context, limit int, publish func(context.Context, core.OutboxEvent) error) (int, error) {
	n, err := s.Store.RelayOutbox(ctx, limit, publish)
	if err != nil {
		select {
		case s.failed <- struct{}{}:
		default:
		}
	}
	return n, err
}

// dying ends its context after the third event was published, before what was published is removed.
type dying struct {
	outbox.Store

	died chan struct{}
}

// RelayOutbox implements outbox.Store.
func (s *dying) RelayOutbox(ctx context.Context, limit int, publish func(context.Context, core.OutboxEvent) error) (int, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	published := 0
	n, err := s.Store.RelayOutbox(ctx, limit, func(ctx context.Context, e core.OutboxEvent) error {
		err := publish(ctx, e)
		if published++; published == 3 {
			cancel()
		}
		return err
	})
	select {
	case s.died <- struct{}{}:
	default:
	}
	return n, err
}

func TestDeathAfterPublishingRepeatsNothing(t *testing.T) {
	t.Parallel()
	e := setup(t)
	want := e.numbered(t, 0, 3)
	store := &dying{Store: e.store, died: make(chan struct{}, 1)}
	stop := e.relay(t, store)
	<-store.died
	stop()
	require.Equal(t, want, ids(t, e.published(t)))
	var left int
	require.NoError(t, e.pool.QueryRow(t.Context(), "SELECT count(*) FROM subscription.outbox").Scan(&left))
	require.Equal(t, 3, left, "it died before it could remove them")
	want = append(want, e.numbered(t, 3, 5)...)
	e.relay(t, e.store)
	e.awaitEmpty(t)
	require.Equal(t, want, ids(t, e.published(t)))
}

func TestEventsOfADeletedOrganizationAreNotPublished(t *testing.T) {
	t.Parallel()
	e := setup(t)
	e.announce(t, "gone", "1", `{}`)
	_, err := e.store.DeleteOrganization(t.Context(), "gone", func(core.Organization) error { return nil })
	require.NoError(t, err)
	e.announce(t, "acme", "2", `{}`)
	e.relay(t, e.store)
	e.awaitEmpty(t)
	require.Equal(t, []string{"2"}, ids(t, e.published(t)))
}

func TestEventThatIsTooLargeKeepsNobodyBack(t *testing.T) {
	t.Parallel()
	e := setup(t)
	e.announce(t, "acme", "1", `{"name": "`+strings.Repeat("x", 2<<20)+`"}`)
	e.announce(t, "acme", "2", `{}`)
	e.relay(t, e.store)
	e.awaitEmpty(t)
	require.Equal(t, []string{"2"}, ids(t, e.published(t)))
}

func TestNewNeedsEverything(t *testing.T) {
	t.Parallel()
	_, err := outbox.New(outbox.Config{})
	require.ErrorContains(t, err, "are required")
}
