package natsbus_test

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/meetwire/meetwire/pkg/bus"
	configv1 "github.com/meetwire/meetwire/proto/gen/meetwire/config/v1"
	"github.com/meetwire/meetwire/services/ingest/internal/core"
)

// header is what the delivery of acme's event of meeting.booked carries.
func header(webhook, source, id string, at stored) nats.Header {
	delivery := bus.DeliveryID("acme", source, id, webhook)
	return nats.Header{
		bus.HeaderDeliveryID:     {delivery},
		bus.HeaderOrganization:   {"acme"},
		bus.HeaderWebhookID:      {webhook},
		bus.HeaderTrigger:        {"meeting.booked"},
		bus.HeaderSource:         {source},
		bus.HeaderEventID:        {id},
		bus.HeaderEventSequence:  {at.sequence},
		bus.HeaderConfigRevision: {"7"},
		bus.HeaderAcceptedAt:     {at.at},
		nats.MsgIdHdr:            {delivery},
	}
}

func TestEventBecomesOneDeliveryForEachWebhookThatAsked(t *testing.T) {
	t.Parallel()
	e := setup(t)
	e.run(t)
	// Nothing of this is as an encoder would write it, and all of it must stay.
	body := "{ \"type\" : \"meeting.booked\",\r\n\t\"id\":\"b\\u006b_1\", \"source\":\"/bookings\",\"specversion\":\"1.0\", \"data\":{\"b\":1.0e0,\"a\":\"<é>\",\"c\":null}, \"mwteams\":\"x\" }\n"
	at := e.publish(t, bookedSubject, body, nil)
	e.requireSettled(t)

	got := e.bySubject(t, bus.StreamDeliveries)
	require.ElementsMatch(t, []string{deliver1, deliver2}, slices.Collect(maps.Keys(got)))
	for subject, webhook := range map[string]string{deliver1: "w1", deliver2: "w2"} {
		require.Equal(t, body, string(got[subject].Data))
		require.Equal(t, header(webhook, "/bookings", "bk_1", at), got[subject].Header)
	}
	require.Zero(t, e.count(t, bus.StreamRejects))
	require.EqualValues(t, 1, e.metrics.events.Load())
	require.EqualValues(t, 2, e.metrics.deliveries.Load())
}

func TestOwnTriggersTravelInTheCustomLane(t *testing.T) {
	t.Parallel()
	e := setup(t)
	e.run(t)
	e.publish(t, "events.acme.custom.door.opened", event("/doors", "1", "custom.door.opened", `{}`), nil)
	e.requireSettled(t)
	got := e.bySubject(t, bus.StreamDeliveries)
	require.Len(t, got, 1)
	require.Equal(t, "custom.door.opened", got["deliveries.custom.acme.w2"].Header.Get(bus.HeaderTrigger))
}

func TestEventThatNobodyAskedForIsDone(t *testing.T) {
	t.Parallel()
	e := setup(t)
	paused := webhook("w1", "acme", "meeting.booked")
	paused.GetWebhook().Status = configv1.WebhookStatus_WEBHOOK_STATUS_PAUSED
	e.configure(trigger("meeting.booked", `{}`), paused)
	e.run(t)
	e.publish(t, bookedSubject, event("/s", "1", "meeting.booked", `{}`), nil)
	e.publish(t, "events.beta.meeting.booked", event("/s", "1", "meeting.booked", `{}`), nil)
	e.requireSettled(t)
	require.EqualValues(t, 2, e.metrics.events.Load())
	require.Zero(t, e.count(t, bus.StreamDeliveries)+e.count(t, bus.StreamRejects))
	require.Equal(t, 2, e.count(t, bus.StreamEvents), "it stays in the history")
}

