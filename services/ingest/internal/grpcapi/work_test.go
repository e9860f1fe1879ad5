package grpcapi_test

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"github.com/stretchr/testify/require"
	"google.golang.org/grpc"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/meetwire/meetwire/pkg/audit"
	"github.com/meetwire/meetwire/pkg/bus"
	"github.com/meetwire/meetwire/pkg/fault"
	"github.com/meetwire/meetwire/pkg/operation"
	"github.com/meetwire/meetwire/pkg/pgtest"
	"github.com/meetwire/meetwire/pkg/rpc"
	configv1 "github.com/meetwire/meetwire/proto/gen/meetwire/config/v1"
	deliveryv1 "github.com/meetwire/meetwire/proto/gen/meetwire/delivery/v1"
	ingestv1 "github.com/meetwire/meetwire/proto/gen/meetwire/ingest/v1"
	operationv1 "github.com/meetwire/meetwire/proto/gen/meetwire/operation/v1"
	"github.com/meetwire/meetwire/services/ingest/internal/grpcapi"
	"github.com/meetwire/meetwire/services/ingest/internal/natsbus"
	"github.com/meetwire/meetwire/services/ingest/internal/pgstore"
)

// ledger is a delivery service that knows of deliveries what it is told.
type ledger struct {
	deliveryv1.UnimplementedInternalServiceServer

	mu    sync.Mutex
	known []*deliveryv1.FindDeliveriesResponse_Known
}

func (l *ledger) FindDeliveries(context.Context, *deliveryv1.FindDeliveriesRequest) (*deliveryv1.FindDeliveriesResponse, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return &deliveryv1.FindDeliveriesResponse{Deliveries: l.known}, nil
}

func (l *ledger) set(id string, state deliveryv1.Delivery_State, attempts int32) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.known = append(l.known, &deliveryv1.FindDeliveriesResponse_Known{Delivery: id, State: int32(state), AttemptCount: attempts})
}

// revisions is a configuration that does not change any more.
type revisions struct{}

func (revisions) Revision() int64 { return 5 }

func (revisions) WaitFor(ctx context.Context, revision int64) error {
	if revision <= 5 {
		return nil
	}
	<-ctx.Done()
	return ctx.Err()
}

// noMetrics implements natsbus.Metrics.
type noMetrics struct{}

func (noMetrics) FannedOut(int) {}

func (noMetrics) Rejected(string) {}

func (noMetrics) Warned() {}

func (noMetrics) FiltersFailed(int) {}

// worked is the long work over real streams and tables.
type worked struct {
	*env
	*grpcapi.Work

	store   *operation.PgStore
	ledger  *ledger
	auditor *auditor
}

// setupWork configures three webhooks: one for all, one that is paused, one that is disabled.
func setupWork(t *testing.T) *worked {
	t.Helper()
	e := setup(t)
	e.explaining(
		hook(1, func(*configv1.Webhook) {}),
		hook(2, func(w *configv1.Webhook) { w.Status = configv1.WebhookStatus_WEBHOOK_STATUS_PAUSED }),
		hook(3, func(w *configv1.Webhook) { w.Status = configv1.WebhookStatus_WEBHOOK_STATUS_DISABLED }),
		hook(4, func(w *configv1.Webhook) { w.Filter = `event.data.title == "wanted"` }),
	)
	w := &worked{env: e, ledger: &ledger{}, auditor: &auditor{}}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	server := grpc.NewServer()
	deliveryv1.RegisterInternalServiceServer(server, w.ledger)
	served := make(chan error, 1)
	go func() { served <- server.Serve(listener) }()
	t.Cleanup(func() {
		server.Stop()
		require.NoError(t, <-served)
	})
	conn, err := rpc.Dial(listener.Addr().String())
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, conn.Close()) })
	w.store = operation.NewPgStore(pgtest.Database(t, "ingest", pgstore.Migrate), pgstore.Schema, now)
	streams := &natsbus.Worker{
		JetStream: e.js, Catalogue: e.known, Index: e.index, Metrics: noMetrics{}, ServiceToken: explainToken,
		Logger: slog.New(slog.DiscardHandler), Now: now,
	}
	w.Work = &grpcapi.Work{
		Operations: w.store, Audit: w.auditor, Events: streams, Catalogue: e.known, Webhooks: e.index, Revisions: revisions{},
		Delivery: deliveryv1.NewInternalServiceClient(conn), Now: now,
	}
	return w
}

func webhookName(n int) string { return "organizations/acme/webhooks/" + id(n) }

// ago is a time before now.
func ago(d time.Duration) *timestamppb.Timestamp { return timestamppb.New(now().Add(-d)) }

