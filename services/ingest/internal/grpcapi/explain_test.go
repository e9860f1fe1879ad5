package grpcapi_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/nats-io/nats.go"
	"github.com/stretchr/testify/require"
	"google.golang.org/grpc/codes"

	"github.com/meetwire/meetwire/pkg/bus"
	"github.com/meetwire/meetwire/pkg/fault"
	"github.com/meetwire/meetwire/pkg/secret"
	configv1 "github.com/meetwire/meetwire/proto/gen/meetwire/config/v1"
	ingestv1 "github.com/meetwire/meetwire/proto/gen/meetwire/ingest/v1"
	"github.com/meetwire/meetwire/services/ingest/internal/grpcapi"
	"github.com/meetwire/meetwire/services/ingest/internal/natsbus"
)

var explainToken = secret.New("service-token-of-the-tests-0123456789")

// id returns the id of the nth webhook.
func id(n int) string { return fmt.Sprintf("00000000-0000-4000-8000-%012d", n) }

func hook(n int, change func(*configv1.Webhook)) *configv1.Resource {
	w := &configv1.Webhook{Id: id(n), Organization: "acme", Triggers: []string{"meeting.booked"}}
	change(w)
	return &configv1.Resource{Resource: &configv1.Resource_Webhook{Webhook: w}}
}

// explaining configures webhooks and returns what explains.
func (e *env) explaining(webhooks ...*configv1.Resource) *grpcapi.Explaining {
	known := e.known.(catalogue) //nolint:forcetypeassert // setup has made it
	known.Apply(&configv1.Change{Revision: 5, Resources: append(webhooks, &configv1.Resource{
		Resource: &configv1.Resource_Organization{Organization: &configv1.Organization{Id: "acme", WebhooksAvailable: true}},
	})})
	return &grpcapi.Explaining{
		Webhooks: e.index, Catalogue: known, Kept: &natsbus.Events{JetStream: e.js}, ServiceToken: explainToken,
	}
}

func explain(document string) *ingestv1.ExplainEventRequest {
	return &ingestv1.ExplainEventRequest{
		Parent: "organizations/acme", Subject: &ingestv1.ExplainEventRequest_Event{Event: document},
	}
}

func explainKept(name string) *ingestv1.ExplainEventRequest {
	return &ingestv1.ExplainEventRequest{Parent: "organizations/acme", Subject: &ingestv1.ExplainEventRequest_Name{Name: name}}
}

func TestExplainEvent(t *testing.T) {
	t.Parallel()
	e := setup(t)
	x := e.explaining(
		hook(1, func(*configv1.Webhook) {}),
		hook(2, func(w *configv1.Webhook) { w.Triggers = []string{"meeting.canceled", "custom.*"} }),
		hook(3, func(w *configv1.Webhook) { w.Status = configv1.WebhookStatus_WEBHOOK_STATUS_PAUSED }),
		hook(4, func(w *configv1.Webhook) { w.Teams = []string{"red"} }),
		hook(5, func(w *configv1.Webhook) { w.EventTypes = []string{"demo"} }),
		hook(6, func(w *configv1.Webhook) { w.Filter = `event.data.title == "no"` }),
		hook(7, func(w *configv1.Webhook) { w.Filter = `event.data.title == "yes"` }),
		hook(8, func(w *configv1.Webhook) { w.Filter = `event.data.other == "yes"` }),
		hook(9, func(w *configv1.Webhook) { w.Organization = "beta" }),
	)
	response, err := x.ExplainEvent(t.Context(), explain(` {"specversion":"1.0","type":"meeting.booked","data":{"title":"yes"},"mwteams":"blue"}`))
	require.NoError(t, err)
	require.True(t, response.GetAccepted(), "%v", response.GetError())
	require.EqualValues(t, 5, response.GetConfigRevision())
	require.Empty(t, response.GetNextPageToken())
	want := []struct{ rule, detail, filter, value string }{
		{},
		{"trigger", "asks for custom.*, meeting.canceled; the event is meeting.booked", "", ""},
		{"status", "is paused", "", ""},
		{"teams", "asks for the teams red; the event is of blue", "", ""},
		{"event_type", "asks for the event types demo; the event has none", "", ""},
		{"filter", "the filter says no", `event.data.title == "no"`, "false"},
		{"", "", `event.data.title == "yes"`, "true"},
		{"filter", "the filter cannot tell", `event.data.other == "yes"`, "no such key"},
	}
	require.Len(t, response.GetDecisions(), len(want))
	for i, got := range response.GetDecisions() {
		require.Equal(t, "organizations/acme/webhooks/"+id(i+1), got.GetWebhook())
		require.Equal(t, want[i].rule == "", got.GetMatched())
		require.Equal(t, want[i].rule, got.GetRule())
		require.Equal(t, want[i].detail, got.GetDetail())
		require.Equal(t, want[i].filter, got.GetFilter())
		require.Contains(t, got.GetFilterValue(), want[i].value)
		require.Equal(t, want[i].value == "", got.GetFilterValue() == "")
	}

	only := explain(event("1", "meeting.booked", `{}`))
	only.Webhook = "organizations/acme/webhooks/" + id(3)
	response, err = x.ExplainEvent(t.Context(), only)
	require.NoError(t, err)
	require.Len(t, response.GetDecisions(), 1)
	require.Equal(t, "status", response.GetDecisions()[0].GetRule())
	for _, webhook := range []string{"organizations/acme/webhooks/" + id(9), "organizations/acme/webhooks/" + id(99)} {
		only.Webhook = webhook
		_, err = x.ExplainEvent(t.Context(), only)
		require.True(t, fault.Is(err, fault.NotFound), "%v", err)
	}
	only.Webhook = "organizations/beta/webhooks/" + id(9)
	_, err = x.ExplainEvent(t.Context(), only)
	require.True(t, fault.Is(err, fault.InvalidArgument), "%v", err)
	only.Webhook, only.Parent = "", "organizations/nobody"
	_, err = x.ExplainEvent(t.Context(), only)
	require.True(t, fault.Is(err, fault.NotFound), "%v", err)
}

