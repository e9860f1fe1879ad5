package dialect_test

import (
	"bytes"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	standardwebhooks "github.com/standard-webhooks/standard-webhooks/libraries/go"
	"github.com/stretchr/testify/require"

	"github.com/meetwire/meetwire/pkg/dialect"
	"github.com/meetwire/meetwire/pkg/webhook"
)

// deliver sends a delivery over HTTP, and returns what the receiver got.
func deliver(t *testing.T, c dialect.Config) (body []byte, header http.Header) {
	t.Helper()
	receiver := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		var err error
		body, err = io.ReadAll(r.Body)
		if err == nil {
			header = r.Header
		}
	}))
	defer receiver.Close()
	e := happened("meeting.booked", `{"id":"m1","title":"<Zoë> & \u00e9","capacity":9007199254740993}`)
	rendered, err := renderer(t, c).Render(e, time.Now())
	require.NoError(t, err)
	request, err := http.NewRequestWithContext(t.Context(), rendered.Method, receiver.URL, bytes.NewReader(rendered.Body))
	require.NoError(t, err)
	for _, h := range rendered.Headers {
		request.Header.Set(h.Name, h.Value)
	}
	response, err := receiver.Client().Do(request)
	require.NoError(t, err)
	require.NoError(t, response.Body.Close())
	require.NotNil(t, header)
	return body, header
}

// changed is another body of the same length.
func changed(body []byte) []byte {
	return bytes.Replace(body, []byte(`m`), []byte(`n`), 1)
}

// The receiver's side is the library of those who wrote the specification.
func TestStandardAndCloudEventsAreVerifiedByTheOfficialLibrary(t *testing.T) {
	t.Parallel()
	verify := func(secret string, body []byte, header http.Header) error {
		receiver, err := standardwebhooks.NewWebhook(secret)
		require.NoError(t, err)
		return receiver.Verify(body, header)
	}
	for _, name := range []dialect.Name{dialect.Standard, dialect.CloudEvents} {
		body, header := deliver(t, dialect.Config{Name: name, Secrets: []string{keyNow, keyBefore}})
		require.NoError(t, verify(keyNow, body, header))
		require.NoError(t, verify(keyBefore, body, header), "either secret while they change")
		require.ErrorIs(t, verify(keyOther, body, header), standardwebhooks.ErrNoMatchingSignature)
		require.ErrorIs(t, verify(keyNow, changed(body), header), standardwebhooks.ErrNoMatchingSignature)
		sent, err := strconv.ParseInt(header.Get("webhook-timestamp"), 10, 64)
		require.NoError(t, err)
		for changed, value := range map[string]string{
			"webhook-id": "another", "webhook-timestamp": strconv.FormatInt(sent+1, 10),
		} {
			forged := header.Clone()
			forged.Set(changed, value)
			require.ErrorIs(t, verify(keyNow, body, forged), standardwebhooks.ErrNoMatchingSignature, changed)
		}
		header.Del("webhook-signature")
		require.ErrorIs(t, verify(keyNow, body, header), standardwebhooks.ErrRequiredHeaders)
	}
}

func TestStandardSignsWithKeyPairs(t *testing.T) {
	t.Parallel()
	private, public, err := webhook.NewKeyPair()
	require.NoError(t, err)
	for _, name := range []dialect.Name{dialect.Standard, dialect.CloudEvents} {
		body, header := deliver(t, dialect.Config{Name: name, Secrets: []string{private, keyNow}})
		require.Regexp(t, `^v1a,\S+ v1,\S+$`, header.Get("webhook-signature"))
		for _, secret := range []string{public, keyNow} {
			v, err := webhook.NewDialectVerifier(name, []string{secret})
			require.NoError(t, err)
			require.NoError(t, v.Verify(header, body))
			require.ErrorIs(t, v.Verify(header, changed(body)), webhook.ErrNoMatch)
		}
		_, err := dialect.New(dialect.Config{Name: name, Secrets: []string{public}})
		require.ErrorIs(t, err, webhook.ErrPublicKey)
	}
}

// signature computes a signature of the body alone as the pages tell receivers to.
func signature(secret string, body []byte, encoding string) string {
	mac := hmac.New(sha256.New, []byte(secret))
	mac.Write(body)
	if encoding == "hex" {
		return hex.EncodeToString(mac.Sum(nil))
	}
	return base64.StdEncoding.EncodeToString(mac.Sum(nil))
}

