package dialect

import (
	"encoding/json"
	"time"

	"github.com/meetwire/meetwire/pkg/webhook"
)

// Name is the name of a dialect, as webhooks are configured with it.
type Name = string

// The dialects.
const (
	Standard    Name = webhook.DialectStandard
	CloudEvents Name = webhook.DialectCloudEvents
	ACE         Name = webhook.DialectACE
	Avoma       Name = webhook.DialectAvoma
	Orufy       Name = webhook.DialectOrufy
	Harmonizely Name = webhook.DialectHarmonizely
	Axcelerate  Name = webhook.DialectAxcelerate
)

// Dialect is what one family of receivers expects. Each is in a file of its own.
type Dialect interface {
	// Name returns the name.
	Name() Name
	// Traits returns what is the same for every delivery, and the defaults of a new webhook.
	Traits() Traits
	// TriggerName returns what the dialect calls a trigger: its own name for it, or the trigger's.
	TriggerName(trigger string) string
	// body returns the body of a delivery. Its errors are ErrUnrenderable.
	body(d *delivery) ([]byte, error)
	// schema describes that body for a trigger whose data satisfies a JSON Schema.
	schema(trigger string, data json.RawMessage) (*schema, error)
}

// Traits is what a dialect lays down for all deliveries, and the defaults of a new webhook, each of which the webhook
// may override.
type Traits struct {
	// Title is the dialect's name for people.
	Title string
	// ContentType is that of the bodies.
	ContentType string
	// UserAgent is sent instead of the sender's own when it is not empty.
	UserAgent string
	// SignatureHeaders are the headers that carry the signature and its version.
	SignatureHeaders []string
	// Encodings are those that Options.SignatureEncoding may choose from, the default first; none where the dialect
	// lays it down.
	Encodings []string
	// HasClientID says whether Options.ClientID is sent.
	HasClientID bool
	// Secret says which secrets there are.
	Secret SecretRules
	// HTTPAllowed says whether the target may be called without TLS though the organization does not allow it.
	HTTPAllowed bool
	// HTTPSOnly says whether it may not though the organization allows it.
	HTTPSOnly bool
	// Retry is the default schedule of retries.
	Retry Retry
	// Failures is the default threshold at which a webhook is disabled.
	Failures Failures
	// GoneDisables is the default of whether an answer 410 disables the webhook at once.
	GoneDisables bool
}

// Retry is a schedule of retries.
type Retry struct {
	// Preset is its name: PresetStandard or PresetAxcelerate.
	Preset string
	// Delays are the waits before the retries, in their order.
	Delays []time.Duration
	// Jitter is the part of a wait by which it varies, up and down.
	Jitter float64
}

// The presets of retries.
const (
	PresetStandard   = "standard"
	PresetAxcelerate = "axcelerate"
)

// Failures is when a webhook is disabled: as soon as one of the conditions that are not 0 holds; with none, never.
type Failures struct {
	// Consecutive is how many attempts in a row have failed.
	Consecutive int
	// WithoutSuccess is how long there was no success since the first failure, with at least three deliveries failing.
	WithoutSuccess time.Duration
}

// all returns the dialects in the order in which people are shown them.
func all() []Dialect {
	return []Dialect{standard{}, cloudEvents{}, ace{}, avoma{}, orufy{}, harmonizely{}, axcelerate{}}
}

// Names returns the names of the dialects, the default first.
func Names() []Name {
	var names []Name
	for _, d := range all() {
		names = append(names, d.Name())
	}
	return names
}

// Lookup returns a dialect, and false when there is none of that name.
func Lookup(name Name) (Dialect, bool) {
	for _, d := range all() {
		if d.Name() == name {
			return d, true
		}
	}
	return nil, false
}

// TriggerName returns what a dialect calls a trigger; the trigger's own name where the dialect is unknown.
func TriggerName(name Name, trigger string) string {
	if d, ok := Lookup(name); ok {
		return d.TriggerName(trigger)
	}
	return trigger
}

// The built-in triggers that dialects have names and forms for.
const (
	triggerBooked      = "meeting.booked"
	triggerRescheduled = "meeting.rescheduled"
	triggerCanceled    = "meeting.canceled"
	triggerNoShow      = "meeting.no_show"
	triggerNotesReady  = "meeting.notes_ready"
)

// triggerNames is what a dialect calls the triggers that it knows. An empty name is none.
type triggerNames struct {
	booked, rescheduled, canceled, notesReady string
}

// of returns the name of a trigger, which is its own where the dialect has none.
func (n triggerNames) of(trigger string) string {
	name := ""
	switch trigger {
	case triggerBooked:
		name = n.booked
	case triggerRescheduled:
		name = n.rescheduled
	case triggerCanceled:
		name = n.canceled
	case triggerNotesReady:
		name = n.notesReady
	}
	if name == "" {
		return trigger
	}
	return name
}

// isMeeting says whether a trigger's data is the meeting document.
func isMeeting(trigger string) bool {
	switch trigger {
	case triggerBooked, triggerRescheduled, triggerCanceled, triggerNoShow, triggerNotesReady:
		return true
	default:
		return false
	}
}

// standardRetry is the schedule that the Standard Webhooks specification suggests.
func standardRetry() Retry {
	return Retry{
		Preset: PresetStandard,
		Delays: []time.Duration{
			5 * time.Second, 5 * time.Minute, 30 * time.Minute, 2 * time.Hour, 5 * time.Hour, 10 * time.Hour,
			14 * time.Hour, 20 * time.Hour, 24 * time.Hour,
		},
		Jitter: 0.2,
	}
}

// standardFailures is the threshold of every dialect whose page says nothing else.
func standardFailures() Failures { return Failures{WithoutSuccess: 5 * 24 * time.Hour} }
