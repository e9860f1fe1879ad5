package publisher

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/google/uuid"
	"github.com/nats-io/nats.go"

	"github.com/meetwire/meetwire/pkg/bus"
)

const (
	headerContentType     = "Content-Type"
	contentTypeStructured = "application/cloudevents+json"
	contentTypeData       = "application/json"

	// attributePrefix begins the headers that carry attributes in binary mode.
	attributePrefix = "ce-"
)

// Prepare returns an event as Publish would send it: with an ID and a Time, and with its Data as JSON. Whoever keeps
// events and publishes them later, such as an outbox, keeps this one: then it is checked before it is kept, and every
// repetition is the same. Source must be given. Errors: *FieldError.
func Prepare(event Event) (Event, error) {
	event, err := complete(event, "", time.Now)
	if err != nil {
		return Event{}, err
	}
	data, err := encodeData(event.Data)
	if err != nil {
		return Event{}, err
	}
	event.Data = json.RawMessage(data)
	if _, err := encode(event); err != nil {
		return Event{}, err
	}
	return event, nil
}

// complete fills in what the caller has left out.
func complete(event Event, source string, now func() time.Time) (Event, error) {
	if event.Source == "" {
		event.Source = source
	}
	if event.Time.IsZero() {
		event.Time = now()
	}
	if event.ID == "" {
		id, err := uuid.NewV7()
		if err != nil {
			return Event{}, fmt.Errorf("make an event id: %w", err)
		}
		event.ID = id.String()
	}
	return event, nil
}

// newMessage checks a complete event and writes it as a message.
func newMessage(event Event, binary bool) (*nats.Msg, error) {
	document, err := encode(event)
	if err != nil {
		return nil, err
	}
	msg := nats.NewMsg(bus.EventSubject(event.Organization, event.Trigger))
	if !binary {
		msg.Header.Set(headerContentType, contentTypeStructured)
		msg.Data = document
		return msg, nil
	}
	msg.Header.Set(headerContentType, contentTypeData)
	for _, a := range attributes(event) {
		if a.name != "datacontenttype" {
			// Not Header.Set: names of headers keep their case in NATS, and these are in lower case.
			msg.Header[attributePrefix+a.name] = []string{percentEncoded(a.value)}
		}
	}
	msg.Data, err = encodeData(event.Data)
	return msg, err
}

// percentEncoded writes the value of an attribute for a header as CloudEvents does: everything but printable ASCII,
// and the space, the quotation mark and the percent sign, as the octets of UTF-8 in the manner of URIs.
func percentEncoded(value string) string {
	var b strings.Builder
	for i := range len(value) {
		if c := value[i]; c <= ' ' || c > '~' || c == '"' || c == '%' {
			fmt.Fprintf(&b, "%%%02X", c)
		} else {
			b.WriteByte(c)
		}
	}
	return b.String()
}

type attribute struct{ name, value string }

// attributes returns the attributes of an event that are not empty.
func attributes(e Event) []attribute {
	all := []attribute{
		{"specversion", "1.0"},
		{"id", e.ID},
		{"source", e.Source},
		{"type", e.Trigger},
		{"subject", e.Subject},
		{"time", e.Time.UTC().Format(time.RFC3339Nano)},
		{"datacontenttype", contentTypeData},
	}
	for _, name := range slices.Sorted(maps.Keys(e.Extensions)) {
		all = append(all, attribute{name, e.Extensions[name]})
	}
	return slices.DeleteFunc(all, func(a attribute) bool { return a.value == "" })
}

// encode checks a complete event and writes it as a CloudEvents document in the JSON format.
func encode(e Event) ([]byte, error) {
	if err := e.check(); err != nil {
		return nil, err
	}
	data, err := encodeData(e.Data)
	if err != nil {
		return nil, err
	}
	var document bytes.Buffer
	document.WriteByte('{')
	for _, a := range attributes(e) {
		value, err := marshal(a.value)
		if err != nil {
			return nil, fmt.Errorf("encode attribute %s: %w", a.name, err)
		}
		document.WriteString(`"` + a.name + `":`)
		document.Write(value)
		document.WriteByte(',')
	}
	document.WriteString(`"data":`)
	document.Write(data)
	document.WriteByte('}')
	if n := document.Len(); n > MaxEventBytes {
		err := invalid("", "max_bytes", "has %d bytes; at most %d are allowed", n, MaxEventBytes)
		err.Limit = MaxEventBytes
		return nil, err
	}
	return document.Bytes(), nil
}

// encodeData returns the event's data as JSON.
func encodeData(data any) ([]byte, error) {
	switch d := data.(type) {
	case nil:
		return nil, invalid("data", "required", "is required")
	case []byte:
		return nil, invalid("data", "value", "must not be a []byte: use json.RawMessage for what is JSON already")
	case json.RawMessage:
		if len(d) == 0 {
			return nil, invalid("data", "required", "is required")
		}
	}
	encoded, err := marshal(data)
	if err != nil {
		failure := invalid("data", "json", "cannot be written as JSON")
		failure.cause = err
		return nil, failure
	}
	if !utf8.Valid(encoded) {
		return nil, invalid("data", "utf8", "must be UTF-8")
	}
	return encoded, nil
}

// marshal is json.Marshal without \u003c for <: people read events, too.
func marshal(value any) ([]byte, error) {
	var b bytes.Buffer
	encoder := json.NewEncoder(&b)
	encoder.SetEscapeHTML(false)
	if err := encoder.Encode(value); err != nil {
		return nil, err // the callers say what they were encoding
	}
	return bytes.TrimSuffix(b.Bytes(), []byte("\n")), nil
}
