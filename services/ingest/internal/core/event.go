package core

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"mime"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/meetwire/meetwire/pkg/fault"
)

// Limits of events.
const (
	MaxEventBytes      = 256 << 10 // of the whole document
	MaxAttributeLength = 256       // of id, source and mweventtype, in characters
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
	Data      json.RawMessage // nil when absent
	Raw       []byte          // the document as published

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
	if event.EventType, err = extension(attributes, AttributeEventType); err != nil {
		return nil, err
	}
	if n := utf8.RuneCountInString(event.EventType); n > MaxAttributeLength {
		return nil, violation(AttributeEventType, RuleLength, "must be at most %d characters, has %d", MaxAttributeLength, n)
	}
	if err := optionalAttributes(attributes); err != nil {
		return nil, err
	}
	return event, nil
}

// optionalAttributes checks what may be left out.
func optionalAttributes(attributes map[string]json.RawMessage) error {
	if _, ok := attributes["time"]; ok {
		written, err := text(attributes, "time")
		if err != nil {
			return err
		}
		if _, err := time.Parse(time.RFC3339, written); err != nil {
			return violation("time", RuleValue, "must be a time of RFC 3339, such as 2026-01-31T12:00:00Z")
		}
	}
	if _, ok := attributes["data_base64"]; ok {
		return violation("data_base64", RuleValue, "must not be used: `data` must be JSON")
	}
	if _, ok := attributes["datacontenttype"]; ok {
		written, err := text(attributes, "datacontenttype")
		if err != nil {
			return err
		}
		media, _, err := mime.ParseMediaType(written)
		if err != nil || media != "application/json" && !strings.HasSuffix(media, "+json") {
			return violation("datacontenttype", RuleValue, "must be application/json or end in +json")
		}
	}
	return nil
}

// teams returns the teams that an event names.
func teams(attributes map[string]json.RawMessage) ([]string, error) {
	written, err := extension(attributes, AttributeTeams)
	if err != nil || written == "" {
		return nil, err
	}
	if n := strings.Count(written, ",") + 1; n > MaxTeams {
		return nil, violation(AttributeTeams, RuleMaxItems, "must name at most %d teams, names %d", MaxTeams, n)
	}
	var ids []string
	for id := range strings.SplitSeq(written, ",") {
		if id = strings.TrimSpace(id); id != "" {
			ids = append(ids, id)
		}
	}
	return ids, nil
}

// extension returns an attribute that may be left out, be null, or be empty: all the same.
func extension(attributes map[string]json.RawMessage, attribute string) (string, error) {
	raw, ok := attributes[attribute]
	if !ok {
		return "", nil
	}
	var value string // stays empty for null
	if err := json.Unmarshal(raw, &value); err != nil {
		return "", violation(attribute, RuleType, "must be a string")
	}
	return value, nil
}

// text returns a required attribute that is a string with something in it.
func text(attributes map[string]json.RawMessage, attribute string) (string, error) {
	raw, ok := attributes[attribute]
	if !ok || bytes.Equal(raw, []byte("null")) {
		return "", violation(attribute, RuleRequired, "is required")
	}
	var value string
	if err := json.Unmarshal(raw, &value); err != nil {
		return "", violation(attribute, RuleType, "must be a string")
	}
	if value == "" {
		return "", violation(attribute, RuleRequired, "must not be empty")
	}
	return value, nil
}

// name returns a required attribute that is part of the event's identity.
func name(attributes map[string]json.RawMessage, attribute string) (string, error) {
	value, err := text(attributes, attribute)
	if err != nil {
		return "", err
	}
	if n := utf8.RuneCountInString(value); n > MaxAttributeLength {
		return "", violation(attribute, RuleLength, "must be at most %d characters, has %d", MaxAttributeLength, n)
	}
	if strings.ContainsFunc(value, unicode.IsControl) {
		return "", violation(attribute, RuleControlCharacter, "must have no control characters")
	}
	if strings.TrimSpace(value) != value {
		return "", violation(attribute, RuleValue, "must not begin or end with white space")
	}
	return value, nil
}
