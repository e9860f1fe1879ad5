package rpc

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"fmt"

	"github.com/meetwire/meetwire/pkg/secret"
	accessv1 "github.com/meetwire/meetwire/proto/gen/meetwire/access/v1"
)

// The form of an API key: mwk_<id>_<secret>.
const (
	keyPrefix    = "mwk_"
	keyIDLength  = 16 // characters of [0-9a-z]
	secretBytes  = 32
	secretLength = 43 // characters of unpadded base64url
	keyLength    = len(keyPrefix) + keyIDLength + 1 + secretLength
)

// keyIDAlphabet is what ids are made of.
const keyIDAlphabet = "0123456789abcdefghijklmnopqrstuvwxyz"

// Key is what it takes to check an API key.
type Key struct {
	// ID is the id within the key.
	ID string
	// Organization is the slug of the organization that the key belongs to; empty for an operator's.
	Organization string
	// Role is what the key may do.
	Role accessv1.Role
	// SecretSHA256 is the SHA-256 of the secret's 43 characters.
	SecretSHA256 [sha256.Size]byte
}

// Keys looks API keys up.
type Keys interface {
	// Key returns the key with this id: fault.NotFound when there is none, fault.Unavailable when that cannot
	// be told at the moment.
	Key(ctx context.Context, id string) (Key, error)
}

// KeyUses is what Keys implement that want to know which keys are used.
type KeyUses interface {
	// KeyUsed is told of each call with a key that is valid.
	KeyUsed(id string)
}

// NewKey makes an API key with 256 random bits. The key itself is shown once; its id and the SHA-256 of its
// secret are what is kept.
func NewKey() (id string, key secret.String, sum [sha256.Size]byte, err error) {
	id, err = newKeyID()
	if err != nil {
		return "", secret.String{}, sum, err
	}
	var random [secretBytes]byte
	if _, err := rand.Read(random[:]); err != nil {
		return "", secret.String{}, sum, fmt.Errorf("read random bytes: %w", err)
	}
	text := base64.RawURLEncoding.EncodeToString(random[:])
	return id, secret.New(keyPrefix + id + "_" + text), sha256.Sum256([]byte(text)), nil
}

// newKeyID draws every character with the same probability: bytes at or above the greatest multiple of the
// alphabet's length are drawn again.
func newKeyID() (string, error) {
	const limit = 256 - 256%len(keyIDAlphabet)
	id := make([]byte, 0, keyIDLength)
	var random [2 * keyIDLength]byte
	for len(id) < keyIDLength {
		if _, err := rand.Read(random[:]); err != nil {
			return "", fmt.Errorf("read random bytes: %w", err)
		}
		for _, b := range random {
			if int(b) < limit && len(id) < keyIDLength {
				id = append(id, keyIDAlphabet[int(b)%len(keyIDAlphabet)])
			}
		}
	}
	return string(id), nil
}

// ParseKey returns the id within an API key and the SHA-256 of its secret. It reports false for everything that
// NewKey could not have made.
func ParseKey(s string) (id string, sum [sha256.Size]byte, ok bool) {
	if len(s) != keyLength || s[:len(keyPrefix)] != keyPrefix {
		return "", sum, false
	}
	id, rest := s[len(keyPrefix):len(keyPrefix)+keyIDLength], s[len(keyPrefix)+keyIDLength:]
	for i := range len(id) {
		if c := id[i]; (c < '0' || c > '9') && (c < 'a' || c > 'z') {
			return "", sum, false
		}
	}
	if rest[0] != '_' {
		return "", sum, false
	}
	var text [secretLength]byte // of a fixed size, so that it stays on the stack
	copy(text[:], rest[1:])
	for i, c := range text {
		value, valid := base64URLValue(c)
		// The last character carries four of its six bits: only one way to write a secret is accepted.
		if !valid || (i == secretLength-1 && value&0b11 != 0) {
			return "", sum, false
		}
	}
	return id, sha256.Sum256(text[:]), true
}

// base64URLValue returns what a character stands for in base64url.
func base64URLValue(c byte) (byte, bool) {
	switch {
	case c >= 'A' && c <= 'Z':
		return c - 'A', true
	case c >= 'a' && c <= 'z':
		return c - 'a' + 26, true
	case c >= '0' && c <= '9':
		return c - '0' + 52, true
	case c == '-':
		return 62, true
	case c == '_':
		return 63, true
	default:
		return 0, false
	}
}

// minServiceToken is the least length of the token that services know each other by, in characters.
const minServiceToken = 32

// CheckServiceToken reports a token between services that is too easy to guess, without showing it.
func CheckServiceToken(token secret.String) error {
	if len(token.Reveal()) < minServiceToken {
		return fmt.Errorf("service-token (MEETWIRE_SERVICE_TOKEN): at least %d characters are needed", minServiceToken)
	}
	return nil
}