// parameters returns what an operation will do.
func (w *worked) parameters(t *testing.T, o *operationv1.Operation) map[string]any {
	t.Helper()
	stored, err := w.store.Operation(context20(t), "acme", strings.TrimPrefix(o.GetName(), "organizations/acme/operations/"))
	require.NoError(t, err)
	var parameters map[string]any
	require.NoError(t, json.Unmarshal(stored.Parameters, &parameters))
	return parameters
}

func TestBackfillIsBegunOnceAndAudited(t *testing.T) {
	t.Parallel()
	w := setupWork(t)
	request := &ingestv1.BackfillWebhookRequest{
		Name: webhookName(1), StartTime: ago(time.Hour), Triggers: []string{"meeting.*", "meeting.booked"}, Filter: `event.id != ""`,
		RequestId: "11111111-1111-4111-8111-111111111111",
	}
	o, err := w.BackfillWebhook(context20(t), request)
	require.NoError(t, err)
	require.Equal(t, "backfill_webhook", o.GetType())
	require.Equal(t, webhookName(1), o.GetTarget())
	require.InDelta(t, 100, o.GetRate(), 0, "unless it was told")
	require.Equal(t, operationv1.Operation_STATE_RUNNING, o.GetState())
	require.Equal(t, map[string]any{
		"webhook": id(1), "start": "2026-01-31T11:00:00Z", "end": "2026-01-31T12:00:00Z", "triggers": []any{"meeting.*", "meeting.booked"},
		"filter": `event.id != ""`, "revision": 5.0,
	}, w.parameters(t, o))
	require.Len(t, w.auditor.actions, 1)
	action := w.auditor.actions[0]
	require.Equal(t, []string{audit.Backfill, "acme", webhookName(1)}, []string{action.Action, action.Organization, action.Resource})

	// Asked later again, "until now" is another time: it is the same request nevertheless, and the same action.
	w.Now = func() time.Time { return now().Add(time.Minute) }
	again, err := w.BackfillWebhook(context20(t), request)
	require.NoError(t, err)
	require.Equal(t, o.GetName(), again.GetName())
	require.Equal(t, action.ID, w.auditor.actions[1].ID)
	other := proto.CloneOf(request)
	other.DryRun = true
	_, err = w.BackfillWebhook(context20(t), other)
	requireField(t, err, "request_id", "unique")

	// What cannot be recorded is not done.
	w.auditor.err = fault.New(fault.Unavailable, "AWAY", "away")
	other.RequestId = ""
	_, err = w.BackfillWebhook(context20(t), other)
	require.True(t, fault.Is(err, fault.Unavailable))
	all, err := w.store.Operations(context20(t), "acme", now().Add(time.Hour), [16]byte{}, 10)
	require.NoError(t, err)
	require.Len(t, all, 1)
}

func TestBackfillAndReplaysAreChecked(t *testing.T) {
	t.Parallel()
	w := setupWork(t)
	for _, c := range []struct {
		change     func(*ingestv1.ReplayEventsRequest)
		path, rule string
	}{
		{func(r *ingestv1.ReplayEventsRequest) { r.StartTime = ago(-time.Hour) }, "start_time", "before_end_time"},
		{func(r *ingestv1.ReplayEventsRequest) { r.EndTime = r.GetStartTime() }, "start_time", "before_end_time"},
		{func(r *ingestv1.ReplayEventsRequest) { r.StartTime = &timestamppb.Timestamp{Seconds: 1 << 60} }, "start_time", "timestamp"},
		{func(r *ingestv1.ReplayEventsRequest) { r.EndTime = &timestamppb.Timestamp{Nanos: -1} }, "end_time", "timestamp"},
		{func(r *ingestv1.ReplayEventsRequest) { r.Triggers = []string{"meeting.booked", "*"} }, "triggers[1]", "trigger"},
		{func(r *ingestv1.ReplayEventsRequest) { r.Triggers = []string{".*"} }, "triggers[0]", "trigger"},
		{func(r *ingestv1.ReplayEventsRequest) { r.Triggers = []string{"meeting.eaten"} }, "triggers[0]", "trigger"},
		{func(r *ingestv1.ReplayEventsRequest) { r.Filter = `event.id ==` }, "filter", "cel"},
		{func(r *ingestv1.ReplayEventsRequest) { r.Filter = strings.Repeat("(", 1000) }, "filter", "cel"},
		{func(r *ingestv1.ReplayEventsRequest) { r.Parent = "organizations/-" }, "parent", "resource_name"},
		{func(r *ingestv1.ReplayEventsRequest) { r.Webhook = "organizations/beta/webhooks/" + id(1) }, "webhook", "resource_name"},
	} {
		request := &ingestv1.ReplayEventsRequest{Parent: "organizations/acme", StartTime: ago(time.Hour)}
		c.change(request)
		_, err := w.ReplayEvents(context20(t), request)
		requireField(t, err, c.path, c.rule)
	}
	_, err := w.ReplayEvents(context20(t), &ingestv1.ReplayEventsRequest{Parent: "organizations/gone", StartTime: ago(time.Hour)})
	require.True(t, fault.Is(err, fault.NotFound), "%v", err)
	_, err = w.BackfillWebhook(context20(t), &ingestv1.BackfillWebhookRequest{Name: webhookName(9), StartTime: ago(time.Hour)})
	require.True(t, fault.Is(err, fault.NotFound), "%v", err)
	_, err = w.BackfillWebhook(context20(t), &ingestv1.BackfillWebhookRequest{Name: webhookName(3), StartTime: ago(time.Hour)})
	require.True(t, fault.Is(err, fault.FailedPrecondition), "%v", err)
	o, err := w.BackfillWebhook(context20(t), &ingestv1.BackfillWebhookRequest{
		Name: webhookName(2), StartTime: ago(time.Hour), EndTime: ago(-time.Hour), Rate: 7,
	})
	require.NoError(t, err, "a paused webhook gets it when it is resumed")
	require.Equal(t, "2026-01-31T12:00:00Z", w.parameters(t, o)["end"], "what has not happened yet is not the past's")
	require.InDelta(t, 7, o.GetRate(), 0)
}

