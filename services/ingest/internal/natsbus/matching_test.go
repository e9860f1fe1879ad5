package natsbus_test

import (
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/meetwire/meetwire/pkg/bus"
	configv1 "github.com/meetwire/meetwire/proto/gen/meetwire/config/v1"
	"github.com/meetwire/meetwire/services/ingest/internal/core"
)

func TestMatchingDecidesWhoGetsAnEvent(t *testing.T) {
	t.Parallel()
	e := setup(t)
	with := func(id string, change func(*configv1.Webhook)) *configv1.Resource {
		w := webhook(id, "acme", "meeting.*")
		change(w.GetWebhook())
		return w
	}
	e.configure(trigger("meeting.booked", `{}`),
		with("all", func(*configv1.Webhook) {}),
		with("team", func(w *configv1.Webhook) { w.Teams = []string{"sales"} }),
		with("other-team", func(w *configv1.Webhook) { w.Teams = []string{"core"} }),
		with("type", func(w *configv1.Webhook) { w.EventTypes = []string{"intro"} }),
		with("other-type", func(w *configv1.Webhook) { w.EventTypes = []string{"demo"} }),
		with("filter", func(w *configv1.Webhook) { w.Filter = `event.data.minutes == 30` }),
		with("other-filter", func(w *configv1.Webhook) { w.Filter = `event.data.minutes == 31` }),
		with("broken-filter", func(w *configv1.Webhook) { w.Filter = `event.data.price > 1` }),
		with("paused", func(w *configv1.Webhook) { w.Status = configv1.WebhookStatus_WEBHOOK_STATUS_PAUSED }),
		with("disabled", func(w *configv1.Webhook) { w.Status = configv1.WebhookStatus_WEBHOOK_STATUS_DISABLED }),
	)
	e.run(t)
	e.publish(t, bookedSubject, `{"specversion":"1.0","id":"1","source":"/s","type":"meeting.booked","mwteams":"support, sales","mweventtype":"intro","data":{"minutes":30}}`, nil)
	e.requireSettled(t)
	var got []string
	for _, msg := range e.messages(t, bus.StreamDeliveries) {
		got = append(got, msg.Header.Get(bus.HeaderWebhookID))
	}
	require.ElementsMatch(t, []string{"all", "team", "type", "filter", "disabled"}, got)
	require.EqualValues(t, 1, e.metrics.filters.Load())
}

func TestDataThatASchemaOnlyWarnsOfIsFannedOut(t *testing.T) {
	t.Parallel()
	e := setup(t)
	warns := trigger("meeting.booked", `{"required":["title"]}`)
	warns.GetTrigger().SchemaWarnOnly = true
	e.configure(warns, webhook("w1", "acme", "meeting.booked"))
	e.run(t)
	e.publish(t, bookedSubject, event("/s", "1", "meeting.booked", `{}`), nil)
	e.publish(t, bookedSubject, event("/s", "2", "meeting.booked", `{"title":"x"}`), nil)
	e.requireSettled(t)
	require.Equal(t, 2, e.count(t, bus.StreamDeliveries))
	require.Zero(t, e.count(t, bus.StreamRejects))
	require.EqualValues(t, 1, e.metrics.warned.Load())
}

func TestOperationalEventsAreTakenFromMeetwireOnly(t *testing.T) {
	t.Parallel()
	e := setup(t)
	operational := trigger("meeting.booked", `{}`) // its lane runs; which trigger it is does not matter
	operational.GetTrigger().Operational = true
	e.configure(operational, webhook("w1", "acme", "meeting.booked"))
	e.run(t)
	id := func(n string) string { return bus.EventMsgID("acme", bus.OperationalSource, n) }
	proof := func(of string) nats.Header {
		return nats.Header{nats.MsgIdHdr: {of}, bus.HeaderOperational: {bus.OperationalToken(serviceToken, of)}}
	}
	good := e.publish(t, bookedSubject, event(bus.OperationalSource, "1", "meeting.booked", `{}`), proof(id("1")))
	e.publish(t, bookedSubject, event(bus.OperationalSource, "2", "meeting.booked", `{}`), nil)
	// A proof is for one event of one organization.
	e.publish(t, bookedSubject, event(bus.OperationalSource, "3", "meeting.booked", `{}`),
		nats.Header{nats.MsgIdHdr: {id("3")}, bus.HeaderOperational: {bus.OperationalToken(serviceToken, id("1"))}})
	e.publish(t, bookedSubject, event(bus.OperationalSource, "4", "meeting.booked", `{}`), proof("acme:anything:1"))
	e.publish(t, "events.beta.meeting.booked", event(bus.OperationalSource, "5", "meeting.booked", `{}`), proof(id("5")))
	e.publish(t, bookedSubject, event("/s", "6", "meeting.booked", `{}`), proof(bus.EventMsgID("acme", "/s", "6")))
	e.requireSettled(t)

	got := e.bySubject(t, bus.StreamDeliveries)
	require.Len(t, got, 1)
	require.Equal(t, header("w1", bus.OperationalSource, "1", good), got[deliver1].Header, "the proof stays in EVENTS")
	require.Equal(t, map[string]int{core.RuleReservedTrigger: 5}, e.metrics.byRule())
	for _, msg := range e.messages(t, bus.StreamRejects) {
		require.Equal(t, core.RuleReservedTrigger, msg.Header.Get(bus.HeaderReason))
		require.Equal(t, "/type", msg.Header.Get(bus.HeaderField))
	}
}

// What happened before a trigger was registered was of an unknown trigger; what happened since is its own, whenever
// its lane begins.
func TestTriggerOfThePlatformBeginsWithItsRegistration(t *testing.T) {
	t.Parallel()
	e := setup(t)
	before := e.publish(t, bookedSubject, event("/s", "before", "meeting.booked", `{}`), nil)
	stream, err := e.js.Stream(newContext(t), bus.StreamEvents)
	require.NoError(t, err)
	last, err := stream.GetLastMsgForSubject(newContext(t), bookedSubject)
	require.NoError(t, err)
	start := last.Time.Add(time.Millisecond)
	require.Eventually(t, func() bool { return time.Now().After(start.Add(time.Millisecond)) }, patience, time.Millisecond)
	e.publish(t, bookedSubject, event("/s", "after", "meeting.booked", `{}`), nil)

	booked := trigger("meeting.booked", `{}`)
	booked.GetTrigger().CreateTime = timestamppb.New(start.Add(core.ConfigurationDelay))
	e.start = map[string]time.Time{"meeting.booked": start}
	e.configure(booked, webhook("w1", "acme", "meeting.booked"))
	e.run(t)
	e.requireSettled(t)
	delivered := e.bySubject(t, bus.StreamDeliveries)
	require.Len(t, delivered, 1)
	require.Equal(t, "after", delivered[deliver1].Header.Get(bus.HeaderEventID))
	rejects := e.bySubject(t, bus.StreamRejects)
	require.Len(t, rejects, 1)
	require.Equal(t, rejected("acme", bookedSubject, before, core.RuleUnknownTrigger, "/type"), withoutDetail(t, rejects["rejects.acme"]))
}
