package natsbus_test

import (
	"fmt"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/nats-io/nats.go"
	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/meetwire/meetwire/pkg/bus"
	configv1 "github.com/meetwire/meetwire/proto/gen/meetwire/config/v1"
	ingestv1 "github.com/meetwire/meetwire/proto/gen/meetwire/ingest/v1"
	"github.com/meetwire/meetwire/services/ingest/internal/core"
)

// notes returns what FANOUTS says, by the message's id.
func (e *env) notes(t testing.TB) map[string]*ingestv1.FanOut {
	t.Helper()
	all := make(map[string]*ingestv1.FanOut)
	for _, msg := range e.messages(t, bus.StreamFanOuts) {
		note := &ingestv1.FanOut{}
		require.NoError(t, proto.Unmarshal(msg.Data, note))
		require.Equal(t, bus.FanOutSubject(note.GetOrganization()), msg.Subject)
		id := msg.Header.Get(nats.MsgIdHdr)
		require.Nil(t, all[id])
		all[id] = note
	}
	return all
}

func requireNote(t testing.TB, want, got *ingestv1.FanOut) {
	t.Helper()
	require.True(t, proto.Equal(want, got), "want %v\ngot  %v", want, got)
}

// storedTime is when EVENTS stored an event.
func storedTime(t testing.TB, at stored) *timestamppb.Timestamp {
	t.Helper()
	accepted, err := time.Parse(time.RFC3339Nano, at.at)
	require.NoError(t, err)
	return timestamppb.New(accepted)
}

// status returns a webhook of acme that asks for all meetings.
func status(id string, status configv1.WebhookStatus, filter string) *configv1.Resource {
	w := webhook(id, "acme", "meeting.*")
	w.GetWebhook().Status, w.GetWebhook().Filter, w.GetWebhook().Generation = status, filter, 4
	return w
}

const (
	active   = configv1.WebhookStatus_WEBHOOK_STATUS_ACTIVE
	paused   = configv1.WebhookStatus_WEBHOOK_STATUS_PAUSED
	disabled = configv1.WebhookStatus_WEBHOOK_STATUS_DISABLED
)

func TestWhatBecameOfAnEventIsTold(t *testing.T) {
	t.Parallel()
	e := setup(t)
	e.configure(trigger("meeting.booked", `{}`),
		status("active", active, ""), status("disabled", disabled, ""), status("paused", paused, `event.data.id == "mtg_1"`),
		status("paused and not concerned", paused, `event.data.id == "other"`), status("failing", active, `event.data.nothing > 1`),
	)
	e.run(t)
	body := strings.Replace(event("/s", "bk_1", "meeting.booked", `{"id":"mtg_1"}`), `{`, `{"time":"2026-01-31T12:00:00.5+01:00",`, 1)
	at := e.publish(t, bookedSubject, body, nil)
	e.requireSettled(t)
	got := e.notes(t)
	require.Len(t, got, 1)
	note := got["fanout:1"]
	require.Len(t, note.GetFilterFailures(), 1)
	why := note.GetFilterFailures()[0].GetError()
	require.Contains(t, why, "nothing")
	requireNote(t, &ingestv1.FanOut{
		EventSequence: 1, Organization: "acme", Trigger: "meeting.booked", Source: "/s", Id: "bk_1", Subject: "mtg_1",
		Time:       timestamppb.New(time.Date(2026, 1, 31, 11, 0, 0, 500e6, time.UTC)),
		AcceptTime: storedTime(t, at), MatchedCount: 2, SkippedCount: 1,
		Skips:          []*ingestv1.FanOut_Skip{{Webhook: "paused", Generation: 4}},
		FilterFailures: []*ingestv1.FanOut_FilterFailure{{Webhook: "failing", Error: why}},
	}, note)
	require.EqualValues(t, 1, e.metrics.filters.Load())
}

func TestWhatWasRejectedIsToldToo(t *testing.T) {
	t.Parallel()
	e := setup(t)
	e.run(t)
	garbage := e.publish(t, bookedSubject, "\xff", nil)
	invalid := e.publish(t, bookedSubject, event("/s", "1", "meeting.booked", `{"title":1,"id":"mtg_1"}`), nil)
	unknown := e.publish(t, "events.acme.meeting.unheard_of", event("/s", "2", "meeting.unheard_of", `{}`), nil)
	e.requireSettled(t)
	got := e.notes(t)
	require.Len(t, got, 3)
	requireNote(t, &ingestv1.FanOut{
		EventSequence: 1, Organization: "acme", Trigger: "meeting.booked", AcceptTime: storedTime(t, garbage), RejectRule: core.RuleUTF8,
	}, got["fanout:1"])
	requireNote(t, &ingestv1.FanOut{
		EventSequence: 2, Organization: "acme", Trigger: "meeting.booked", Source: "/s", Id: "1", Subject: "mtg_1",
		AcceptTime: storedTime(t, invalid), RejectRule: core.RuleSchema,
	}, got["fanout:2"])
	requireNote(t, &ingestv1.FanOut{
		EventSequence: 3, Organization: "acme", Trigger: "meeting.unheard_of", Source: "/s", Id: "2",
		AcceptTime: storedTime(t, unknown), RejectRule: core.RuleUnknownTrigger,
	}, got["fanout:3"])
}

