package grpcapi_test

import (
	"context"
	"fmt"
	"log/slog"
	"maps"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/stretchr/testify/require"
	"google.golang.org/genproto/googleapis/api/httpbody"
	"google.golang.org/grpc/metadata"

	"github.com/meetwire/meetwire/pkg/bus"
	"github.com/meetwire/meetwire/pkg/fault"
	"github.com/meetwire/meetwire/pkg/natstest"
	"github.com/meetwire/meetwire/pkg/pgtest"
	"github.com/meetwire/meetwire/pkg/secret"
	configv1 "github.com/meetwire/meetwire/proto/gen/meetwire/config/v1"
	ingestv1 "github.com/meetwire/meetwire/proto/gen/meetwire/ingest/v1"
	"github.com/meetwire/meetwire/services/ingest/internal/core"
	"github.com/meetwire/meetwire/services/ingest/internal/grpcapi"
	"github.com/meetwire/meetwire/services/ingest/internal/natsbus"
	"github.com/meetwire/meetwire/services/ingest/internal/schema"
)

func TestMain(m *testing.M) { pgtest.Main(m) }

// patience is how long a test waits for something that should be there at once.
const patience = 20 * time.Second

func now() time.Time { return time.Date(2026, 1, 31, 12, 0, 0, 0, time.UTC) }

type catalogue struct{ *schema.Catalogue }

func (catalogue) HasOrganization(id string) bool { return id == "acme" }

type env struct {
	server *natstest.Server
	conn   *nats.Conn
	js     jetstream.JetStream
	events *grpcapi.Publishing
	known  core.Catalogue
	index  *core.Index
	quota  atomic.Pointer[configv1.IngestQuota]
	clock  atomic.Int64 // nanoseconds since now

	instances atomic.Int64
	refusals  refusals
}

// refusals implements grpcapi.Metrics.
type refusals struct {
	mu    sync.Mutex
	rules map[string]int
}

func (r *refusals) Refused(rule string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.rules == nil {
		r.rules = make(map[string]int)
	}
	r.rules[rule]++
}

func (r *refusals) byRule() map[string]int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return maps.Clone(r.rules)
}

// organization is what is configured of every organization.
func (e *env) organization(string) *configv1.Organization {
	return &configv1.Organization{IngestQuota: e.quota.Load()}
}

func setup(t *testing.T) *env {
	t.Helper()
	e := &env{server: natstest.Start(t)}
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	discard := slog.New(slog.DiscardHandler)
	var err error
	e.conn, err = bus.Connect(ctx, "tests", bus.NATSConfig{NATSURL: secret.New(e.server.URL())}, discard)
	require.NoError(t, err)
	t.Cleanup(e.conn.Close)
	e.js, err = bus.JetStream(e.conn)
	require.NoError(t, err)
	require.NoError(t, bus.EnsureStreams(ctx, e.js, bus.DefaultConfig(), discard))
	e.index = core.NewIndex()
	triggers := schema.New(e.index, discard)
	triggers.Reset([]*configv1.Resource{
		{Resource: &configv1.Resource_Trigger{Trigger: &configv1.Trigger{
			Id: "meeting.booked", Schema: `{"properties":{"title":{"type":"string"}}}`,
		}}},
		{Resource: &configv1.Resource_Trigger{Trigger: &configv1.Trigger{Id: "webhook.disabled", Schema: `{}`, Operational: true}}},
	}, 1)
	e.known = catalogue{triggers}
	e.instances.Store(1)
	e.events = &grpcapi.Publishing{
		JetStream: e.js, Catalogue: e.known, Kept: &natsbus.Events{JetStream: e.js}, Now: now, Waiting: grpcapi.NewWaiting(grpcapi.MaxWaiting), Metrics: &e.refusals,
		Quotas: grpcapi.NewQuotas(e.organization, func() int { return int(e.instances.Load()) }, func() time.Time {
			return now().Add(time.Duration(e.clock.Load()))
		}),
	}
	return e
}

func request(body string) *ingestv1.PublishEventRequest {
	return &ingestv1.PublishEventRequest{Parent: "organizations/acme", Event: &httpbody.HttpBody{Data: []byte(body)}}
}

func event(id, kind, data string) string {
	return fmt.Sprintf(`{"specversion":"1.0", "id":%q, "source":"/bookings", "type":%q, "data":%s}`, id, kind, data)
}

func (e *env) stored(t *testing.T) uint64 {
	t.Helper()
	stream, err := e.js.Stream(t.Context(), bus.StreamEvents)
	require.NoError(t, err)
	return stream.CachedInfo().State.Msgs
}

