package dialect

import (
	"bytes"
	"encoding/json"
	"fmt"
	"time"
)

// field is a member of an envelope; its value is JSON already.
type field struct {
	name  string
	value []byte
}

// envelope writes a JSON object around data that stays as it was published.
func envelope(fields ...field) []byte {
	const punctuation = len(`"":,`)
	size := len(`{}`)
	for _, f := range fields {
		size += punctuation + len(f.name) + len(f.value)
	}
	body := append(make([]byte, 0, size), '{')
	for i, f := range fields {
		if i > 0 {
			body = append(body, ',')
		}
		body = append(body, '"')
		body = append(body, f.name...)
		body = append(body, `":`...)
		body = append(body, f.value...)
	}
	return append(body, '}')
}

// eventEnvelope is the body of the dialects whose page says only that JSON is sent: `{event, id, created_at, data}` is
// ours. The id is the delivery's, as in the header webhook-id.
func eventEnvelope(d *delivery, event string) []byte {
	return envelope(
		field{"event", quote(event)}, field{"id", quote(d.Delivery)},
		field{"created_at", quote(d.happened().Format(time.RFC3339Nano))}, field{"data", d.dataOrNull()},
	)
}

// dataOrNull returns the data as it was published, or null when there is none.
func (d *delivery) dataOrNull() []byte {
	if d.data == nil {
		return []byte("null")
	}
	return d.data
}

// quote writes a string of JSON.
func quote(text string) []byte {
	if isPlain(text) { // as ids, times and names of triggers are
		quoted := append(make([]byte, 0, len(text)+len(`""`)), '"')
		return append(append(quoted, text...), '"')
	}
	quoted, err := encode(text)
	if err != nil { // not for a string
		return []byte(`""`)
	}
	return quoted
}

// isPlain says whether a text is written in JSON as it is.
func isPlain(text string) bool {
	for i := range len(text) {
		if c := text[i]; c < ' ' || c > '~' || c == '"' || c == '\\' {
			return false
		}
	}
	return true
}

// encode writes compact JSON in which <, > and & stay as they are.
func encode(value any) ([]byte, error) {
	var b bytes.Buffer
	encoder := json.NewEncoder(&b)
	encoder.SetEscapeHTML(false)
	if err := encoder.Encode(value); err != nil {
		return nil, fmt.Errorf("%w: encode the body: %w", ErrUnrenderable, err)
	}
	return bytes.TrimSuffix(b.Bytes(), []byte("\n")), nil
}
