package webhook

import (
	"crypto/subtle"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"time"
)

// NewDialectVerifier makes a Verifier for messages in a dialect, from secrets as they are shown to people: the one
// in use, and the next one while the sender changes to it.
//
// For DialectStandard and DialectCloudEvents it is NewVerifier. The others sign the body and nothing else: the headers
// webhook-id, webhook-timestamp and Meetwire-Event-Sequence can be changed by whoever carries the message, so no time
// is checked, and who overhears a message can repeat it. Message.ID is taken from the signed body where a dialect has
// it there; remember it.
//
// Errors: ErrUnknownDialect, ErrNoSecret, ErrInvalidSecret, or what is wrong with an option.
func NewDialectVerifier(dialect string, secrets []string, options ...VerifierOption) (*Verifier, error) {
	if dialect == DialectStandard || dialect == DialectCloudEvents {
		parsed, err := ParseSecrets(secrets...)
		if err != nil {
			return nil, fmt.Errorf("make a verifier: %w", err)
		}
		return NewVerifier(parsed, options...)
	}
	scheme, ok := BodySchemeOf(dialect)
	if !ok {
		return nil, fmt.Errorf("make a verifier: %w %q", ErrUnknownDialect, dialect)
	}
	v := &Verifier{tolerance: DefaultTolerance, now: time.Now, body: &bodyVerifier{scheme: scheme}}
	for _, option := range options {
		option(v)
	}
	if err := v.check(len(secrets)); err != nil {
		return nil, err
	}
	for i, secret := range secrets {
		if err := CheckTextSecret(secret); err != nil {
			return nil, fmt.Errorf("make a verifier: secret %d: %w", i, err)
		}
		v.body.keys = append(v.body.keys, &hmacKey{secret: []byte(secret)})
	}
	return v, nil
}

// bodyVerifier verifies signatures of the body alone.
type bodyVerifier struct {
	scheme BodyScheme
	keys   []*hmacKey
}

// envelope checks everything that can be checked without the body.
func (b *bodyVerifier) envelope(header http.Header) (envelope, error) {
	e := envelope{id: header.Get(HeaderID), signatures: header.Values(b.scheme.Header)}
	switch {
	case len(e.signatures) == 0 || e.signatures[0] == "":
		return e, fmt.Errorf("%w: %s", ErrMissingHeader, b.scheme.Header)
	case len(e.signatures) > 1:
		return e, fmt.Errorf("%w: %s is there more than once", ErrMalformedHeader, b.scheme.Header)
	case len(e.id) > maxIDBytes:
		return e, fmt.Errorf("%w: %s is longer than %d bytes", ErrMalformedHeader, HeaderID, maxIDBytes)
	}
	if name := b.scheme.VersionHeader; name != "" && header.Get(name) != "1" {
		return e, fmt.Errorf("%w: %s is not 1", ErrMalformedHeader, name)
	}
	if timestamp := header.Get(HeaderTimestamp); timestamp != "" {
		var err error
		if e.unix, err = parseUnix(timestamp); err != nil {
			return e, err
		}
	}
	return e, nil
}

// match looks for a key that made the signature. It goes through all of them whatever it finds.
func (b *bodyVerifier) match(e envelope, body []byte) error {
	given := b.scheme.decode(e.signatures[0])
	matches := 0
	for _, k := range b.keys {
		expected := k.bodySum(body)
		matches += subtle.ConstantTimeCompare(given, expected[:])
	}
	if matches == 0 {
		return ErrNoMatch
	}
	return nil
}

// content is what a body says, whatever the dialect calls it.
type content struct {
	id, kind, happened string
	data               json.RawMessage
}

var errNoType = errors.New("the body has no type")

// read takes a body apart.
func (b *bodyVerifier) read(body []byte) (content, error) {
	c, err := b.scheme.read(body)
	if err != nil {
		return content{}, fmt.Errorf("decode the body: %w", err)
	}
	return c, nil
}

// readEvent takes a body of ACE or Avoma apart.
func readEvent(body []byte) (content, error) {
	var m struct {
		Event     string          `json:"event"`
		ID        string          `json:"id"`
		CreatedAt string          `json:"created_at"`
		Data      json.RawMessage `json:"data"`
	}
	err := json.Unmarshal(body, &m)
	return content{id: m.ID, kind: m.Event, happened: m.CreatedAt, data: m.Data}, err
}

func readOrufy(body []byte) (content, error) {
	var m struct {
		EventType string          `json:"eventType"`
		MeetData  json.RawMessage `json:"meetData"`
	}
	err := json.Unmarshal(body, &m)
	return content{kind: m.EventType, data: m.MeetData}, err
}

func readHarmonizely(body []byte) (content, error) {
	var m struct {
		Event string          `json:"event"`
		Data  json.RawMessage `json:"data"`
		UUID  string          `json:"uuid"`
	}
	err := json.Unmarshal(body, &m)
	return content{id: m.UUID, kind: m.Event, data: m.Data}, err
}

func readAxcelerate(body []byte) (content, error) {
	var m struct {
		Type      string          `json:"type"`
		Message   json.RawMessage `json:"message"`
		MessageID string          `json:"messageId"`
		Timestamp string          `json:"timestamp"`
	}
	err := json.Unmarshal(body, &m)
	return content{id: m.MessageID, kind: m.Type, happened: m.Timestamp, data: m.Message}, err
}

// readStandard takes a body apart that is `{type, timestamp, data}` or a CloudEvent.
func readStandard(body []byte) (content, error) {
	var m struct {
		Type      string          `json:"type"`
		Timestamp string          `json:"timestamp"`
		Time      string          `json:"time"`
		Data      json.RawMessage `json:"data"`
	}
	if err := json.Unmarshal(body, &m); err != nil {
		return content{}, fmt.Errorf("decode the body: %w", err)
	}
	c := content{kind: m.Type, happened: m.Timestamp, data: m.Data}
	if c.happened == "" {
		c.happened = m.Time
	}
	return c, nil
}
