package natsbus_test

import (
	"encoding/json"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/stretchr/testify/require"

	"github.com/meetwire/meetwire/pkg/bus"
	"github.com/meetwire/meetwire/services/ingest/internal/core"
)

func jsonEvent(t testing.TB, source, id string) string {
	t.Helper()
	raw, err := json.Marshal(map[string]any{
		"specversion": "1.0", "source": source, "id": id, "type": "meeting.booked", "data": map[string]any{},
	})
	require.NoError(t, err)
	return string(raw)
}

// rejected is what a reject carries, but for the detail.
func rejected(organization, subject string, at stored, rule, field string) nats.Header {
	return nats.Header{
		bus.HeaderReason:        {rule},
		bus.HeaderField:         {field},
		bus.HeaderSubject:       {subject},
		bus.HeaderOrganization:  {organization},
		bus.HeaderEventSequence: {at.sequence},
		bus.HeaderAcceptedAt:    {at.at},
		nats.MsgIdHdr:           {"EVENTS:" + at.sequence},
	}
}

// withoutDetail returns the headers of a reject without the text for people, which must be there.
func withoutDetail(t *testing.T, msg *jetstream.RawStreamMsg) nats.Header {
	t.Helper()
	require.NotEmpty(t, msg.Header.Get(bus.HeaderDetail))
	msg.Header.Del(bus.HeaderDetail)
	return msg.Header
}

func TestWhatCannotBeAcceptedIsKeptWithTheReason(t *testing.T) {
	t.Parallel()
	booked := func(data string) string { return event("/s", "1", "meeting.booked", data) }
	for name, c := range map[string]struct{ subject, body, organization, rule, field, detail string }{
		"no JSON":                 {bookedSubject, `{"id":`, "acme", core.RuleJSON, "", "unexpected end"},
		"nothing":                 {bookedSubject, ``, "acme", core.RuleJSON, "", "JSON object"},
		"binary":                  {bookedSubject, "\x00\xff\x01", "acme", core.RuleUTF8, "", "UTF-8"},
		"a missing attribute":     {bookedSubject, strings.Replace(booked(`{}`), `"source"`, `"sauce"`, 1), "acme", core.RuleRequired, "/source", "required"},
		"no data":                 {bookedSubject, strings.Replace(booked(`{}`), `,"data":{}`, "", 1), "acme", core.RuleRequired, "/data", "required"},
		"257 KiB":                 {bookedSubject, booked(`"` + strings.Repeat("x", 257<<10) + `"`), "acme", core.RuleMaxBytes, "", "262144"},
		"another type":            {bookedSubject, event("/s", "1", "meeting.canceled", `{}`), "acme", core.RuleValue, "/type", "meeting.booked"},
		"data against the schema": {bookedSubject, booked(`{"title":1}`), "acme", core.RuleSchema, "/data/title", "string"},
		"a name twice":            {bookedSubject, booked(`{"title":"a","title":"b"}`), "acme", core.RuleDuplicateKey, "/data/title", "twice"},
		"too deep":                {bookedSubject, booked(strings.Repeat("[", 65) + strings.Repeat("]", 65)), "acme", core.RuleDepth, "/data" + strings.Repeat("/0", 64), "64"},
		"half a character":        {bookedSubject, booked(`["\ud83c"]`), "acme", core.RuleUTF8, "/data/0", "surrogate"},
		"a number too great":      {bookedSubject, booked(`{"title":1e1000001}`), "acme", core.RuleNumber, "/data/title", "308"},
		"a header in the id":      {bookedSubject, event("/s", "a\r\nNats-Rollup: all", "meeting.booked", `{}`), "acme", core.RuleControlCharacter, "/id", "control"},
		"an unknown organization": {"events.nobody.meeting.booked", booked(`{}`), "nobody", core.RuleUnknownOrganization, "", "exist"},
		"no organization":         {"events.Ä!.meeting.booked", booked(`{}`), "Ä!", core.RuleUnknownOrganization, "", "exist"},
		"no text":                 {"events.\xff.meeting.booked", booked(`{}`), "\xff", core.RuleUnknownOrganization, "", "exist"},
		"no text for a trigger":   {"events.acme.\xff", booked(`{}`), "acme", core.RuleUnknownTrigger, "/type", "trigger"},
		"an unknown trigger":      {"events.acme.meeting.eaten", event("/s", "1", "meeting.eaten", `{}`), "acme", core.RuleUnknownTrigger, "/type", "trigger"},
		"an unknown own trigger":  {"events.acme.custom.unknown", event("/s", "1", "custom.unknown", `{}`), "acme", core.RuleUnknownTrigger, "/type", "trigger"},
		"another's own trigger":   {"events.beta.custom.door.opened", event("/s", "1", "custom.door.opened", `{}`), "beta", core.RuleUnknownTrigger, "/type", "trigger"},
		"no own trigger":          {"events.acme.custom.Not.One", event("/s", "1", "custom.Not.One", `{}`), "acme", core.RuleUnknownTrigger, "/type", "trigger"},
		"no trigger":              {"events.acme.meeting", event("/s", "1", "meeting", `{}`), "acme", core.RuleUnknownTrigger, "/type", "trigger"},
		"too many tokens":         {"events.acme.a.b.c.d.e", "not even JSON", "acme", core.RuleUnknownTrigger, "/type", "trigger"},
		"no trigger at all":       {"events.acme", booked(`{}`), "acme", core.RuleUnknownTrigger, "/type", "trigger"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			e := setup(t)
			e.run(t)
			at := e.publish(t, c.subject, c.body, nil)
			e.requireSettled(t)
			got := e.bySubject(t, bus.StreamRejects)
			require.Len(t, got, 1)
			reject := got["rejects."+c.organization]
			require.NotNil(t, reject)
			require.Equal(t, c.body, string(reject.Data), "it is kept whole")
			require.Contains(t, reject.Header.Get(bus.HeaderDetail), c.detail)
			require.Equal(t, rejected(c.organization, c.subject, at, c.rule, c.field), withoutDetail(t, reject))
			require.Zero(t, e.count(t, bus.StreamDeliveries))
			// Two of the workers may look at what has no lane; it is one event.
			require.Contains(t, e.metrics.byRule(), c.rule)
			require.Zero(t, e.metrics.events.Load())
		})
	}
}

