// Package catalogue owns the triggers that come with the program: what each is called, what it means, the JSON
// Schema of its events' data and a sample. The meeting triggers share one document, the meeting, from which the
// body of every dialect can be rendered.
//
// It only reads what is compiled into the program. It must not know where triggers are stored, who may use them,
// or how an event is checked or rendered.
package catalogue

import (
	"bytes"
	"cmp"
	"embed"
	"encoding/json"
	"fmt"
	"slices"
)

//go:embed defs/*.defs.json triggers/*.json
var files embed.FS

// Trigger is a built-in type of event.
type Trigger struct {
	ID          string          // such as meeting.booked; also the CloudEvents type
	DisplayName string          // for people
	Description string          // what has happened when an event is sent
	Group       string          // heading under which a list shows it
	Operational bool            // only Meetwire itself publishes its events
	Schema      json.RawMessage // JSON Schema (2020-12) of the events' data; refers to nothing outside itself
	Sample      json.RawMessage // a complete data that satisfies the schema
}

// Triggers returns the built-in triggers, ordered by group and then by id, with compact JSON. An error means that
// the program was built from broken files.
func Triggers() ([]Trigger, error) {
	defs, err := readDefinitions(files)
	if err != nil {
		return nil, err
	}
	triggers := builtIn()
	for i := range triggers {
		t := &triggers[i]
		if t.Schema, err = readSchema(files, t.ID, defs); err != nil {
			return nil, err
		}
		if t.Sample, err = readSample(t.ID); err != nil {
			return nil, err
		}
	}
	slices.SortFunc(triggers, func(a, b Trigger) int {
		return cmp.Or(cmp.Compare(a.Group, b.Group), cmp.Compare(a.ID, b.ID))
	})
	return triggers, nil
}

// builtIn returns the triggers without their files.
func builtIn() []Trigger {
	const (
		contacts = "Contacts"
		meetings = "Meetings"
		notes    = "Notes"
		training = "Training"
	)
	return append(operational(), []Trigger{
		{
			ID: "contact.updated", Group: contacts, DisplayName: "Contact updated",
			Description: "A contact was changed: its name, address, or any other field.",
		},
		{
			ID: "meeting.booked", Group: meetings, DisplayName: "Meeting booked",
			Description: "Someone booked a meeting over a booking page, or a host booked one for them.",
		},
		{
			ID: "meeting.rescheduled", Group: meetings, DisplayName: "Meeting rescheduled",
			Description: "A meeting was moved to another time. The event carries both the old and the new time.",
		},
		{
			ID: "meeting.canceled", Group: meetings, DisplayName: "Meeting canceled",
			Description: "A meeting was canceled and will not take place.",
		},
		{
			ID: "meeting.no_show", Group: meetings, DisplayName: "No-show",
			Description: "It was noted that someone did not come to a meeting.",
		},
		{
			ID: "meeting.notes_ready", Group: notes, DisplayName: "AI notes ready",
			Description: "The notes that software writes from the recording of a meeting are finished.",
		},
		{
			ID: "enrolment.created", Group: training, DisplayName: "Enrolment created",
			Description: "Someone was enrolled in a course.",
		},
		{
			ID: "assessment.completed", Group: training, DisplayName: "Assessment completed",
			Description: "The result of an assessment was settled.",
		},
	}...)
}

// operational returns the triggers of events about Meetwire itself, without their files.
func operational() []Trigger {
	const meetwire = "Meetwire"
	return []Trigger{
		{
			ID: "webhook.disabled", Group: meetwire, DisplayName: "Webhook disabled", Operational: true,
			Description: "Meetwire gave up on a webhook: what is for it becomes a dead letter until somebody enables it.",
		},
		{
			ID: "webhook.enabled", Group: meetwire, DisplayName: "Webhook enabled", Operational: true,
			Description: "A webhook that was disabled was made active again.",
		},
		{
			ID: "webhook.deleted", Group: meetwire, DisplayName: "Webhook deleted", Operational: true,
			Description: "A webhook was deleted for good.",
		},
		{
			ID: "secret.rotated", Group: meetwire, DisplayName: "Secret rotated", Operational: true,
			Description: "The signing secret of a webhook, or that of the organization, was replaced by a new one.",
		},
		{
			ID: "delivery.dead_lettered", Group: meetwire, DisplayName: "Deliveries dead-lettered", Operational: true,
			Description: "Deliveries of a webhook became dead letters. There is one event for each webhook, reason and minute.",
		},
		{
			ID: "delivery.dead_letters_expiring", Group: meetwire, DisplayName: "Dead letters about to expire", Operational: true,
			Description: "Dead letters of a webhook expire in three days unless they are replayed. There is one event for each webhook and day.",
		},
	}
}

// readSample reads the sample of a trigger.
func readSample(trigger string) (json.RawMessage, error) {
	pretty, err := files.ReadFile("triggers/" + trigger + ".sample.json")
	if err != nil {
		return nil, fmt.Errorf("read the sample of %s: %w", trigger, err)
	}
	var compact bytes.Buffer
	if err := json.Compact(&compact, pretty); err != nil {
		return nil, fmt.Errorf("compact the sample of %s: %w", trigger, err)
	}
	return compact.Bytes(), nil
}