func TestHeadersOfPublishersDoNotTravelOn(t *testing.T) {
	t.Parallel()
	e := setup(t)
	e.run(t)
	const parent, state = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01", "vendor=1"
	forged := nats.Header{
		bus.HeaderTraceParent: {parent}, bus.HeaderTraceState: {state},
		bus.HeaderWebhookID: {"w9"}, bus.HeaderDeliveryID: {"forged"}, bus.HeaderAttempt: {"99"}, bus.HeaderParked: {"1"},
		bus.HeaderOrganization: {"beta"}, "Meetwire-Anything": {"x"}, "Nats-Anything": {"x"}, "Authorization": {"Bearer x"}, "Content-Type": {"x"},
	}
	at := e.publish(t, bookedSubject, event("/s", "1", "meeting.booked", `{}`), forged)
	bad := e.publish(t, bookedSubject, `{}`, forged)
	e.requireSettled(t)

	want := header("w1", "/s", "1", at)
	want[bus.HeaderTraceParent], want[bus.HeaderTraceState] = []string{parent}, []string{state}
	require.Equal(t, want, e.bySubject(t, bus.StreamDeliveries)[deliver1].Header)
	reject := e.bySubject(t, bus.StreamRejects)["rejects.acme"]
	require.NotNil(t, reject)
	require.Equal(t, rejected("acme", bookedSubject, bad, core.RuleRequired, "/specversion"), withoutDetail(t, reject))
}

// A trace is taken from headers, whatever their case, or from the event itself; what is no trace is dropped.
func TestTraceOfThePublisherTravelsOn(t *testing.T) {
	t.Parallel()
	e := setup(t)
	e.run(t)
	const parent, state = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01", "vendor=1"
	const inside = `{"specversion":"1.0","source":"/s","id":"%s","type":"meeting.booked","traceparent":"` + parent + `","tracestate":"` + state + `","data":{}}`
	want := make(map[string]nats.Header)
	for id, c := range map[string]struct {
		header        nats.Header
		document      string
		parent, state string
	}{
		"http":      {nats.Header{"Traceparent": {parent}, "Tracestate": {state}}, "", parent, state},
		"too-long":  {nats.Header{"traceparent": {parent}, "tracestate": {"a=" + strings.Repeat("x", 600)}}, "", parent, ""},
		"none":      {nats.Header{"traceparent": {"hello"}, "tracestate": {state}}, "", "", ""},
		"attribute": {nil, inside, parent, state},
		"binary": {nats.Header{
			"ce-specversion": {"1.0"}, "ce-source": {"/s"}, "ce-id": {"binary"}, "ce-type": {"meeting.booked"},
			"ce-traceparent": {parent}, "ce-tracestate": {state},
		}, `{}`, parent, state},
	} {
		document := strings.Replace(c.document, "%s", id, 1)
		if document == "" {
			document = event("/s", id, "meeting.booked", `{}`)
		}
		at := e.publish(t, bookedSubject, document, c.header)
		want[id] = header("w1", "/s", id, at)
		if c.parent != "" {
			want[id][bus.HeaderTraceParent] = []string{c.parent}
		}
		if c.state != "" {
			want[id][bus.HeaderTraceState] = []string{c.state}
		}
	}
	e.requireSettled(t)
	got := make(map[string]nats.Header)
	for _, msg := range e.messages(t, bus.StreamDeliveries) {
		if msg.Subject == deliver1 {
			got[msg.Header.Get(bus.HeaderEventID)] = msg.Header
		}
	}
	require.Equal(t, want, got)
}

func TestEventPublishedAgainIsTheSameDelivery(t *testing.T) {
	t.Parallel()
	e := setup(t)
	e.run(t)
	for range 3 { // without a message id, EVENTS stores all of them
		e.publish(t, bookedSubject, event("/s", "1", "meeting.booked", `{}`), nil)
	}
	e.requireSettled(t)
	require.Equal(t, 3, e.count(t, bus.StreamEvents))
	require.Len(t, e.bySubject(t, bus.StreamDeliveries), 2)
}