// Every webhook that misses an event is named, in as many parts as that takes.
func TestManyWebhooksTakeSeveralParts(t *testing.T) {
	t.Parallel()
	e := setup(t)
	resources := []*configv1.Resource{trigger("meeting.booked", `{}`), status("active", active, "")}
	for i := range 2500 {
		resources = append(resources, status(fmt.Sprint("p", i), paused, ""))
	}
	for i := range 1001 {
		resources = append(resources, status(fmt.Sprint("f", i), active, `event.data.nothing > 1`))
	}
	e.configure(resources...)
	e.run(t)
	e.publish(t, bookedSubject, event("/s", "1", "meeting.booked", `{}`), nil)
	e.requireSettled(t)
	got := e.notes(t)
	require.Len(t, got, 3)
	skipped, failed := make(map[string]bool), make(map[string]bool)
	for part, id := range []string{"fanout:1", "fanout:1:1", "fanout:1:2"} {
		note := got[id]
		require.EqualValues(t, part, note.GetPart())
		require.EqualValues(t, 2500, note.GetSkippedCount())
		require.EqualValues(t, 1, note.GetMatchedCount())
		require.LessOrEqual(t, len(note.GetSkips()), 1000)
		require.LessOrEqual(t, len(note.GetFilterFailures()), 1000)
		for _, skip := range note.GetSkips() {
			skipped[skip.GetWebhook()] = true
		}
		for _, failure := range note.GetFilterFailures() {
			failed[failure.GetWebhook()] = true
			require.LessOrEqual(t, utf8.RuneCountInString(failure.GetError()), 256)
		}
	}
	require.Len(t, skipped, 2500)
	require.Len(t, failed, 1001)
}

// An event whose deliveries find no room waits for it, and goes on where it was: nobody gets it twice, nobody is left out.
func TestWhatBecameOfAnEventIsToldAfterItsDeliveriesAreStored(t *testing.T) {
	t.Parallel()
	e := setup(t)
	e.deliveries(t, 1)
	e.configure(trigger("meeting.booked", `{}`), status("w1", active, ""), status("w2", active, ""))
	stop := e.run(t)
	e.publish(t, bookedSubject, event("/s", "1", "meeting.booked", `{}`), nil)
	waits := func() bool {
		durable, err := e.js.Consumer(newContext(t), bus.StreamEvents, "ingest-meeting-booked")
		return err == nil && durable.CachedInfo().NumAckPending == 1 && e.count(t, bus.StreamDeliveries) == 1
	}
	require.Eventually(t, waits, patience, tick, "there is no room for the second delivery")
	require.Zero(t, e.count(t, bus.StreamFanOuts))
	stop() // it does not wait for room
	require.Zero(t, e.count(t, bus.StreamFanOuts))
	e.run(t)
	require.Eventually(t, waits, patience, tick)
	e.deliveries(t, -1)
	e.requireSettled(t)
	require.Equal(t, 2, e.count(t, bus.StreamDeliveries))
	note := e.notes(t)["fanout:1"]
	require.EqualValues(t, 2, note.GetMatchedCount())
	require.Empty(t, note.GetSkips())
}

// deliveries bounds how many messages DELIVERIES takes.
func (e *env) deliveries(t testing.TB, limit int64) {
	t.Helper()
	stream, err := e.js.Stream(newContext(t), bus.StreamDeliveries)
	require.NoError(t, err)
	config := stream.CachedInfo().Config
	config.MaxMsgs = limit
	_, err = e.js.UpdateStream(newContext(t), config)
	require.NoError(t, err)
}

// A worker that dies before it has acknowledged an event does everything again.
func TestEventThatComesAgainIsToldOnce(t *testing.T) {
	t.Parallel()
	e := setup(t)
	stop := e.run(t)
	e.publish(t, bookedSubject, event("/s", "1", "meeting.booked", `{}`), nil)
	e.publish(t, bookedSubject, "{}", nil)
	e.requireSettled(t)
	stop()
	stream, err := e.js.Stream(newContext(t), bus.StreamEvents)
	require.NoError(t, err)
	for _, durable := range []string{"ingest-meeting-booked", bus.DurableEventIndex} {
		require.NoError(t, stream.DeleteConsumer(newContext(t), durable))
	}
	e.run(t)
	e.requireSettled(t)
	require.EqualValues(t, 2, e.metrics.events.Load(), "it was fanned out twice")
	require.Len(t, e.notes(t), 2)
	require.Equal(t, 2, e.count(t, bus.StreamDeliveries))
}
