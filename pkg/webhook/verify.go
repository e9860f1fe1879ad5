package webhook

import (
	"crypto/ed25519"
	"crypto/subtle"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// DefaultTolerance is how far the timestamp of a message may be from the receiver's clock, in both directions.
const DefaultTolerance = 5 * time.Minute

const (
	// maxSignatures bounds the work that one request can cause. A sender has one secret, two during a rotation.
	maxSignatures = 16
	// maxIDBytes is the longest webhook-id accepted.
	maxIDBytes = 512
	// maxUnix is the last second of the year 9999.
	maxUnix = 253_402_300_799
)

// What can be wrong with a message. Match with errors.Is; the errors returned name the header.
var (
	// ErrMissingHeader: one of the headers that a signature needs is absent or empty.
	ErrMissingHeader = errors.New("missing webhook header")
	// ErrMalformedHeader: a header cannot be what a sender wrote: a timestamp that is not a plain decimal, an
	// id with a dot or of more than 512 bytes, more than 16 signatures.
	ErrMalformedHeader = errors.New("malformed webhook header")
	// ErrTimestampTooOld: the attempt was made longer ago than the tolerance. It may be a replay by somebody
	// who overheard it, or one of the clocks is wrong.
	ErrTimestampTooOld = errors.New("webhook timestamp is too old")
	// ErrTimestampTooNew: the timestamp is further in the future than the tolerance.
	ErrTimestampTooNew = errors.New("webhook timestamp is too new")
	// ErrNoMatch: no signature was made with one of the secrets for this id, timestamp and body.
	ErrNoMatch = errors.New("no webhook signature matches")
)

// Verifier tells messages that were signed with one of its secrets from all others. It is safe for concurrent
// use.
type Verifier struct {
	keys      []*key
	body      *bodyVerifier // for dialects that sign the body alone; nil for the others
	tolerance time.Duration
	now       func() time.Time
}

// VerifierOption changes a Verifier.
type VerifierOption func(*Verifier)

// WithTolerance sets how far the timestamp may be from the clock, in both directions. It must be positive; the
// default is DefaultTolerance.
func WithTolerance(d time.Duration) VerifierOption {
	return func(v *Verifier) { v.tolerance = d }
}

// WithClock sets the clock. The default is time.Now.
func WithClock(now func() time.Time) VerifierOption {
	return func(v *Verifier) { v.now = now }
}

// NewVerifier makes a Verifier that accepts what was signed with any of the secrets: more than one is for the
// time in which the sender changes from one to the next. Errors: ErrNoSecret, or what is wrong with an option.
func NewVerifier(secrets []Secret, options ...VerifierOption) (*Verifier, error) {
	v := &Verifier{tolerance: DefaultTolerance, now: time.Now}
	for _, option := range options {
		option(v)
	}
	if err := v.check(len(secrets)); err != nil {
		return nil, err
	}
	for i, secret := range secrets {
		if secret.IsZero() {
			return nil, fmt.Errorf("make a verifier: secret %d: %w", i, ErrNoSecret)
		}
		v.keys = append(v.keys, secret.key)
	}
	return v, nil
}

// check returns what is wrong with what a Verifier is made from.
func (v *Verifier) check(secrets int) error {
	switch {
	case secrets == 0:
		return fmt.Errorf("make a verifier: %w", ErrNoSecret)
	case v.tolerance <= 0:
		return fmt.Errorf("make a verifier: the tolerance %s is not positive", v.tolerance)
	case v.now == nil:
		return errors.New("make a verifier: the clock is nil")
	}
	return nil
}

// Verify returns nil when the headers and the body are a message signed with one of the secrets, not longer ago
// than the tolerance. The body must be the exact bytes that were received. Of the time that it takes, only what
// everybody may know has an influence: not the secrets, and not how much of a signature is right.
//
// Errors: ErrMissingHeader, ErrMalformedHeader, ErrTimestampTooOld, ErrTimestampTooNew, ErrNoMatch.
func (v *Verifier) Verify(header http.Header, body []byte) error {
	e, err := v.envelope(header)
	if err != nil {
		return err
	}
	return v.match(e, body)
}

// envelope is what the headers of a message say.
type envelope struct {
	id         string
	unix       int64
	signatures []string
}

// envelope checks everything that can be checked without the body.
func (v *Verifier) envelope(header http.Header) (envelope, error) {
	if v.body != nil {
		return v.body.envelope(header)
	}
	e := envelope{id: header.Get(HeaderID)}
	timestamp := header.Get(HeaderTimestamp)
	for _, value := range header.Values(HeaderSignature) {
		e.signatures = append(e.signatures, strings.Fields(value)...)
	}
	switch {
	case e.id == "":
		return e, fmt.Errorf("%w: %s", ErrMissingHeader, HeaderID)
	case timestamp == "":
		return e, fmt.Errorf("%w: %s", ErrMissingHeader, HeaderTimestamp)
	case len(e.signatures) == 0:
		return e, fmt.Errorf("%w: %s", ErrMissingHeader, HeaderSignature)
	case len(e.id) > maxIDBytes:
		return e, fmt.Errorf("%w: %s is longer than %d bytes", ErrMalformedHeader, HeaderID, maxIDBytes)
	case strings.Contains(e.id, "."):
		// With a dot in it, a part of the signed content could be passed off as another.
		return e, fmt.Errorf("%w: %s contains a dot", ErrMalformedHeader, HeaderID)
	case len(e.signatures) > maxSignatures:
		return e, fmt.Errorf("%w: %s has more than %d signatures", ErrMalformedHeader, HeaderSignature, maxSignatures)
	}
	var err error
	if e.unix, err = parseUnix(timestamp); err != nil {
		return e, err
	}
	return e, v.checkTime(e.unix)
}

func parseUnix(s string) (int64, error) {
	unix, err := strconv.ParseInt(s, 10, 64)
	if err != nil || unix < 0 || unix > maxUnix || strconv.FormatInt(unix, 10) != s {
		return 0, fmt.Errorf("%w: %s is not a number of seconds since 1970", ErrMalformedHeader, HeaderTimestamp)
	}
	return unix, nil
}

func (v *Verifier) checkTime(unix int64) error {
	sent, now := time.Unix(unix, 0), v.now()
	switch {
	case now.Sub(sent) > v.tolerance:
		return ErrTimestampTooOld
	case sent.Sub(now) > v.tolerance:
		return ErrTimestampTooNew
	}
	return nil
}

// match looks for a signature that one of the keys made. It goes through all of them whatever it finds.
func (v *Verifier) match(e envelope, body []byte) error {
	if v.body != nil {
		return v.body.match(e, body)
	}
	matches := 0
	for _, k := range v.keys {
		if k.symmetric != nil {
			var room [64]byte
			expected := k.symmetric.appendSignature(room[:0], e.id, e.unix, body)
			for _, signature := range e.signatures {
				matches += subtle.ConstantTimeCompare([]byte(signature), expected)
			}
			continue
		}
		matches += matchPublic(k.public, e, body)
	}
	if matches == 0 {
		return ErrNoMatch
	}
	return nil
}

func matchPublic(public ed25519.PublicKey, e envelope, body []byte) int {
	matches := 0
	var content []byte
	for _, signature := range e.signatures {
		encoded, found := strings.CutPrefix(signature, versionAsymmetric)
		if !found {
			continue
		}
		raw, err := decodeStrictly(encoded)
		if err != nil {
			continue
		}
		if content == nil {
			content = signedContent(e.id, e.unix, body)
		}
		if ed25519.Verify(public, content, raw) {
			matches++
		}
	}
	return matches
}
