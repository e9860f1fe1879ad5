package dialect

import (
	"encoding/json"

	"github.com/meetwire/meetwire/pkg/webhook"
)

// cloudEvents is the structured mode of the CloudEvents 1.0 binding for HTTP (cloudevents.io), signed as the Standard
// Webhooks specification says.
type cloudEvents struct{}

func (cloudEvents) Name() Name { return CloudEvents }

func (cloudEvents) Traits() Traits {
	return Traits{
		Title: "CloudEvents", ContentType: "application/cloudevents+json",
		SignatureHeaders: []string{webhook.HeaderSignature}, Secret: keyRules(),
		Retry: standardRetry(), Failures: standardFailures(), GoneDisables: true,
	}
}

func (cloudEvents) TriggerName(trigger string) string { return trigger }

// body is the event as it was published, byte for byte.
func (cloudEvents) body(d *delivery) ([]byte, error) {
	if d.kind == nil {
		return nil, errNoType()
	}
	return d.Document, nil
}

// schema has the attributes of CloudEvents 1.0. An event can have extensions that nobody described.
func (c cloudEvents) schema(trigger string, data json.RawMessage) (*schema, error) {
	embedded, err := dataSchema(trigger, data)
	if err != nil {
		return nil, err
	}
	text := func(description string) described {
		return described{Description: description, Type: "string", MinLength: 1}
	}
	// A publisher may write null for what it leaves out, and may have nothing in our own extensions.
	nullable := []string{"string", "null"}
	optional := func(name, description string, least int) member {
		s := described{Description: description, Type: nullable, MinLength: least}
		return member{name: name, schema: s, optional: true}
	}
	happened := eventTime("as the service that published the event wrote it.")
	happened.Type = nullable
	return &schema{members: []member{
		{name: "specversion", schema: described{
			Description: "Version of the CloudEvents specification.", Type: "string", Const: "1.0",
		}},
		{name: "id", schema: text("Id of the event; unique together with source.")},
		{name: "source", schema: text("Where the event comes from: a URI reference.")},
		{name: "type", schema: eventName(c, trigger)},
		{name: "time", schema: happened, optional: true},
		optional("subject", "What the event is about, for example the id of the meeting.", 1),
		optional("datacontenttype", "Media type of data; application/json when it is absent.", 1),
		optional("dataschema", "URI of a schema that data satisfies.", 1),
		optional("mwteams", "Ids of the teams that the event concerns, separated by commas.", 0),
		optional("mweventtype", "Slug of the booking page that the meeting was booked over.", 0),
		{name: "data", schema: embedded},
	}}, nil
}
