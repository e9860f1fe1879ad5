package e2e_test

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

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
// their replay, a replay of the event, and a resend of a delivery that only records know by then.
func TestTracesReachTheReceiver(t *testing.T) {
	t.Parallel()
	i := processesOf(t)
	t.Run("all", func(t *testing.T) {
		for name, publish := range map[string]func(t *testing.T, o *tenant, id, parent string){
			"a header": publishWithHeader,
			"a header, as OpenTelemetry writes it": func(t *testing.T, o *tenant, id, parent string) {
				publishWith(t, o, id, "", nats.Header{"Traceparent": {parent}, "Tracestate": {traceState}})
			},
			"the event itself": func(t *testing.T, o *tenant, id, parent string) {
				publishWith(t, o, id, fmt.Sprintf(`"traceparent":%q,"tracestate":%q,`, parent, traceState), nil)
			},
			"the event itself, binary": func(t *testing.T, o *tenant, id, parent string) {
				publishBinary(t, o, id, nats.Header{"ce-traceparent": {parent}, "ce-tracestate": {traceState}})
			},
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
	d := o.awaitLetter(t, id)
	letters, err := o.js.Stream(t.Context(), bus.StreamDeadLetters)
	require.NoError(t, err)
	letter, err := letters.GetLastMsgForSubject(t.Context(), bus.DeadLetterSubject("contact-updated", o.name, h.id(), bus.DeliveryID(o.name, "/traces", id, h.id())))
	require.NoError(t, err)
	require.Contains(t, letter.Header.Get("traceparent"), trace)
	o.do(t, "POST", "/v1/"+strings.Replace(d.Name, "/deliveries/", "/deadLetters/", 1)+":replay", "{}", nil)
	sequence := r.await(t, 3)[2].header.Get("Meetwire-Event-Sequence")
	o.awaitState(t, id, "STATE_SUCCEEDED")
	o.do(t, "POST", o.path("/events/"+sequence+":replay"), "{}", nil)
	r.await(t, 4)
	require.Eventually(t, func() bool { return len(o.attempts(t, d)) == 4 }, patience, tick)
	o.do(t, "POST", "/v1/"+d.Name+":resend", "{}", nil)
	for n, request := range r.await(t, 5) {
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

// TestTracesOfWhatWaits follows traces through a retry that somebody makes now, the end of a pause, and a backfill.
func TestTracesOfWhatWaits(t *testing.T) {
	t.Parallel()
	i := processesOf(t)
	o := i.tenant(t)
	r := newReceiver(t).answering(func(n int, _ *http.Request) int {
		if n == 1 {
			return http.StatusInternalServerError
		}
		return http.StatusOK
	})
	h := o.webhook(t, r, `,"retryPolicy":{"maxRetries":1,"firstDelay":"3600s"}`, "contact.updated")
	o.inForce(t)
	since := time.Now().Add(-time.Minute).UTC().Format(time.RFC3339Nano)
	traces := []string{strings.ReplaceAll(uuid.NewString(), "-", ""), strings.ReplaceAll(uuid.NewString(), "-", "")}
	publish := func(n int) {
		publishWith(t, o, "w"+strconv.Itoa(n), "", nats.Header{
			"Traceparent": {"00-" + traces[n] + "-00f067aa0ba902b7-01"}, "Tracestate": {traceState},
		})
	}
	requireTrace := func(request request, trace string) {
		require.Equal(t, "00-"+trace+"-00f067aa0ba902b7-01", request.header.Get("traceparent"))
		require.Equal(t, traceState, request.header.Get("tracestate"))
	}
	waiting := func(h *hook, parked bool) func() bool {
		return func() bool {
			var list struct{ Timers []struct{ Parked bool } }
			o.do(t, "GET", "/v1/"+h.Name+"/timers", "", &list)
			return len(list.Timers) == 1 && list.Timers[0].Parked == parked
		}
	}
	publish(0)
	d := o.awaitState(t, "w0", "STATE_PENDING")
	require.Eventually(t, waiting(h, false), patience, tick)
	o.do(t, "POST", "/v1/"+d.Name+":retry", "{}", nil)
	requireTrace(r.await(t, 2)[1], traces[0])
	o.awaitState(t, "w0", "STATE_SUCCEEDED")

	// The webhook is paused while the first attempt is under way, so that the retry finds it paused.
	paused := make(chan struct{})
	release := sync.OnceFunc(func() { close(paused) })
	r = newReceiver(t).answering(func(n int, _ *http.Request) int {
		if n == 1 {
			<-paused
			return http.StatusInternalServerError
		}
		return http.StatusOK
	})
	t.Cleanup(release) // before the receiver is closed, which waits for its requests
	h = o.webhook(t, r, `,"retryPolicy":{"maxRetries":1,"firstDelay":"1s"}`, "contact.updated")
	o.inForce(t)
	publish(1)
	r.await(t, 1)
	o.do(t, "POST", "/v1/"+h.Name+":pause", "{}", nil)
	o.inForce(t)
	release()
	require.Eventually(t, waiting(h, true), patience, tick)
	o.do(t, "POST", "/v1/"+h.Name+":resume", "{}", nil)
	requireTrace(r.await(t, 2)[1], traces[1])

	late := newReceiver(t)
	backfilled := o.webhook(t, late, "", "contact.updated")
	o.inForce(t)
	begun := o.begin(t, "/v1/"+backfilled.Name+":backfill", fmt.Sprintf(`{"startTime":%q}`, since))
	o.awaitOperation(t, begun.Name, "STATE_SUCCEEDED")
	both := late.await(t, 2) // in any order
	if !strings.Contains(both[0].header.Get("traceparent"), traces[0]) {
		both[0], both[1] = both[1], both[0]
	}
	for n, request := range both {
		requireTrace(request, traces[n])
	}
}

// publishWith publishes an event whose document has some more attributes.
func publishWith(t *testing.T, o *tenant, id, attributes string, header nats.Header) {
	msg := nats.NewMsg(bus.EventSubject(o.name, "contact.updated"))
	msg.Data = []byte(strings.Replace(o.document(t, "contact.updated", "/traces", id), "{", "{"+attributes, 1))
	msg.Header = header
	_, err := o.js.PublishMsg(t.Context(), msg)
	require.NoError(t, err)
}

// publishBinary publishes an event in the binary mode of CloudEvents, with some more headers.
func publishBinary(t *testing.T, o *tenant, id string, header nats.Header) {
	msg := nats.NewMsg(bus.EventSubject(o.name, "contact.updated"))
	msg.Data = []byte(o.sample(t, "contact.updated"))
	msg.Header = nats.Header{
		"ce-specversion": {"1.0"}, "ce-source": {"/traces"}, "ce-id": {id}, "ce-type": {"contact.updated"}, "Content-Type": {"application/json"},
	}
	maps.Copy(msg.Header, header)
	_, err := o.js.PublishMsg(t.Context(), msg)
	require.NoError(t, err)
}

func publishWithHeader(t *testing.T, o *tenant, id, parent string) {
	publishWith(t, o, id, "", nats.Header{"traceparent": {parent}, "tracestate": {traceState}})
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

// publishTwice publishes an event without a trace in front, one with a header that is longer than any trace, and one with
// a header that is none.
func publishTwice(t *testing.T, o *tenant, id, parent string) {
	quiet := newReceiver(t)
	h := o.webhook(t, quiet, "", "meeting.canceled")
	o.inForce(t)
	for n, bad := range []string{"", strings.Repeat("x", 600), "hello"} {
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
