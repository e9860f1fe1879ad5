package webhook

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"maps"
	"net/http"
	"net/http/httptest"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

const textSecret = "ein Geheimnis mit ü"

// bodyDialects are those that sign the body alone.
func bodyDialects() []string {
	return []string{DialectACE, DialectAvoma, DialectOrufy, DialectHarmonizely, DialectAxcelerate}
}

// Dialects are all of them, for the test that compares them with those that can be sent.
func Dialects() []string { return append(bodyDialects(), DialectStandard, DialectCloudEvents) }

// handMade is a signature with textSecret, made without this package.
func handMade(body []byte, encoding Encoding) string {
	mac := hmac.New(sha256.New, []byte(textSecret))
	mac.Write(body)
	if encoding == Hex {
		return hex.EncodeToString(mac.Sum(nil))
	}
	return base64.StdEncoding.EncodeToString(mac.Sum(nil))
}

func schemeOf(t testing.TB, dialect string) BodyScheme {
	t.Helper()
	scheme, ok := BodySchemeOf(dialect)
	require.True(t, ok, dialect)
	return scheme
}

// signedHeader has a signature as a dialect sends it.
func signedHeader(t testing.TB, dialect, signature string) http.Header {
	t.Helper()
	scheme := schemeOf(t, dialect)
	h := http.Header{}
	h.Set(scheme.Header, signature)
	if scheme.VersionHeader != "" {
		h.Set(scheme.VersionHeader, "1")
	}
	return h
}

func dialectVerifier(t testing.TB, dialect string, secrets ...string) *Verifier {
	t.Helper()
	v, err := NewDialectVerifier(dialect, secrets)
	require.NoError(t, err)
	return v
}

func TestBodySignerSignsAsByHand(t *testing.T) {
	t.Parallel()
	for _, encoding := range []Encoding{Base64, Hex} {
		s, err := NewBodySigner(textSecret, encoding)
		require.NoError(t, err)
		for _, body := range []string{"", "{}", strings.Repeat("x", 100_000)} {
			require.Equal(t, handMade([]byte(body), encoding), s.Sign([]byte(body)))
		}
	}
	_, err := NewBodySigner("", Hex)
	require.ErrorIs(t, err, ErrInvalidSecret)
	_, err = NewBodySigner(textSecret, "base32")
	require.ErrorContains(t, err, "base32")
	require.NotContains(t, err.Error(), textSecret)
}

// The value that RFC 4231 has for its second test case.
func TestBodySignerAgreesWithTheVectorOfTheRFC(t *testing.T) {
	t.Parallel()
	s, err := NewBodySigner("Jefe", Hex)
	require.NoError(t, err)
	require.Equal(t, "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843",
		s.Sign([]byte("what do ya want for nothing?")))
}

func TestDialectVerifierTellsSignaturesApart(t *testing.T) {
	t.Parallel()
	body := []byte(`{"event":"create"}`)
	for _, dialect := range bodyDialects() {
		v := dialectVerifier(t, dialect, textSecret)
		for _, encoding := range []Encoding{Base64, Hex} {
			header := signedHeader(t, dialect, handMade(body, encoding))
			allowed := false
			for _, e := range schemeOf(t, dialect).Encodings {
				allowed = allowed || e == encoding
			}
			if !allowed {
				require.ErrorIs(t, v.Verify(header, body), ErrNoMatch, "%s %s", dialect, encoding)
				continue
			}
			require.NoError(t, v.Verify(header, body), "%s %s", dialect, encoding)
			require.ErrorIs(t, v.Verify(header, append(body, ' ')), ErrNoMatch)
			require.ErrorIs(t, v.Verify(header, nil), ErrNoMatch)
			require.ErrorIs(t, dialectVerifier(t, dialect, "another").Verify(header, body), ErrNoMatch)
			require.NoError(t, dialectVerifier(t, dialect, "next", textSecret).Verify(header, body))
		}
		for _, signature := range []string{
			"v1," + handMade(body, Base64), strings.ToUpper(handMade(body, Hex)), " ", "x",
			"sha256=" + handMade(body, Hex), handMade(body, Base64) + "\n",
			strings.TrimRight(handMade(body, Base64), "="), strings.Repeat("0", 1_000_000),
		} {
			require.ErrorIs(t, v.Verify(signedHeader(t, dialect, signature), body), ErrNoMatch, "%.80s", signature)
		}
	}
}

