package dialect

import (
	"encoding/json"
	"strconv"
	"strings"
	"time"
)

// axcelerate is that of aXcelerate's webhooks. Its page lays down the body and the headers; that the hash is an HMAC
// in hex is ours, since a hash that is made "using" a key can be nothing safer. So is it that https is required: the
// page wants the protocol to be in the URL, and shows that one.
type axcelerate struct{}

func (axcelerate) Name() Name { return Axcelerate }

func (axcelerate) Traits() Traits {
	return Traits{
		Title: "aXcelerate", ContentType: "application/json",
		SignatureHeaders: signatureHeaders(Axcelerate), Encodings: encodings(Axcelerate), HasClientID: true,
		Secret: textRules(), Retry: axcelerateRetry(),
		// The page ends with the last retry: nothing disables a webhook.
		Failures: Failures{}, GoneDisables: false,
	}
}

// axcelerateRetry doubles the wait from one second on, 20 times: twelve days in all.
func axcelerateRetry() Retry {
	const retries = 20
	r := Retry{Preset: PresetAxcelerate}
	for i := range retries {
		r.Delays = append(r.Delays, time.Second<<i)
	}
	return r
}

// TriggerName has the form `namespace.event_name`: a trigger of more than two tokens keeps the first as the namespace.
func (axcelerate) TriggerName(trigger string) string {
	namespace, event, found := strings.Cut(trigger, ".")
	if !found {
		return trigger
	}
	return namespace + "." + strings.ReplaceAll(event, ".", "_")
}

// body has the data as it was published as the message, which is an empty object when there is none.
func (a axcelerate) body(d *delivery) ([]byte, error) {
	message := d.dataOrNull()
	if string(message) == "null" {
		message = []byte("{}")
	}
	return envelope(
		field{"type", quote(a.TriggerName(d.Trigger))}, field{"message", message},
		field{"clientId", strconv.AppendInt(nil, d.options.ClientID, 10)}, field{"messageId", quote(d.Delivery)},
		// The page has exactly milliseconds.
		field{"timestamp", quote(d.happened().Format(milliseconds))},
	), nil
}

// milliseconds is how a Date of JavaScript is written in JSON.
const milliseconds = "2006-01-02T15:04:05.000Z"

func (a axcelerate) schema(trigger string, data json.RawMessage) (*schema, error) {
	embedded, err := dataSchema(trigger, data)
	if err != nil {
		return nil, err
	}
	none := int64(0)
	return &schema{members: []member{
		{name: "type", schema: eventName(a, trigger)},
		{name: "message", schema: embedded},
		{name: "clientId", schema: described{
			Description: "Number of the client whose account the event comes from; 0 when none is configured.",
			Type:        "integer", Minimum: &none,
		}},
		{name: "messageId", schema: deliveryID()},
		{name: "timestamp", schema: eventTime("in UTC with milliseconds, for example 2026-03-18T14:00:00.000Z.")},
	}}, nil
}
