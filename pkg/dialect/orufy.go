package dialect

import (
	"encoding/json"
	"strings"
)

// orufy is that of Orufy Bookings' webhooks. Its page explains the fields of the body. What they look like where it
// does not say, the signature and that https is required are ours. Of failures the page says nothing: the defaults are
// those of the standard, and the alert e-mails go, as in every dialect, to the addresses that the webhook or its
// organization has.
type orufy struct{}

func (orufy) Name() Name { return Orufy }

func (orufy) Traits() Traits {
	return Traits{
		Title: "Orufy Bookings", ContentType: "application/json",
		SignatureHeaders: signatureHeaders(Orufy), Encodings: encodings(Orufy), Secret: textRules(),
		Retry: standardRetry(), Failures: standardFailures(), GoneDisables: true,
	}
}

func (orufy) TriggerName(trigger string) string {
	return triggerNames{booked: "BOOK", rescheduled: "RESCHEDULE", canceled: "CANCEL"}.of(trigger)
}

// body has the meeting in the fields of the page. A trigger of the meeting that the page does not know has one more:
// `noShow`, `aiNotes`, with the values that were published. They are read and written again, with all of the meeting:
// numbers stay as they were, but members come in the order of their names, and of two with one name the last is left.
func (o orufy) body(d *delivery) ([]byte, error) {
	event := o.TriggerName(d.Trigger)
	meeting, ok := object(d.data)
	if !ok || !isMeeting(d.Trigger) {
		return envelope(field{"eventType", quote(event)}, field{"meetData", d.dataOrNull()}), nil
	}
	body := orufyBody{EventType: event, MeetData: orufyMeetOf(meeting)}
	switch d.Trigger {
	case triggerNoShow:
		body.MeetData.NoShow = extra(meeting.at("no_show"))
	case triggerNotesReady:
		body.MeetData.AINotes = extra(meeting.at("ai_notes"))
	}
	body.orufyAside = body.MeetData.orufyAside
	return encode(body)
}

// extra is a member that only some triggers have; a pointer, so that null is written and absence is not.
func extra(v value) *any { return &v.any }

// orufyBody is the body.
type orufyBody struct {
	EventType string    `json:"eventType"`
	MeetData  orufyMeet `json:"meetData"`
	// The page lists these after all that belongs to the meeting, without saying whether they are within meetData.
	// They are in both places.
	orufyAside
}

// orufyMeet is a meeting. Its fields are in the order of the page.
type orufyMeet struct {
	ID                        any             `json:"_id"`
	AppID                     any             `json:"appId"`
	EventID                   any             `json:"eventId"`
	Time                      any             `json:"time"`
	Agents                    []string        `json:"agents"`
	AttendeeIDs               []string        `json:"attendeeIds"`
	CreateByContact           bool            `json:"createByContact"`
	Duration                  any             `json:"duration"`
	ExternalIDs               []string        `json:"externalIds"`
	FollowUp                  any             `json:"followUp"`
	MarkAsNoShow              bool            `json:"markAsNoShow"`
	MaxAttendees              any             `json:"maxAttendees"`
	ModeNote                  any             `json:"modeNote"`
	ModifiedEventName         any             `json:"modifiedEventName"`
	MultipleBookingIdentifier any             `json:"multipleBookingIdentifier"`
	Notes                     []orufyNote     `json:"notes"`
	Reminders                 []orufyReminder `json:"reminders"`
	Status                    any             `json:"status"`
	Type                      any             `json:"type"`
	CalendarEvent             any             `json:"calendarEvent"`
	AgentsDetails             []orufyAgent    `json:"agentsDetails"`
	Attendees                 []orufyAttendee `json:"attendees"`
	Payment                   any             `json:"payment"`
	orufyAside
	NoShow  *any `json:"noShow,omitempty"`
	AINotes *any `json:"aiNotes,omitempty"`
}

// orufyAside is what is both in meetData and beside it.
type orufyAside struct {
	EventName    any `json:"eventName"`
	EventSlug    any `json:"eventSlug"`
	Cancellation any `json:"cancellation"`
	PrevMeetID   any `json:"prevMeetId"`
	Reschedule   any `json:"reschedule"`
}