func TestDialectVerifierChecksTheHeaders(t *testing.T) {
	t.Parallel()
	body := []byte(`{}`)
	for _, dialect := range bodyDialects() {
		scheme := schemeOf(t, dialect)
		v := dialectVerifier(t, dialect, textSecret)
		good := func() http.Header { return signedHeader(t, dialect, handMade(body, scheme.Encodings[0])) }
		require.NoError(t, v.Verify(good(), body))

		h := good()
		h.Del(scheme.Header)
		require.ErrorIs(t, v.Verify(h, body), ErrMissingHeader)
		require.ErrorContains(t, v.Verify(h, body), scheme.Header)
		h.Set(scheme.Header, "")
		require.ErrorIs(t, v.Verify(h, body), ErrMissingHeader)

		h = good()
		h.Add(scheme.Header, h.Get(scheme.Header))
		require.ErrorIs(t, v.Verify(h, body), ErrMalformedHeader)

		h = good()
		h.Set(HeaderID, strings.Repeat("x", maxIDBytes+1))
		require.ErrorIs(t, v.Verify(h, body), ErrMalformedHeader)

		h = good()
		h.Set(HeaderTimestamp, "soon")
		require.ErrorIs(t, v.Verify(h, body), ErrMalformedHeader)
		h.Set(HeaderTimestamp, "1") // nobody signed it, so nothing follows from it
		require.NoError(t, v.Verify(h, body))

		if scheme.VersionHeader != "" {
			for _, version := range []string{"0", "", "2"} {
				h = good()
				h.Set(scheme.VersionHeader, version)
				require.ErrorIs(t, v.Verify(h, body), ErrMalformedHeader)
			}
		}
	}
}

func TestDialectVerifierOpensMessages(t *testing.T) {
	t.Parallel()
	happened := time.Date(2026, 3, 18, 14, 0, 0, 0, time.UTC)
	const own = `{"event":"E","id":"d1","created_at":"2026-03-18T15:00:00+01:00","data":{"a":1}}`
	bodies := map[string]struct {
		body string
		id   string
		time time.Time
	}{
		DialectACE:         {own, "d1", happened},
		DialectAvoma:       {own, "d1", happened},
		DialectOrufy:       {`{"eventType":"E","meetData":{"a":1},"eventName":"x"}`, "from-header", time.Time{}},
		DialectHarmonizely: {`{"data":{"a":1},"event":"E","uuid":"d1"}`, "d1", time.Time{}},
		DialectAxcelerate: {
			`{"type":"E","message":{"a":1},"clientId":1,"messageId":"d1","timestamp":"2026-03-18T14:00:00.000Z"}`, "d1", happened,
		},
	}
	require.ElementsMatch(t, bodyDialects(), slices.Collect(maps.Keys(bodies)), "a dialect is missing here")
	for dialect, c := range bodies {
		open := func(body string, more ...string) (Message, error) {
			scheme := schemeOf(t, dialect)
			h := signedHeader(t, dialect, handMade([]byte(body), scheme.Encodings[0]))
			h.Set(HeaderID, "from-header")
			for i := 0; i < len(more); i += 2 {
				h.Set(more[i], more[i+1])
			}
			return dialectVerifier(t, dialect, textSecret).Open(h, []byte(body))
		}
		m, err := open(c.body, HeaderTimestamp, "1769860800", HeaderEventSequence, "7")
		require.NoError(t, err, dialect)
		require.Equal(t, Message{
			ID: c.id, Timestamp: time.Unix(1769860800, 0).UTC(), EventSequence: 7, Type: "E", Time: c.time,
			Data: []byte(`{"a":1}`), Raw: []byte(c.body),
		}, m, dialect)
		m, err = open(c.body)
		require.NoError(t, err)
		require.Zero(t, m.Timestamp)
		for _, bad := range []string{`{}`, `[]`, `x`, ``, strings.Replace(c.body, `"E"`, `7`, 1)} {
			_, err = open(bad)
			require.ErrorIs(t, err, ErrMalformedMessage, "%s: %s", dialect, bad)
		}
		_, err = open(c.body, HeaderEventSequence, "-1")
		require.ErrorIs(t, err, ErrMalformedMessage)
	}
}