func TestErasuresAreChecked(t *testing.T) {
	t.Parallel()
	w := setupWork(t)
	const parent = "organizations/acme"
	for _, c := range []struct {
		request    *ingestv1.EraseEventsRequest
		path, rule string
	}{
		{&ingestv1.EraseEventsRequest{Parent: parent}, "names", "one_of"},
		{&ingestv1.EraseEventsRequest{Parent: parent, EventId: "1", Subject: "m"}, "names", "one_of"},
		{&ingestv1.EraseEventsRequest{Parent: parent, Names: []string{parent + "/events/1"}, Subject: "m"}, "names", "one_of"},
		{&ingestv1.EraseEventsRequest{Parent: parent, Names: []string{parent + "/events/1", "organizations/beta/events/2"}}, "names[1]", "resource_name"},
		{&ingestv1.EraseEventsRequest{Parent: parent, Names: []string{parent + "/events/9999999999999999999"}}, "names[0]", "resource_name"},
	} {
		_, err := w.EraseEvents(context20(t), c.request)
		requireField(t, err, c.path, c.rule)
	}
	_, err := w.EraseEvents(context20(t), &ingestv1.EraseEventsRequest{Parent: "organizations/gone", Subject: "m"})
	require.True(t, fault.Is(err, fault.NotFound), "%v", err)
	require.Empty(t, w.auditor.actions)

	o, err := w.EraseEvents(context20(t), &ingestv1.EraseEventsRequest{Parent: parent, Subject: "somebody@example.org"})
	require.NoError(t, err)
	require.Equal(t, "erase_events", o.GetType())
	require.Equal(t, map[string]any{"subject": "somebody@example.org", "revision": 5.0}, w.parameters(t, o))
	require.Equal(t, audit.Erase, w.auditor.actions[0].Action)
	require.NotContains(t, fmt.Sprint(w.auditor.actions), "somebody")
	o, err = w.EraseEvents(context20(t), &ingestv1.EraseEventsRequest{Parent: parent, Names: []string{parent + "/events/7", parent + "/events/7"}})
	require.NoError(t, err)
	require.Equal(t, parent+"/events/7", o.GetTarget())
	require.Equal(t, []any{7.0}, w.parameters(t, o)["sequences"])
}

// deliveriesOf returns what waits to be sent, by webhook.
func (w *worked) deliveriesOf(t *testing.T) map[string][]*jetstream.RawStreamMsg {
	t.Helper()
	stream, err := w.js.Stream(context20(t), bus.StreamDeliveries)
	require.NoError(t, err)
	all := make(map[string][]*jetstream.RawStreamMsg)
	for sequence := uint64(1); sequence <= stream.CachedInfo().State.LastSeq; sequence++ {
		msg, err := stream.GetMsg(context20(t), sequence)
		require.NoError(t, err)
		all[msg.Header.Get(bus.HeaderWebhookID)] = append(all[msg.Header.Get(bus.HeaderWebhookID)], msg)
	}
	return all
}

