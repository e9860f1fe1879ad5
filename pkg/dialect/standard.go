package dialect

import (
	"encoding/json"
	"fmt"
	"time"

	"github.com/meetwire/meetwire/pkg/webhook"
)

// standard is the Standard Webhooks specification 1.0 (standardwebhooks.com).
type standard struct{}

func (standard) Name() Name { return Standard }

func (standard) Traits() Traits {
	return Traits{
		Title: "Standard Webhooks", ContentType: "application/json",
		SignatureHeaders: []string{webhook.HeaderSignature}, Secret: keyRules(),
		Retry: standardRetry(), Failures: standardFailures(), GoneDisables: true,
	}
}

func (standard) TriggerName(trigger string) string { return trigger }

// body is type, timestamp and data of the event. Each stays as it was published, byte for byte; an event that says no
// time, or null, has the one at which it was stored, since the specification wants one in every body.
func (standard) body(d *delivery) ([]byte, error) {
	if d.kind == nil {
		return nil, errNoType()
	}
	timestamp := d.time
	if _, ok := d.said(); !ok {
		timestamp = quote(d.AcceptedAt.UTC().Format(time.RFC3339Nano))
	}
	return envelope(field{"type", d.kind}, field{"timestamp", timestamp}, field{"data", d.dataOrNull()}), nil
}

// errNoType is returned for what is no event.
func errNoType() error { return fmt.Errorf("%w: it has no type", ErrUnrenderable) }

func (s standard) schema(trigger string, data json.RawMessage) (*schema, error) {
	embedded, err := dataSchema(trigger, data)
	if err != nil {
		return nil, err
	}
	return &schema{members: []member{
		{name: "type", schema: eventName(s, trigger)},
		{name: "timestamp", schema: eventTime("as the service that published the event wrote it.")},
		{name: "data", schema: embedded},
	}}, nil
}