func TestNewDialectVerifier(t *testing.T) {
	t.Parallel()
	_, err := NewDialectVerifier("morse", []string{textSecret})
	require.ErrorIs(t, err, ErrUnknownDialect)
	for _, dialect := range Dialects() {
		_, err = NewDialectVerifier(dialect, nil)
		require.ErrorIs(t, err, ErrNoSecret, dialect)
		_, err = NewDialectVerifier(dialect, []string{"good" + vectorSecret, "tab\tbed"})
		require.ErrorIs(t, err, ErrInvalidSecret, dialect)
		require.NotContains(t, err.Error(), "bed")
		_, err = NewDialectVerifier(dialect, []string{vectorSecret}, WithTolerance(0))
		require.ErrorContains(t, err, "tolerance", dialect)
	}
	for _, dialect := range []string{DialectStandard, DialectCloudEvents} {
		v, err := NewDialectVerifier(dialect, []string{vectorSecret}, at(vectorTime()))
		require.NoError(t, err)
		require.NoError(t, v.Verify(headers(vectorID, vectorUnix, vectorSignature), []byte(vectorBody)))
		_, ok := BodySchemeOf(dialect)
		require.False(t, ok)
	}
}

func TestHandlerServesEveryDialect(t *testing.T) {
	t.Parallel()
	const body = `{"type":"E","event":"E","eventType":"E","timestamp":"2026-03-18T14:00:00Z"}`
	for _, dialect := range Dialects() {
		secret := textSecret
		var header http.Header
		if _, ok := BodySchemeOf(dialect); ok {
			header = signedHeader(t, dialect, handMade([]byte(body), schemeOf(t, dialect).Encodings[0]))
		} else {
			var parsed Secret
			secret, parsed = fresh(t)
			now := time.Now()
			header = headers("id", now.Unix(), signer(t, parsed).Sign("id", now, []byte(body)))
		}
		var got []string
		server := httptest.NewServer(Handler(dialectVerifier(t, dialect, secret), 0, func(_ context.Context, m Message) error {
			got = append(got, m.Type)
			return nil
		}))
		for sent, want := range map[string]int{body: http.StatusNoContent, body + " ": http.StatusUnauthorized} {
			request, err := http.NewRequestWithContext(t.Context(), http.MethodPost, server.URL, strings.NewReader(sent))
			require.NoError(t, err)
			request.Header = header
			response, err := server.Client().Do(request)
			require.NoError(t, err)
			require.NoError(t, response.Body.Close())
			require.Equal(t, want, response.StatusCode, dialect)
		}
		server.Close()
		require.Equal(t, []string{"E"}, got, dialect)
	}
}

// FuzzDialectVerify holds that only the one signature is accepted, and that nothing crashes.
func FuzzDialectVerify(f *testing.F) {
	body := []byte(`{"type":"a"}`)
	f.Add(handMade(body, Hex), "1", body)
	f.Add(handMade(body, Base64), "1", body)
	f.Add("", "0", []byte(nil))
	verifiers := map[string]*Verifier{}
	for _, dialect := range bodyDialects() {
		verifiers[dialect] = dialectVerifier(f, dialect, textSecret)
	}
	f.Fuzz(func(t *testing.T, signature, version string, body []byte) {
		for dialect, v := range verifiers {
			scheme := schemeOf(t, dialect)
			h := signedHeader(t, dialect, signature)
			if scheme.VersionHeader != "" {
				h.Set(scheme.VersionHeader, version)
			}
			good := false
			for _, encoding := range scheme.Encodings {
				good = good || signature == handMade(body, encoding)
			}
			good = good && (scheme.VersionHeader == "" || version == "1")
			require.Equal(t, good, v.Verify(h, body) == nil, "%s %s", dialect, strconv.Quote(signature))
			if _, err := v.Open(h, body); !good {
				require.Error(t, err)
			}
		}
	})
}