func TestSignaturesOfTheBodyAreThoseThatThePagesDescribe(t *testing.T) {
	t.Parallel()
	cases := []struct {
		name             dialect.Name
		header, encoding string
		option           string
	}{
		{dialect.ACE, "x-ace-signature", "base64", ""},
		{dialect.Avoma, "X-Avoma-Signature", "hex", ""},
		{dialect.Avoma, "X-Avoma-Signature", "base64", "base64"},
		{dialect.Orufy, "X-Orufy-Signature", "hex", ""},
		{dialect.Orufy, "X-Orufy-Signature", "base64", "base64"},
		{dialect.Harmonizely, "Webhook-Signature", "base64", ""},
		{dialect.Axcelerate, "Ax-Signature", "hex", "hex"},
		{dialect.Axcelerate, "Ax-Signature", "base64", "base64"},
	}
	names := []dialect.Name{dialect.Standard, dialect.CloudEvents} // see above
	for _, c := range cases {
		if !slices.Contains(names, c.name) {
			names = append(names, c.name)
		}
	}
	requireEvery(t, names...)
	for _, c := range cases {
		body, header := deliver(t, dialect.Config{
			Name: c.name, Secrets: []string{textNow, textOther}, Options: dialect.Options{SignatureEncoding: c.option},
		})
		require.Equal(t, signature(textNow, body, c.encoding), header.Get(c.header), "%s %s", c.name, c.encoding)
		require.NotEmpty(t, header.Get("webhook-id"))
		require.Equal(t, "4711", header.Get("Meetwire-Event-Sequence"))
		if c.name == dialect.Axcelerate {
			require.Equal(t, "1", header.Get("Ax-Signature-Version"))
		}
		agent := "Meetwire/1.2.3"
		if c.name == dialect.Harmonizely {
			agent = "Harmonizely"
		}
		require.Equal(t, agent, header.Get("User-Agent"))

		verify := func(secrets ...string) *webhook.Verifier {
			v, err := webhook.NewDialectVerifier(c.name, secrets)
			require.NoError(t, err)
			return v
		}
		message, err := verify(textNow).Open(header, body)
		require.NoError(t, err)
		require.Equal(t, "0b3c7f6e-1111-5222-8333-444455556666", message.ID)
		require.Equal(t, dialect.TriggerName(c.name, "meeting.booked"), message.Type)
		require.NotEmpty(t, message.Data)
		require.EqualValues(t, 4711, message.EventSequence)
		require.NoError(t, verify(textOther, textNow).Verify(header, body))
		require.ErrorIs(t, verify(textOther).Verify(header, body), webhook.ErrNoMatch)
		require.ErrorIs(t, verify(textNow).Verify(header, changed(body)), webhook.ErrNoMatch)
	}
}

func TestWithoutASecretNothingIsSigned(t *testing.T) {
	t.Parallel()
	bare := []dialect.Name{dialect.ACE, dialect.Orufy, dialect.Harmonizely}
	signed := []dialect.Name{dialect.Standard, dialect.CloudEvents, dialect.Avoma}
	requireEvery(t, slices.Concat(bare, signed, []dialect.Name{dialect.Axcelerate})...)
	for _, name := range bare {
		_, header := deliver(t, dialect.Config{Name: name})
		for name := range header {
			require.NotContains(t, strings.ToLower(name), "signature")
		}
	}
	_, header := deliver(t, dialect.Config{Name: dialect.Axcelerate})
	require.Equal(t, []string{"0"}, header.Values("Ax-Signature-Version"))
	require.Equal(t, []string{""}, header.Values("Ax-Signature"), "it is there, and empty")
	for _, name := range signed {
		_, err := dialect.New(dialect.Config{Name: name})
		require.ErrorIs(t, err, dialect.ErrNoSecret)
		require.ErrorContains(t, err, "no usable signing secret")
	}
}

func TestARendererIsNotMadeFromWhatIsWrong(t *testing.T) {
	t.Parallel()
	_, err := dialect.New(dialect.Config{Name: "morse", Secrets: []string{keyNow}})
	require.ErrorIs(t, err, dialect.ErrUnknown)
	_, err = dialect.New(dialect.Config{Name: dialect.ACE, Options: dialect.Options{SignatureEncoding: "hex"}})
	require.ErrorIs(t, err, dialect.ErrOptions)
	const bad = "no key at all"
	_, err = dialect.New(dialect.Config{Name: dialect.Standard, Secrets: []string{bad}})
	require.ErrorIs(t, err, webhook.ErrInvalidSecret)
	require.NotContains(t, err.Error(), bad)
	const unprintable = "tab\tbed"
	_, err = dialect.New(dialect.Config{Name: dialect.ACE, Secrets: []string{unprintable}})
	require.ErrorIs(t, err, webhook.ErrInvalidSecret)
	require.NotContains(t, err.Error(), unprintable)
}

func TestSecretsAreNotPrinted(t *testing.T) {
	t.Parallel()
	for _, name := range dialect.Names() {
		c := dialect.Config{Name: name, Secrets: []string{secretOf(name)}, UserAgent: "agent"}
		for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q"} {
			require.Equal(t, "{"+name+" {SignatureEncoding: ClientID:0} 1 secrets agent}", fmt.Sprintf(verb, c))
			text := fmt.Sprintf(verb, renderer(t, c))
			require.NotContains(t, text, secretOf(name))
			bytes := strings.Trim(fmt.Sprintf("%d", []byte(secretOf(name))), "[]")
			require.NotContains(t, text, bytes)
		}
	}
}

func TestARendererServesManyAtOnce(t *testing.T) {
	t.Parallel()
	for _, name := range dialect.Names() {
		r := signing(t, name)
		e := happened("meeting.booked", `{"id":"m1"}`)
		want, err := r.Render(e, attempt())
		require.NoError(t, err)
		const goroutines, times = 8, 50
		results := make(chan bool, goroutines)
		for range goroutines {
			go func() {
				same := true
				for range times {
					got, err := r.Render(e, attempt())
					same = same && err == nil && bytes.Equal(want.Body, got.Body) && got.Headers[4] == want.Headers[4]
				}
				results <- same
			}()
		}
		for range goroutines {
			require.True(t, <-results, name)
		}
	}
}
