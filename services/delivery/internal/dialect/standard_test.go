package dialect_test

import (
	"bytes"
	"encoding/json"
	"flag"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"testing"
	"time"

	standardwebhooks "github.com/standard-webhooks/standard-webhooks/libraries/go"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/meetwire/meetwire/pkg/webhook"
	"github.com/meetwire/meetwire/services/delivery/internal/core"
	"github.com/meetwire/meetwire/services/delivery/internal/dialect"
)

var update = flag.Bool("update", false, "write the golden files anew")

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const (
	secretNow    = "whsec_MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY="
	secretBefore = "whsec_YWJjZGVmMDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODk="
	secretOther  = "whsec_ZmVkY2JhOTg3NjU0MzIxMGZlZGNiYTk4NzY1NDMyMTA="
)

func signer(t require.TestingT, texts ...string) *webhook.Signer {
	secrets, err := webhook.ParseSecrets(texts...)
	require.NoError(t, err)
	signer, err := webhook.NewSigner(secrets...)
	require.NoError(t, err)
	return signer
}

// booked is a delivery of an event.
func booked(event string) *core.Task {
	return &core.Task{
		Delivery: "0b3c7f6e-1111-5222-8333-444455556666", Organization: "acme", Webhook: "w", Lane: "meeting-booked",
		Trigger: "meeting.booked", EventSource: "/bookings", EventID: "bk_1", EventSequence: 4711,
		AcceptedAt: time.Date(2026, 1, 31, 12, 0, 1, 500_000_000, time.FixedZone("CET", 3600)),
		Event:      []byte(event),
	}
}

// setup returns what renders, and a webhook with one secret.
func setup(t require.TestingT) (dialect.Standard, *core.Webhook) {
	return dialect.Standard{UserAgent: "Meetwire/1.2.3"}, &core.Webhook{
		TargetURL: "https://receiver.example/hook", Timeout: 15 * time.Second, Signer: signer(t, secretNow),
	}
}

func render(t *testing.T, task *core.Task) core.Request {
	t.Helper()
	standard, hook := setup(t)
	request, err := standard.Render(task, hook, time.Unix(1769860800, 999_999_999))
	require.NoError(t, err)
	return request
}

func TestStandardBodyIsThatOfTheGoldenFile(t *testing.T) {
	t.Parallel()
	event, err := os.ReadFile(filepath.Join("testdata", "meeting_booked.event.json"))
	require.NoError(t, err)
	got := render(t, booked(string(event))).Body
	golden := filepath.Join("testdata", "meeting_booked.standard.golden")
	if *update {
		require.NoError(t, os.WriteFile(golden, got, 0o600))
	}
	want, err := os.ReadFile(golden)
	require.NoError(t, err)
	require.Equal(t, string(want), string(got))
}

func TestStandardHeaders(t *testing.T) {
	t.Parallel()
	task := booked(`{"type":"meeting.booked","time":"2026-01-31T12:00:00Z","data":{}}`)
	request := render(t, task)
	require.Equal(t, "https://receiver.example/hook", request.URL)
	require.Equal(t, 15*time.Second, request.Timeout)
	_, hook := setup(t)
	want := []core.Header{
		{Name: "Content-Type", Value: "application/json"},
		{Name: "User-Agent", Value: "Meetwire/1.2.3"},
		{Name: "webhook-id", Value: "0b3c7f6e-1111-5222-8333-444455556666"},
		{Name: "webhook-timestamp", Value: "1769860800"},
		{Name: "webhook-signature", Value: hook.Signer.Sign(task.Delivery, time.Unix(1769860800, 0), request.Body)},
		{Name: "Meetwire-Event-Sequence", Value: "4711"},
	}
	require.Equal(t, want, request.Headers)
	require.Equal(t, "v1,", request.Headers[4].Value[:3])

	task.TraceParent, task.TraceState = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01", "vendor=x, other=y"
	require.Equal(t, append(want,
		core.Header{Name: "traceparent", Value: task.TraceParent},
		core.Header{Name: "tracestate", Value: task.TraceState},
	), render(t, task).Headers)
}

func TestStandardLeavesOutTraceHeadersThatCannotBeSent(t *testing.T) {
	t.Parallel()
	const parent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
	names := func(parent, state string) []string {
		task := booked(`{"type":"meeting.booked"}`)
		task.TraceParent, task.TraceState = parent, state
		var names []string
		for _, header := range render(t, task).Headers[6:] {
			names = append(names, header.Name)
		}
		return names
	}
	for _, bad := range []string{"a\x00b", "a\r\nX-Evil: 1", "\xff", "ü", "\x7f"} {
		require.Empty(t, names(bad, "a=b"), "%q", bad)
		require.Equal(t, []string{"traceparent"}, names(parent, bad), "%q", bad)
	}
	require.Empty(t, names("", "a=b"), "one makes no sense without the other")
}

func TestStandardBodyKeepsEveryByte(t *testing.T) {
	t.Parallel()
	for name, data := range map[string]string{
		"numbers that a float64 cannot hold": `{"id":9007199254740993,"big":123456789012345678901234567890,"exact":1.10,"e":1E+2}`,
		"characters of HTML":                 `{"note":"<b>Tom & Jerry</b> </script>"}`,
		"unicode":                            "{\"name\":\"Zoë 🙂 e\u0301 \u2028\u2029 \ufeff\"}",
		"escapes":                            `{"name":"\u00e9 \/ \ud83d\ude00 \u2028","lone":"\ud800","nul":"\u0000"}`,
		"white space":                        "{ \"a\" :\n\t[ 1 ,2 ] }",
		"the order of keys":                  `{"z":1,"a":2,"m":3}`,
		"one key twice":                      `{"a":1,"a":2}`,
		"text":                               `"just text"`,
		"nothing":                            `null`,
		"a list":                             `[]`,
	} {
		event := ` {"specversion":"1.0","data":` + data + `,"type":"meeting.booked","time":"2026-01-31T12:00:00.100+01:00"} `
		got := string(render(t, booked(event)).Body)
		require.Equal(t, `{"type":"meeting.booked","timestamp":"2026-01-31T12:00:00.100+01:00","data":`+data+`}`, got, name)
	}
}

