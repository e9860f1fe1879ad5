package natsbus_test

import (
	"context"
	"fmt"
	"io"
	"testing"
	"time"

	"github.com/cloudevents/sdk-go/v2/binding"
	"github.com/cloudevents/sdk-go/v2/binding/format"
	"github.com/cloudevents/sdk-go/v2/binding/spec"
	cloudevents "github.com/cloudevents/sdk-go/v2/event"
	"github.com/cloudevents/sdk-go/v2/types"
	"github.com/stretchr/testify/require"

	"github.com/meetwire/meetwire/pkg/bus"
)

// natsWriter writes what the SDK says of an event as the SDK's binding of NATS does: the mode is in the content type, and
// each attribute in a header.
type natsWriter struct {
	header map[string][]string
	body   []byte
}

func (w *natsWriter) read(from io.Reader) (err error) {
	w.body, err = io.ReadAll(from)
	return err
}

func (w *natsWriter) SetStructuredEvent(_ context.Context, f format.Format, event io.Reader) error {
	w.header = map[string][]string{"content-type": {f.MediaType()}}
	return w.read(event)
}

func (w *natsWriter) Start(context.Context) error {
	w.header = make(map[string][]string)
	return nil
}

func (w *natsWriter) SetAttribute(attribute spec.Attribute, value any) error {
	return w.SetExtension(attribute.Name(), value)
}

func (w *natsWriter) SetExtension(name string, value any) error {
	if value == nil {
		return nil
	}
	text, err := types.Format(value)
	if err != nil {
		return fmt.Errorf("write %s: %w", name, err)
	}
	w.header["ce-"+name] = []string{text}
	return nil
}

func (w *natsWriter) SetData(data io.Reader) error { return w.read(data) }

func (w *natsWriter) End(context.Context) error { return nil }

// sdkEvents returns events that the SDK has made.
func sdkEvents(t *testing.T) map[string]cloudevents.Event {
	t.Helper()
	all := make(map[string]cloudevents.Event)
	add := func(name string, data any, change func(e *cloudevents.Event)) {
		e := cloudevents.New()
		e.SetID(name)
		e.SetSource("/bookings")
		e.SetType("meeting.booked")
		require.NoError(t, e.SetData(cloudevents.ApplicationJSON, data))
		change(&e)
		require.NoError(t, e.Validate())
		all[name] = e
	}
	add("the least", map[string]any{"a": 1}, func(*cloudevents.Event) {})
	add("everything", map[string]any{"id": "m1", "list": []any{1.5, "é", nil, true}}, func(e *cloudevents.Event) {
		e.SetSubject("room/1")
		e.SetTime(time.Date(2026, 1, 31, 12, 0, 0, 123456789, time.UTC))
		e.SetDataSchema("https://example.com/schemas/1")
		e.SetExtension("mwteams", "red,blue")
		e.SetExtension("mweventtype", "intro-call")
		e.SetExtension("flag", "true")
	})
	add("characters", map[string]any{"title": "会議 <&> \u2028"}, func(e *cloudevents.Event) {
		e.SetID(`会議-"é" \ 🎉 100%`)
		e.SetSource("urn:rooms:1#é")
	})
	add("a list as data", []int{1, 2}, func(*cloudevents.Event) {})
	add("a text as data", "text", func(*cloudevents.Event) {})
	return all
}

// What the SDK of CloudEvents publishes is taken, in both modes, and the SDK reads what is delivered as the same event.
func TestEventsOfTheCloudEventsSDK(t *testing.T) {
	t.Parallel()
	e := setup(t)
	e.configure(trigger("meeting.booked", `{}`), webhook("w1", "acme", "meeting.booked"))
	e.run(t)
	sent := make(map[string]cloudevents.Event)
	for _, event := range sdkEvents(t) {
		for called, mode := range map[string]func(context.Context) context.Context{
			"structured": binding.WithForceStructured, "binary": binding.WithForceBinary,
		} {
			event := event.Clone()
			event.SetID(event.ID() + " " + called)
			w := &natsWriter{}
			_, err := binding.Write(mode(t.Context()), binding.ToMessage(&event), w, w)
			require.NoError(t, err)
			e.publish(t, bookedSubject, string(w.body), w.header)
			sent[event.ID()] = event
		}
	}
	e.requireSettled(t)
	require.Empty(t, e.messages(t, bus.StreamRejects))
	deliveries := e.messages(t, bus.StreamDeliveries)
	require.Len(t, deliveries, len(sent))
	for _, delivery := range deliveries {
		want, ok := sent[delivery.Header.Get(bus.HeaderEventID)]
		require.True(t, ok, delivery.Header.Get(bus.HeaderEventID))
		var received cloudevents.Event
		require.NoError(t, format.JSON.Unmarshal(delivery.Data, &received))
		require.NoError(t, received.Validate())
		require.JSONEq(t, string(want.Data()), string(received.Data()))
		require.Equal(t, want.ID(), received.ID())
		require.Equal(t, want.Source(), received.Source())
		require.Equal(t, want.Subject(), received.Subject())
		require.Equal(t, want.DataSchema(), received.DataSchema())
		require.Equal(t, want.DataContentType(), received.DataContentType())
		require.Equal(t, want.Extensions(), received.Extensions())
		require.True(t, want.Time().Equal(received.Time()))
	}
}
