package dialect_test

import (
	"encoding/json"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/meetwire/meetwire/pkg/dialect"
)

// documented returns the fields that the page of each dialect documents, whatever the trigger.
func documented() map[dialect.Name]string {
	// The pages of ACE and Avoma have no fields: these are ours.
	const ours = `event id created_at data`
	return map[dialect.Name]string{
		dialect.Standard:    `type timestamp data`,
		dialect.CloudEvents: `specversion id source type time datacontenttype data`,
		dialect.ACE:         ours,
		dialect.Avoma:       ours,
		dialect.Axcelerate:  `type message clientId messageId timestamp`,
		dialect.Orufy: `
			eventType meetData meetData._id meetData.appId meetData.eventId meetData.time meetData.agents
			meetData.attendeeIds meetData.createByContact meetData.duration meetData.externalIds meetData.followUp
			meetData.markAsNoShow meetData.maxAttendees meetData.modeNote meetData.modifiedEventName
			meetData.multipleBookingIdentifier meetData.notes meetData.reminders meetData.status meetData.type
			meetData.calendarEvent meetData.agentsDetails meetData.attendees
			meetData.attendees[].status meetData.attendees[].cancellation meetData.attendees[].reschedule
			meetData.payment meetData.payment._id meetData.payment.appId meetData.payment.amount
			meetData.payment.currencyCode meetData.payment.method meetData.payment.status
			meetData.payment.billingName meetData.payment.billingAddress meetData.payment.paymentTime
			meetData.payment.externalPaymentId meetData.payment.emailId meetData.payment.note
			meetData.payment.meetCreatedAt meetData.payment.amountOnDuration meetData.payment.orderId
			meetData.payment.createdAt meetData.payment.updatedAt
			meetData.eventName meetData.eventSlug meetData.cancellation meetData.prevMeetId meetData.reschedule
			eventName eventSlug cancellation prevMeetId reschedule`,
		dialect.Harmonizely: `
			data data.rescheduling data.pretty_canceled_at data.pretty_scheduled_at
			data.pretty_scheduled_at_in_invitee_timezone data.pretty_canceled_at_in_invitee_timezone
			data.event_type data.event_type.name data.event_type.location data.event_type.location_label
			data.event_type.description data.event_type.duration data.event_type.slug data.event_type.is_secret
			data.event_type.confirmation_page_type data.event_type.confirmation_page_url
			data.event_type.notification_type data.event_type.pass_details_to_redirected_page
			data.event_type.type data.event_type.position
			data.scheduled_at data.end_date data.invitee data.invitee.first_name data.invitee.email
			data.invitee.full_name data.invitee.timezone data.invitee.phone_number data.invitee.locale
			data.state data.canceled_at data.uuid data.notes data.details
			data.answers data.answers[].question_label data.answers[].value data.answers[].question_type
			data.location data.cancellation data.payment event uuid`,
	}
}

// documentedTriggers returns the triggers that the page of a dialect is about.
func documentedTriggers(name dialect.Name) []string {
	triggers := []string{"meeting.booked", "meeting.rescheduled", "meeting.canceled"}
	switch name {
	case dialect.Avoma:
		return append(triggers, "meeting.notes_ready")
	case dialect.Axcelerate:
		return append(triggers, "contact.updated", "enrolment.created", "assessment.completed")
	default:
		return triggers
	}
}

// nulls returns the documented fields that are null for a trigger, since they do not apply to what happened.
func nulls(name dialect.Name, trigger string) []string {
	canceled := strings.Fields(`data.pretty_canceled_at data.pretty_canceled_at_in_invitee_timezone data.canceled_at data.cancellation`)
	switch {
	case name == dialect.Orufy && trigger != "meeting.rescheduled":
		return strings.Fields(`meetData.prevMeetId prevMeetId`)
	case name == dialect.Harmonizely && trigger == "meeting.canceled":
		return []string{"data.rescheduling"}
	case name == dialect.Harmonizely && trigger == "meeting.rescheduled":
		return canceled
	case name == dialect.Harmonizely:
		return append(canceled, "data.rescheduling")
	default:
		return nil
	}
}

func TestBodiesHaveEveryFieldOfTheirPage(t *testing.T) {
	t.Parallel()
	pages := documented()
	requireEvery(t, slices.Collect(maps.Keys(pages))...)
	for name, fields := range pages {
		for _, trigger := range documentedTriggers(name) {
			parsed := bodyOf(t, name, trigger)
			null := nulls(name, trigger)
			for _, path := range strings.Fields(fields) {
				values := at(parsed, path)
				require.NotEmpty(t, values, "%s: %s has no %s", name, trigger, path)
				for _, v := range values {
					if slices.Contains(null, path) {
						require.Nil(t, v, "%s: %s: %s", name, trigger, path)
					} else {
						require.NotNil(t, v, "%s: %s: %s", name, trigger, path)
					}
				}
			}
		}
	}
}

