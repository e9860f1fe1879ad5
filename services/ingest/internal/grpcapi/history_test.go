package grpcapi_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/nats-io/nats.go"
	"github.com/stretchr/testify/require"
	"google.golang.org/grpc"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/meetwire/meetwire/pkg/bus"
	"github.com/meetwire/meetwire/pkg/fault"
	"github.com/meetwire/meetwire/pkg/pgtest"
	"github.com/meetwire/meetwire/pkg/rpc"
	deliveryv1 "github.com/meetwire/meetwire/proto/gen/meetwire/delivery/v1"
	ingestv1 "github.com/meetwire/meetwire/proto/gen/meetwire/ingest/v1"
	"github.com/meetwire/meetwire/services/ingest/internal/core"
	"github.com/meetwire/meetwire/services/ingest/internal/grpcapi"
	"github.com/meetwire/meetwire/services/ingest/internal/natsbus"
	"github.com/meetwire/meetwire/services/ingest/internal/pgstore"
)

// deliveries is a delivery service that counts as it is told.
type deliveries struct {
	deliveryv1.UnimplementedInternalServiceServer

	mu     sync.Mutex
	counts map[string]*deliveryv1.CountDeliveriesResponse // by organization and sequence
	err    error
}

func (d *deliveries) CountDeliveries(_ context.Context, request *deliveryv1.CountDeliveriesRequest) (*deliveryv1.CountDeliveriesResponse, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if counts := d.counts[fmt.Sprint(request.GetOrganization(), request.GetEventSequence())]; counts != nil {
		return counts, d.err
	}
	return &deliveryv1.CountDeliveriesResponse{}, d.err
}

// past is a history over real streams and tables.
type past struct {
	*env
	*grpcapi.History

	pool       *pgxpool.Pool
	store      *pgstore.Store
	webhooks   *core.Index
	deliveries *deliveries
}

func setupHistory(t *testing.T) *past {
	t.Helper()
	p := &past{
		env: setup(t), pool: pgtest.Database(t, "ingest", pgstore.Migrate), webhooks: core.NewIndex(),
		deliveries: &deliveries{counts: make(map[string]*deliveryv1.CountDeliveriesResponse)},
	}
	p.store = pgstore.New(p.pool)
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	server := grpc.NewServer()
	deliveryv1.RegisterInternalServiceServer(server, p.deliveries)
	var serving sync.WaitGroup
	serving.Go(func() { _ = server.Serve(listener) })
	t.Cleanup(func() {
		server.Stop()
		serving.Wait()
	})
	conn, err := rpc.Dial(listener.Addr().String())
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, conn.Close()) })
	p.History = &grpcapi.History{
		Index: p.store, Kept: &natsbus.Events{JetStream: p.js}, Webhooks: p.webhooks, Delivery: deliveryv1.NewInternalServiceClient(conn),
	}
	return p
}

func context20(t *testing.T) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	t.Cleanup(cancel)
	return ctx
}

// keep publishes something to EVENTS and returns what becomes of it once it is fanned out to two webhooks.
func (p *past) keep(t *testing.T, subject, body string, header nats.Header) *ingestv1.FanOut {
	t.Helper()
	ack, err := p.js.PublishMsg(context20(t), &nats.Msg{Subject: subject, Data: []byte(body), Header: header})
	require.NoError(t, err)
	kept, err := p.Kept.Event(context20(t), ack.Sequence)
	require.NoError(t, err)
	note := &ingestv1.FanOut{
		EventSequence: int64(ack.Sequence), Organization: kept.Organization, Trigger: kept.Trigger, MatchedCount: 2,
		AcceptTime: timestamppb.New(kept.Accepted),
	}
	if document, err := core.FromMessage(kept.Header, kept.Body); err == nil {
		if event, err := core.Parse(document); err == nil {
			note.Source, note.Id, note.Subject = event.Source, event.ID, event.Subject
		}
	}
	return note
}

func (p *past) index(t *testing.T, notes ...*ingestv1.FanOut) {
	t.Helper()
	_, err := p.store.Write(context20(t), notes)
	require.NoError(t, err)
}

func (p *past) get(t *testing.T, name string) (*ingestv1.Event, error) {
	t.Helper()
	return p.GetEvent(context20(t), &ingestv1.GetEventRequest{Name: name})
}

func (p *past) outcome(t *testing.T, sequence int64) (*ingestv1.EventOutcome, error) {
	t.Helper()
	return p.GetEventOutcome(context20(t), &ingestv1.GetEventOutcomeRequest{Name: fmt.Sprintf("organizations/acme/events/%d/outcome", sequence)})
}

func document(id string) string {
	return fmt.Sprintf(`{ "specversion":"1.0","id":%q,"source":"/s","type":"meeting.booked","data":{"id":"mtg_1"} }`, id)
}