func TestPublishedEventIsStoredAsItCame(t *testing.T) {
	t.Parallel()
	e := setup(t)
	ctx := metadata.NewIncomingContext(t.Context(), metadata.Pairs(
		"traceparent", "00-aa-bb-01", "tracestate", "v=1", "authorization", "Bearer secret", "meetwire-webhook-id", "x", "nats-rollup", "all",
	))
	body := event("bk_1", "meeting.booked", `{ "title":"\u0061" }`)
	response, err := e.events.PublishEvent(ctx, request(body))
	require.NoError(t, err)
	require.Equal(t, "/bookings", response.GetSource())
	require.Equal(t, "bk_1", response.GetId())
	require.EqualValues(t, 1, response.GetSequence())
	require.False(t, response.GetDuplicate())
	require.Equal(t, now(), response.GetPublishTime().AsTime())
	require.Equal(t, "organizations/acme/events/1", response.GetName())

	consumer, err := e.js.OrderedConsumer(t.Context(), bus.StreamEvents, jetstream.OrderedConsumerConfig{})
	require.NoError(t, err)
	msg, err := consumer.Next()
	require.NoError(t, err)
	require.Equal(t, "events.acme.meeting.booked", msg.Subject())
	require.Equal(t, body, string(msg.Data()))
	require.Equal(t, nats.Header{
		nats.MsgIdHdr: {"acme:/bookings:bk_1"}, bus.HeaderTraceParent: {"00-aa-bb-01"}, bus.HeaderTraceState: {"v=1"},
	}, msg.Headers())

	again, err := e.events.PublishEvent(t.Context(), request(body))
	require.NoError(t, err)
	require.True(t, again.GetDuplicate())
	require.EqualValues(t, 1, again.GetSequence())
	require.EqualValues(t, 1, e.stored(t))
}

func TestContentTypes(t *testing.T) {
	t.Parallel()
	e := setup(t)
	for contentType, ok := range map[string]bool{
		"": true, "application/json": true, "application/cloudevents+json": true, "Application/JSON; charset=UTF-8": true,
		"application/cloudevents+json; charset=utf-8": true,
		"text/plain": false, "application/cloudevents-batch+json": false, "application/xml": false, "/": false, "json": false,
	} {
		r := request(event("1", "meeting.booked", `{}`))
		r.Event.ContentType = contentType
		_, err := e.events.PublishEvent(t.Context(), r)
		if ok {
			require.NoError(t, err, contentType)
			continue
		}
		requireField(t, err, "event.content_type", "value")
	}
}

func requireField(t *testing.T, err error, path, rule string) {
	t.Helper()
	var f *fault.Error
	require.ErrorAs(t, err, &f)
	require.Equal(t, fault.InvalidArgument, f.Kind)
	require.Len(t, f.Fields, 1)
	require.Equal(t, path, f.Fields[0].Path)
	require.Equal(t, rule, f.Fields[0].Rule)
}

func TestRefusedEventsNameTheFieldAndAreNotStored(t *testing.T) {
	t.Parallel()
	e := setup(t)
	for _, c := range []struct{ body, path, rule string }{
		{``, "event", core.RuleJSON},
		{`{"specversion":"1.0"}`, "event.id", core.RuleRequired},
		{event("", "meeting.booked", `{}`), "event.id", core.RuleRequired},
		{event("1", "meeting.eaten", `{}`), "event.type", core.RuleUnknownTrigger},
		{event("1", "*", `{}`), "event.type", core.RuleUnknownTrigger},
		{event("1", "meeting.booked", `{"title":1}`), "event.data/title", core.RuleSchema},
		{event("1", "meeting.booked", `{"title":1e1000001}`), "event.data/title", core.RuleNumber},
		{event("1", "meeting.booked", `"`+strings.Repeat("x", core.MaxEventBytes)+`"`), "event", core.RuleMaxBytes},
	} {
		_, err := e.events.PublishEvent(t.Context(), request(c.body))
		requireField(t, err, c.path, c.rule)
	}
	require.Equal(t, map[string]int{
		core.RuleJSON: 1, core.RuleRequired: 2, core.RuleUnknownTrigger: 2, core.RuleSchema: 1, core.RuleNumber: 1, core.RuleMaxBytes: 1,
	}, e.refusals.byRule())
	r := request(event("1", "meeting.booked", `{}`))
	r.Parent = "organizations/nobody"
	_, err := e.events.PublishEvent(t.Context(), r)
	require.True(t, fault.Is(err, fault.NotFound))
	require.Zero(t, e.stored(t))

	head := event("1", "meeting.booked", `""`)
	greatest := event("1", "meeting.booked", `"`+strings.Repeat("x", core.MaxEventBytes-len(head))+`"`)
	require.Len(t, greatest, core.MaxEventBytes)
	_, err = e.events.PublishEvent(t.Context(), request(greatest))
	require.NoError(t, err)
}

func TestPublishWhileNATSIsAway(t *testing.T) {
	t.Parallel()
	e := setup(t)
	e.server.Shutdown()
	began := time.Now()
	_, err := e.events.PublishEvent(t.Context(), request(event("1", "meeting.booked", `{}`)))
	require.True(t, fault.Is(err, fault.Unavailable), "%v", err)
	require.NotContains(t, fault.From(err).Message, "127.0.0.1")
	require.Less(t, time.Since(began), 10*time.Second)

	e.server.Restart(t)
	require.Eventually(t, func() bool {
		_, err = e.events.PublishEvent(t.Context(), request(event("1", "meeting.booked", `{}`)))
		return err == nil
	}, patience, 50*time.Millisecond)
	require.EqualValues(t, 1, e.stored(t))

	require.NoError(t, e.js.DeleteStream(t.Context(), bus.StreamEvents))
	_, err = e.events.PublishEvent(t.Context(), request(event("2", "meeting.booked", `{}`)))
	require.True(t, fault.Is(err, fault.Unavailable), "%v", err)
}

