package e2e_test

import (
	"net/http"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/meetwire/meetwire/pkg/webhook"
)

func (o *operator) secrets(t *testing.T) {
	t.Helper()
	require.Contains(t, o.fails(t, 1, "secrets", "reveal"), "_NOT_FOUND")
	o.ok(t, "", "secrets", "generate")
	first := o.ok(t, "", "secrets", "reveal")
	o.fails(t, 1, "secrets", "generate")
	require.Contains(t, o.fails(t, 1, "secrets", "generate", "--replace"), "--yes")
	o.ok(t, "", "secrets", "generate", "--replace", "--yes")
	require.NotEqual(t, first, o.ok(t, "", "secrets", "reveal"))
	o.ok(t, "", "secrets", "regenerate", "--grace", "24h")
	require.Contains(t, o.fails(t, 1, "secrets", "activate"), "--yes")
	o.ok(t, "", "secrets", "activate", "--yes")
	o.ok(t, "", "secrets", "get")
}

// keyPair gives a webhook an Ed25519 key: whoever does that sees only the public part, with which the receiver verifies.
func (o *operator) keyPair(t *testing.T, id string) {
	t.Helper()
	public, err := webhook.ParseSecret(strings.TrimSpace(o.ok(t, "", "webhooks", "rotate-secret", id, "--ed25519", "--grace", "0s")))
	require.NoError(t, err)
	private, err := webhook.ParseSecret(strings.TrimSpace(o.ok(t, "", "webhooks", "reveal-secret", id)))
	require.NoError(t, err)
	_, err = webhook.NewSigner(public)
	require.Error(t, err, "it is the public key")
	signer, err := webhook.NewSigner(private)
	require.NoError(t, err)
	verifier, err := webhook.NewVerifier([]webhook.Secret{public})
	require.NoError(t, err)
	body, now := []byte(`{}`), time.Now()
	require.NoError(t, verifier.Verify(http.Header{
		"Webhook-Id":        {"1"},
		"Webhook-Timestamp": {strconv.FormatInt(now.Unix(), 10)},
		"Webhook-Signature": {signer.Sign("1", now, body)},
	}, body))
	require.Contains(t, o.fails(t, 2, "webhooks", "rotate-secret", id, "--ed25519", "--secret-file", "-"), "together")
}
