package dialect

import (
	"encoding/json"
	"fmt"
	"strings"
	"time"
)

// SampleDelivery is the id of the delivery of every sample.
const SampleDelivery = "5f2c1a90-7d3e-5b46-9c18-2e6a4d0b7f35"

// SampleEvent makes an event around the sample data of a trigger, as a publisher would: a whole CloudEvent of a
// certain time. Render it for the request that a receiver would get. The error is ErrUnrenderable, for data that is
// not JSON.
func SampleEvent(organization, trigger string, data []byte, at time.Time) (*Event, error) {
	const source, id = "/samples", "sample"
	if !json.Valid(data) {
		return nil, fmt.Errorf("make a sample of %s: %w: its data is not JSON", trigger, ErrUnrenderable)
	}
	at = at.UTC()
	text := envelope(
		field{"specversion", quote("1.0")}, field{"id", quote(id)}, field{"source", quote(source)},
		field{"type", quote(trigger)}, field{"time", quote(at.Format(time.RFC3339))},
		field{"datacontenttype", quote("application/json")}, field{"data", data},
	)
	return &Event{
		Delivery: SampleDelivery, Organization: organization, Trigger: trigger, Source: source, ID: id, Sequence: 1,
		AcceptedAt: at, Document: text,
	}, nil
}

// Header returns the value of a header, however its name is spelled; empty when it is not there.
func (r Rendered) Header(name string) string {
	for _, header := range r.Headers {
		if strings.EqualFold(header.Name, name) {
			return header.Value
		}
	}
	return ""
}