func orufyMeetOf(m value) orufyMeet {
	return orufyMeet{
		ID: m.at("id").text(), AppID: m.at("application_id").text(), EventID: m.at("event_type", "id").text(),
		Time:   m.at("start_time").time(milliseconds),
		Agents: m.at("hosts").texts("id"), AttendeeIDs: m.at("attendees").texts("id"),
		CreateByContact: m.at("created_by", "type").string() == "contact",
		Duration:        minutes(m), ExternalIDs: m.at("external_ids").texts("id"),
		FollowUp: orufyFollowUpOf(m.at("follow_up")), MarkAsNoShow: anyNoShow(m),
		MaxAttendees: m.at("capacity").number(), ModeNote: m.at("mode_note").text(),
		ModifiedEventName: m.at("edited_event_name").text(), MultipleBookingIdentifier: m.at("booking_group_id").text(),
		Notes: each(m.at("notes"), orufyNoteOf), Reminders: each(m.at("reminders"), orufyReminderOf),
		Status: orufyStatus(m.at("status")), Type: orufyType(m.at("event_type", "kind")),
		CalendarEvent: orufyCalendarEventOf(m.at("calendar_event")),
		AgentsDetails: each(m.at("hosts"), orufyAgentOf), Attendees: each(m.at("attendees"), orufyAttendeeOf),
		Payment: orufyPaymentOf(m.at("payment")),
		orufyAside: orufyAside{
			EventName: m.at("event_type", "name").text(), EventSlug: m.at("event_type", "slug").text(),
			Cancellation: orufyCancellationOf(m.at("cancellation")), PrevMeetID: previousMeeting(m),
			Reschedule: orufyRescheduleOf(m.at("rescheduling")),
		},
	}
}

// minutes returns how long a meeting is: what it says, or else what its times say.
func minutes(m value) any {
	if said := m.at("duration_minutes").number(); said != nil {
		return said
	}
	start, hasStart := m.at("start_time").when()
	end, hasEnd := m.at("end_time").when()
	if !hasStart || !hasEnd || end.Before(start) {
		return nil
	}
	return int64(end.Sub(start).Minutes())
}

// previousMeeting returns the id of the meeting that this one took the place of.
func previousMeeting(m value) any {
	if id := m.at("previous_meeting_id").text(); id != nil {
		return id
	}
	return m.at("rescheduling", "previous_meeting_id").text()
}

// anyNoShow says whether an attendee is marked as not having come.
func anyNoShow(m value) bool {
	for _, attendee := range m.at("attendees").objects() {
		if attendee.at("is_no_show").isTrue() {
			return true
		}
	}
	return false
}

// orufyStatus writes a status in upper case; the page has two l in CANCELLED.
func orufyStatus(status value) any {
	if status.string() == "canceled" {
		return "CANCELLED"
	}
	return status.upper()
}

// orufyType writes a kind of event type in upper case, as one word.
func orufyType(kind value) any {
	if kind.text() == nil {
		return nil
	}
	return strings.ToUpper(strings.ReplaceAll(kind.string(), "_", ""))
}

// nothing is an empty object, which the page has where an attendee was neither canceled nor rescheduled.
func nothing() json.RawMessage { return json.RawMessage(`{}`) }

func (o orufy) schema(trigger string, data json.RawMessage) (*schema, error) {
	event := member{name: "eventType", schema: eventName(o, trigger)}
	if !isMeeting(trigger) {
		embedded, err := dataSchema(trigger, data)
		if err != nil {
			return nil, err
		}
		return &schema{members: []member{event, {name: "meetData", schema: embedded}}}, nil
	}
	defs, err := readDefinitions(Orufy)
	if err != nil {
		return nil, err
	}
	if err := defs.addExtra(trigger, "meet", "noShow", "aiNotes", data); err != nil {
		return nil, err
	}
	const again = " The same as in meetData."
	nullable := []string{"string", "null"}
	return defs.schema(
		event,
		member{name: "meetData", schema: described{Description: "The meeting.", Ref: "#/$defs/meet"}},
		member{name: "eventName", schema: described{Description: "Name of the booking page." + again, Type: nullable}},
		member{name: "eventSlug", schema: described{
			Description: "Name of the booking page in its URL." + again, Type: nullable,
		}},
		member{name: "cancellation", schema: described{
			Description: "How the meeting was canceled; an empty object while it is not." + again, Ref: "#/$defs/cancel",
		}},
		member{name: "prevMeetId", schema: described{
			Description: "Id of the meeting that this one took the place of." + again, Type: nullable,
		}},
		member{name: "reschedule", schema: described{
			Description: "How the meeting was rescheduled; an empty object when it was not." + again, Ref: "#/$defs/move",
		}},
	)
}
