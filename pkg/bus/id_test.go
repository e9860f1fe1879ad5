package bus_test

import (
	"testing"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/meetwire/meetwire/pkg/bus"
)

// Receivers know deliveries by these ids, and streams tell repetitions by them: a release must not change them.
func TestIDsNeverChange(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ want, organization, source, event, webhook string }{
		{"d7172ea9-2f1f-53a7-af24-0456cbdad763", "acme", "/bookings", "bk_1", "3f0b6c1e-8f53-4b0e-9c55-0a4d7f9c2b11"},
		{"04d01b70-1545-50a8-82d8-9617eb4ca9e0", "acme", "/bookings", "bk_2", "3f0b6c1e-8f53-4b0e-9c55-0a4d7f9c2b11"},
		{"50cf3243-f917-5c77-b9c0-9013f0b02d07", "acme", "/räume", "会議-1", "3f0b6c1e-8f53-4b0e-9c55-0a4d7f9c2b11"},
		{"b3fd69a0-b5c5-506d-b4fd-1d22e01cfd6e", "", "", "", ""},
	} {
		require.Equal(t, c.want, bus.DeliveryID(c.organization, c.source, c.event, c.webhook))
	}
	for _, c := range []struct{ want, organization, source, event string }{
		{"acme:/bookings:bk_1", "acme", "/bookings", "bk_1"},
		{"acme:/bookings:bk:1", "acme", "/bookings", "bk:1"},
		{"acme:https%3A//calendar.example/rooms:bk_1", "acme", "https://calendar.example/rooms", "bk_1"},
		{"acme:50%25:100%", "acme", "50%", "100%"},
	} {
		require.Equal(t, c.want, bus.EventMsgID(c.organization, c.source, c.event))
	}
	require.Equal(t, "EVENTS:18446744073709551615", bus.ReplacementMsgID(bus.StreamEvents, 1<<64-1))
	require.Equal(t, "DELIVERIES:1", bus.ReplacementMsgID(bus.StreamDeliveries, 1))
	require.Equal(t, "fanout:18446744073709551615", bus.FanOutMsgID(1<<64-1, 0))
	require.Equal(t, "fanout:7:11", bus.FanOutMsgID(7, 11))
}

// identity is what makes an event, and with a webhook a delivery.
type identity struct{ organization, source, event, webhook string }

// identities draws few characters, so that parts often look alike, and never a control character.
func identities() *rapid.Generator[identity] {
	part := rapid.StringMatching(`[ab:%/é]{0,4}`)
	return rapid.Custom(func(t *rapid.T) identity {
		return identity{
			rapid.StringMatching(`[ab-]{1,3}`).Draw(t, "organization"), part.Draw(t, "source"),
			part.Draw(t, "event"), part.Draw(t, "webhook"),
		}
	})
}

func TestDifferentThingsHaveDifferentIDs(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		a, b := identities().Draw(t, "a"), identities().Draw(t, "b")
		delivery := func(i identity) string { return bus.DeliveryID(i.organization, i.source, i.event, i.webhook) }
		require.Equal(t, a == b, delivery(a) == delivery(b))
		parsed, err := uuid.Parse(delivery(a))
		require.NoError(t, err)
		require.Equal(t, uuid.Version(5), parsed.Version())

		a.webhook, b.webhook = "", ""
		require.Equal(t, a == b, bus.EventMsgID(a.organization, a.source, a.event) == bus.EventMsgID(b.organization, b.source, b.event))
	})
}

func TestEachComponentChangesTheDeliveryID(t *testing.T) {
	t.Parallel()
	seen := make(map[string]bool)
	for _, id := range []string{
		bus.DeliveryID("acme", "/s", "e", "w"), bus.DeliveryID("acme2", "/s", "e", "w"), bus.DeliveryID("acme", "/s2", "e", "w"),
		bus.DeliveryID("acme", "/s", "e2", "w"), bus.DeliveryID("acme", "/s", "e", "w2"), bus.DeliveryID("acme", "/se", "", "w"),
	} {
		require.False(t, seen[id])
		seen[id] = true
	}
}