const booked = "events.acme.meeting.booked"

func TestGetEvent(t *testing.T) {
	t.Parallel()
	p := setupHistory(t)
	note := p.keep(t, booked, document("1"), nil)
	accepted := timestamppb.New(note.GetAcceptTime().AsTime().Truncate(time.Microsecond))
	want := &ingestv1.Event{
		Name: "organizations/acme/events/1", Trigger: "meeting.booked", Source: "/s", Id: "1", Subject: "mtg_1", AcceptTime: accepted, Event: document("1"),
	}
	// It is stored, and not yet fanned out.
	got, err := p.get(t, want.GetName())
	require.NoError(t, err)
	require.True(t, proto.Equal(want, got), "%v", got)
	note.SkippedCount = 1
	p.index(t, note)
	want.MatchedCount, want.SkippedCount = proto.Int32(2), 1
	got, err = p.get(t, want.GetName())
	require.NoError(t, err)
	require.True(t, proto.Equal(want, got), "%v", got)

	for _, name := range []string{"organizations/beta/events/1", "organizations/acme/events/2", "organizations/acme/events/9223372036854775807"} {
		_, err = p.get(t, name)
		require.True(t, fault.Is(err, fault.NotFound), "%s: %v", name, err)
		require.Equal(t, "EVENT_NOT_FOUND", fault.From(err).Reason)
	}
	for _, name := range []string{
		"", "organizations/acme/events/0", "organizations/acme/events/01", "organizations/acme/events/-1", "organizations/acme/events/9223372036854775808",
		"organizations/-/events/1", "organizations/a.b/events/1", "organizations/acme/events/*", "organizations/acme/webhooks/1",
	} {
		_, err = p.get(t, name)
		require.True(t, fault.Is(err, fault.InvalidArgument), "%s: %v", name, err)
	}

	// The document goes before what is known of it.
	stream, err := p.js.Stream(context20(t), bus.StreamEvents)
	require.NoError(t, err)
	require.NoError(t, stream.DeleteMsg(context20(t), 1))
	want.Event = ""
	got, err = p.get(t, want.GetName())
	require.NoError(t, err)
	require.True(t, proto.Equal(want, got), "%v", got)
}

func TestEventsAreShownAsReceiversGetThem(t *testing.T) {
	t.Parallel()
	p := setupHistory(t)
	p.keep(t, booked, `{"id":"mtg_2"}`, nats.Header{
		"ce-specversion": {"1.0"}, "ce-id": {"b%20\xc3\xa9"}, "ce-source": {"/s"}, "ce-type": {"meeting.booked"}, "content-type": {"application/json"},
	})
	got, err := p.get(t, "organizations/acme/events/1")
	require.NoError(t, err)
	require.Equal(t, "mtg_2", got.GetSubject())
	require.JSONEq(t, fmt.Sprintf(`{"specversion":"1.0","id":%q,"source":"/s","type":"meeting.booked","datacontenttype":"application/json","data":{"id":"mtg_2"}}`,
		got.GetId()), got.GetEvent())

	// What was rejected may be anything.
	note := p.keep(t, "events.acme.nothing", "\xff{", nil)
	got, err = p.get(t, "organizations/acme/events/2")
	require.NoError(t, err)
	require.Equal(t, "\uFFFD{", got.GetEvent())
	require.Equal(t, "nothing", got.GetTrigger())
	require.Nil(t, got.MatchedCount)
	note.RejectRule, note.MatchedCount = core.RuleUTF8, 0
	p.index(t, note)
	got, err = p.get(t, "organizations/acme/events/2")
	require.NoError(t, err)
	require.Equal(t, core.RuleUTF8, got.GetRejectRule())
	outcome, err := p.outcome(t, 2)
	require.NoError(t, err)
	require.Equal(t, ingestv1.EventOutcome_STATE_REJECTED, outcome.GetState())
	require.Equal(t, core.RuleUTF8, outcome.GetRejectRule())
}

func TestErasedEventShowsNothing(t *testing.T) {
	t.Parallel()
	p := setupHistory(t)
	note := p.keep(t, booked, document("1"), nil)
	p.index(t, note)
	_, err := p.store.EraseEvents(context20(t), "acme", []int64{1}, now())
	require.NoError(t, err)
	got, err := p.get(t, "organizations/acme/events/1") // the stream still has it
	require.NoError(t, err)
	require.Empty(t, got.GetEvent())
	require.Empty(t, got.GetSubject())
	require.Equal(t, now(), got.GetEraseTime().AsTime())
	require.Equal(t, "1", got.GetId())
}