// The words of a publisher must not become headers, however many they are.
func TestDetailsFitIntoHeaders(t *testing.T) {
	t.Parallel()
	e := setup(t)
	e.configure(trigger("meeting.booked", `{"additionalProperties":{"type":"string","maxLength":3}}`))
	e.run(t)
	long := strings.Repeat("é\n", 100_000)
	data, err := json.Marshal(map[string]any{long[:60_000] + "\r\nNats-Rollup: all\u2028": 1})
	require.NoError(t, err)
	e.publish(t, bookedSubject, event("/s", "1", "meeting.booked", string(data)), nil)
	e.requireSettled(t)
	reject := e.bySubject(t, bus.StreamRejects)["rejects.acme"]
	require.NotNil(t, reject)
	require.Equal(t, core.RuleSchema, reject.Header.Get(bus.HeaderReason))
	require.LessOrEqual(t, len(reject.Header.Get(bus.HeaderField)), 1024)
	require.NotContains(t, reject.Header.Get(bus.HeaderField), "\n")
	require.Empty(t, reject.Header.Get("Nats-Rollup"))
}

// What an event names may have been configured a moment before it was published.
func TestNewEventsWaitForTheConfiguration(t *testing.T) {
	t.Parallel()
	e := setup(t)
	e.worker.Now = time.Now
	e.configure()
	e.run(t)
	body := event("/s", "1", "meeting.booked", `{}`)
	e.publish(t, bookedSubject, body, nil)
	own := event("/s", "2", "custom.door.opened", `{}`)
	e.publish(t, "events.acme.custom.door.opened", own, nil)
	require.Eventually(t, func() bool { return e.unsettled(t) == 3 }, patience, tick, "two lanes and the index wait")
	require.Zero(t, e.count(t, bus.StreamRejects))
	e.configure(
		trigger("meeting.booked", `{}`), ownTrigger("custom.door.opened", `{}`),
		webhook("w1", "acme", "meeting.booked", "custom.door.opened"),
	)
	e.requireSettled(t)
	require.Len(t, e.bySubject(t, bus.StreamDeliveries), 2)
	require.Zero(t, e.count(t, bus.StreamRejects))
}

func TestNewEventsDoNotWaitForever(t *testing.T) {
	t.Parallel()
	e := setup(t)
	e.worker.Now = time.Now
	e.run(t)
	began := time.Now()
	e.publish(t, "events.nobody.meeting.booked", event("/s", "1", "meeting.booked", `{}`), nil)
	e.publish(t, "events.acme.meeting.eaten", event("/s", "1", "meeting.eaten", `{}`), nil)
	e.requireSettled(t)
	require.Len(t, e.bySubject(t, bus.StreamRejects), 2)
	require.GreaterOrEqual(t, time.Since(began), 1900*time.Millisecond)
}

