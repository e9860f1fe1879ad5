package catalogue_test

import (
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// meetingFields returns what the bodies of the dialects are rendered from: every field of the meeting document, but
// those that only some of its triggers have.
func meetingFields() []string {
	return strings.Fields(`
		id previous_meeting_id booking_group_id application_id title edited_event_name
		status state start_time end_time duration_minutes create_time update_time
		capacity location mode_note details
		created_by created_by.type created_by.id created_by.full_name created_by.email
		event_type event_type.id event_type.name event_type.slug event_type.kind event_type.description
		event_type.duration_minutes event_type.location event_type.location_label
		event_type.confirmation_page_type event_type.confirmation_page_url
		event_type.pass_details_to_redirected_page event_type.notification_type event_type.is_secret
		event_type.position
		hosts hosts[].id hosts[].first_name hosts[].full_name hosts[].email hosts[].phone_number
		hosts[].job_title hosts[].image_url hosts[].locale hosts[].time_zone
		attendees attendees[].id attendees[].first_name attendees[].full_name attendees[].email
		attendees[].phone_number attendees[].locale attendees[].time_zone attendees[].status
		attendees[].is_no_show attendees[].cancellation attendees[].rescheduling
		teams teams[].id teams[].name
		answers answers[].question_id answers[].question_label answers[].question_type answers[].value
		notes notes[].id notes[].text notes[].create_time notes[].author notes[].author.type
		notes[].author.id notes[].author.full_name notes[].author.email
		reminders reminders[].id reminders[].channel reminders[].recipient reminders[].minutes_before
		reminders[].status
		follow_up follow_up.id follow_up.channel follow_up.minutes_after follow_up.subject
		follow_up.message follow_up.status
		external_ids external_ids[].system external_ids[].id
		calendar_event calendar_event.id calendar_event.calendar_id calendar_event.provider
		calendar_event.url
		payment payment.id payment.application_id payment.order_id payment.external_id payment.amount
		payment.currency payment.method payment.status payment.billing_name payment.billing_address
		payment.billing_address.line1 payment.billing_address.line2 payment.billing_address.city
		payment.billing_address.region payment.billing_address.postal_code
		payment.billing_address.country payment.email payment.note payment.amount_by_duration
		payment.payment_time payment.meeting_create_time payment.create_time payment.update_time
		cancellation rescheduling no_show`)
}

// onlyFields returns the fields that one trigger's meeting has more than the others'.
func onlyFields() map[string][]string {
	return map[string][]string{
		"meeting.booked": nil,
		"meeting.rescheduled": strings.Fields(`
			rescheduling.reschedule_time rescheduling.reason rescheduling.rescheduled_by
			rescheduling.rescheduled_by.type rescheduling.rescheduled_by.id
			rescheduling.rescheduled_by.full_name rescheduling.rescheduled_by.email
			rescheduling.previous_start_time rescheduling.previous_end_time
			rescheduling.previous_meeting_id rescheduling.new_meeting_id`),
		"meeting.canceled": strings.Fields(`
			cancellation.cancel_time cancellation.reason cancellation.canceled_by
			cancellation.canceled_by.type cancellation.canceled_by.id
			cancellation.canceled_by.full_name cancellation.canceled_by.email
			attendees[].cancellation.cancel_time attendees[].cancellation.reason
			attendees[].cancellation.canceled_by attendees[].cancellation.canceled_by.type
			attendees[].cancellation.canceled_by.id attendees[].cancellation.canceled_by.full_name
			attendees[].cancellation.canceled_by.email`),
		"meeting.no_show": strings.Fields(`
			no_show.mark_time no_show.marked_by no_show.marked_by.type no_show.marked_by.id
			no_show.marked_by.full_name no_show.marked_by.email no_show.reason no_show.attendee_ids
			no_show.host_ids`),
		"meeting.notes_ready": strings.Fields(`
			ai_notes ai_notes.id ai_notes.summary ai_notes.language ai_notes.create_time
			ai_notes.is_recording_ready ai_notes.is_transcript_ready
			ai_notes.categories ai_notes.categories[].id ai_notes.categories[].name
			ai_notes.categories[].items ai_notes.categories[].items[].text
			ai_notes.categories[].items[].start_seconds ai_notes.categories[].items[].end_seconds
			ai_notes.categories[].items[].speaker_name ai_notes.categories[].items[].speaker_email
			ai_notes.links ai_notes.links.meeting_url ai_notes.links.recording_url
			ai_notes.links.transcript_url`),
	}
}

// nullFields returns the fields that are null in a trigger's sample, since they do not apply to what happened.
func nullFields() map[string][]string {
	plain := []string{"previous_meeting_id", "cancellation", "rescheduling", "no_show", "attendees[].cancellation", "attendees[].rescheduling"}
	return map[string][]string{
		"meeting.booked":      plain,
		"meeting.notes_ready": plain,
		"meeting.rescheduled": {"cancellation", "no_show", "attendees[].cancellation", "attendees[].rescheduling"},
		"meeting.canceled":    {"previous_meeting_id", "rescheduling", "no_show", "attendees[].rescheduling"},
		"meeting.no_show":     {"previous_meeting_id", "cancellation", "rescheduling", "attendees[].cancellation", "attendees[].rescheduling"},
	}
}

// The schema describes neither more nor less than the meeting's fields, and each sample has all of them.
func TestMeetingSamplesAreComplete(t *testing.T) {
	t.Parallel()
	seen := 0
	for id, tr := range setup(t) {
		if !strings.HasPrefix(id, "meeting.") {
			continue
		}
		seen++
		only, ok := onlyFields()[id]
		require.True(t, ok, id)
		filled, null := make(map[string]bool), make(map[string]bool)
		for _, p := range tr.places(t) {
			require.True(t, p.present, "the sample of %s has no %s", id, p.field)
			if p.value == nil {
				null[p.field] = true
			} else {
				filled[p.field] = true
			}
		}
		want := append(meetingFields(), only...)
		for _, field := range want {
			nulled := slices.Contains(nullFields()[id], field)
			require.Equal(t, nulled, null[field], "%s: whether %s is null", id, field)
			require.Equal(t, !nulled, filled[field], "%s: whether %s has a value", id, field)
		}
		for field := range filled {
			require.Contains(t, want, field, id)
		}
		for field := range null {
			require.Contains(t, want, field, id)
		}
	}
	require.Len(t, onlyFields(), seen)
}

// A meeting without notes from software may still say so in fields of its own; the schema knows them only there.
func TestOnlyNotesReadyDescribesAINotes(t *testing.T) {
	t.Parallel()
	for id, tr := range setup(t) {
		_, ok := object(tr.root["$defs"])["ai_notes"]
		require.Equal(t, id == "meeting.notes_ready", ok, id)
	}
}

func TestOtherSamplesAreComplete(t *testing.T) {
	t.Parallel()
	for id, tr := range setup(t) {
		if strings.HasPrefix(id, "meeting.") {
			continue
		}
		for _, p := range tr.places(t) {
			require.NotNil(t, p.value, "the sample of %s has no %s", id, p.field)
		}
	}
}

func TestEveryPropertyIsDescribed(t *testing.T) {
	t.Parallel()
	name := regexp.MustCompile(`^[a-z][a-z0-9]*(_[a-z0-9]+)*$`)
	for id, tr := range setup(t) {
		require.NotEmpty(t, tr.root["title"], id)
		require.NotEmpty(t, tr.root["description"], id)
		for def, s := range object(tr.root["$defs"]) {
			require.NotEmpty(t, object(s)["description"], "%s: %s", id, def)
		}
		properties := 0
		eachProperty(tr.root, func(property string, s schema) {
			properties++
			at := id + ": " + property
			require.Regexp(t, name, property, id)
			description, ok := s["description"].(string)
			require.True(t, ok, at)
			require.Regexp(t, `^[A-Z].*\.$`, description, at)
			require.True(t, s["type"] != nil || s["$ref"] != nil || s["anyOf"] != nil, "%s has no type", at)
			requireUnit(t, at, property, description, s)
		})
		require.True(t, tr.Operational || properties > 15, id)
	}
}

// requireUnit checks that what a name promises about the unit or the format is described and enforced.
func requireUnit(t *testing.T, at, property, description string, s schema) {
	t.Helper()
	for _, rule := range []struct{ suffix, word, format string }{
		{"_time", "RFC 3339, in UTC", "date-time"},
		{"_date", "RFC 3339", "date"},
		{"_url", "URL", "uri"},
		{"time_zone", "IANA", ""},
		{"locale", "BCP 47", ""},
		{"language", "BCP 47", ""},
		{"currency", "ISO 4217", ""},
		{"country", "ISO 3166", ""},
		{"_minutes", "minutes", ""},
		{"minutes_before", "minutes", ""},
		{"minutes_after", "minutes", ""},
		{"_seconds", "seconds", ""},
		{"phone_number", "E.164", ""},
		{"amount", "units of the currency", ""},
		{"email", "RFC 5322", "email"},
	} {
		if !strings.HasSuffix(property, rule.suffix) || s["$ref"] != nil {
			continue
		}
		if rule.format != "" {
			require.Equal(t, rule.format, s["format"], at)
		}
		require.Contains(t, description, rule.word, at)
	}
}

// eachProperty calls f for every property in a schema, at every depth.
func eachProperty(value any, f func(property string, s schema)) {
	switch v := value.(type) {
	case map[string]any:
		for property, s := range object(v["properties"]) {
			f(property, object(s))
		}
		for _, member := range v {
			eachProperty(member, f)
		}
	case []any:
		for _, item := range v {
			eachProperty(item, f)
		}
	}
}
