package webhook

import (
	"net/http"
	"strings"
	"testing"
	"time"

	standardwebhooks "github.com/standard-webhooks/standard-webhooks/libraries/go"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

// official is the library of the specification's authors: what Meetwire's receivers may use instead of ours.
func official(t require.TestingT, secret string) *standardwebhooks.Webhook {
	w, err := standardwebhooks.NewWebhook(secret)
	require.NoError(t, err)
	return w
}

func drawMessage(t *rapid.T) (secret, id string, body []byte) {
	raw := rapid.SliceOfN(rapid.Byte(), MinSecretBytes, MaxSecretBytes).Draw(t, "key")
	return encodeSecret(raw),
		rapid.StringMatching(`[A-Za-z0-9_-]{1,64}`).Draw(t, "id"),
		rapid.SliceOf(rapid.Byte()).Draw(t, "body")
}

func TestOfficialLibraryVerifiesWhatWeSign(t *testing.T) {
	t.Parallel()

	rapid.Check(t, func(t *rapid.T) {
		text, id, body := drawMessage(t)
		secret, err := ParseSecret(text)
		require.NoError(t, err)
		older, err := ParseSecret(vectorSecret)
		require.NoError(t, err)
		s, err := NewSigner(older, secret)
		require.NoError(t, err)

		now := time.Now()
		h := headers(id, now.Unix(), s.Sign(id, now, body))
		require.NoError(t, official(t, text).Verify(body, h))
		require.NoError(t, official(t, vectorSecret).Verify(body, h))
		require.Error(t, official(t, text).Verify(append(body, 'x'), h))
	})
}

func TestWeVerifyWhatTheOfficialLibrarySigns(t *testing.T) {
	t.Parallel()

	rapid.Check(t, func(t *rapid.T) {
		text, id, body := drawMessage(t)
		secret, err := ParseSecret(text)
		require.NoError(t, err)
		v, err := NewVerifier([]Secret{secret})
		require.NoError(t, err)

		now := time.Now()
		signature, err := official(t, text).Sign(id, now, body)
		require.NoError(t, err)
		h := headers(id, now.Unix(), signature)
		require.NoError(t, v.Verify(h, body))
		require.ErrorIs(t, v.Verify(h, append(body, 'x')), ErrNoMatch)
	})
}

func TestOfficialLibraryAgreesOnTheVector(t *testing.T) {
	t.Parallel()

	signature, err := official(t, vectorSecret).Sign(vectorID, vectorTime(), []byte(vectorBody))
	require.NoError(t, err)
	require.Equal(t, vectorSignature, signature)
}

// FuzzVerify compares with the official library: whatever the headers, what we accept it accepts too.
func FuzzVerify(f *testing.F) {
	f.Add(vectorID, "1614265330", vectorSignature, []byte(vectorBody))
	f.Add(vectorID, "1614265330", "v1,x "+vectorSignature, []byte(vectorBody))
	f.Add("a.b", "-1", "v1,,, v1a,AAAA", []byte{0xff})
	f.Add("", "", "", []byte(nil))
	secret, err := ParseSecret(vectorSecret)
	require.NoError(f, err)
	v, err := NewVerifier([]Secret{secret}, at(vectorTime()))
	require.NoError(f, err)
	reference := official(f, vectorSecret)
	s, err := NewSigner(secret)
	require.NoError(f, err)

	f.Fuzz(func(t *testing.T, id, timestamp, signature string, body []byte) {
		h := http.Header{}
		h.Set(HeaderID, id)
		h.Set(HeaderTimestamp, timestamp)
		h.Set(HeaderSignature, signature)
		if err := v.Verify(h, body); err == nil {
			require.NoError(t, reference.VerifyIgnoringTimestamp(body, h))
		}

		// What was signed for these very values is accepted unless the headers themselves are refused.
		h.Set(HeaderTimestamp, "1614265330")
		h.Set(HeaderSignature, s.Sign(id, vectorTime(), body))
		err := v.Verify(h, body)
		switch {
		case id == "":
			require.ErrorIs(t, err, ErrMissingHeader)
		case strings.Contains(id, "."), len(id) > maxIDBytes:
			require.ErrorIs(t, err, ErrMalformedHeader)
		default:
			require.NoError(t, err)
		}
	})
}

// FuzzParseSecret holds that an accepted secret has one spelling, and that a refusal does not repeat it.
func FuzzParseSecret(f *testing.F) {
	for _, seed := range []string{
		"", "whsec_", vectorSecret, vectorSecret + "\n", symmetric(64), symmetric(65), "whsk_AAAA", "whpk_AAAA",
		prefixPublic + strings.TrimPrefix(symmetric(32), prefixSymmetric),
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		secret, err := ParseSecret(text)
		if err != nil {
			require.ErrorIs(t, err, ErrInvalidSecret)
			if _, encoded, _ := strings.Cut(text, "_"); len(encoded) >= MinSecretBytes {
				require.NotContains(t, err.Error(), encoded)
			}
			return
		}
		if k := secret.key.symmetric; k != nil {
			require.Equal(t, text, encodeSecret(k.secret))
			require.GreaterOrEqual(t, len(k.secret), MinSecretBytes)
			require.LessOrEqual(t, len(k.secret), MaxSecretBytes)
		}
	})
}
