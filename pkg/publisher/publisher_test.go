package publisher

import (
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/otel/trace"

	"github.com/meetwire/meetwire/pkg/bus"
)

func TestPublishStoresTheEvent(t *testing.T) {
	t.Parallel()

	e := setup(t)
	ack, err := e.publisher.Publish(newContext(t), whole())
	require.NoError(t, err)
	require.Equal(t, Ack{Sequence: 1, ID: "booking-1:booked", Source: "/services/booking"}, ack)

	msg := message(t, e.js, 1)
	require.Equal(t, "events.acme.meeting.booked", msg.Subject)
	require.Equal(t, bus.EventMsgID("acme", "/services/booking", "booking-1:booked"), msg.Header.Get("Nats-Msg-Id"))
	require.Equal(t, "application/cloudevents+json", msg.Header.Get("Content-Type"))
	require.Empty(t, msg.Header.Get(bus.HeaderTraceParent))
	document, err := encode(whole())
	require.NoError(t, err)
	require.Equal(t, string(document), string(msg.Data))
}

func TestPublishFillsIn(t *testing.T) {
	t.Parallel()

	now := time.Date(2026, 3, 1, 10, 0, 0, 0, time.FixedZone("", 7200))
	e := setup(t, WithClock(func() time.Time { return now }))
	first, err := e.publisher.Publish(newContext(t), booked(""))
	require.NoError(t, err)
	second, err := e.publisher.Publish(newContext(t), booked(""))
	require.NoError(t, err)

	require.NotEqual(t, first.ID, second.ID)
	id, err := uuid.Parse(first.ID)
	require.NoError(t, err)
	require.Equal(t, uuid.Version(7), id.Version())
	attributes, data := cloudEvent(t, message(t, e.js, first.Sequence).Data)
	require.Equal(t, map[string]string{
		"specversion": "1.0", "id": first.ID, "source": "/services/booking", "type": "meeting.booked",
		"time": "2026-03-01T08:00:00Z", "datacontenttype": "application/json",
	}, attributes)
	require.JSONEq(t, `{"meeting_id":"m-1"}`, string(data))
}

func TestPublishTwiceIsADuplicate(t *testing.T) {
	t.Parallel()

	e := setup(t)
	first, err := e.publisher.Publish(newContext(t), booked("1"))
	require.NoError(t, err)
	require.False(t, first.Duplicate)

	again, err := e.publisher.Publish(newContext(t), booked("1"))
	require.NoError(t, err)
	require.True(t, again.Duplicate)
	require.Equal(t, first.Sequence, again.Sequence)
	require.Equal(t, 1, stored(t, e.js))
}

func TestPublishTellsEventsApartBySourceAndOrganization(t *testing.T) {
	t.Parallel()

	e := setup(t)
	other, source := booked("1"), booked("1")
	other.Organization = "other"
	source.Source = "/services/crm"
	for _, event := range []Event{booked("1"), other, source} {
		ack, err := e.publisher.Publish(newContext(t), event)
		require.NoError(t, err)
		require.False(t, ack.Duplicate)
	}
	require.Equal(t, 3, stored(t, e.js))
}

func TestPublishUpToTheLimit(t *testing.T) {
	t.Parallel()

	e := setup(t)
	event := whole()
	event.Data = ""
	empty, err := encode(event)
	require.NoError(t, err)
	event.Data = strings.Repeat("x", MaxEventBytes-len(empty))
	ack, err := e.publisher.Publish(newContext(t), event)
	require.NoError(t, err)
	require.Len(t, message(t, e.js, ack.Sequence).Data, MaxEventBytes)
}

func TestPublishRefusesBeforeSending(t *testing.T) {
	t.Parallel()

	e := setup(t)
	e.server.Shutdown() // nobody could take it

	event := booked("1")
	event.Data = strings.Repeat("x", MaxEventBytes)
	_, err := e.publisher.Publish(newContext(t), event)
	var field *FieldError
	require.ErrorAs(t, err, &field)
	require.Equal(t, MaxEventBytes, field.Limit)

	p, err := New(e.js)
	require.NoError(t, err)
	_, err = p.Publish(newContext(t), booked("1"))
	require.ErrorAs(t, err, &field)
	require.Equal(t, "source", field.Field)
}

func TestPublishCarriesTheTrace(t *testing.T) {
	t.Parallel()

	e := setup(t)
	state, err := trace.ParseTraceState("vendor=1")
	require.NoError(t, err)
	span := trace.NewSpanContext(trace.SpanContextConfig{
		TraceID: trace.TraceID{1}, SpanID: trace.SpanID{2}, TraceFlags: trace.FlagsSampled, TraceState: state,
	})
	ack, err := e.publisher.Publish(trace.ContextWithSpanContext(newContext(t), span), booked("1"))
	require.NoError(t, err)

	header := message(t, e.js, ack.Sequence).Header
	require.Equal(t, "00-01000000000000000000000000000000-0200000000000000-01", header.Get(bus.HeaderTraceParent))
	require.Equal(t, "vendor=1", header.Get(bus.HeaderTraceState))
}

func TestNewRefuses(t *testing.T) {
	t.Parallel()

	e := setup(t)
	_, err := New(nil)
	require.ErrorContains(t, err, "jetstream")
	_, err = New(e.js, WithClock(nil))
	require.ErrorContains(t, err, "clock")
	for _, d := range []time.Duration{0, -1, time.Minute + 1} {
		_, err = New(e.js, WithAttemptTimeout(d))
		require.ErrorContains(t, err, "attempt")
	}
	_, err = New(e.js, WithSource("/a\nb"))
	var field *FieldError
	require.ErrorAs(t, err, &field)
	require.Equal(t, "source", field.Field)
}
