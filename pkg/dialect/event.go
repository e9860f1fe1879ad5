package dialect

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"time"
)

// ErrUnrenderable is returned for an event that has no form in a dialect: one that is not a CloudEvent in the JSON
// format. Another attempt will not help.
var ErrUnrenderable = errors.New("the event cannot be rendered")

// Event is what is to be rendered: one event for one webhook.
type Event struct {
	// Delivery is the id of the delivery, which is the same for each of its attempts.
	Delivery string
	// Webhook and Organization say for whom it is.
	Webhook, Organization string
	// Trigger is the type of the event, such as meeting.booked.
	Trigger string
	// Source and ID identify the event within its organization.
	Source, ID string
	// Sequence is higher for a later event.
	Sequence uint64
	// AcceptedAt is when the event was stored. It stands in for the time of an event that has none.
	AcceptedAt time.Time
	// Document is the CloudEvent in the JSON format, as it was published.
	Document []byte
	// TraceParent and TraceState are the W3C trace context that the receiver gets; sent when they are not empty.
	TraceParent, TraceState string
}

// delivery is an event taken apart, with what its webhook is configured with.
type delivery struct {
	*Event
	document
	options Options
}

// document is the bytes of a CloudEvent and of those of its attributes that bodies have, as they were published; nil
// when absent.
type document struct {
	kind, time, data []byte
}

// split takes a CloudEvent apart. Names of attributes are in lower case: what a publisher calls DATA was not checked
// against any schema. Of an attribute that is there twice the last counts, as in most readers.
func split(text []byte) (document, error) {
	var d document
	if !json.Valid(text) {
		return d, fmt.Errorf("%w: it is not JSON", ErrUnrenderable)
	}
	// From here on it is known to be well-formed, so nothing below can run over the end.
	i := skipSpace(text, 0)
	if text[i] != '{' {
		return d, fmt.Errorf("%w: it is not a JSON object", ErrUnrenderable)
	}
	for i = skipSpace(text, i+1); text[i] != '}'; {
		key := text[i:stringEnd(text, i)]
		start := skipSpace(text, skipSpace(text, i+len(key))+1) // after the colon
		end := valueEnd(text, start)
		d.set(key, text[start:end:end])
		if i = skipSpace(text, end); text[i] == ',' {
			i = skipSpace(text, i+1)
		}
	}
	return d, nil
}

// set keeps the attribute if it is one that bodies have. The key is as it was written, with its quotes.
func (d *document) set(key, value []byte) {
	if bytes.IndexByte(key, '\\') >= 0 {
		var plain string
		if json.Unmarshal(key, &plain) != nil {
			return
		}
		key = []byte(`"` + plain + `"`)
	}
	switch string(key) {
	case `"type"`:
		d.kind = value
	case `"time"`:
		d.time = value
	case `"data"`:
		d.data = value
	}
}

func skipSpace(text []byte, i int) int {
	for text[i] == ' ' || text[i] == '\t' || text[i] == '\n' || text[i] == '\r' {
		i++
	}
	return i
}

// stringEnd returns where the string ends that begins at i.
func stringEnd(text []byte, i int) int {
	for i++; ; {
		i += bytes.IndexByte(text[i:], '"')
		backslashes := 0
		for text[i-1-backslashes] == '\\' {
			backslashes++
		}
		i++
		if backslashes%2 == 0 {
			return i
		}
	}
}

// valueEnd returns where the value ends that begins at i, which is a member of an object.
func valueEnd(text []byte, i int) int {
	switch text[i] {
	case '"':
		return stringEnd(text, i)
	case '{', '[':
		depth := 0
		for {
			switch text[i] {
			case '"':
				i = stringEnd(text, i)
				continue
			case '{', '[':
				depth++
			case '}', ']':
				depth--
			}
			if i++; depth == 0 {
				return i
			}
		}
	default:
		for text[i] != ',' && text[i] != '}' && text[i] > ' ' {
			i++
		}
		return i
	}
}

// happened returns when the event happened, in UTC: what it says, or else when it was stored.
func (d *delivery) happened() time.Time {
	if t, ok := d.said(); ok {
		return t
	}
	return d.AcceptedAt.UTC()
}

// said returns when the event says that it happened; false when it does not, or says what is no time.
func (d *delivery) said() (time.Time, bool) {
	var text string
	if json.Unmarshal(d.time, &text) != nil {
		return time.Time{}, false
	}
	return parseTime(text)
}

// parseTime reads a time of RFC 3339 that can also be written so in UTC.
func parseTime(text string) (time.Time, bool) {
	t, err := time.Parse(time.RFC3339, text)
	t = t.UTC()
	return t, err == nil && t.Year() >= 0 && t.Year() <= 9999
}
