package webhook

import (
	"crypto/ed25519"
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
	"log/slog"
	"strings"
)

// Prefixes of keys as people see them.
const (
	prefixSymmetric = "whsec_"
	prefixPrivate   = "whsk_"
	prefixPublic    = "whpk_"
)

// Sizes of symmetric keys, in bytes.
const (
	MinSecretBytes = 24
	MaxSecretBytes = 64
	newSecretBytes = 32
)

const redacted = "REDACTED"

// ErrInvalidSecret is returned for a secret that is not one. No error of this package contains the secret.
var ErrInvalidSecret = errors.New("invalid webhook secret")

// Secret is a parsed key. It is made by ParseSecret; the zero value is refused everywhere. It prints as REDACTED
// and is safe for concurrent use.
type Secret struct {
	// A pointer, so that not even a struct with a Secret in an unexported field prints the bytes.
	key *key
}

// key is what a Secret holds: a symmetric key, or a public key with or without its private key.
type key struct {
	symmetric *hmacKey
	private   ed25519.PrivateKey
	public    ed25519.PublicKey
}

// NewSecret makes a symmetric secret of 32 random bytes: "whsec_" and their base64.
func NewSecret() (string, error) {
	raw := make([]byte, newSecretBytes)
	if _, err := rand.Read(raw); err != nil {
		return "", fmt.Errorf("read random bytes for a webhook secret: %w", err)
	}
	return prefixSymmetric + base64.StdEncoding.EncodeToString(raw), nil
}

// NewKeyPair makes an Ed25519 key pair: the private key ("whsk_…", base64 of 64 bytes: seed and public key), with
// which the sender signs, and the public key ("whpk_…", base64 of 32 bytes), with which the receiver verifies.
func NewKeyPair() (private, public string, err error) {
	pub, priv, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		return "", "", fmt.Errorf("generate a webhook key pair: %w", err)
	}
	encode := base64.StdEncoding.EncodeToString
	return prefixPrivate + encode(priv), prefixPublic + encode(pub), nil
}

// ParseSecret parses a key as it is shown to people. It takes
//
//   - "whsec_" and the base64 (standard alphabet, padded) of 24 to 64 bytes, for signing and verifying;
//   - "whsk_" and the base64 of an Ed25519 private key (64 bytes, or its seed of 32), for signing and verifying;
//   - "whpk_" and the base64 of an Ed25519 public key (32 bytes), for verifying.
//
// Surrounding white space is not part of a secret and is refused. The error is ErrInvalidSecret and says what is
// wrong without showing the secret.
func ParseSecret(s string) (Secret, error) {
	for _, kind := range []struct {
		prefix string
		parse  func([]byte) (*key, error)
	}{
		{prefixSymmetric, symmetricKey},
		{prefixPrivate, privateKey},
		{prefixPublic, publicKey},
	} {
		encoded, found := strings.CutPrefix(s, kind.prefix)
		if !found {
			continue
		}
		raw, err := decodeStrictly(encoded)
		if err != nil {
			return Secret{}, fmt.Errorf("%w: what follows %q is not padded standard base64", ErrInvalidSecret, kind.prefix)
		}
		k, err := kind.parse(raw)
		if err != nil {
			return Secret{}, err
		}
		return Secret{key: k}, nil
	}
	return Secret{}, fmt.Errorf("%w: it must begin with %q", ErrInvalidSecret, prefixSymmetric)
}

// ParseSecrets parses several keys, as NewSigner and NewVerifier take them. The error is the first that
// ParseSecret gives, with the place of the key.
func ParseSecrets(texts ...string) ([]Secret, error) {
	secrets := make([]Secret, len(texts))
	for i, text := range texts {
		var err error
		if secrets[i], err = ParseSecret(text); err != nil {
			return nil, fmt.Errorf("parse secret %d: %w", i, err)
		}
	}
	return secrets, nil
}

func symmetricKey(raw []byte) (*key, error) {
	if len(raw) < MinSecretBytes || len(raw) > MaxSecretBytes {
		return nil, fmt.Errorf("%w: it holds %d bytes; %d to %d are allowed",
			ErrInvalidSecret, len(raw), MinSecretBytes, MaxSecretBytes)
	}
	return &key{symmetric: &hmacKey{secret: raw}}, nil
}

func privateKey(raw []byte) (*key, error) {
	if len(raw) != ed25519.SeedSize && len(raw) != ed25519.PrivateKeySize {
		return nil, fmt.Errorf("%w: the private key holds %d bytes; it must hold %d or %d",
			ErrInvalidSecret, len(raw), ed25519.PrivateKeySize, ed25519.SeedSize)
	}
	private := ed25519.NewKeyFromSeed(raw[:ed25519.SeedSize])
	if len(raw) == ed25519.PrivateKeySize && !private.Equal(ed25519.PrivateKey(raw)) {
		// A private key with the public key of another gives signatures that reveal it.
		return nil, fmt.Errorf("%w: the two halves of the private key do not belong together", ErrInvalidSecret)
	}
	return &key{private: private, public: ed25519.PublicKey(private[ed25519.SeedSize:])}, nil
}

func publicKey(raw []byte) (*key, error) {
	if len(raw) != ed25519.PublicKeySize {
		return nil, fmt.Errorf("%w: the public key holds %d bytes; it must hold %d",
			ErrInvalidSecret, len(raw), ed25519.PublicKeySize)
	}
	return &key{public: ed25519.PublicKey(raw)}, nil
}

var errNotBase64 = errors.New("not base64")

// decodeStrictly accepts exactly one text for each value: encoding/base64 alone skips line breaks.
func decodeStrictly(s string) ([]byte, error) {
	if strings.ContainsAny(s, "\r\n") {
		return nil, errNotBase64
	}
	raw, err := base64.StdEncoding.Strict().DecodeString(s)
	if err != nil {
		return nil, errNotBase64
	}
	return raw, nil
}

// IsZero reports whether the secret is the zero value.
func (s Secret) IsZero() bool { return s.key == nil }

// CanSign reports whether the secret can sign: every kind but a public key can.
func (s Secret) CanSign() bool {
	return s.key != nil && (s.key.symmetric != nil || s.key.private != nil)
}

// String returns REDACTED.
func (s Secret) String() string { return redacted }

// Format prints REDACTED for every verb.
func (s Secret) Format(f fmt.State, _ rune) {
	_, _ = f.Write([]byte(redacted)) // fmt keeps no error of a Formatter
}

// LogValue logs REDACTED.
func (s Secret) LogValue() slog.Value { return slog.StringValue(redacted) }

// MarshalText writes REDACTED.
func (s Secret) MarshalText() ([]byte, error) { return []byte(redacted), nil }
