package dialect_test

import (
	"bytes"
	"encoding/json"
	"maps"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/meetwire/meetwire/pkg/dialect"
	"github.com/meetwire/meetwire/pkg/webhook"
)

func TestStandardHeaders(t *testing.T) {
	t.Parallel()
	e := event("meeting.booked", `{"type":"meeting.booked","time":"2026-01-31T12:00:00Z","data":{}}`)
	rendered := render(t, dialect.Standard, e)
	secrets, err := webhook.ParseSecrets(keyNow)
	require.NoError(t, err)
	signer, err := webhook.NewSigner(secrets...)
	require.NoError(t, err)
	want := []dialect.Header{
		{Name: "Content-Type", Value: "application/json"},
		{Name: "User-Agent", Value: "Meetwire/1.2.3"},
		{Name: "webhook-id", Value: "0b3c7f6e-1111-5222-8333-444455556666"},
		{Name: "webhook-timestamp", Value: "1769860800"},
		{Name: "webhook-signature", Value: signer.Sign(e.Delivery, time.Unix(1769860800, 0), rendered.Body)},
		{Name: "Meetwire-Event-Sequence", Value: "4711"},
	}
	require.Equal(t, "POST", rendered.Method)
	require.Equal(t, want, rendered.Headers)
	require.Equal(t, "v1,", rendered.Headers[4].Value[:3])

	e.TraceParent, e.TraceState = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01", "vendor=x, other=y"
	require.Equal(t, append(want,
		dialect.Header{Name: "traceparent", Value: e.TraceParent},
		dialect.Header{Name: "tracestate", Value: e.TraceState},
	), render(t, dialect.Standard, e).Headers)
}

func TestTraceHeadersThatCannotBeSentAreLeftOut(t *testing.T) {
	t.Parallel()
	const parent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
	for _, name := range dialect.Names() {
		before := len(render(t, name, happened("a.b", `{}`)).Headers)
		names := func(parent, state string) []string {
			e := happened("a.b", `{}`)
			e.TraceParent, e.TraceState = parent, state
			var names []string
			for _, header := range render(t, name, e).Headers[before:] {
				names = append(names, header.Name)
			}
			return names
		}
		for _, bad := range []string{"a\x00b", "a\r\nX-Evil: 1", "\xff", "ü", "\x7f"} {
			require.Empty(t, names(bad, "a=b"), "%q", bad)
			require.Equal(t, []string{"traceparent"}, names(parent, bad), "%q", bad)
		}
		require.Empty(t, names("", "a=b"), "one makes no sense without the other")
		require.Equal(t, []string{"traceparent", "tracestate"}, names(parent, "a=b"))
	}
}

// hardData is data that a program that reads and writes it again would change.
func hardData() map[string]string {
	return map[string]string{
		"numbers that a float64 cannot hold": `{"id":9007199254740993,"big":123456789012345678901234567890,"exact":1.10,"e":1E+2}`,
		"characters of HTML":                 `{"note":"<b>Tom & Jerry</b> </script>"}`,
		"unicode":                            "{\"name\":\"Zoë 🙂 e\u0301 \u2028\u2029 \ufeff\"}",
		"escapes":                            `{"name":"\u00e9 \/ \ud83d\ude00 \u2028","lone":"\ud800","nul":"\u0000","q":"\\\"}\\"}`,
		"white space":                        "{ \"a\" :\n\t[ 1 ,2 ] }",
		"the order of keys":                  `{"z":1,"a":2,"m":3}`,
		"one key twice":                      `{"a":1,"a":2}`,
		"text":                               `"just { text"`,
		"a list":                             `[]`,
		"a number":                           `-1.50`,
		"a truth":                            `true`,
	}
}

func TestDataStaysAsItWasPublished(t *testing.T) {
	t.Parallel()
	for what, data := range hardData() {
		text := ` {"specversion":"1.0","data":` + data + ` , "type" : "custom.thing","time":"2026-01-31T12:00:00.100+01:00"} `
		e := event("custom.thing", text)
		const id = `"0b3c7f6e-1111-5222-8333-444455556666"`
		bodies := map[dialect.Name]string{
			dialect.Standard:    `{"type":"custom.thing","timestamp":"2026-01-31T12:00:00.100+01:00","data":` + data + `}`,
			dialect.CloudEvents: text,
			dialect.ACE:         `{"event":"custom.thing","id":` + id + `,"created_at":"2026-01-31T11:00:00.1Z","data":` + data + `}`,
			dialect.Avoma:       `{"event":"custom.thing","id":` + id + `,"created_at":"2026-01-31T11:00:00.1Z","data":` + data + `}`,
			dialect.Orufy:       `{"eventType":"custom.thing","meetData":` + data + `}`,
			dialect.Harmonizely: `{"data":` + data + `,"event":"custom.thing","uuid":` + id + `}`,
			dialect.Axcelerate: `{"type":"custom.thing","message":` + data + `,"clientId":12345678,"messageId":` + id +
				`,"timestamp":"2026-01-31T11:00:00.100Z"}`,
		}
		requireEvery(t, slices.Collect(maps.Keys(bodies))...)
		for name, want := range bodies {
			require.Equal(t, want, body(t, name, e), "%s: %s", name, what)
		}
	}
}

