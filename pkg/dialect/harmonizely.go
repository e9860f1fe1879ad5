package dialect

import (
	"encoding/json"
	"time"
	_ "time/tzdata" // a machine may have no time zones; what is rendered must be the same everywhere
)

// harmonizely is that of Harmonizely's webhooks. Its page shows the body of a meeting that was scheduled; what its
// fields look like that are null there, and that https is required, is ours.
type harmonizely struct{}

func (harmonizely) Name() Name { return Harmonizely }

func (harmonizely) Traits() Traits {
	return Traits{
		Title: "Harmonizely", ContentType: "application/json", UserAgent: "Harmonizely",
		SignatureHeaders: signatureHeaders(Harmonizely), Secret: textRules(),
		Retry: standardRetry(), Failures: standardFailures(), GoneDisables: true,
	}
}

func (harmonizely) TriggerName(trigger string) string {
	return triggerNames{
		booked: "meetingScheduled", rescheduled: "meetingRescheduled", canceled: "meetingCancelled",
	}.of(trigger)
}

// How the page writes times: in its pretty fields as the people who meet would.
const (
	numericOffset     = "2006-01-02T15:04:05-07:00"
	prettyForHost     = "Monday, January 2, 2006 15:04"
	prettyForAttendee = "Monday, January 2, 2006 at 3:04 PM"
)

// body has the meeting in the fields of the page. A trigger of the meeting that the page does not know has one more:
// `no_show`, `ai_notes`, with the values that were published. They are read and written again, with all of the meeting:
// numbers stay as they were, but members come in the order of their names, and of two with one name the last is left.
func (h harmonizely) body(d *delivery) ([]byte, error) {
	event := h.TriggerName(d.Trigger)
	meeting, ok := object(d.data)
	if !ok || !isMeeting(d.Trigger) {
		return envelope(
			field{"data", d.dataOrNull()}, field{"event", quote(event)}, field{"uuid", quote(d.Delivery)},
		), nil
	}
	data := harmonizelyMeetingOf(meeting)
	switch d.Trigger {
	case triggerNoShow:
		data.NoShow = extra(meeting.at("no_show"))
	case triggerNotesReady:
		data.AINotes = extra(meeting.at("ai_notes"))
	}
	return encode(harmonizelyBody{Data: data, Event: event, UUID: d.Delivery})
}

// harmonizelyBody is the body. Its uuid is the delivery's; that of the meeting is the meeting's id as it was published,
// which need not be a UUID as on the page.
type harmonizelyBody struct {
	Data  harmonizelyMeeting `json:"data"`
	Event string             `json:"event"`
	UUID  string             `json:"uuid"`
}

// harmonizelyMeeting is a meeting. Its fields are in the order of the page.
type harmonizelyMeeting struct {
	Rescheduling                       any                 `json:"rescheduling"`
	PrettyCanceledAt                   any                 `json:"pretty_canceled_at"`
	PrettyScheduledAt                  any                 `json:"pretty_scheduled_at"`
	PrettyScheduledAtInInviteeTimezone any                 `json:"pretty_scheduled_at_in_invitee_timezone"`
	PrettyCanceledAtInInviteeTimezone  any                 `json:"pretty_canceled_at_in_invitee_timezone"`
	EventType                          any                 `json:"event_type"`
	ScheduledAt                        any                 `json:"scheduled_at"`
	EndDate                            any                 `json:"end_date"`
	Invitee                            harmonizelyInvitee  `json:"invitee"`
	State                              any                 `json:"state"`
	CanceledAt                         any                 `json:"canceled_at"`
	UUID                               any                 `json:"uuid"`
	Notes                              any                 `json:"notes"`
	Details                            any                 `json:"details"`
	Answers                            []harmonizelyAnswer `json:"answers"`
	Location                           any                 `json:"location"`
	Cancellation                       any                 `json:"cancellation"`
	Payment                            any                 `json:"payment"`
	NoShow                             *any                `json:"no_show,omitempty"`
	AINotes                            *any                `json:"ai_notes,omitempty"`
}

func harmonizelyMeetingOf(m value) harmonizelyMeeting {
	start, canceled := m.at("start_time"), m.at("cancellation", "cancel_time")
	host := zone(m.at("hosts").first().at("time_zone"))
	attendee := m.at("attendees").first()
	theirs := zone(attendee.at("time_zone"))
	return harmonizelyMeeting{
		Rescheduling:                       harmonizelyReschedulingOf(m.at("rescheduling")),
		PrettyCanceledAt:                   pretty(canceled, host, prettyForHost),
		PrettyScheduledAt:                  pretty(start, host, prettyForHost),
		PrettyScheduledAtInInviteeTimezone: pretty(start, theirs, prettyForAttendee),
		PrettyCanceledAtInInviteeTimezone:  pretty(canceled, theirs, prettyForAttendee),
		EventType:                          harmonizelyEventTypeOf(m.at("event_type")),
		ScheduledAt:                        start.time(numericOffset),
		EndDate:                            m.at("end_time").time(numericOffset),
		Invitee:                            harmonizelyInviteeOf(attendee),
		State:                              m.at("state").text(),
		CanceledAt:                         canceled.time(numericOffset),
		UUID:                               m.at("id").text(),
		Notes:                              noteText(m.at("notes")),
		Details:                            m.at("details").text(),
		Answers:                            each(m.at("answers"), harmonizelyAnswerOf),
		Location:                           m.at("location").text(),
		Cancellation:                       harmonizelyCancellationOf(m.at("cancellation")),
		Payment:                            harmonizelyPaymentOf(m.at("payment")),
	}
}

// zone returns a time zone of the IANA database. Without one it is UTC: the page has a text wherever there is a time.
func zone(name value) *time.Location {
	const longest = 64
	text := name.string()
	// "Local" would be this machine's.
	if text == "" || len(text) > longest || text == "Local" {
		return time.UTC
	}
	location, err := time.LoadLocation(text)
	if err != nil {
		return time.UTC
	}
	return location
}

// pretty writes a time for people of a time zone; nil when there is none.
func pretty(v value, where *time.Location, layout string) any {
	t, ok := v.when()
	if !ok {
		return nil
	}
	return t.In(where).Format(layout)
}

func (h harmonizely) schema(trigger string, data json.RawMessage) (*schema, error) {
	event := member{name: "event", schema: eventName(h, trigger)}
	id := member{name: "uuid", schema: deliveryID()}
	if !isMeeting(trigger) {
		embedded, err := dataSchema(trigger, data)
		if err != nil {
			return nil, err
		}
		return &schema{members: []member{{name: "data", schema: embedded}, event, id}}, nil
	}
	defs, err := readDefinitions(Harmonizely)
	if err != nil {
		return nil, err
	}
	if err := defs.addExtra(trigger, "scheduled", "no_show", "ai_notes", data); err != nil {
		return nil, err
	}
	return defs.schema(
		member{name: "data", schema: described{Description: "The meeting.", Ref: "#/$defs/scheduled"}}, event, id,
	)
}