func TestStandardBodyOfAnEventWithoutTimeOrData(t *testing.T) {
	t.Parallel()
	got := render(t, booked(`{"type":"custom.thing"}`)).Body
	want := `{"type":"custom.thing","timestamp":"2026-01-31T11:00:01.5Z","data":null}`
	require.Equal(t, want, string(got))
}

func TestStandardBodyTakesAttributesByTheirExactNames(t *testing.T) {
	t.Parallel()
	// Names of attributes are in lower case; what a publisher calls DATA was not checked against any schema.
	got := render(t, booked(`{"type":"a.b","time":"2026-01-31T12:00:00Z","data":{"n":1},"DATA":{"n":2},"Type":"c.d","TIME":1}`)).Body
	want := `{"type":"a.b","timestamp":"2026-01-31T12:00:00Z","data":{"n":1}}`
	require.Equal(t, want, string(got))
}

func TestStandardRefusesWhatCannotBeSent(t *testing.T) {
	t.Parallel()
	standard, hook := setup(t)
	for _, event := range []string{"", "null", "[]", "{", "1", `{"type":"a.b"} x`, `{}`, `{"Type":"a.b"}`, "\xff"} {
		_, err := standard.Render(booked(event), hook, time.Now())
		require.Error(t, err, event)
	}
	hook.Signer = nil
	_, err := standard.Render(booked(`{"type":"a.b"}`), hook, time.Now())
	require.ErrorContains(t, err, "no usable signing secret")
}

// deliver makes the request of a delivery over HTTP, and returns what the receiver got.
func deliver(t *testing.T, secrets ...string) (body []byte, header http.Header) {
	t.Helper()
	receiver := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		var err error
		body, err = io.ReadAll(r.Body)
		if err == nil {
			header = r.Header
		}
	}))
	defer receiver.Close()
	standard, hook := setup(t)
	hook.Signer = signer(t, secrets...)
	event := `{"type":"meeting.booked","time":"2026-01-31T12:00:00Z","data":{"note":"<Zoë> & \u00e9", "n": 9007199254740993}}`
	request, err := standard.Render(booked(event), hook, time.Now())
	require.NoError(t, err)
	post, err := http.NewRequestWithContext(t.Context(), http.MethodPost, receiver.URL, bytes.NewReader(request.Body))
	require.NoError(t, err)
	for _, h := range request.Headers {
		post.Header.Set(h.Name, h.Value)
	}
	response, err := receiver.Client().Do(post)
	require.NoError(t, err)
	require.NoError(t, response.Body.Close())
	require.NotNil(t, header)
	return body, header
}

// The receiver's side is the library of those who wrote the specification.
func TestStandardIsVerifiedByTheOfficialLibrary(t *testing.T) {
	t.Parallel()
	verify := func(secret string, body []byte, header http.Header) error {
		receiver, err := standardwebhooks.NewWebhook(secret)
		require.NoError(t, err)
		return receiver.Verify(body, header)
	}
	t.Run("with the secret", func(t *testing.T) {
		t.Parallel()
		body, header := deliver(t, secretNow)
		require.NoError(t, verify(secretNow, body, header))
		require.ErrorIs(t, verify(secretOther, body, header), standardwebhooks.ErrNoMatchingSignature)
	})
	t.Run("with either secret while they change", func(t *testing.T) {
		t.Parallel()
		body, header := deliver(t, secretNow, secretBefore)
		require.NoError(t, verify(secretNow, body, header))
		require.NoError(t, verify(secretBefore, body, header))
		require.ErrorIs(t, verify(secretOther, body, header), standardwebhooks.ErrNoMatchingSignature)
	})
	t.Run("not after somebody changed it", func(t *testing.T) {
		t.Parallel()
		body, header := deliver(t, secretNow)
		changed := bytes.Replace(body, []byte("9007199254740993"), []byte("9007199254740992"), 1)
		require.NotEqual(t, body, changed)
		require.ErrorIs(t, verify(secretNow, changed, header), standardwebhooks.ErrNoMatchingSignature)
		header.Set("webhook-id", "another")
		require.ErrorIs(t, verify(secretNow, body, header), standardwebhooks.ErrNoMatchingSignature)
	})
}

func FuzzStandard(f *testing.F) {
	for _, seed := range []string{
		`{"type":"a.b","data":{"n":1}}`, `{"type":"a.b","time":"x","data":"\ud800"}`, `{"type":null}`, `{"type":{}}`, `[`, ``,
		` {"type" : "a.b" , "data" : [ 1 ] } `,
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, event string) {
		standard, hook := setup(t)
		request, err := standard.Render(booked(event), hook, time.Unix(1769860800, 0))
		if err != nil {
			return
		}
		require.True(t, json.Valid(request.Body), "%s", request.Body)
		var published, sent map[string]json.RawMessage
		require.NoError(t, json.Unmarshal([]byte(event), &published))
		require.NoError(t, json.Unmarshal(request.Body, &sent))
		require.Len(t, sent, 3)
		if data, ok := published["data"]; ok {
			require.Equal(t, string(data), string(sent["data"]))
		}
		require.Contains(t, event, string(sent["type"]))
	})
}