func TestSameIDOfTwoOrganizationsOrSourcesAreTwoEvents(t *testing.T) {
	t.Parallel()
	e := setup(t)
	e.configure(trigger("meeting.booked", `{}`), webhook("w1", "acme", "meeting.booked"), webhook("w4", "beta", "meeting.booked"))
	e.run(t)
	e.publish(t, bookedSubject, event("/one", "1", "meeting.booked", `{}`), nil)
	e.publish(t, bookedSubject, event("/two", "1", "meeting.booked", `{}`), nil)
	e.publish(t, "events.beta.meeting.booked", event("/one", "1", "meeting.booked", `{}`), nil)
	e.requireSettled(t)
	have := make(map[string]bool)
	for _, msg := range e.messages(t, bus.StreamDeliveries) {
		have[msg.Subject+" "+msg.Header.Get(bus.HeaderDeliveryID)] = true
	}
	require.Equal(t, map[string]bool{
		deliver1 + " " + bus.DeliveryID("acme", "/one", "1", "w1"):                       true,
		deliver1 + " " + bus.DeliveryID("acme", "/two", "1", "w1"):                       true,
		"deliveries.meeting-booked.beta.w4 " + bus.DeliveryID("beta", "/one", "1", "w4"): true,
	}, have)
}

func TestEverythingDoneTwiceHasOneEffect(t *testing.T) {
	t.Parallel()
	e := setup(t)
	stop := e.run(t)
	for i := range 20 {
		e.publish(t, bookedSubject, event("/s", fmt.Sprint(i), "meeting.booked", `{}`), nil)
		e.publish(t, bookedSubject, fmt.Sprint(i), nil)
		e.publish(t, "events.acme.nobody.knows", fmt.Sprint(i), nil)
		e.publish(t, "events.acme.custom.unknown", event("/s", fmt.Sprint(i), "custom.unknown", `{}`), nil)
	}
	e.requireSettled(t)
	require.Equal(t, 40, e.count(t, bus.StreamDeliveries))
	require.Equal(t, 60, e.count(t, bus.StreamRejects))
	stop()

	// Consumers that remember nothing get everything again.
	for _, name := range []string{"ingest-meeting-booked", "ingest-custom", bus.DurableEventIndex} {
		require.NoError(t, e.js.DeleteConsumer(newContext(t), bus.StreamEvents, name))
	}
	e.run(t)
	require.Eventually(t, func() bool { return e.metrics.events.Load() == 40 }, patience, tick)
	e.requireSettled(t)
	require.Equal(t, 40, e.count(t, bus.StreamDeliveries))
	require.Equal(t, 60, e.count(t, bus.StreamRejects))
}

func TestFullDeliveriesHoldEventsBack(t *testing.T) {
	t.Parallel()
	e := setup(t)
	stream, err := e.js.Stream(newContext(t), bus.StreamDeliveries)
	require.NoError(t, err)
	config := stream.CachedInfo().Config
	config.MaxBytes = 10_000
	_, err = e.js.UpdateStream(newContext(t), config)
	require.NoError(t, err)
	e.run(t)
	const n = 12 // two deliveries each, of which six have room
	for i := range n {
		e.publish(t, bookedSubject, event("/s", fmt.Sprint(i), "meeting.booked", `"`+strings.Repeat("x", 1000)+`"`), nil)
	}
	// The schema is not satisfied by a string, so these are refused and need no room.
	e.requireSettled(t)
	require.Equal(t, n, e.count(t, bus.StreamRejects))
	for i := range n {
		e.publish(t, bookedSubject, event("/s", fmt.Sprint(i), "meeting.booked", `{"title":"`+strings.Repeat("x", 1000)+`"}`), nil)
	}
	require.Eventually(t, func() bool {
		return e.metrics.events.Load() > 0 && e.unsettled(t) > 0 && e.count(t, bus.StreamDeliveries) >= 5
	}, patience, tick)
	require.Less(t, int(e.metrics.events.Load()), n)
	require.Equal(t, n, e.count(t, bus.StreamRejects), "waiting is no reason to refuse")

	// Whoever delivers makes room, a little at a time.
	consumer, err := e.js.CreateOrUpdateConsumer(newContext(t), bus.StreamDeliveries, e.worker.Config.DeliverConsumer("meeting-booked"))
	require.NoError(t, err)
	have := make(map[string]int)
	require.Eventually(t, func() bool {
		batch, err := consumer.Fetch(4, jetstream.FetchMaxWait(50*time.Millisecond))
		require.NoError(t, err)
		for msg := range batch.Messages() {
			have[msg.Headers().Get(bus.HeaderDeliveryID)]++
			require.NoError(t, msg.Ack())
		}
		return len(have) == 2*n
	}, patience, tick)
	e.requireSettled(t)
	require.Zero(t, e.count(t, bus.StreamDeliveries))
	for id, times := range have {
		require.Equal(t, 1, times, id)
	}
	require.EqualValues(t, n, e.metrics.events.Load())
}

