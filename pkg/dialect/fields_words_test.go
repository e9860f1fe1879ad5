package dialect_test

import (
	"regexp"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/meetwire/meetwire/pkg/dialect"
)

// Forms that the pages give to values.
const (
	isText    = "text"
	isNumber  = "number"
	isBoolean = "boolean"
	isObject  = "object"
	isList    = "list"
	isTexts   = "list of texts"
	isTime    = "time in UTC with milliseconds"
	isOffset  = "time with the offset +00:00"
	isPretty  = "time for people, 24 hours"
	isPretty2 = "time for people, AM or PM"
	isUUID    = "UUID"
	isType    = "namespace.event_name"
)

// has says whether a value has a form.
func has(form string, v any) bool {
	patterns := map[string]string{
		isText:    `(?s).`,
		isTime:    `^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$`,
		isOffset:  `^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\+00:00$`,
		isPretty:  `^[A-Z][a-z]+day, [A-Z][a-z]+ \d{1,2}, \d{4} \d\d:\d\d$`,
		isPretty2: `^[A-Z][a-z]+day, [A-Z][a-z]+ \d{1,2}, \d{4} at \d{1,2}:\d\d [AP]M$`,
		isUUID:    `^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$`,
		isType:    `^[a-z_]+\.[a-z_]+$`,
	}
	switch v := v.(type) {
	case string:
		pattern, ok := patterns[form]
		return ok && regexp.MustCompile(pattern).MatchString(v)
	case float64:
		return form == isNumber
	case bool:
		return form == isBoolean
	case map[string]any:
		return form == isObject
	case []any:
		if form != isTexts {
			return form == isList
		}
		for _, element := range v {
			if !has(isText, element) {
				return false
			}
		}
		return true
	default:
		return false
	}
}

// formsOf returns the form of every field whose page tells it, in words or by its example; nil for a dialect that is
// not known here.
func formsOf(name dialect.Name) map[string]string {
	switch name {
	case dialect.Standard:
		return map[string]string{"type": isType, "timestamp": isText, "data": isObject}
	case dialect.CloudEvents:
		return map[string]string{
			"specversion": isText, "id": isText, "source": isText, "type": isType, "time": isText, "datacontenttype": isText,
			"data": isObject,
		}
	case dialect.ACE, dialect.Avoma:
		return map[string]string{"event": isText, "id": isUUID, "created_at": isText, "data": isObject}
	case dialect.Axcelerate:
		return map[string]string{
			"type": isType, "message": isObject, "clientId": isNumber, "messageId": isUUID, "timestamp": isTime,
		}
	case dialect.Harmonizely:
		return map[string]string{
			"event": isText, "uuid": isUUID, "data.uuid": isText, "data.state": isText, "data.location": isText,
			"data.scheduled_at": isOffset, "data.end_date": isOffset, "data.pretty_scheduled_at": isPretty,
			"data.pretty_scheduled_at_in_invitee_timezone": isPretty2,
			"data.event_type.name":                         isText, "data.event_type.slug": isText, "data.event_type.duration": isNumber,
			"data.event_type.is_secret": isBoolean, "data.event_type.confirmation_page_type": isText,
			"data.event_type.notification_type": isText, "data.event_type.pass_details_to_redirected_page": isBoolean,
			"data.event_type.type": isText, "data.event_type.position": isNumber,
			"data.invitee.first_name": isText, "data.invitee.email": isText, "data.invitee.full_name": isText,
			"data.invitee.timezone": isText, "data.invitee.phone_number": isText, "data.invitee.locale": isText,
			"data.answers": isList, "data.answers[].question_label": isText, "data.answers[].question_type": isText,
		}
	case dialect.Orufy:
		return map[string]string{
			"eventType": isText, "meetData": isObject, "meetData._id": isText, "meetData.appId": isText, "meetData.eventId": isText,
			"meetData.time": isTime, "meetData.agents": isTexts, "meetData.attendeeIds": isTexts,
			"meetData.createByContact": isBoolean, "meetData.duration": isNumber, "meetData.externalIds": isTexts,
			"meetData.followUp": isObject, "meetData.markAsNoShow": isBoolean, "meetData.maxAttendees": isNumber,
			"meetData.modeNote": isText, "meetData.modifiedEventName": isText, "meetData.multipleBookingIdentifier": isText,
			"meetData.notes": isList, "meetData.reminders": isList, "meetData.status": isText, "meetData.type": isText,
			"meetData.agentsDetails": isList, "meetData.agentsDetails[]._id": isText, "meetData.agentsDetails[].email": isText,
			"meetData.attendees": isList, "meetData.attendees[]._id": isText, "meetData.attendees[].email": isText,
			"meetData.attendees[].status": isText, "meetData.attendees[].cancellation": isObject,
			"meetData.attendees[].reschedule": isObject,
			"meetData.payment.amount":         isNumber, "meetData.payment.currencyCode": isText, "meetData.payment.paymentTime": isTime,
			"meetData.payment.meetCreatedAt": isTime, "meetData.payment.createdAt": isTime, "meetData.payment.updatedAt": isTime,
			"meetData.payment.amountOnDuration": isObject, "meetData.payment.amountOnDuration.30": isNumber,
			"eventName": isText, "eventSlug": isText, "cancellation": isObject, "reschedule": isObject,
		}
	default:
		return nil
	}
}