// A stream that was made anew counts from 1 again: what the index knows of an earlier event is not said of a newer one.
func TestEventOfAStreamThatWasMadeAnew(t *testing.T) {
	t.Parallel()
	p := setupHistory(t)
	p.keep(t, booked, document("new"), nil)
	old := &ingestv1.FanOut{EventSequence: 1, Organization: "acme", Id: "old", AcceptTime: timestamppb.New(now()), MatchedCount: 5}
	p.index(t, old)
	got, err := p.get(t, "organizations/acme/events/1")
	require.NoError(t, err)
	require.Equal(t, "new", got.GetId())
	require.Nil(t, got.MatchedCount)
}

func TestOutcomeOfAnEvent(t *testing.T) {
	t.Parallel()
	p := setupHistory(t)
	note := p.keep(t, booked, document("1"), nil)
	outcome, err := p.outcome(t, 1)
	require.NoError(t, err)
	require.True(t, proto.Equal(&ingestv1.EventOutcome{Name: "organizations/acme/events/1/outcome", State: ingestv1.EventOutcome_STATE_ACCEPTED}, outcome), "%v", outcome)

	note.MatchedCount, note.SkippedCount = 10, 3
	p.index(t, note)
	for _, c := range []struct {
		counts  *deliveryv1.CountDeliveriesResponse
		pending int32
	}{
		{&deliveryv1.CountDeliveriesResponse{}, 10},
		{&deliveryv1.CountDeliveriesResponse{PendingCount: 2, SucceededCount: 4, DeadLetteredCount: 1, DroppedCount: 1}, 4},
		{&deliveryv1.CountDeliveriesResponse{SucceededCount: 7, DeadLetteredCount: 2, DroppedCount: 1}, 0},
		{&deliveryv1.CountDeliveriesResponse{PendingCount: 1, SucceededCount: 12}, 1}, // it was replayed to more
		{&deliveryv1.CountDeliveriesResponse{SucceededCount: 12}, 0},
	} {
		p.deliveries.mu.Lock()
		p.deliveries.counts["acme1"] = c.counts
		p.deliveries.mu.Unlock()
		outcome, err = p.outcome(t, 1)
		require.NoError(t, err)
		require.True(t, proto.Equal(&ingestv1.EventOutcome{
			Name: "organizations/acme/events/1/outcome", State: ingestv1.EventOutcome_STATE_FANNED_OUT, MatchedCount: 10, SkippedCount: 3,
			DeliveredCount: c.counts.GetSucceededCount(), DeadCount: c.counts.GetDeadLetteredCount(), DroppedCount: c.counts.GetDroppedCount(),
			PendingCount: c.pending,
		}, outcome), "%v", outcome)
	}
	p.deliveries.mu.Lock()
	p.deliveries.err = errors.New("broken")
	p.deliveries.mu.Unlock()
	_, err = p.outcome(t, 1)
	require.True(t, fault.Is(err, fault.Unavailable), "%v", err)
	_, err = p.outcome(t, 2)
	require.True(t, fault.Is(err, fault.NotFound), "%v", err)
	_, err = p.GetEventOutcome(context20(t), &ingestv1.GetEventOutcomeRequest{Name: "organizations/beta/events/1/outcome"})
	require.True(t, fault.Is(err, fault.NotFound), "%v", err)
}

