package dialect

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
)

// ErrSchema is returned for a JSON Schema of a trigger's data that is not one.
var ErrSchema = errors.New("not a JSON Schema")

// Schema returns the JSON Schema (2020-12) of the body that a receiver of a dialect gets for a trigger. It stands by
// itself. dataSchema is that of the data that is published for the trigger; it becomes a part of the result wherever
// the body has the data as published. Every field that a dialect adds is described. Errors: ErrUnknown, ErrSchema.
func Schema(name Name, trigger string, dataSchema []byte) ([]byte, error) {
	d, ok := Lookup(name)
	if !ok {
		return nil, fmt.Errorf("describe the body of %s: %w %q", trigger, ErrUnknown, name)
	}
	s, err := d.schema(trigger, dataSchema)
	if err != nil {
		return nil, fmt.Errorf("describe the body of %s in the dialect %s: %w", trigger, name, err)
	}
	text, err := s.text(d.Traits().Title, trigger)
	if err != nil {
		return nil, fmt.Errorf("describe the body of %s in the dialect %s: %w", trigger, name, err)
	}
	return text, nil
}

// schema is the JSON Schema of a body, which is an object.
type schema struct {
	members []member
	// defs are definitions that the members refer to.
	defs json.RawMessage
}

// member is a property of a body.
type member struct {
	name     string
	schema   any
	optional bool
}

// text writes the schema, with the properties in the order of the body.
func (s *schema) text(title, trigger string) ([]byte, error) {
	properties := make([]field, len(s.members))
	var required []string
	for i, m := range s.members {
		text, err := encode(m.schema)
		if err != nil {
			return nil, err
		}
		properties[i] = field{m.name, text}
		if !m.optional {
			required = append(required, m.name)
		}
	}
	names, err := encode(required)
	if err != nil {
		return nil, err
	}
	fields := []field{
		{"$schema", quote("https://json-schema.org/draft/2020-12/schema")},
		{"title", quote(title + ": " + trigger)},
		{"description", quote("Body of the webhooks for the trigger " + trigger + " in the dialect " + title + ".")},
		{"type", quote("object")},
		{"required", names},
		{"properties", envelope(properties...)},
	}
	if s.defs != nil {
		fields = append(fields, field{"$defs", s.defs})
	}
	var compact bytes.Buffer
	if err := json.Compact(&compact, envelope(fields...)); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrSchema, err)
	}
	return compact.Bytes(), nil
}

// described is a member that has a type.
type described struct {
	Description string `json:"description"`
	Type        any    `json:"type,omitempty"`
	Format      string `json:"format,omitempty"`
	Const       any    `json:"const,omitempty"`
	Minimum     *int64 `json:"minimum,omitempty"`
	MinLength   int    `json:"minLength,omitempty"`
	Ref         string `json:"$ref,omitempty"`
}

// eventName describes the member that names the trigger.
func eventName(d Dialect, trigger string) described {
	return described{
		Description: "What has happened: the dialect's name for the trigger " + trigger + ".",
		Type:        "string", Const: d.TriggerName(trigger),
	}
}

// deliveryID describes a member with the id of the delivery.
func deliveryID() described {
	return described{
		Description: "Id of this webhook message: the same in every attempt to deliver it, and in the header webhook-id. " +
			"A UUID.",
		Type: "string", MinLength: 1,
	}
}

// eventTime describes a member with the time of the event.
func eventTime(form string) described {
	return described{
		Description: "When it happened. RFC 3339, " + form, Type: "string", Format: "date-time",
	}
}

// eventSchema describes the body that eventEnvelope writes.
func eventSchema(d Dialect, trigger string, data json.RawMessage) (*schema, error) {
	embedded, err := dataSchema(trigger, data)
	if err != nil {
		return nil, err
	}
	return &schema{members: []member{
		{name: "event", schema: eventName(d, trigger)},
		{name: "id", schema: deliveryID()},
		{name: "created_at", schema: eventTime("in UTC, for example 2026-03-18T14:00:00Z.")},
		{name: "data", schema: embedded},
	}}, nil
}

// dataID is the identifier that a schema of data gets within another, so that what it refers to within itself is still
// found.
func dataID(trigger string) string { return "urn:meetwire:data:" + trigger }

// dataSchema makes the schema of a trigger's data fit to be a part of another. It stays as it is but for an identifier
// and a description, where it has none.
func dataSchema(trigger string, text json.RawMessage) (json.RawMessage, error) {
	const fallback = "What happened, as the service that published the event describes it."
	text = bytes.TrimSpace(text)
	switch string(text) {
	case "", "true":
		return encode(described{Description: fallback})
	case "false":
		return encode(map[string]any{"description": fallback, "not": map[string]any{}})
	}
	var has map[string]json.RawMessage
	if err := json.Unmarshal(text, &has); err != nil || has == nil {
		return nil, fmt.Errorf("%w: it is neither an object nor true or false", ErrSchema)
	}
	var missing []field
	if has["$id"] == nil {
		missing = append(missing, field{"$id", quote(dataID(trigger))})
	}
	if has["description"] == nil {
		missing = append(missing, field{"description", quote(fallback)})
	}
	if len(missing) == 0 {
		return text, nil
	}
	start := envelope(missing...)
	if len(has) == 0 {
		return start, nil
	}
	return append(append(start[:len(start)-1], ','), text[1:]...), nil
}