func TestFieldsHaveTheFormsOfTheirPage(t *testing.T) {
	t.Parallel()
	for _, name := range dialect.Names() {
		forms := formsOf(name)
		require.NotEmpty(t, forms, name)
		for _, trigger := range documentedTriggers(name) {
			parsed := bodyOf(t, name, trigger)
			for path, form := range forms {
				values := at(parsed, path)
				require.NotEmpty(t, values, "%s: %s has no %s", name, trigger, path)
				for _, v := range values {
					require.True(t, has(form, v), "%s: %s: %s is no %s: %v", name, trigger, path, form, v)
				}
			}
		}
	}
	canceled := bodyOf(t, dialect.Harmonizely, "meeting.canceled")
	for path, form := range map[string]string{
		"data.canceled_at": isOffset, "data.pretty_canceled_at": isPretty, "data.pretty_canceled_at_in_invitee_timezone": isPretty2,
		"data.cancellation": isObject,
	} {
		require.True(t, has(form, at(canceled, path)[0]), path)
	}
	require.True(t, has(isObject, at(bodyOf(t, dialect.Harmonizely, "meeting.rescheduled"), "data.rescheduling")[0]))
}

// The page of Orufy Bookings says what is in the objects of a cancellation and of a rescheduling, and what is in them
// of the attendees of a meeting that was rescheduled.
func TestOrufyCancellationAndReschedule(t *testing.T) {
	t.Parallel()
	empty := map[string]any{}
	for trigger, want := range map[string]struct {
		details map[string]string // below cancellation or reschedule
		other   string            // the one that is empty
	}{
		"meeting.booked": {nil, ""},
		"meeting.canceled": {map[string]string{
			"cancellation.timestamp": isTime, "cancellation.reason": isText, "cancellation.cancelledBy": isObject,
			"cancellation.cancelledBy.fullName": isText,
		}, "reschedule"},
		"meeting.rescheduled": {map[string]string{
			"reschedule.timestamp": isTime, "reschedule.reason": isText, "reschedule.rescheduledBy": isObject,
			"reschedule.rescheduledBy.fullName": isText, "reschedule.newMeetId": isText, "prevMeetId": isText,
		}, "cancellation"},
	} {
		parsed := bodyOf(t, dialect.Orufy, trigger)
		for _, where := range []string{"", "meetData."} {
			for path, form := range want.details {
				values := at(parsed, where+path)
				require.Len(t, values, 1, "%s: %s", trigger, where+path)
				require.True(t, has(form, values[0]), "%s: %s is no %s: %v", trigger, where+path, form, values[0])
			}
			if want.other == "" {
				require.Equal(t, []any{empty}, at(parsed, where+"cancellation"))
				require.Equal(t, []any{empty}, at(parsed, where+"reschedule"))
			} else {
				require.Equal(t, []any{empty}, at(parsed, where+want.other), trigger)
			}
		}
	}
	moved := bodyOf(t, dialect.Orufy, "meeting.rescheduled")
	require.Equal(t, []any{"ACTIVE", "ACTIVE"}, at(moved, "meetData.attendees[].status"), "they are part of the new meeting")
	require.Equal(t, []any{empty, empty}, at(moved, "meetData.attendees[].cancellation"))
	require.Equal(t, []any{empty, empty}, at(moved, "meetData.attendees[].reschedule"))
	require.Equal(t, at(moved, "reschedule.newMeetId"), at(moved, "meetData._id"))
	require.NotEqual(t, at(moved, "prevMeetId"), at(moved, "meetData._id"))
	require.Equal(t, []any{"CANCELLED"}, at(bodyOf(t, dialect.Orufy, "meeting.canceled"), "meetData.status"))
	require.Equal(t, []any{"ACTIVE"}, at(moved, "meetData.status"))
}

func TestOrufyPayments(t *testing.T) {
	t.Parallel()
	for status, want := range map[string]string{"pending": "PENDING", "done": "DONE", "failed": "FAILED"} {
		got := body(t, dialect.Orufy, happened("meeting.booked", `{"payment":{"status":"`+status+`","method":"stripe"}}`))
		require.Contains(t, got, `"method":"STRIPE","status":"`+want+`"`)
	}
	require.Contains(t, body(t, dialect.Orufy, happened("meeting.booked", `{"payment":null}`)), `"payment":null`)
}

// What Avoma calls AI notes are the notes of the published document, whole.
func TestAvomaNotes(t *testing.T) {
	t.Parallel()
	ready := bodyOf(t, dialect.Avoma, "meeting.notes_ready")
	for path, form := range map[string]string{
		"data.ai_notes.summary": isText, "data.ai_notes.categories": isList, "data.ai_notes.categories[].name": isText,
		"data.ai_notes.categories[].items[].text": isText, "data.ai_notes.is_recording_ready": isBoolean,
		"data.ai_notes.is_transcript_ready": isBoolean, "data.ai_notes.links.meeting_url": isText,
		"data.ai_notes.links.recording_url": isText, "data.ai_notes.links.transcript_url": isText,
		"data.attendees[].email": isText, "data.hosts[].email": isText,
	} {
		values := at(ready, path)
		require.NotEmpty(t, values, path)
		for _, v := range values {
			require.True(t, has(form, v), "%s is no %s: %v", path, form, v)
		}
	}
}
