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
// not a JSON object that names the type of the event, or a time or number in it cannot be read.
var ErrMalformedMessage = errors.New("malformed webhook message")

// Message is a verified message. Its body is `{type, timestamp, data}`, as the Standard Webhooks specification
// recommends, or a CloudEvent in the JSON format, whose time is in `time`; or, with NewDialectVerifier, that of the
// dialect.
type Message struct {
	// ID is the header webhook-id, or the same id where the signed body of a dialect has it. The same message
	// always has the same, however often it comes.
	ID string
	// Timestamp is the time of this attempt (header webhook-timestamp), in UTC. Zero when a dialect that does not
	// sign the header comes without it.
	Timestamp time.Time
	// EventSequence is higher for a later event (header Meetwire-Event-Sequence). The signature does not cover
	// it: use it to put events in order, for nothing else. 0 when the header is absent.
	EventSequence int64
	// Type is the type of the event, such as "meeting.booked", as the dialect calls it.
	Type string
	// Time is when the event happened, in UTC. Zero when the body does not say.
	Time time.Time
	// Data is the event's data as it came, as the dialect shows it; nil when there is none.
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
	read := readStandard
	if v.body != nil {
		read = v.body.read
	}
	c, err := read(body)
	if err != nil {
		return Message{}, fmt.Errorf("%w: %w", ErrMalformedMessage, err)
	}
	if c.kind == "" {
		return Message{}, fmt.Errorf("%w: %w", ErrMalformedMessage, errNoType)
	}
	m := Message{ID: c.id, Type: c.kind, Data: c.data, Raw: body}
	if m.ID == "" {
		m.ID = e.id
	}
	if v.body == nil || header.Get(HeaderTimestamp) != "" {
		m.Timestamp = time.Unix(e.unix, 0).UTC()
	}
	if c.happened != "" {
		t, err := time.Parse(time.RFC3339, c.happened)
		if err != nil {
			return Message{}, fmt.Errorf("%w: the time of the event is not RFC 3339", ErrMalformedMessage)
		}
		m.Time = t.UTC()
	}
	if sequence := header.Get(HeaderEventSequence); sequence != "" {
		if m.EventSequence, err = strconv.ParseInt(sequence, 10, 64); err != nil || m.EventSequence < 0 {
			return Message{}, fmt.Errorf("%w: %s is not a number", ErrMalformedMessage, HeaderEventSequence)
		}
	}
	return m, nil
}