func TestNothingIsLostOverARestartOfTheServer(t *testing.T) {
	t.Parallel()
	e := setup(t)
	e.worker.Config.AckWait = time.Second // answers are lost with the connection
	e.run(t)
	const n = 300
	publish := func(from, to int) {
		for i := from; i < to; i++ {
			require.Eventually(t, func() bool {
				// What was sent to a server that went away is never answered.
				ctx, cancel := context.WithTimeout(t.Context(), time.Second)
				defer cancel()
				msg := &nats.Msg{Subject: bookedSubject, Data: []byte(event("/s", fmt.Sprint(i), "meeting.booked", `{}`))}
				_, err := bus.Publish(ctx, e.js, msg, bus.EventMsgID("acme", "/s", fmt.Sprint(i)))
				return err == nil
			}, patience, tick)
		}
	}
	publish(0, n/2)
	e.server.Restart(t)
	publish(n/2, n)
	require.Eventually(t, func() bool { return e.count(t, bus.StreamDeliveries) == 2*n }, patience, tick)
	e.requireSettled(t)
	seen := make(map[string]bool)
	for _, msg := range e.messages(t, bus.StreamDeliveries) {
		seen[msg.Header.Get(bus.HeaderDeliveryID)] = true
	}
	require.Len(t, seen, 2*n, "each of them, and none twice")
}

func TestEventForManyWebhooks(t *testing.T) {
	t.Parallel()
	e := setup(t)
	const n = 500
	resources := []*configv1.Resource{trigger("meeting.booked", `{}`)}
	for i := range n {
		resources = append(resources, webhook(fmt.Sprintf("w%d", i), "acme", "meeting.booked"))
	}
	e.configure(resources...)
	e.run(t)
	e.publish(t, bookedSubject, event("/s", "1", "meeting.booked", `{}`), nil)
	e.requireSettled(t)
	require.Equal(t, n, e.count(t, bus.StreamDeliveries))
}

// Whatever a publisher calls an event and its source, it travels through headers unchanged.
func TestNamesSurviveHeaders(t *testing.T) {
	t.Parallel()
	e := setup(t)
	e.configure(trigger("meeting.booked", `{}`), webhook("w1", "acme", "meeting.booked"))
	e.run(t)
	names := rapid.StringN(1, core.MaxAttributeLength, -1)
	var wanted [][2]string
	wanted = append(wanted, [2]string{"/räume/会議", "🎉: a=b; \"c\" \u2028\ufeff\u00ad"}, [2]string{"\u200b", "%0d%0aNats-Rollup: all"})
	rapid.Check(t, func(rt *rapid.T) {
		source, id := names.Draw(rt, "source"), names.Draw(rt, "id")
		if _, err := core.Parse([]byte(jsonEvent(t, source, id))); err == nil && len(wanted) < 60 {
			wanted = append(wanted, [2]string{source, id})
		}
	})
	require.Greater(t, len(wanted), 10)
	for _, want := range wanted {
		e.publish(t, bookedSubject, jsonEvent(t, want[0], want[1]), nil)
	}
	e.requireSettled(t)
	have := make(map[[2]string]string)
	for _, msg := range e.messages(t, bus.StreamDeliveries) {
		have[[2]string{msg.Header.Get(bus.HeaderSource), msg.Header.Get(bus.HeaderEventID)}] = msg.Header.Get(bus.HeaderDeliveryID)
	}
	for _, want := range wanted {
		require.Equal(t, bus.DeliveryID("acme", want[0], want[1], "w1"), have[want], "%q", want)
	}
}
