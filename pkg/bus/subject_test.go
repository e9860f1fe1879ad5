package bus_test

import (
	"strings"
	"testing"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/meetwire/meetwire/pkg/bus"
)

func TestNames(t *testing.T) {
	t.Parallel()
	for name, want := range map[string]bool{
		"a": true, "acme": true, "0-9": true, "-": true, strings.Repeat("a", bus.MaxOrganizationLength): true,
		"": false, "Acme": false, "a.b": false, "a_b": false, "ä": false, "a b": false, "a\n": false, "*": false, ">": false,
		strings.Repeat("a", bus.MaxOrganizationLength+1): false,
	} {
		require.Equal(t, want, bus.IsOrganization(name), "%q", name)
	}
	for name, want := range map[string]bool{
		"meeting.booked": true, "custom.room.door_opened": true, "a.b.c.d": true, "m2.b_": true,
		"a." + strings.Repeat("b", bus.MaxTriggerLength-2): true,
		"": false, "meeting": false, "a.b.c.d.e": false, "Meeting.booked": false, "meeting-booked.x": false, "meeting.": false,
		".booked": false, "a..b": false, "1a.b": false, "a.*": false, "a.>": false, "a.b\n": false, "a b.c": false,
		"a." + strings.Repeat("b", bus.MaxTriggerLength-1): false,
	} {
		require.Equal(t, want, bus.IsTrigger(name), "%q", name)
	}
}

func TestSubjectsAreTheDocumentedOnes(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ want, have string }{
		{"events.acme.meeting.booked", bus.EventSubject("acme", "meeting.booked")},
		{"events.>", bus.EventsFilter()},
		{"events.acme events.acme.>", strings.Join(bus.EventOrganizationFilters("acme"), " ")},
		{"events.*.meeting.booked", bus.EventLaneFilter("meeting.booked")},
		{"events.*.custom.>", bus.EventLaneFilter(bus.LaneCustom)},
		{"meeting-booked", bus.Lane("meeting.booked")},
		{"custom", bus.Lane("custom.room.opened")},
		{"deliveries.meeting-booked.acme.w1", bus.DeliverySubject("meeting-booked", "acme", "w1")},
		{"deliveries.bulk.>", bus.DeliveryLaneFilter(bus.LaneBulk)},
		{"retries.at.acme.w1.d1", bus.RetryTimerSubject("acme", "w1", "d1")},
		{"retries.at.acme.w1.>", bus.RetryTimersFilter("acme", "w1")},
		{"retries.due.meeting-booked.acme.w1", bus.RetryDueSubject("meeting-booked", "acme", "w1")},
		{"retries.due.meeting-booked.>", bus.RetryDueLaneFilter("meeting-booked")},
		{"deadletters.meeting-booked.acme.w1.d1", bus.DeadLetterSubject("meeting-booked", "acme", "w1", "d1")},
		{"deadletters.*.acme.*.d1", bus.DeadLetterSubject(bus.AnyToken, "acme", bus.AnyToken, "d1")},
		{"records.acme.w1", bus.RecordSubject("acme", "w1")},
		{"rejects.acme", bus.RejectSubject("acme")},
		{"fanouts.acme", bus.FanOutSubject("acme")},
	} {
		require.Equal(t, c.want, c.have)
	}
}

func TestForeignSubjectsAreRefused(t *testing.T) {
	t.Parallel()
	for _, subject := range []string{"", "events", "events.", "events.acme.", "events..", "events..meeting.booked", "event.acme.a.b"} {
		_, _, err := bus.ParseEventSubject(subject)
		require.Error(t, err, "%q", subject)
	}
	for _, subject := range []string{
		"", "deliveries", "deliveries.a.b", "deliveries.a.b.c.d", "retries.at.acme.w1.d1", "retries.due.a.b", "retries.due.a.b.c.d", "events.a.b.c",
	} {
		_, err := bus.ParseWorkSubject(subject)
		require.Error(t, err, "%q", subject)
	}
}

func organizations() *rapid.Generator[string] { return rapid.StringMatching(`[a-z0-9-]{1,63}`) }