func TestCallerThatGoesAway(t *testing.T) {
	t.Parallel()
	e := setup(t)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err := e.events.PublishEvent(ctx, request(event("1", "meeting.booked", `{}`)))
	require.ErrorIs(t, err, context.Canceled)
}

func TestOperationalTriggersAreNotForCallers(t *testing.T) {
	t.Parallel()
	e := setup(t)
	_, err := e.events.PublishEvent(t.Context(), request(event("1", "webhook.disabled", `{}`)))
	require.True(t, fault.Is(err, fault.PermissionDenied), "%v", err)
	require.Equal(t, "RESERVED_TRIGGER", fault.From(err).Reason)
	require.Len(t, fault.From(err).Fields, 1)
	require.Equal(t, "event.type", fault.From(err).Fields[0].Path)

	// Not even with what would prove it on NATS: callers are others.
	ctx := metadata.NewIncomingContext(t.Context(), metadata.Pairs(strings.ToLower(bus.HeaderOperational),
		bus.OperationalToken(secret.New("service-token-of-the-tests-0123456789"), bus.EventMsgID("acme", bus.OperationalSource, "1"))))
	body := fmt.Sprintf(`{"specversion":"1.0","id":"1","source":%q,"type":"webhook.disabled","data":{}}`, bus.OperationalSource)
	_, err = e.events.PublishEvent(ctx, request(body))
	require.True(t, fault.Is(err, fault.PermissionDenied), "%v", err)
	require.Zero(t, e.stored(t))
}

func TestQuotaOfAnOrganization(t *testing.T) {
	t.Parallel()
	e := setup(t)
	n := 0
	publish := func() error {
		n++
		_, err := e.events.PublishEvent(t.Context(), request(event(fmt.Sprint(n), "meeting.booked", `{}`)))
		return err
	}
	requireAllowed := func(times int) {
		t.Helper()
		for range times {
			require.NoError(t, publish())
		}
	}
	requireRefused := func(after time.Duration) {
		t.Helper()
		err := publish()
		require.True(t, fault.Is(err, fault.ResourceExhausted), "%v", err)
		f := fault.From(err)
		require.Equal(t, "INGEST_QUOTA_EXCEEDED", f.Reason)
		require.Equal(t, "parent", f.Fields[0].Path)
		require.InDelta(t, after, f.RetryAfter, float64(time.Millisecond))
	}
	requireAllowed(10) // no quota
	e.quota.Store(&configv1.IngestQuota{EventsPerSecond: 0.5, Burst: 3})
	requireAllowed(3)
	requireRefused(2 * time.Second)
	e.clock.Add(int64(time.Second))
	requireRefused(time.Second)
	require.EqualValues(t, 13, e.stored(t), "what is refused is not stored")
	e.clock.Add(int64(time.Second))
	requireAllowed(1)
	requireRefused(2 * time.Second)

	e.quota.Store(&configv1.IngestQuota{EventsPerSecond: 100, Burst: 1}) // takes effect at once
	requireRefused(10 * time.Millisecond)
	e.clock.Add(int64(10 * time.Millisecond))
	requireAllowed(1)
	e.quota.Store(&configv1.IngestQuota{Burst: 1}) // none at all
	requireRefused(time.Hour)
	// Two instances take a half each.
	e.quota.Store(&configv1.IngestQuota{EventsPerSecond: 2, Burst: 4})
	e.instances.Store(2)
	requireRefused(time.Second)
	e.clock.Add(int64(time.Minute))
	requireAllowed(2)
	requireRefused(time.Second)
	e.instances.Store(9)
	e.clock.Add(int64(time.Minute))
	requireAllowed(1) // at least
	e.quota.Store(nil)
	requireAllowed(10)
}

// Who may publish over NATS for one organization must not be able to have the events of another dropped.
func TestMessageIDOfAnotherOrganizationTakesNobodysPlace(t *testing.T) {
	t.Parallel()
	e := setup(t)
	for _, id := range []string{"1", "2"} {
		foreign := nats.NewMsg("events.beta.meeting.booked")
		_, err := bus.Publish(t.Context(), e.js, foreign, bus.EventMsgID("acme", "/bookings", id))
		require.NoError(t, err)
	}
	single, err := e.events.PublishEvent(t.Context(), request(event("1", "meeting.booked", `{}`)))
	require.NoError(t, err)
	require.EqualValues(t, 3, single.GetSequence())
	require.False(t, single.GetDuplicate())
	several, err := e.events.PublishEvents(t.Context(), batch(event("2", "meeting.booked", `{}`)))
	require.NoError(t, err)
	require.EqualValues(t, 4, several.GetResults()[0].GetEvent().GetSequence())
	require.EqualValues(t, 4, e.stored(t))
}
