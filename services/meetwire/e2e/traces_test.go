package e2e_test

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"testing"

	"github.com/google/uuid"
	"github.com/nats-io/nats.go"
	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/otel/propagation"

	"github.com/meetwire/meetwire/pkg/bus"
	"github.com/meetwire/meetwire/pkg/publisher"
)

// traceState is what a tracing system of a publisher's adds to a trace.
const traceState = "vendor=abc,other=1"

// TestTracesReachTheReceiver follows one trace for each way of publishing, through first tries, retries, dead letters,
// their replay, and a replay of the event.
func TestTracesReachTheReceiver(t *testing.T) {
	t.Parallel()
	i := processesOf(t)
	t.Run("all", func(t *testing.T) {
		for name, publish := range map[string]func(t *testing.T, o *tenant, id, parent string){
			"a header":      publishWithHeader,
			"the publisher": func(t *testing.T, o *tenant, id, parent string) { publishInSpan(t, o, id, parent) },
			"the publisher, binary": func(t *testing.T, o *tenant, id, parent string) {
				publishInSpan(t, o, id, parent, publisher.WithBinaryMode())
			},
			"REST":                   publishWithREST,
			"no trace, and then one": publishTwice,
		} {
			t.Run(name, func(t *testing.T) {
				t.Parallel()
				testTrace(t, i, publish)
			})
		}
	})
}

func testTrace(t *testing.T, i *installation, publish func(t *testing.T, o *tenant, id, parent string)) {
	o := i.tenant(t)
	r := newReceiver(t).answering(func(n int, _ *http.Request) int {
		if n <= 2 {
			return http.StatusInternalServerError
		}
		return http.StatusOK
	})
	h := o.webhook(t, r, `,"retryPolicy":{"maxRetries":1,"firstDelay":"0.2s"}`, "contact.updated")
	o.inForce(t)
	id, trace := uuid.NewString(), strings.ReplaceAll(uuid.NewString(), "-", "")
	publish(t, o, id, "00-"+trace+"-00f067aa0ba902b7-01")
	d := o.awaitState(t, id, "STATE_DEAD_LETTERED")
	letters, err := o.js.Stream(t.Context(), bus.StreamDeadLetters)
	require.NoError(t, err)
	letter, err := letters.GetLastMsgForSubject(t.Context(), bus.DeadLetterSubject("contact-updated", o.name, h.id(), bus.DeliveryID(o.name, "/traces", id, h.id())))
	require.NoError(t, err)
	require.Contains(t, letter.Header.Get("traceparent"), trace)
	o.do(t, "POST", "/v1/"+strings.Replace(d.Name, "/deliveries/", "/deadLetters/", 1)+":replay", "{}", nil)
	sequence := r.await(t, 3)[2].header.Get("Meetwire-Event-Sequence")
	o.awaitState(t, id, "STATE_SUCCEEDED")
	o.do(t, "POST", o.path("/events/"+sequence+":replay"), "{}", nil)
	for n, request := range r.await(t, 4) {
		parent := strings.Split(request.header.Get("traceparent"), "-")
		require.Len(t, parent, 4, "request %d", n)
		require.Equal(t, trace, parent[1], "request %d", n)
		require.Equal(t, "01", parent[3], "it is sampled")
		require.Equal(t, traceState, strings.ReplaceAll(request.header.Get("tracestate"), " ", ""), "request %d", n)
		require.NotContains(t, request.body, trace, "the document is the publisher's")
		require.True(t, request.verified, "request %d", n)
		var body struct{ Data json.RawMessage }
		require.NoError(t, json.Unmarshal([]byte(request.body), &body))
		require.JSONEq(t, o.sample(t, "contact.updated"), string(body.Data), "request %d has the event, in whichever mode it was published", n)
	}
}

func publishWithHeader(t *testing.T, o *tenant, id, parent string) {
	msg := nats.NewMsg(bus.EventSubject(o.name, "contact.updated"))
	msg.Data = []byte(o.document(t, "contact.updated", "/traces", id))
	msg.Header = nats.Header{"traceparent": {parent}, "tracestate": {traceState}}
	_, err := o.js.PublishMsg(t.Context(), msg)
	require.NoError(t, err)
}

func publishInSpan(t *testing.T, o *tenant, id, parent string, options ...publisher.Option) {
	p, err := publisher.New(o.js, append(options, publisher.WithSource("/traces"))...)
	require.NoError(t, err)
	ctx := propagation.TraceContext{}.Extract(t.Context(), propagation.MapCarrier{"traceparent": parent, "tracestate": traceState})
	_, err = p.Publish(ctx, publisher.Event{
		Organization: o.name, Trigger: "contact.updated", ID: id, Data: json.RawMessage(o.sample(t, "contact.updated")),
	})
	require.NoError(t, err)
}

func publishWithREST(t *testing.T, o *tenant, id, parent string) {
	body := o.document(t, "contact.updated", "/traces", id)
	request, err := http.NewRequestWithContext(context.Background(), http.MethodPost, o.rest+o.path("/events"), strings.NewReader(body))
	require.NoError(t, err)
	request.Header = http.Header{
		"Authorization": {"Bearer " + o.key}, "Content-Type": {"application/json"}, "Traceparent": {parent}, "Tracestate": {traceState},
	}
	response, err := http.DefaultClient.Do(request)
	require.NoError(t, err)
	defer response.Body.Close()
	answer, err := io.ReadAll(response.Body)
	require.NoError(t, err)
	require.Equal(t, http.StatusAccepted, response.StatusCode, string(answer))
}

// publishTwice publishes an event without a trace in front, and one with a header that is longer than any trace.
func publishTwice(t *testing.T, o *tenant, id, parent string) {
	quiet := newReceiver(t)
	h := o.webhook(t, quiet, "", "meeting.canceled")
	o.inForce(t)
	for n, bad := range []string{"", strings.Repeat("x", 600)} {
		name := "other" + strconv.Itoa(n)
		msg := nats.NewMsg(bus.EventSubject(o.name, "meeting.canceled"))
		msg.Data = []byte(fmt.Sprintf(`{"specversion":"1.0","source":"/traces","id":%q,"type":"meeting.canceled","data":%s}`, name, o.sample(t, "meeting.canceled")))
		if bad != "" {
			msg.Header.Set("traceparent", bad)
		}
		_, err := o.js.PublishMsg(t.Context(), msg)
		require.NoError(t, err)
		got := quiet.await(t, n+1)[n]
		require.Equal(t, bus.DeliveryID(o.name, "/traces", name, h.id()), got.header.Get("webhook-id"))
		require.Empty(t, got.header.Get("traceparent"))
	}
	publishWithHeader(t, o, id, parent)
}