func triggers() *rapid.Generator[string] {
	return rapid.Custom(func(t *rapid.T) string {
		trigger := rapid.StringMatching(`[a-z][a-z0-9_]{0,20}(\.[a-z][a-z0-9_]{0,20}){1,3}`).Draw(t, "trigger")
		if rapid.Bool().Draw(t, "custom") {
			tokens := strings.Split(trigger, ".")
			tokens[0] = "custom"
			return strings.Join(tokens, ".")
		}
		return trigger
	})
}

func TestEveryTriggerHasOneLaneAndIsCarriedByIt(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		organization, one, other := organizations().Draw(t, "organization"), triggers().Draw(t, "one"), triggers().Draw(t, "other")
		require.True(t, bus.IsTrigger(one))
		lane := func(trigger string) string {
			if strings.HasPrefix(trigger, bus.CustomPrefix) {
				return bus.LaneCustom
			}
			return trigger
		}
		// What a consumer of a lane takes is what belongs there, and nothing else.
		require.Equal(t, lane(one) == lane(other),
			server.SubjectMatchesFilter(bus.EventSubject(organization, one), bus.EventLaneFilter(lane(other))))
		require.Equal(t, lane(one) == lane(other), bus.Lane(one) == bus.Lane(other))
		require.Equal(t, lane(one) == lane(other), server.SubjectMatchesFilter(
			bus.DeliverySubject(bus.Lane(one), organization, "w"), bus.DeliveryLaneFilter(bus.Lane(other))))
		require.Equal(t, lane(one) == lane(other), server.SubjectMatchesFilter(
			bus.RetryDueSubject(bus.Lane(one), organization, "w"), bus.RetryDueLaneFilter(bus.Lane(other))))
		require.NotEqual(t, bus.LaneBulk, bus.Lane(one))
		require.NotContains(t, bus.Lane(one), ".", "a lane is one token")
	})
}

func FuzzEventSubject(f *testing.F) {
	f.Add("acme", "meeting.booked")
	f.Add("", "x")
	f.Add("a.b", "c")
	f.Fuzz(func(t *testing.T, organization, trigger string) {
		subject := bus.EventSubject(organization, trigger)
		gotOrganization, gotTrigger, err := bus.ParseEventSubject(subject)
		if bus.IsOrganization(organization) && bus.IsTrigger(trigger) {
			require.NoError(t, err)
			require.Equal(t, organization, gotOrganization)
			require.Equal(t, trigger, gotTrigger)
			require.True(t, server.IsValidLiteralSubject(subject))
		}
		if err == nil {
			require.Equal(t, subject, bus.EventSubject(gotOrganization, gotTrigger))
			require.NotContains(t, gotOrganization, ".")
			require.NotEmpty(t, gotTrigger)
		}
	})
}

func FuzzParseEventSubject(f *testing.F) {
	f.Add("events.acme.meeting.booked")
	f.Add("events.acme")
	f.Fuzz(func(t *testing.T, subject string) {
		organization, trigger, err := bus.ParseEventSubject(subject)
		if err != nil {
			require.Empty(t, organization)
			require.Empty(t, trigger)
			return
		}
		require.NotEmpty(t, organization)
		require.Equal(t, subject, strings.TrimSuffix(bus.EventSubject(organization, trigger), "."))
	})
}

func FuzzParseWorkSubject(f *testing.F) {
	f.Add("deliveries.meeting-booked.acme.w1")
	f.Add("retries.due.meeting-booked.acme.w1")
	f.Add("retries.at.acme.w1.d1")
	f.Fuzz(func(t *testing.T, subject string) {
		work, err := bus.ParseWorkSubject(subject)
		switch {
		case err != nil:
			require.Zero(t, work)
		case work.Retry:
			require.Equal(t, subject, bus.RetryDueSubject(work.Lane, work.Organization, work.Webhook))
		default:
			require.Equal(t, subject, bus.DeliverySubject(work.Lane, work.Organization, work.Webhook))
		}
	})
}