func TestTriggersHaveTheNamesOfTheirPage(t *testing.T) {
	t.Parallel()
	const booked, moved, canceled = "meeting.booked", "meeting.rescheduled", "meeting.canceled"
	names := map[dialect.Name]map[string]string{
		dialect.Standard:    {booked: booked, "custom.a.b": "custom.a.b"},
		dialect.CloudEvents: {booked: booked, "custom.a.b": "custom.a.b"},
		dialect.ACE:         {booked: "create", moved: "reschedule", canceled: "cancel", "meeting.no_show": "meeting.no_show"},
		dialect.Avoma: {
			booked: "Meeting booked via scheduler", moved: "Meeting rescheduled via scheduler",
			canceled: "Meeting canceled via scheduler", "meeting.notes_ready": "AI notes ready", "custom.a.b": "custom.a.b",
		},
		dialect.Orufy:       {booked: "BOOK", moved: "RESCHEDULE", canceled: "CANCEL", "custom.a.b": "custom.a.b"},
		dialect.Harmonizely: {booked: "meetingScheduled", moved: "meetingRescheduled", canceled: "meetingCancelled"},
		dialect.Axcelerate: {
			booked: booked, "enrolment.created": "enrolment.created", "custom.a.b": "custom.a_b",
			"custom.a.b_c.d": "custom.a_b_c_d", "alone": "alone",
		},
	}
	members := map[dialect.Name]string{
		dialect.Standard: "type", dialect.CloudEvents: "type", dialect.ACE: "event", dialect.Avoma: "event",
		dialect.Orufy: "eventType", dialect.Harmonizely: "event", dialect.Axcelerate: "type",
	}
	requireEvery(t, slices.Collect(maps.Keys(names))...)
	requireEvery(t, slices.Collect(maps.Keys(members))...)
	for name, want := range names {
		for trigger, called := range want {
			require.Equal(t, called, dialect.TriggerName(name, trigger))
			var parsed map[string]any
			require.NoError(t, json.Unmarshal([]byte(body(t, name, happened(trigger, `{}`))), &parsed))
			require.Equal(t, called, parsed[members[name]], name)
		}
	}
	require.Equal(t, "a.b", dialect.TriggerName("nothing", "a.b"))
}

// A body of the form that the page of Harmonizely shows, down to the order of its fields and the way of writing times.
func TestHarmonizelyBodyHasTheFormOfThePage(t *testing.T) {
	t.Parallel()
	got := body(t, dialect.Harmonizely, happened("meeting.booked", `{
		"id": "m1", "state": "new", "start_time": "2021-06-23T09:30:00+02:00", "end_time": "2021-06-23T07:45:00Z",
		"location": "https://meet.example.com/1",
		"event_type": {"name": "First call", "slug": "first-call", "kind": "solo", "duration_minutes": 15, "is_secret": false,
			"confirmation_page_type": "internal", "notification_type": "email", "position": 0},
		"hosts": [{"id": "h", "time_zone": "Europe/Warsaw"}],
		"attendees": [{"first_name": "Ann", "full_name": "Ann Lee", "email": "ann@example.com", "time_zone": "America/New_York",
			"phone_number": "+12025550123", "locale": "en"}],
		"answers": [{"question_label": "Agree?", "value": true, "question_type": "checkbox"},
			{"question_label": "News?", "value": false, "question_type": "checkbox"},
			{"question_label": "Number?", "value": 9007199254740993, "question_type": "number"}]}`))
	want := `{"data":{"rescheduling":null,"pretty_canceled_at":null,` +
		`"pretty_scheduled_at":"Wednesday, June 23, 2021 09:30",` +
		`"pretty_scheduled_at_in_invitee_timezone":"Wednesday, June 23, 2021 at 3:30 AM",` +
		`"pretty_canceled_at_in_invitee_timezone":null,` +
		`"event_type":{"name":"First call","location":null,"location_label":null,"description":null,"duration":15,` +
		`"slug":"first-call","is_secret":false,"confirmation_page_type":"internal","confirmation_page_url":null,` +
		`"notification_type":"email","pass_details_to_redirected_page":false,"type":"regular","position":0},` +
		`"scheduled_at":"2021-06-23T07:30:00+00:00","end_date":"2021-06-23T07:45:00+00:00",` +
		`"invitee":{"first_name":"Ann","email":"ann@example.com","full_name":"Ann Lee","timezone":"America/New_York",` +
		`"phone_number":"+12025550123","locale":"en"},` +
		`"state":"new","canceled_at":null,"uuid":"m1","notes":null,"details":null,` +
		`"answers":[{"question_label":"Agree?","value":1,"question_type":"checkbox"},` +
		`{"question_label":"News?","value":0,"question_type":"checkbox"},` +
		`{"question_label":"Number?","value":9007199254740993,"question_type":"number"}],` +
		`"location":"https://meet.example.com/1","cancellation":null,"payment":null},` +
		`"event":"meetingScheduled","uuid":"0b3c7f6e-1111-5222-8333-444455556666"}`
	require.Equal(t, want, got)
}