func TestListEvents(t *testing.T) {
	t.Parallel()
	p := setupHistory(t)
	odd := strings.Repeat("😀\"\\", 64)
	var notes []*ingestv1.FanOut
	for i := range int64(25) {
		notes = append(notes, &ingestv1.FanOut{
			EventSequence: i + 1, Organization: "acme", Trigger: []string{"meeting.booked", "meeting.canceled"}[i%2], Source: "/s",
			Id: fmt.Sprint(i), Subject: odd, AcceptTime: timestamppb.New(now().Add(time.Duration(i) * time.Minute)), MatchedCount: 1,
		})
	}
	notes = append(notes, &ingestv1.FanOut{EventSequence: 99, Organization: "beta", AcceptTime: timestamppb.New(now())})
	p.index(t, notes...)
	list := func(request *ingestv1.ListEventsRequest) ([]string, string, error) {
		response, err := p.ListEvents(context20(t), request)
		var ids []string
		for _, event := range response.GetEvents() {
			ids = append(ids, event.GetId())
			require.Empty(t, event.GetEvent())
			require.NotNil(t, event.MatchedCount)
			require.Equal(t, odd, event.GetSubject())
		}
		return ids, response.GetNextPageToken(), err
	}
	request := &ingestv1.ListEventsRequest{Parent: "organizations/acme", PageSize: 10}
	var all []string
	for {
		ids, token, err := list(request)
		require.NoError(t, err)
		all = append(all, ids...)
		if token == "" {
			break
		}
		request.PageToken = token
	}
	require.Len(t, all, 25)
	require.Equal(t, "24", all[0])
	require.Equal(t, "0", all[24])

	quoted := `"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`).Replace(odd) + `"`
	ids, _, err := list(&ingestv1.ListEventsRequest{Parent: request.GetParent(), Filter: `trigger = "meeting.canceled" AND subject = ` + quoted +
		` AND accept_time >= "2026-01-31T12:02:00Z" AND accept_time < "2026-01-31T13:07:00+01:00"`})
	require.NoError(t, err)
	require.Equal(t, []string{"5", "3"}, ids)
	ids, _, err = list(&ingestv1.ListEventsRequest{Parent: request.GetParent(), Filter: `id = "7" AND source = "/s"`})
	require.NoError(t, err)
	require.Equal(t, []string{"7"}, ids)
	ids, token, err := list(&ingestv1.ListEventsRequest{Parent: "organizations/gamma"})
	require.NoError(t, err)
	require.Empty(t, ids)
	require.Empty(t, token)

	for field, bad := range map[string]*ingestv1.ListEventsRequest{
		"filter":     {Parent: request.GetParent(), Filter: `organization = "beta"`},
		"page_token": {Parent: "organizations/beta", PageToken: request.GetPageToken()},
		"parent":     {Parent: "organizations/-"},
	} {
		_, _, err = list(bad)
		require.True(t, fault.Is(err, fault.InvalidArgument), "%s: %v", field, err)
		require.Equal(t, field, fault.From(err).Fields[0].Path)
	}
	_, _, err = list(&ingestv1.ListEventsRequest{Parent: request.GetParent(), Filter: `accept_time > "2026-01-31T12:02:00Z"`})
	require.True(t, fault.Is(err, fault.InvalidArgument), "%v", err)
	p.pool.Close()
	_, _, err = list(&ingestv1.ListEventsRequest{Parent: request.GetParent()})
	require.True(t, fault.Is(err, fault.Unavailable), "%v", err)
}

func TestGetWebhookMatching(t *testing.T) {
	t.Parallel()
	p := setupHistory(t)
	configure := func(change func(*core.Webhook)) {
		w := core.Webhook{ID: webhookID, Organization: "acme", Generation: 3}
		change(&w)
		p.webhooks.Reset(core.Change{Webhooks: []core.Webhook{w}}, 1)
	}
	get := func(organization, webhook string) (*ingestv1.WebhookMatching, error) {
		return p.GetWebhookMatching(context20(t), &ingestv1.GetWebhookMatchingRequest{
			Name: "organizations/" + organization + "/webhooks/" + webhook + "/matching",
		})
	}
	name := "organizations/acme/webhooks/" + webhookID + "/matching"
	configure(func(*core.Webhook) {})
	got, err := get("acme", webhookID)
	require.NoError(t, err)
	require.True(t, proto.Equal(&ingestv1.WebhookMatching{Name: name}, got), "%v", got)

	p.index(t, &ingestv1.FanOut{
		EventSequence: 1, Organization: "acme", AcceptTime: timestamppb.New(now()),
		Skips:          []*ingestv1.FanOut_Skip{{Webhook: webhookID, Generation: 3}},
		FilterFailures: []*ingestv1.FanOut_FilterFailure{{Webhook: webhookID, Error: "no such key"}},
	})
	known := &ingestv1.WebhookMatching{
		Name: name, SkippedSince: timestamppb.New(now()), SkippedCount: 1,
		FilterFailureCount: 1, LastFilterFailureTime: timestamppb.New(now()), LastFilterError: "no such key",
	}
	forgotten := proto.CloneOf(known)
	forgotten.SkippedSince, forgotten.SkippedCount = nil, 0
	for when, c := range map[string]struct {
		change func(*core.Webhook)
		want   *ingestv1.WebhookMatching
	}{
		"paused":            {func(w *core.Webhook) { w.Paused = true }, known},
		"disabled":          {func(w *core.Webhook) { w.Disabled = true }, known},
		"resumed":           {func(w *core.Webhook) { w.Generation = 4 }, known},
		"paused once more":  {func(w *core.Webhook) { w.Generation, w.Paused = 4, true }, forgotten},
		"resumed once more": {func(w *core.Webhook) { w.Generation = 5 }, forgotten},
	} {
		configure(c.change)
		got, err = get("acme", webhookID)
		require.NoError(t, err)
		require.True(t, proto.Equal(c.want, got), "%s: %v", when, got)
	}
	_, err = get("beta", webhookID)
	require.True(t, fault.Is(err, fault.NotFound), "%v", err)
	_, err = get("acme", "00000000-0000-4000-8000-000000000000")
	require.True(t, fault.Is(err, fault.NotFound), "%v", err)
	for _, id := range []string{"w1", strings.ToUpper(webhookID), "*", "{" + webhookID + "}"} {
		_, err = get("acme", id)
		require.True(t, fault.Is(err, fault.InvalidArgument), "%s: %v", id, err)
	}
}
