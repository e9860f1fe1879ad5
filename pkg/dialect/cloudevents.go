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
	return &schema{members: []member{
		{name: "specversion", schema: described{
			Description: "Version of the CloudEvents specification.", Type: "string", Const: "1.0",
		}},
		{name: "id", schema: text("Id of the event; unique together with source.")},
		{name: "source", schema: text("Where the event comes from: a URI reference.")},
		{name: "type", schema: eventName(c, trigger)},
		{name: "time", schema: eventTime("as the service that published the event wrote it."), optional: true},
		{name: "subject", schema: text("What the event is about, for example the id of the meeting."), optional: true},
		{name: "datacontenttype", schema: text("Media type of data; application/json when it is absent."), optional: true},
		{name: "dataschema", schema: text("URI of a schema that data satisfies."), optional: true},
		{name: "mwteams", schema: text("Ids of the teams that the event concerns, separated by commas."), optional: true},
		{name: "mweventtype", schema: text("Slug of the booking page that the meeting was booked over."), optional: true},
		{name: "data", schema: embedded},
	}}, nil
}
