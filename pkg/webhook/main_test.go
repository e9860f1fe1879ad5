package webhook

import (
	"encoding/base64"
	"net/http"
	"strconv"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// The vector that the specification's libraries share.
const (
	vectorSecret    = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
	vectorID        = "msg_p5jXN8AQM9LWM0D4loKWxJek"
	vectorUnix      = 1614265330
	vectorBody      = `{"test": 2432232314}`
	vectorSignature = "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="
)

func vectorTime() time.Time { return time.Unix(vectorUnix, 0) }

func parse(t testing.TB, s string) Secret {
	t.Helper()
	secret, err := ParseSecret(s)
	require.NoError(t, err)
	return secret
}

// fresh makes a secret of its own for a test, as text and parsed.
func fresh(t testing.TB) (string, Secret) {
	t.Helper()
	text, err := NewSecret()
	require.NoError(t, err)
	return text, parse(t, text)
}

func freshPair(t testing.TB) (private, public Secret) {
	t.Helper()
	priv, pub, err := NewKeyPair()
	require.NoError(t, err)
	return parse(t, priv), parse(t, pub)
}

func signer(t testing.TB, secrets ...Secret) *Signer {
	t.Helper()
	s, err := NewSigner(secrets...)
	require.NoError(t, err)
	return s
}

func verifier(t testing.TB, secrets []Secret, options ...VerifierOption) *Verifier {
	t.Helper()
	v, err := NewVerifier(secrets, options...)
	require.NoError(t, err)
	return v
}

// at is a Verifier's clock that stands still.
func at(now time.Time) VerifierOption { return WithClock(func() time.Time { return now }) }

func headers(id string, unix int64, signature string) http.Header {
	h := http.Header{}
	h.Set(HeaderID, id)
	h.Set(HeaderTimestamp, strconv.FormatInt(unix, 10))
	h.Set(HeaderSignature, signature)
	return h
}

func encodeSecret(raw []byte) string {
	return prefixSymmetric + base64.StdEncoding.EncodeToString(raw)
}

// symmetric is a secret of n zero bytes.
func symmetric(n int) string { return encodeSecret(make([]byte, n)) }
