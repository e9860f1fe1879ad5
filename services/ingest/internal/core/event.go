package core

import (
	"encoding/json"
	"errors"
	"fmt"
	"time"
	"unicode/utf8"

	"github.com/meetwire/meetwire/pkg/fault"
)

// Limits of events.
const (
	MaxEventBytes      = 256 << 10 // of the whole document
	MaxAttributeLength = 256       // of id, source, subject and mweventtype, in characters
	MaxTeams           = 100       // of mwteams
)

// CloudEvents extensions that matching looks at.
const (
	AttributeTeams     = "mwteams"     // ids of teams, separated by commas
	AttributeEventType = "mweventtype" // slug of an event type
)

// Rules that an event can break: the `rule` of the field at fault, and the reason in REJECTS.
const (
	RuleMaxBytes            = "max_bytes"
	RuleUTF8                = "utf8"
	RuleJSON                = "json"
	RuleDepth               = "depth"
	RuleNumber              = "number"
	RuleDuplicateKey        = "duplicate_key"
	RuleAttributeName       = "attribute_name"
	RuleContentType         = "content_type"
	RuleRequired            = "required"
	RuleType                = "type"
	RuleLength              = "length"
	RuleMaxItems            = "max_items"
	RuleControlCharacter    = "control_character"
	RuleValue               = "value"
	RuleSchema              = "schema"
	RuleUnknownTrigger      = "unknown_trigger"
	RuleReservedTrigger     = "reserved_trigger"
	RuleReservedSource      = "reserved_source"
	RuleUnknownOrganization = "unknown_organization"
)

// Event is a valid CloudEvents 1.0 document in the JSON format.
type Event struct {
	ID        string
	Source    string
	Type      string
	Teams     []string        // whose event it is; empty: nobody has said
	EventType string          // empty: it has none
	Subject   string          // what it is about, such as a meeting; empty: nobody has said
	Time      time.Time       // in UTC; zero: nobody has said
	Data      json.RawMessage // nil when absent
	Raw       []byte          // the document: as published, or as FromMessage made it

	form any // see Form
}

// Form returns the event in the form that filters need, which is made when the first of them asks. Not for
// concurrent use.
func (e *Event) Form(convert func(document []byte) any) any {
	if e.form == nil {
		e.form = convert(e.Raw)
	}
	return e.form
}

// violation says which attribute of an event is at fault.
func violation(attribute, rule, format string, args ...any) error {
	path := "event"
	if attribute != "" {
		path += "." + attribute
	}
	return fault.Invalid(fault.Field{Path: path, Rule: rule, Message: fmt.Sprintf(format, args...)})
}

// Parse reads an event. Its errors are fault.InvalidArgument and name the attribute.
func Parse(raw []byte) (*Event, error) {
	if len(raw) > MaxEventBytes {
		return nil, violation("", RuleMaxBytes, "must be at most %d bytes, has %d", MaxEventBytes, len(raw))
	}
	if !utf8.Valid(raw) {
		return nil, violation("", RuleUTF8, "must be UTF-8")
	}
	dataID, _, err := scan(raw)
	if err != nil {
		return nil, err
	}
	attributes, err := attributesOf(raw)
	if err != nil {
		return nil, err
	}
	event := &Event{Raw: raw, Data: attributes["data"]}
	version, err := text(attributes, "specversion")
	if err != nil {
		return nil, err
	}
	if version != "1.0" {
		return nil, violation("specversion", RuleValue, `must be "1.0"`)
	}
	if event.ID, err = name(attributes, "id"); err != nil {
		return nil, err
	}
	if event.Source, err = name(attributes, "source"); err != nil {
		return nil, err
	}
	if event.Type, err = text(attributes, "type"); err != nil {
		return nil, err
	}
	if event.Teams, err = teams(attributes); err != nil {
		return nil, err
	}
	if event.EventType, err = short(attributes, AttributeEventType); err != nil {
		return nil, err
	}
	if event.Time, err = instant(attributes); err != nil {
		return nil, err
	}
	if event.Subject, err = short(attributes, "subject"); err != nil {
		return nil, err
	}
	if event.Subject == "" {
		event.Subject = subjectOf(dataID)
	}
	return event, optionalAttributes(attributes)
}

// attributesOf returns the members of a document.
func attributesOf(raw []byte) (map[string]json.RawMessage, error) {
	// A map, because a struct would also take `ID` for `id`.
	var attributes map[string]json.RawMessage
	if err := json.Unmarshal(raw, &attributes); err != nil {
		var syntax *json.SyntaxError
		if errors.As(err, &syntax) {
			return nil, violation("", RuleJSON, "must be a JSON object: %s at byte %d", syntax.Error(), syntax.Offset)
		}
		return nil, violation("", RuleJSON, "must be a JSON object")
	}
	if attributes == nil {
		return nil, violation("", RuleJSON, "must be a JSON object, is null")
	}
	return attributes, nil
}
