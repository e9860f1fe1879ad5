package dialect

import (
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/meetwire/meetwire/pkg/fault"
	"github.com/meetwire/meetwire/pkg/webhook"
)

// Options are what can be chosen within a dialect. The zero value is good for every one.
type Options struct {
	// SignatureEncoding is "base64" or "hex", where the dialect leaves it open; empty: the dialect's default.
	SignatureEncoding string
	// ClientID is Axcelerate's clientId; 0: sent as 0.
	ClientID int64
}

// MaxClientID is the greatest number that every receiver reads exactly, also one that keeps numbers as doubles.
const MaxClientID = 1<<53 - 1

// CheckOptions returns what is wrong with the options of a webhook. The paths of the fields are `dialect`,
// `signature_encoding` and `client_id`; the caller puts its own in front.
func CheckOptions(name Name, o Options) []fault.Field {
	d, ok := Lookup(name)
	if !ok {
		return []fault.Field{{
			Path: "dialect", Rule: "in", Message: "must be one of " + strings.Join(Names(), ", "),
		}}
	}
	var faults []fault.Field
	traits := d.Traits()
	switch {
	case o.SignatureEncoding == "", slices.Contains(traits.Encodings, o.SignatureEncoding):
	case len(traits.Encodings) == 0:
		faults = append(faults, fault.Field{
			Path: "signature_encoding", Rule: "dialect.fixed",
			Message: fmt.Sprintf("must be empty: the dialect %s lays down its encoding", name),
		})
	default:
		faults = append(faults, fault.Field{
			Path: "signature_encoding", Rule: "in",
			Message: "must be empty or one of " + strings.Join(traits.Encodings, ", "),
		})
	}
	switch {
	case o.ClientID != 0 && !traits.HasClientID:
		faults = append(faults, fault.Field{
			Path: "client_id", Rule: "dialect.unused",
			Message: fmt.Sprintf("must be 0: the dialect %s sends none", name),
		})
	case o.ClientID < 0 || o.ClientID > MaxClientID:
		faults = append(faults, fault.Field{
			Path: "client_id", Rule: "range", Message: fmt.Sprintf("must be from 0 to %d", int64(MaxClientID)),
		})
	}
	return faults
}

// SecretRules says which secrets a dialect takes.
type SecretRules struct {
	// Required says whether there must be one; without one, where it need not be, deliveries are not signed.
	Required bool
	// Organization says whether a new webhook uses the organization's secret unless it is given its own.
	Organization bool
	// Keyed says whether a secret is a key of the Standard Webhooks specification, of which all that are valid sign;
	// otherwise it is any text, and one signs.
	Keyed bool
	// Format describes one for people.
	Format string
}

// keyRules are those of the Standard Webhooks specification.
func keyRules() SecretRules {
	return SecretRules{
		Required: true, Keyed: true,
		Format: fmt.Sprintf("whsec_ and the base64 of %d to %d bytes, or whsk_ and the base64 of an Ed25519 private key",
			webhook.MinSecretBytes, webhook.MaxSecretBytes),
	}
}

// textRules are those of dialects that sign the body alone.
func textRules() SecretRules {
	return SecretRules{Format: fmt.Sprintf("1 to %d bytes of printable UTF-8", webhook.MaxTextSecretBytes)}
}

var errCannotSign = errors.New("a public key cannot sign")

// CheckSecret returns what is wrong with a secret of a dialect, without showing it. Errors: ErrUnknown,
// webhook.ErrInvalidSecret.
func CheckSecret(name Name, secret string) error {
	d, ok := Lookup(name)
	if !ok {
		return fmt.Errorf("check a secret: %w %q", ErrUnknown, name)
	}
	if !d.Traits().Secret.Keyed {
		return webhook.CheckTextSecret(secret)
	}
	parsed, err := webhook.ParseSecret(secret)
	if err != nil {
		return err
	}
	if !parsed.CanSign() {
		return fmt.Errorf("%w: %w", webhook.ErrInvalidSecret, errCannotSign)
	}
	return nil
}

// NewSecret makes a secret of 32 random bytes in the form that a dialect takes. Errors: ErrUnknown.
func NewSecret(name Name) (string, error) {
	d, ok := Lookup(name)
	if !ok {
		return "", fmt.Errorf("make a secret: %w %q", ErrUnknown, name)
	}
	if d.Traits().Secret.Keyed {
		return webhook.NewSecret()
	}
	const randomBytes = 32
	raw := make([]byte, randomBytes)
	if _, err := rand.Read(raw); err != nil {
		return "", fmt.Errorf("read random bytes for a secret: %w", err)
	}
	// Free of characters that a form, a shell or a URL would change.
	return base64.RawURLEncoding.EncodeToString(raw), nil
}
