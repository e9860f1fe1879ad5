package core

import (
	"encoding/base64"
	"strings"

	"github.com/meetwire/meetwire/pkg/fault"
)

// The form of a signing secret, from the Standard Webhooks specification.
const (
	secretPrefix   = "whsec_"
	minSecretBytes = 24
	maxSecretBytes = 64
)

// checkSecret returns what is wrong with a signing secret. No message shows any part of it.
func checkSecret(secret string) []fault.Field {
	const path = "webhook.secret"
	encoded, ok := strings.CutPrefix(secret, secretPrefix)
	if !ok {
		return field(path, ruleFormat, "must be %q and the base64 of %d to %d bytes", secretPrefix, minSecretBytes, maxSecretBytes)
	}
	// The decoder itself skips line breaks, which would give one secret several spellings.
	key, err := base64.StdEncoding.Strict().DecodeString(encoded)
	if err != nil || strings.ContainsAny(encoded, "\r\n") {
		return field(path, ruleFormat, "must have standard base64 with padding after %q", secretPrefix)
	}
	if len(key) < minSecretBytes || len(key) > maxSecretBytes {
		return field(path, ruleRange, "must be the base64 of %d to %d bytes, and is that of %d", minSecretBytes, maxSecretBytes, len(key))
	}
	return nil
}