func TestExplainEventThatWouldNotBeAccepted(t *testing.T) {
	t.Parallel()
	e := setup(t)
	x := e.explaining(hook(1, func(*configv1.Webhook) {}))
	for name, c := range map[string]struct {
		document, field string
		code            codes.Code
		decisions       int
	}{
		"no JSON":                {`{`, "event", codes.InvalidArgument, 0},
		"nothing":                {``, "event", codes.InvalidArgument, 0},
		"an empty object":        {`{}`, "event.specversion", codes.InvalidArgument, 0},
		"an id that is null":     {`{"id":null,"specversion":"1.0","type":"meeting.booked","data":{}}`, "event.id", codes.InvalidArgument, 0},
		"data unlike the schema": {event("1", "meeting.booked", `{"title":1}`), "event.data/title", codes.InvalidArgument, 1},
		"an unknown trigger":     {event("1", "meeting.eaten", `{}`), "event.type", codes.InvalidArgument, 1},
		"an operational trigger": {event("1", "webhook.disabled", `{}`), "event.type", codes.PermissionDenied, 1},
	} {
		response, err := x.ExplainEvent(t.Context(), explain(c.document))
		require.NoError(t, err, name)
		require.False(t, response.GetAccepted(), name)
		requireError(t, &ingestv1.PublishEventsResponse_Result{Error: response.GetError()}, c.code, c.field)
		require.Len(t, response.GetDecisions(), c.decisions, name)
	}
}

func TestExplainEventThatIsKept(t *testing.T) {
	t.Parallel()
	e := setup(t)
	x := e.explaining(hook(1, func(w *configv1.Webhook) { w.Triggers = []string{"meeting.booked", "webhook.disabled"} }))
	store := func(subject, body string, header nats.Header) string {
		ack, err := e.js.PublishMsg(t.Context(), &nats.Msg{Subject: subject, Data: []byte(body), Header: header})
		require.NoError(t, err)
		return fmt.Sprintf("organizations/acme/events/%d", ack.Sequence)
	}
	structured := store("events.acme.meeting.booked", event("1", "meeting.booked", `{}`), nil)
	binary := store("events.acme.meeting.booked", `{}`, nats.Header{
		"ce-specversion": {"1.0"}, "ce-id": {"2"}, "ce-source": {"/s"}, "ce-type": {"meeting.booked"},
	})
	operational := fmt.Sprintf(`{"specversion":"1.0","id":"3","source":%q,"type":"webhook.disabled","data":{}}`, bus.OperationalSource)
	ours := store("events.acme.webhook.disabled", operational, nats.Header{
		bus.HeaderOperational: {bus.OperationalToken(explainToken, bus.EventMsgID("acme", bus.OperationalSource, "3"))},
	})
	for _, name := range []string{structured, binary, ours} {
		response, err := x.ExplainEvent(t.Context(), explainKept(name))
		require.NoError(t, err)
		require.True(t, response.GetAccepted(), "%s: %v", name, response.GetError())
		require.True(t, response.GetDecisions()[0].GetMatched())
	}
	for name, c := range map[string]string{
		store("events.acme.webhook.disabled", operational, nil):                                                 "event.type",
		store("events.acme.meeting.canceled", event("1", "meeting.booked", `{}`), nil):                          "event.type",
		store("events.acme.meeting.booked", `x`, nats.Header{"Content-Type": {"application/cloudevents+avro"}}): "event",
	} {
		response, err := x.ExplainEvent(t.Context(), explainKept(name))
		require.NoError(t, err)
		require.False(t, response.GetAccepted())
		requireError(t, &ingestv1.PublishEventsResponse_Result{Error: response.GetError()}, codes.Code(response.GetError().GetCode()), c)
	}
	others := store("events.beta.meeting.booked", event("1", "meeting.booked", `{}`), nil)
	for _, name := range []string{others, "organizations/acme/events/99"} {
		_, err := x.ExplainEvent(t.Context(), explainKept(name))
		require.True(t, fault.Is(err, fault.NotFound), "%v", err)
	}
	_, err := x.ExplainEvent(t.Context(), explainKept(strings.Replace(structured, "acme", "beta", 1)))
	require.True(t, fault.Is(err, fault.InvalidArgument), "%v", err)
}

func TestExplainEventInPages(t *testing.T) {
	t.Parallel()
	e := setup(t)
	var hooks []*configv1.Resource
	for n := range 25 {
		hooks = append(hooks, hook(n, func(w *configv1.Webhook) { w.Filter = `event.id == "1"` }))
	}
	x := e.explaining(hooks...)
	request := explain(event("1", "meeting.booked", `{}`))
	request.PageSize = 10
	var seen []string
	for pages := 1; ; pages++ {
		response, err := x.ExplainEvent(t.Context(), request)
		require.NoError(t, err)
		for _, d := range response.GetDecisions() {
			require.True(t, d.GetMatched())
			seen = append(seen, d.GetWebhook())
		}
		if request.PageToken = response.GetNextPageToken(); request.GetPageToken() == "" {
			require.Equal(t, 3, pages)
			break
		}
	}
	require.Len(t, seen, 25)
	require.IsIncreasing(t, seen)
	request.PageToken = "x"
	_, err := x.ExplainEvent(t.Context(), request)
	requireField(t, err, "page_token", "page_token")
}