// While the feed is silent nobody knows what has been configured, however old the event.
func TestEventsWaitWhileTheConfigurationFeedIsSilent(t *testing.T) {
	t.Parallel()
	e := setup(t)
	var heard atomic.Bool
	e.worker.HeardSince = func(time.Time) bool { return heard.Load() }
	e.run(t)
	e.publish(t, "events.nobody.meeting.booked", event("/s", "1", "meeting.booked", `{}`), nil)
	require.Eventually(t, func() bool {
		durable, err := e.js.Consumer(newContext(t), bus.StreamEvents, "ingest-meeting-booked")
		return err == nil && durable.CachedInfo().NumRedelivered > 0
	}, patience, tick, "it is looked at again")
	require.Zero(t, e.count(t, bus.StreamRejects))
	heard.Store(true)
	e.requireSettled(t)
	require.Len(t, e.bySubject(t, bus.StreamRejects), 1)
}

func TestEventsInBinaryModeAreKeptWhole(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		contentType, body string
		want, rule, field string
		headers           bool // they are kept: no document can be made
	}{
		"a document can be made": {
			"application/json", `{"title":1}`,
			`{"datacontenttype":"application/json","id":"1","source":"/s","specversion":"1.0","type":"meeting.booked","data":{"title":1}}`,
			core.RuleSchema, "/data/title", false,
		},
		"text":         {"text/plain", `hello`, `hello`, core.RuleContentType, "/datacontenttype", true},
		"broken JSON":  {"application/json", `{"title":`, `{"title":`, core.RuleJSON, "/data", true},
		"a batch":      {"application/cloudevents-batch+json", `[]`, `[]`, core.RuleContentType, "", true},
		"much too big": {"application/json", `"` + strings.Repeat("x", core.MaxEventBytes) + `"`, `"` + strings.Repeat("x", core.MaxEventBytes) + `"`, core.RuleMaxBytes, "", true},
	} {
		for _, subject := range []string{bookedSubject, "events.acme.meeting.eaten"} {
			t.Run(name+" on "+subject, func(t *testing.T) {
				t.Parallel()
				e := setup(t)
				e.run(t)
				at := e.publish(t, subject, c.body, nats.Header{
					"ce-specversion": {"1.0"}, "Ce-Id": {"1"}, "ce-source": {"/s"}, "ce-type": {"meeting.booked"}, "Content-Type": {c.contentType},
					"Nats-Expected-Stream": {"EVENTS"}, "Meetwire-Webhook-Id": {"x"},
				})
				e.requireSettled(t)
				reject := e.bySubject(t, bus.StreamRejects)["rejects.acme"]
				require.NotNil(t, reject)
				require.Equal(t, c.want, string(reject.Data))
				want := rejected("acme", subject, at, c.rule, c.field)
				if subject != bookedSubject {
					want = rejected("acme", subject, at, core.RuleUnknownTrigger, "/type")
				}
				if c.headers {
					want["ce-specversion"], want["Ce-Id"], want["ce-source"], want["ce-type"] = []string{"1.0"}, []string{"1"}, []string{"/s"}, []string{"meeting.booked"}
					want["Content-Type"] = []string{c.contentType}
				}
				require.Equal(t, want, withoutDetail(t, reject))
			})
		}
	}
}

func TestEventsInBinaryModeAreFannedOutAsDocuments(t *testing.T) {
	t.Parallel()
	e := setup(t)
	e.run(t)
	e.publish(t, bookedSubject, `{"title":"é"}`, nats.Header{
		"ce-specversion": {"1.0"}, "ce-id": {"%C3%A9 1"}, "ce-source": {"/s"}, "ce-type": {"meeting.booked"}, "content-type": {"application/json"},
	})
	e.requireSettled(t)
	// In the other mode it is the same event.
	e.publish(t, bookedSubject, event("/s", "é 1", "meeting.booked", `{"title":"é"}`), nil)
	e.requireSettled(t)
	require.Zero(t, e.count(t, bus.StreamRejects))
	deliveries := e.bySubject(t, bus.StreamDeliveries)
	require.Len(t, deliveries, 2)
	delivery := deliveries[deliver1]
	require.JSONEq(t, `{"datacontenttype":"application/json","id":"é 1","source":"/s","specversion":"1.0","type":"meeting.booked","data":{"title":"é"}}`,
		string(delivery.Data))
	require.Equal(t, "é 1", delivery.Header.Get(bus.HeaderEventID))
	require.Empty(t, delivery.Header.Get("ce-id"))
}
