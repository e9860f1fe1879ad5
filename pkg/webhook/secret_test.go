package webhook

import (
	"bytes"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"log/slog"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestParseSecretAcceptsEverySizeAllowed(t *testing.T) {
	t.Parallel()

	for n := MinSecretBytes; n <= MaxSecretBytes; n++ {
		secret, err := ParseSecret(symmetric(n))
		require.NoError(t, err, "%d bytes", n)
		require.False(t, secret.IsZero())
		require.True(t, secret.CanSign())
	}
}

func TestParseSecretRefuses(t *testing.T) {
	t.Parallel()

	const good = "MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
	encode := base64.StdEncoding.EncodeToString
	for name, text := range map[string]string{
		"nothing":             "",
		"only a prefix":       "whsec_",
		"no prefix":           good,
		"another prefix":      "sk_live_" + good,
		"upper-case prefix":   "WHSEC_" + good,
		"23 bytes":            symmetric(MinSecretBytes - 1),
		"65 bytes":            symmetric(MaxSecretBytes + 1),
		"no base64":           "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaS!",
		"base64url":           "whsec_" + strings.Repeat("-_", 20),
		"no padding":          strings.TrimRight(symmetric(32), "="),
		"a line break":        "whsec_MfKQ9r8GKYqrTwjU\nPD8ILPZIo2LaLaSw",
		"a trailing break":    vectorSecret + "\n",
		"a leading space":     " " + vectorSecret,
		"loose last bits":     "whsec_" + strings.Repeat("A", 33) + "B==",
		"private, 31 bytes":   prefixPrivate + encode(make([]byte, 31)),
		"private, two halves": prefixPrivate + encode(make([]byte, 64)),
		"public, 33 bytes":    prefixPublic + encode(make([]byte, 33)),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()

			secret, err := ParseSecret(text)
			require.ErrorIs(t, err, ErrInvalidSecret)
			require.True(t, secret.IsZero())
			for _, prefix := range []string{prefixSymmetric, prefixPrivate, prefixPublic} {
				if encoded, found := strings.CutPrefix(text, prefix); found && encoded != "" {
					require.NotContains(t, err.Error(), encoded)
				}
			}
		})
	}
}

func TestParseSecrets(t *testing.T) {
	t.Parallel()

	text, _ := fresh(t)
	secrets, err := ParseSecrets(vectorSecret, text)
	require.NoError(t, err)
	require.Len(t, secrets, 2)
	signatures := signer(t, secrets...).Sign(vectorID, vectorTime(), []byte(vectorBody))
	require.True(t, strings.HasPrefix(signatures, vectorSignature+" v1,"))

	_, err = ParseSecrets(vectorSecret, "whsec_c2hvcnQ=")
	require.ErrorIs(t, err, ErrInvalidSecret)
	require.ErrorContains(t, err, "secret 1")
	require.NotContains(t, err.Error(), "c2hvcnQ=")
}

func TestNewSecretIsRandomAndParses(t *testing.T) {
	t.Parallel()

	seen := map[string]bool{}
	for range 100 {
		text, _ := fresh(t)
		require.False(t, seen[text])
		seen[text] = true
		raw, err := base64.StdEncoding.DecodeString(strings.TrimPrefix(text, prefixSymmetric))
		require.NoError(t, err)
		require.Len(t, raw, newSecretBytes)
	}
}

func TestPrivateKeyParsesFromItsSeed(t *testing.T) {
	t.Parallel()

	text, _, err := NewKeyPair()
	require.NoError(t, err)
	raw, err := base64.StdEncoding.DecodeString(strings.TrimPrefix(text, prefixPrivate))
	require.NoError(t, err)
	seed := parse(t, prefixPrivate+base64.StdEncoding.EncodeToString(raw[:32]))

	whole := signer(t, parse(t, text)).Sign(vectorID, vectorTime(), []byte(vectorBody))
	require.Equal(t, whole, signer(t, seed).Sign(vectorID, vectorTime(), []byte(vectorBody)))
}

func TestSecretNeverPrints(t *testing.T) {
	t.Parallel()

	secret := parse(t, vectorSecret)
	raw := secret.key.symmetric.secret
	type holder struct{ hidden Secret }
	s := signer(t, secret)
	v := verifier(t, []Secret{secret})

	var log bytes.Buffer
	slog.New(slog.NewJSONHandler(&log, nil)).Info("a secret", "secret", secret, "pointer", &secret)
	encoded, err := json.Marshal(map[string]any{"secret": secret})
	require.NoError(t, err)

	printed := []string{log.String(), string(encoded), secret.String()}
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%x", "%q", "%d"} {
		for _, value := range []any{secret, &secret, []Secret{secret}, holder{secret}, &holder{secret}, s, v, *v} {
			printed = append(printed, fmt.Sprintf(verb, value))
		}
	}
	for _, text := range printed {
		require.NotContains(t, text, strings.TrimPrefix(vectorSecret, prefixSymmetric))
		require.NotContains(t, text, string(raw))
		require.NotContains(t, strings.ToLower(text), hex.EncodeToString(raw))
		require.NotContains(t, text, strings.Trim(fmt.Sprintf("%d", raw), "[]"))
	}
	require.Contains(t, printed[0], redacted)
	require.JSONEq(t, `{"secret":"REDACTED"}`, printed[1])
}
