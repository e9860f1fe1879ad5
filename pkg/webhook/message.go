package webhook

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"time"
)

// ErrMalformedMessage is returned for a message that was signed by the sender and still is not one: its body is
// not a JSON object with a `type`, or a time or number in it cannot be read.
var ErrMalformedMessage = errors.New("malformed webhook message")

// Message is a verified message. Its body is `{type, timestamp, data}`, as the Standard Webhooks specification
// recommends, or a CloudEvent in the JSON format, whose time is in `time`.
type Message struct {
	// ID is the header webhook-id. The same message always has the same, however often it comes.
	ID string
	// Timestamp is the time of this attempt (header webhook-timestamp), in UTC.
	Timestamp time.Time
	// EventSequence is higher for a later event (header Meetwire-Event-Sequence). The signature does not cover
	// it: use it to put events in order, for nothing else. 0 when the header is absent.
	EventSequence int64
	// Type is the type of the event, such as "meeting.booked".
	Type string
	// Time is when the event happened, in UTC. Zero when the body does not say.
	Time time.Time
	// Data is the event's data as it came; nil when there is none.
	Data json.RawMessage
	// Raw is the whole body as it came.
	Raw []byte
}

// Open verifies a message and parses it: for receivers that do not use net/http's handlers. The Message keeps
// the body, which must not be changed afterwards. Errors: those of Verify, and ErrMalformedMessage.
func (v *Verifier) Open(header http.Header, body []byte) (Message, error) {
	e, err := v.envelope(header)
	if err != nil {
		return Message{}, err
	}
	return v.open(e, header, body)
}

func (v *Verifier) open(e envelope, header http.Header, body []byte) (Message, error) {
	if err := v.match(e, body); err != nil {
		return Message{}, err
	}
	var content struct {
		Type      string          `json:"type"`
		Timestamp string          `json:"timestamp"`
		Time      string          `json:"time"`
		Data      json.RawMessage `json:"data"`
	}
	if err := json.Unmarshal(body, &content); err != nil {
		return Message{}, fmt.Errorf("%w: decode the body: %w", ErrMalformedMessage, err)
	}
	if content.Type == "" {
		return Message{}, fmt.Errorf("%w: the body has no type", ErrMalformedMessage)
	}
	m := Message{
		ID:        e.id,
		Timestamp: time.Unix(e.unix, 0).UTC(),
		Type:      content.Type,
		Data:      content.Data,
		Raw:       body,
	}
	happened := content.Timestamp
	if happened == "" {
		happened = content.Time
	}
	if happened != "" {
		t, err := time.Parse(time.RFC3339, happened)
		if err != nil {
			return Message{}, fmt.Errorf("%w: the time of the event is not RFC 3339", ErrMalformedMessage)
		}
		m.Time = t.UTC()
	}
	if sequence := header.Get(HeaderEventSequence); sequence != "" {
		var err error
		if m.EventSequence, err = strconv.ParseInt(sequence, 10, 64); err != nil || m.EventSequence < 0 {
			return Message{}, fmt.Errorf("%w: %s is not a number", ErrMalformedMessage, HeaderEventSequence)
		}
	}
	return m, nil
}
