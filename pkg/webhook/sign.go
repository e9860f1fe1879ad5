package webhook

import (
	"crypto/ed25519"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"hash"
	"strconv"
	"sync/atomic"
	"time"
)

// Names of the headers of the specification, and of the one that Meetwire adds.
const (
	// HeaderID has the id of the message: the same however often it is sent.
	HeaderID = "webhook-id"
	// HeaderTimestamp has the time of this attempt, in seconds since 1970 (Unix time).
	HeaderTimestamp = "webhook-timestamp"
	// HeaderSignature has the signatures, separated by spaces.
	HeaderSignature = "webhook-signature"
	// HeaderEventSequence has the place of the event among all events, a decimal. It is not signed.
	HeaderEventSequence = "Meetwire-Event-Sequence"
)

// Versions of signatures, with the comma that follows them.
const (
	versionSymmetric  = "v1,"
	versionAsymmetric = "v1a,"
)

// maxKeptPrefix is how large the buffer for "id.timestamp." may be to be kept for the next signature.
const maxKeptPrefix = 1 << 10

var (
	// ErrNoSecret is returned where at least one secret is needed, for none and for the zero value.
	ErrNoSecret = errors.New("no webhook secret")
	// ErrPublicKey is returned for a public key where a secret that can sign is needed.
	ErrPublicKey = errors.New("a public key cannot sign")
)

// Signer signs messages. It is safe for concurrent use and meant to be kept.
type Signer struct {
	keys []*key
}

// NewSigner makes a Signer that signs with every one of the secrets, in their order: more than one is for the
// time in which receivers change from one to the next. Errors: ErrNoSecret, ErrPublicKey.
func NewSigner(secrets ...Secret) (*Signer, error) {
	if len(secrets) == 0 {
		return nil, fmt.Errorf("make a signer: %w", ErrNoSecret)
	}
	s := &Signer{keys: make([]*key, len(secrets))}
	for i, secret := range secrets {
		if secret.IsZero() {
			return nil, fmt.Errorf("make a signer: secret %d: %w", i, ErrNoSecret)
		}
		if !secret.CanSign() {
			return nil, fmt.Errorf("make a signer: secret %d: %w", i, ErrPublicKey)
		}
		s.keys[i] = secret.key
	}
	return s, nil
}

// Sign returns the value of the header webhook-signature: for each secret "v1," (Ed25519: "v1a,") and the base64
// of the signature of `id.timestamp.body`, separated by spaces. The timestamp counts in whole seconds.
//
// The id must be one that cannot be confused with its neighbours: it must not contain a dot, and nobody outside
// may choose it.
func (s *Signer) Sign(id string, timestamp time.Time, body []byte) string {
	var room [2 * (len(versionSymmetric) + 45)]byte // two symmetric signatures
	signatures := room[:0]
	for i, k := range s.keys {
		if i > 0 {
			signatures = append(signatures, ' ')
		}
		if k.symmetric != nil {
			signatures = k.symmetric.appendSignature(signatures, id, timestamp.Unix(), body)
			continue
		}
		signed := signedContent(id, timestamp.Unix(), body)
		signatures = append(signatures, versionAsymmetric...)
		signatures = base64.StdEncoding.AppendEncode(signatures, ed25519.Sign(k.private, signed))
	}
	return string(signatures)
}

func appendPrefix(dst []byte, id string, unix int64) []byte {
	dst = append(dst, id...)
	dst = append(dst, '.')
	dst = strconv.AppendInt(dst, unix, 10)
	return append(dst, '.')
}

// signedContent is what the specification has signed, in one piece.
func signedContent(id string, unix int64, body []byte) []byte {
	const longestUnix = 20
	content := make([]byte, 0, len(id)+len(body)+longestUnix+2)
	return append(appendPrefix(content, id, unix), body...)
}

// hmacKey signs with one symmetric key. It keeps one keyed hash for the next call; a call that finds it taken
// makes its own. A pool would hold more of them than one receiver ever needs at the same moment, for each of
// thousands of receivers.
type hmacKey struct {
	secret []byte
	idle   atomic.Pointer[hmacState]
}

type hmacState struct {
	mac    hash.Hash
	prefix []byte
	sum    [sha256.Size]byte
}

// appendSignature appends the version and the base64 of the signature.
func (k *hmacKey) appendSignature(dst []byte, id string, unix int64, body []byte) []byte {
	state := k.idle.Swap(nil)
	if state == nil {
		state = &hmacState{mac: hmac.New(sha256.New, k.secret)}
	}
	state.prefix = appendPrefix(state.prefix[:0], id, unix)
	state.mac.Reset()
	state.mac.Write(state.prefix)
	state.mac.Write(body)
	dst = append(dst, versionSymmetric...)
	dst = base64.StdEncoding.AppendEncode(dst, state.mac.Sum(state.sum[:0]))
	if cap(state.prefix) > maxKeptPrefix {
		state.prefix = nil
	}
	k.idle.Store(state)
	return dst
}
