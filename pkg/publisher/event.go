package publisher

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/meetwire/meetwire/pkg/bus"
	"github.com/meetwire/meetwire/pkg/fault"
)

// Limits of an Event.
const (
	// MaxEventBytes is the greatest size of the document, in bytes: 256 KiB.
	MaxEventBytes = bus.MaxEventBytes
	// MaxAttributeLength is the greatest length of ID, Source and Subject, in characters.
	MaxAttributeLength = 256
	// MaxExtensionNameLength is the greatest length of the name of an extension.
	MaxExtensionNameLength = 20
)

// Extensions that decide which webhooks match.
const (
	// ExtensionTeams has the ids of the teams that the event concerns, separated by commas.
	ExtensionTeams = "mwteams"
	// ExtensionEventType has the slug of the booking page that the event concerns.
	ExtensionEventType = "mweventtype"
)

// Event is one thing that happened.
type Event struct {
	// Organization is the slug of the organization that it happened in. Required.
	Organization string
	// Trigger is its type, such as "meeting.booked". Required.
	Trigger string
	// ID identifies it together with Organization and Source: 1 to 256 characters, none of them a control
	// character, without white space at the ends. A repetition must carry the same. Empty: a new UUIDv7 for each
	// call of Publish.
	ID string
	// Source is the URI reference of the service that it comes from, such as "/services/booking", with the same
	// limits as ID. Empty: the Publisher's, see WithSource.
	Source string
	// Subject is what it happened to, such as the id of the meeting: at most 256 characters, no control
	// characters. Optional.
	Subject string
	// Time is when it happened; written in UTC. The zero value: now. A repetition should carry the same.
	Time time.Time
	// Data is the event's data: anything that encoding/json encodes, or JSON as a json.RawMessage. Required. A
	// []byte is refused: it would become a base64 text.
	Data any
	// Extensions are further attributes. A name has 1 to 20 of a-z and 0-9 and is not one of CloudEvents' own; a
	// value has no control characters; an empty value is left out.
	Extensions map[string]string
}

// FieldError says what is wrong with an Event. It is found before anything is sent, and repeating the call
// does not help. It wraps a fault.InvalidArgument.
type FieldError struct {
	// Field is the part at fault as the document names it: "organization", "type", "id", "source", "subject",
	// "time", "data", the name of an extension; empty for the document as a whole.
	Field string
	// Rule is the rule that it breaks: "required", "length", "max_bytes", "control_character", "utf8", "json",
	// "value".
	Rule string
	// Limit is the limit that it passes, in the unit that Message names; 0 when the rule has none.
	Limit int
	// Message says what is wrong.
	Message string

	cause error
}

// Error names the field and says what is wrong.
func (e *FieldError) Error() string {
	text := "invalid event: "
	if e.Field != "" {
		text += e.Field + " "
	}
	text += e.Message
	if e.cause != nil {
		text += ": " + e.cause.Error()
	}
	return text
}

// Unwrap returns the fault that it is to other parts of Meetwire, and the cause.
func (e *FieldError) Unwrap() []error {
	path := "event"
	if e.Field != "" {
		path += "." + e.Field
	}
	chain := []error{fault.Invalid(fault.Field{Path: path, Rule: e.Rule, Message: e.Message})}
	if e.cause != nil {
		chain = append(chain, e.cause)
	}
	return chain
}

func invalid(field, rule, format string, args ...any) *FieldError {
	return &FieldError{Field: field, Rule: rule, Message: fmt.Sprintf(format, args...)}
}

// check refuses what Meetwire would refuse later, except what only it can know.
func (e *Event) check() error {
	if !bus.IsOrganization(e.Organization) {
		return invalid("organization", "value", "must be 1 to %d characters of a-z, 0-9 and -", bus.MaxOrganizationLength)
	}
	if !bus.IsTrigger(e.Trigger) {
		return invalid("type", "value", "must be two to four tokens of [a-z][a-z0-9_]*, separated by dots, at most %d characters", bus.MaxTriggerLength)
	}
	for _, required := range []struct{ field, value string }{{"id", e.ID}, {"source", e.Source}} {
		if required.value == "" {
			return invalid(required.field, "required", "is required")
		}
		if err := checkName(required.field, required.value); err != nil {
			return err
		}
	}
	if err := checkText("subject", e.Subject, MaxAttributeLength); err != nil {
		return err
	}
	if year := e.Time.UTC().Year(); year < 1 || year > 9999 {
		return invalid("time", "value", "must be in the years 1 to 9999")
	}
	return e.checkExtensions()
}

func (e *Event) checkExtensions() error {
	for _, name := range slices.Sorted(maps.Keys(e.Extensions)) {
		if !isExtensionName(name) {
			return invalid(name, "value", "is no extension: a name has 1 to %d of a-z and 0-9", MaxExtensionNameLength)
		}
		switch name {
		case "specversion", "id", "source", "type", "subject", "time", "datacontenttype", "dataschema", "data":
			return invalid(name, "value", "is an attribute of CloudEvents and no extension")
		}
		if err := checkText(name, e.Extensions[name], MaxEventBytes); err != nil {
			return err
		}
	}
	return nil
}

func isExtensionName(name string) bool {
	return name != "" && len(name) <= MaxExtensionNameLength &&
		strings.Trim(name, "abcdefghijklmnopqrstuvwxyz0123456789") == ""
}

// checkName checks a part of the event's identity.
func checkName(field, value string) error {
	if err := checkText(field, value, MaxAttributeLength); err != nil {
		return err
	}
	if strings.TrimSpace(value) != value {
		return invalid(field, "value", "must not begin or end with white space")
	}
	return nil
}

func checkText(field, value string, limit int) error {
	if !utf8.ValidString(value) {
		return invalid(field, "utf8", "must be UTF-8")
	}
	if n := utf8.RuneCountInString(value); n > limit {
		err := invalid(field, "length", "has %d characters; at most %d are allowed", n, limit)
		err.Limit = limit
		return err
	}
	if strings.ContainsFunc(value, unicode.IsControl) {
		return invalid(field, "control_character", "must have no control characters")
	}
	return nil
}