func TestAnEventWithoutTimeOrData(t *testing.T) {
	t.Parallel()
	e := event("custom.thing", `{"type":"custom.thing"}`)
	const id = `"0b3c7f6e-1111-5222-8333-444455556666"`
	bodies := map[dialect.Name]string{
		dialect.Standard:    `{"type":"custom.thing","timestamp":"2026-01-31T11:00:01.5Z","data":null}`,
		dialect.CloudEvents: `{"type":"custom.thing"}`,
		dialect.ACE:         `{"event":"custom.thing","id":` + id + `,"created_at":"2026-01-31T11:00:01.5Z","data":null}`,
		dialect.Avoma:       `{"event":"custom.thing","id":` + id + `,"created_at":"2026-01-31T11:00:01.5Z","data":null}`,
		dialect.Orufy:       `{"eventType":"custom.thing","meetData":null}`,
		dialect.Harmonizely: `{"data":null,"event":"custom.thing","uuid":` + id + `}`,
		dialect.Axcelerate: `{"type":"custom.thing","message":{},"clientId":12345678,"messageId":` + id +
			`,"timestamp":"2026-01-31T11:00:01.500Z"}`,
	}
	requireEvery(t, slices.Collect(maps.Keys(bodies))...)
	for name, want := range bodies {
		require.Equal(t, want, body(t, name, e), name)
	}
}

func TestATimeThatIsNoneIsTheOneOfAcceptance(t *testing.T) {
	t.Parallel()
	for _, bad := range []string{`null`, `""`, `1`, `"yesterday"`, `"0000-01-01T00:00:00+23:59"`, `"9999-12-31T23:59:59-23:59"`, `{}`} {
		e := event("a.b", `{"type":"a.b","time":`+bad+`,"data":1}`)
		require.Contains(t, body(t, dialect.ACE, e), `"created_at":"2026-01-31T11:00:01.5Z"`, bad)
		require.Contains(t, body(t, dialect.Axcelerate, e), `"timestamp":"2026-01-31T11:00:01.500Z"`, bad)
		require.Contains(t, body(t, dialect.Standard, e), `"timestamp":"2026-01-31T11:00:01.5Z"`, bad)
	}
}

func TestAttributesAreTakenByTheirExactNames(t *testing.T) {
	t.Parallel()
	// Names of attributes are in lower case; what a publisher calls DATA was not checked against any schema.
	e := event("a.b", `{"type":"a.b","time":"2026-01-31T12:00:00Z","data":{"n":1},"DATA":{"n":2},"Type":"c.d","TIME":1}`)
	want := `{"type":"a.b","timestamp":"2026-01-31T12:00:00Z","data":{"n":1}}`
	require.Equal(t, want, body(t, dialect.Standard, e))
	// A name may be written with escapes, and the last of several counts.
	e = event("a.b", `{"data":1,"x":{"data":3},"d\u0061ta":2,"\u0074ype":"a.b","time":"2026-01-31T12:00:00.10Z","\\":"\\"}`)
	want = `{"type":"a.b","timestamp":"2026-01-31T12:00:00.10Z","data":2}`
	require.Equal(t, want, body(t, dialect.Standard, e))
}

func TestWhatIsNoEventIsRefused(t *testing.T) {
	t.Parallel()
	for _, name := range dialect.Names() {
		for _, text := range []string{"", "null", "[]", "{", "1", `{"type":"a.b"} x`, "\xff", `"{}"`} {
			_, err := signing(t, name).Render(event("a.b", text), attempt())
			require.ErrorIs(t, err, dialect.ErrUnrenderable, "%s: %s", name, text)
		}
	}
	for _, name := range []dialect.Name{dialect.Standard, dialect.CloudEvents} {
		for _, text := range []string{`{}`, `{"Type":"a.b"}`} {
			_, err := signing(t, name).Render(event("a.b", text), attempt())
			require.ErrorIs(t, err, dialect.ErrUnrenderable, "%s: %s", name, text)
		}
	}
}

func TestSamplesAreWholeEvents(t *testing.T) {
	t.Parallel()
	at := time.Date(2026, 3, 10, 10, 12, 46, 7, time.FixedZone("CET", 3600))
	e, err := dialect.SampleEvent("acme", "custom.thing", []byte(` {"n":1.0} `), at)
	require.NoError(t, err)
	want := `{"specversion":"1.0","id":"sample","source":"/samples","type":"custom.thing","time":"2026-03-10T09:12:46Z",` +
		`"datacontenttype":"application/json","data": {"n":1.0} }`
	require.Equal(t, want, body(t, dialect.CloudEvents, e))
	require.Equal(t, "acme", e.Organization)
	rendered := render(t, dialect.Standard, e)
	require.Equal(t, dialect.SampleDelivery, rendered.Header("Webhook-ID"))
	require.Empty(t, rendered.Header("Webhook"))
	for _, data := range []string{"", "{", `1,"type":"another"`, `1} x`} {
		_, err := dialect.SampleEvent("acme", "custom.thing", []byte(data), at)
		require.ErrorIs(t, err, dialect.ErrUnrenderable, data)
	}
}

// reference is the Standard body made with nothing but encoding/json.
func reference(document []byte, accepted time.Time) (string, bool) {
	var members map[string]json.RawMessage
	if json.Unmarshal(document, &members) != nil || members["type"] == nil {
		return "", false
	}
	timestamp, data := members["time"], members["data"]
	var published string
	at, err := time.Time{}, json.Unmarshal(timestamp, &published)
	if err == nil {
		at, err = time.Parse(time.RFC3339, published)
	}
	if err != nil || at.UTC().Year() < 0 || at.UTC().Year() > 9999 {
		if timestamp, err = json.Marshal(accepted.UTC()); err != nil {
			return "", false
		}
	}
	if data == nil {
		data = json.RawMessage("null")
	}
	var b bytes.Buffer
	for _, part := range []string{
		`{"type":`, string(members["type"]), `,"timestamp":`, string(timestamp), `,"data":`, string(data), `}`,
	} {
		b.WriteString(part)
	}
	return b.String(), true
}