func TestHarmonizelyKinds(t *testing.T) {
	t.Parallel()
	for kind, want := range map[string]string{
		"solo": "regular", "group": "group", "round_robin": "regular", "collective": "regular", "": "regular",
	} {
		got := body(t, dialect.Harmonizely, happened("meeting.booked", `{"event_type":{"kind":"`+kind+`"}}`))
		require.Contains(t, got, `"type":"`+want+`"`, kind)
	}
}

// What a machine calls its own zone, or a file, is none that a meeting can be in. Without one it is UTC.
func TestHarmonizelyTimeZonesThatAreNone(t *testing.T) {
	t.Parallel()
	for _, zone := range []string{
		`null`, `7`, `""`, `"Local"`, `"Nowhere/Land"`, `"../../etc/passwd"`, `"/etc/localtime"`, `"Europe"`, `"a\u0000b"`,
		`"` + strings.Repeat("A", 5000) + `"`,
	} {
		got := body(t, dialect.Harmonizely, happened("meeting.booked", `{"start_time":"2021-06-23T07:30:00Z",
			"hosts":[{"time_zone":`+zone+`}],"attendees":[{"time_zone":`+zone+`}]}`))
		require.Contains(t, got, `"pretty_scheduled_at":"Wednesday, June 23, 2021 07:30"`, zone)
		require.Contains(t, got, `"pretty_scheduled_at_in_invitee_timezone":"Wednesday, June 23, 2021 at 7:30 AM"`, zone)
	}
}

func TestOrufyWords(t *testing.T) {
	t.Parallel()
	for status, want := range map[string]string{"active": "ACTIVE", "canceled": "CANCELLED", "no_show": "NO_SHOW"} {
		got := body(t, dialect.Orufy, happened("meeting.booked", `{"status":"`+status+`"}`))
		require.Contains(t, got, `"status":"`+want+`"`)
	}
	for kind, want := range map[string]string{
		"solo": "SOLO", "group": "GROUP", "round_robin": "ROUNDROBIN", "collective": "COLLECTIVE",
	} {
		got := body(t, dialect.Orufy, happened("meeting.booked", `{"event_type":{"kind":"`+kind+`"}}`))
		require.Contains(t, got, `"type":"`+want+`"`)
	}
	contact := body(t, dialect.Orufy, happened("meeting.booked", `{"created_by":{"type":"contact"}}`))
	require.Contains(t, contact, `"createByContact":true`)
	host := body(t, dialect.Orufy, happened("meeting.booked", `{"created_by":{"type":"host"},
		"start_time":"2026-01-01T10:00:00Z","end_time":"2026-01-01T10:45:00Z",
		"attendees":[{"is_no_show":false},{"is_no_show":true}],"rescheduling":{"previous_meeting_id":"m0"}}`))
	require.Contains(t, host, `"createByContact":false`)
	require.Contains(t, host, `"duration":45`, "when only the times are known")
	require.Contains(t, host, `"markAsNoShow":true,"maxAttendees"`)
	require.Contains(t, host, `"prevMeetId":"m0"`)
}

// What the pages do not know is added as it was published.
func TestMeetingTriggersThatAPageDoesNotKnow(t *testing.T) {
	t.Parallel()
	for trigger, member := range map[string]string{"meeting.no_show": "no_show", "meeting.notes_ready": "ai_notes"} {
		var data map[string]any
		require.NoError(t, json.Unmarshal(sample(t, trigger), &data))
		require.NotEmpty(t, data[member])
		orufy := map[string]string{"no_show": "noShow", "ai_notes": "aiNotes"}[member]
		require.Equal(t, []any{data[member]}, at(bodyOf(t, dialect.Orufy, trigger), "meetData."+orufy))
		require.Equal(t, []any{data[member]}, at(bodyOf(t, dialect.Harmonizely, trigger), "data."+member))
		require.Empty(t, at(bodyOf(t, dialect.Orufy, "meeting.booked"), "meetData."+orufy))
		require.Empty(t, at(bodyOf(t, dialect.Harmonizely, "meeting.booked"), "data."+member))
	}
}
