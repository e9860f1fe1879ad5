package webhook

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"unicode"
	"unicode/utf8"
)

// Dialects: the families of receivers that a webhook can be sent to. A receiver that is not told otherwise gets
// DialectStandard.
const (
	DialectStandard    = "standard"    // Standard Webhooks 1.0: webhook-signature over id, timestamp and body
	DialectCloudEvents = "cloudevents" // signed as DialectStandard
	DialectACE         = "ace"         // x-ace-signature: base64
	DialectAvoma       = "avoma"       // X-Avoma-Signature: hex, or base64 where the webhook says so
	DialectOrufy       = "orufy"       // X-Orufy-Signature: hex, or base64 where the webhook says so
	DialectHarmonizely = "harmonizely" // Webhook-Signature: base64 without a version in front
	DialectAxcelerate  = "axcelerate"  // Ax-Signature, Ax-Signature-Version 1: hex, or base64 where the webhook says so
)

// Encoding is how the bytes of a signature of the body are written in a header.
type Encoding string

// The encodings.
const (
	Base64 Encoding = "base64" // standard alphabet, padded
	Hex    Encoding = "hex"    // lower case
)

// MaxTextSecretBytes is the longest secret of a dialect that signs the body alone.
const MaxTextSecretBytes = 256

// ErrUnknownDialect is returned for a dialect that does not exist, or that a function is not for.
var ErrUnknownDialect = errors.New("unknown webhook dialect")

// BodyScheme says how a dialect signs the body alone: HMAC-SHA256 of the body, keyed with the bytes of the secret as
// it is shown to people.
type BodyScheme struct {
	// Header has the signature.
	Header string
	// VersionHeader, where it is not empty, has "1" when there is a signature and "0" when there is none.
	VersionHeader string
	// Encodings are those that a sender may use, its default first.
	Encodings []Encoding

	// read takes a body of the dialect apart.
	read func(body []byte) (content, error)
}

// BodySchemeOf returns how a dialect signs, and false for those that sign as the Standard Webhooks specification
// says and for unknown ones.
func BodySchemeOf(dialect string) (BodyScheme, bool) {
	switch dialect {
	case DialectACE:
		return BodyScheme{Header: "x-ace-signature", Encodings: []Encoding{Base64}, read: readEvent}, true
	case DialectAvoma:
		return BodyScheme{Header: "X-Avoma-Signature", Encodings: []Encoding{Hex, Base64}, read: readEvent}, true
	case DialectOrufy:
		return BodyScheme{Header: "X-Orufy-Signature", Encodings: []Encoding{Hex, Base64}, read: readOrufy}, true
	case DialectHarmonizely:
		return BodyScheme{Header: "Webhook-Signature", Encodings: []Encoding{Base64}, read: readHarmonizely}, true
	case DialectAxcelerate:
		return BodyScheme{
			Header: "Ax-Signature", VersionHeader: "Ax-Signature-Version", Encodings: []Encoding{Hex, Base64}, read: readAxcelerate,
		}, true
	default:
		return BodyScheme{}, false
	}
}

// CheckTextSecret returns nil for a secret that a dialect that signs the body alone can have: 1 to 256 bytes of
// printable UTF-8. The error is ErrInvalidSecret and does not contain the secret.
func CheckTextSecret(secret string) error {
	switch {
	case secret == "":
		return fmt.Errorf("%w: it is empty", ErrInvalidSecret)
	case len(secret) > MaxTextSecretBytes:
		return fmt.Errorf("%w: it has %d bytes; at most %d are allowed", ErrInvalidSecret, len(secret), MaxTextSecretBytes)
	case !utf8.ValidString(secret):
		return fmt.Errorf("%w: it is not UTF-8", ErrInvalidSecret)
	}
	for _, r := range secret {
		if !unicode.IsPrint(r) {
			return fmt.Errorf("%w: it contains a character that cannot be printed", ErrInvalidSecret)
		}
	}
	return nil
}

// BodySigner signs bodies alone. It is safe for concurrent use and meant to be kept.
type BodySigner struct {
	key      *hmacKey
	encoding Encoding
}

// NewBodySigner makes a BodySigner with a secret as it is shown to people. Errors: those of CheckTextSecret, and one
// for an encoding that does not exist.
func NewBodySigner(secret string, encoding Encoding) (*BodySigner, error) {
	if err := CheckTextSecret(secret); err != nil {
		return nil, fmt.Errorf("make a signer: %w", err)
	}
	if encoding != Base64 && encoding != Hex {
		return nil, fmt.Errorf("make a signer: the encoding %q is neither %s nor %s", encoding, Base64, Hex)
	}
	return &BodySigner{key: &hmacKey{secret: []byte(secret)}, encoding: encoding}, nil
}

// Sign returns the signature of a body.
func (s *BodySigner) Sign(body []byte) string {
	sum := s.key.bodySum(body)
	if s.encoding == Hex {
		return hex.EncodeToString(sum[:])
	}
	return base64.StdEncoding.EncodeToString(sum[:])
}

// bodySum is the HMAC of a body alone.
func (k *hmacKey) bodySum(body []byte) (sum [sha256.Size]byte) {
	state := k.idle.Swap(nil)
	if state == nil {
		state = &hmacState{mac: hmac.New(sha256.New, k.secret)}
	}
	state.mac.Reset()
	state.mac.Write(body)
	copy(sum[:], state.mac.Sum(state.sum[:0]))
	k.idle.Store(state)
	return sum
}

// decode returns the bytes of a signature in one of the encodings; nil when it is in none of them. Their lengths
// tell them apart.
func (s BodyScheme) decode(signature string) []byte {
	for _, encoding := range s.Encodings {
		switch {
		case encoding == Hex && len(signature) == hex.EncodedLen(sha256.Size) && isLowerHex(signature):
			if raw, err := hex.DecodeString(signature); err == nil {
				return raw
			}
		case encoding == Base64 && len(signature) == base64.StdEncoding.EncodedLen(sha256.Size):
			if raw, err := decodeStrictly(signature); err == nil {
				return raw
			}
		}
	}
	return nil
}

func isLowerHex(s string) bool {
	for i := range len(s) {
		if c := s[i]; (c < '0' || c > '9') && (c < 'a' || c > 'f') {
			return false
		}
	}
	return true
}