func TestEventIsReplayedToWhoMatchesToday(t *testing.T) {
	t.Parallel()
	w := setupWork(t)
	body := event("1", "meeting.booked", `{"title":"other"}`)
	ack, err := w.js.Publish(context20(t), "events.acme.meeting.booked", []byte(body))
	require.NoError(t, err)
	name := fmt.Sprintf("organizations/acme/events/%d", ack.Sequence)
	delivery := func(n int) string { return bus.DeliveryID("acme", "/bookings", "1", id(n)) }
	w.ledger.set(delivery(1), deliveryv1.Delivery_STATE_SUCCEEDED, 3)
	w.ledger.set(delivery(3), deliveryv1.Delivery_STATE_DEAD_LETTERED, 1)

	request := &ingestv1.ReplayEventRequest{Name: name, RequestId: "11111111-1111-4111-8111-111111111111"}
	for range 2 { // the same request sends once
		sent, err := w.ReplayEvent(context20(t), request)
		require.NoError(t, err)
		require.EqualValues(t, 1, sent.GetDeliveryCount())
		require.Equal(t, []string{"organizations/acme/deliveries/" + delivery(1)}, sent.GetDeliveries())
	}
	got := w.deliveriesOf(t)
	require.Len(t, got, 1)
	require.Len(t, got[id(1)], 1)
	msg := got[id(1)][0]
	require.Equal(t, bus.DeliverySubject(bus.LaneBulk, "acme", id(1)), msg.Subject)
	require.Equal(t, body, string(msg.Data))
	require.Equal(t, []string{delivery(1), "3", "3"}, []string{
		msg.Header.Get(bus.HeaderDeliveryID), msg.Header.Get(bus.HeaderAttempt), msg.Header.Get(bus.HeaderAttemptBase),
	})
	require.Equal(t, w.auditor.actions[0].ID, w.auditor.actions[1].ID)

	// To one, also a paused one; without a request id every call sends.
	for n := 1; n <= 2; n++ {
		sent, err := w.ReplayEvent(context20(t), &ingestv1.ReplayEventRequest{Name: name, Webhook: webhookName(2)})
		require.NoError(t, err)
		require.EqualValues(t, 1, sent.GetDeliveryCount())
		require.Len(t, w.deliveriesOf(t)[id(2)], n)
	}
}

func TestEventIsNotReplayedToOthers(t *testing.T) {
	t.Parallel()
	w := setupWork(t)
	ack, err := w.js.Publish(context20(t), "events.acme.meeting.booked", []byte(event("1", "meeting.booked", `{"title":"other"}`)))
	require.NoError(t, err)
	rejected, err := w.js.Publish(context20(t), "events.acme.meeting.booked", []byte(event("2", "meeting.booked", `{"title":1}`)))
	require.NoError(t, err)
	theirs, err := w.js.Publish(context20(t), "events.beta.meeting.booked", []byte(event("1", "meeting.booked", `{}`)))
	require.NoError(t, err)
	w.ledger.set(bus.DeliveryID("acme", "/bookings", "1", id(1)), deliveryv1.Delivery_STATE_PENDING, 1)
	name := func(sequence uint64) string { return fmt.Sprintf("organizations/acme/events/%d", sequence) }
	for _, c := range []struct {
		request *ingestv1.ReplayEventRequest
		kind    fault.Kind
		reason  string
	}{
		{&ingestv1.ReplayEventRequest{Name: name(ack.Sequence), Webhook: webhookName(4)}, fault.FailedPrecondition, "NO_MATCH"},
		{&ingestv1.ReplayEventRequest{Name: name(ack.Sequence), Webhook: webhookName(1)}, fault.FailedPrecondition, "DELIVERY_NOT_OVER"},
		{&ingestv1.ReplayEventRequest{Name: name(ack.Sequence), Webhook: webhookName(3)}, fault.FailedPrecondition, "WEBHOOK_DISABLED"},
		{&ingestv1.ReplayEventRequest{Name: name(ack.Sequence), Webhook: webhookName(9)}, fault.NotFound, "WEBHOOK_NOT_FOUND"},
		{&ingestv1.ReplayEventRequest{Name: name(rejected.Sequence)}, fault.FailedPrecondition, "EVENT_REJECTED"},
		{&ingestv1.ReplayEventRequest{Name: name(theirs.Sequence)}, fault.NotFound, "EVENT_NOT_FOUND"},
		{&ingestv1.ReplayEventRequest{Name: name(99)}, fault.NotFound, "EVENT_NOT_FOUND"},
	} {
		_, err := w.ReplayEvent(context20(t), c.request)
		var f *fault.Error
		require.ErrorAs(t, err, &f)
		require.Equal(t, c.kind, f.Kind, "%v", err)
		require.Equal(t, c.reason, f.Reason)
	}
	require.Empty(t, w.deliveriesOf(t))
	require.Empty(t, w.auditor.actions)
}
