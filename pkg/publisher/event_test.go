package publisher

import (
	"encoding/json"
	"maps"
	"math"
	"slices"
	"strings"
	"testing"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/meetwire/meetwire/pkg/bus"
	"github.com/meetwire/meetwire/pkg/fault"
)

// whole is an event with everything in it.
func whole() Event {
	return Event{
		Organization: "acme",
		Trigger:      "meeting.booked",
		ID:           "booking-1:booked",
		Source:       "/services/booking",
		Subject:      "m-1",
		Time:         time.Date(2026, 3, 1, 10, 0, 0, 250_000_000, time.FixedZone("", 3600)),
		Data:         map[string]any{"title": "a < b & c", "start": 1},
		Extensions:   map[string]string{ExtensionTeams: "sales,support", ExtensionEventType: "intro", "empty": ""},
	}
}

func TestEncodeWritesACloudEvent(t *testing.T) {
	t.Parallel()

	document, err := encode(whole())
	require.NoError(t, err)
	want := `{"specversion":"1.0","id":"booking-1:booked","source":"/services/booking","type":"meeting.booked",` +
		`"subject":"m-1","time":"2026-03-01T09:00:00.25Z","datacontenttype":"application/json",` +
		`"mweventtype":"intro","mwteams":"sales,support","data":{"start":1,"title":"a < b & c"}}`
	require.Equal(t, []byte(want), document) // to the byte: people read these
}

func TestEncodeKeepsNumbersOfRawData(t *testing.T) {
	t.Parallel()

	event := whole()
	event.Data = json.RawMessage("{\"amount\": 12345678901234567890.10,\n \"note\":\"\\u003c\"}")
	document, err := encode(event)
	require.NoError(t, err)
	require.Contains(t, string(document), `"data":{"amount":12345678901234567890.10,"note":"\u003c"}}`)
}

func TestEncodeRefuses(t *testing.T) {
	t.Parallel()

	for name, c := range map[string]struct {
		change func(*Event)
		field  string
		rule   string
		limit  int
	}{
		"no organization":       {func(e *Event) { e.Organization = "" }, "organization", "value", 0},
		"wildcard organization": {func(e *Event) { e.Organization = "*" }, "organization", "value", 0},
		"two tokens":            {func(e *Event) { e.Organization = "acme.other" }, "organization", "value", 0},
		"no trigger":            {func(e *Event) { e.Trigger = "" }, "type", "value", 0},
		"one token":             {func(e *Event) { e.Trigger = "meeting" }, "type", "value", 0},
		"wildcard trigger":      {func(e *Event) { e.Trigger = "meeting.>" }, "type", "value", 0},
		"no id":                 {func(e *Event) { e.ID = "" }, "id", "required", 0},
		"long id":               {func(e *Event) { e.ID = strings.Repeat("ü", 257) }, "id", "length", 256},
		"id with a line break":  {func(e *Event) { e.ID = "a\r\nNats-Rollup: all" }, "id", "control_character", 0},
		"id with NEL":           {func(e *Event) { e.ID = "a\u0085b" }, "id", "control_character", 0},
		"id in another code":    {func(e *Event) { e.ID = "a\xff" }, "id", "utf8", 0},
		"id ends in a space":    {func(e *Event) { e.ID = "a " }, "id", "value", 0},
		"no source":             {func(e *Event) { e.Source = "" }, "source", "required", 0},
		"long source":           {func(e *Event) { e.Source = strings.Repeat("s", 257) }, "source", "length", 256},
		"source with a zero":    {func(e *Event) { e.Source = "/a\x00" }, "source", "control_character", 0},
		"long subject":          {func(e *Event) { e.Subject = strings.Repeat("s", 257) }, "subject", "length", 256},
		"subject with a tab":    {func(e *Event) { e.Subject = "a\tb" }, "subject", "control_character", 0},
		"year 10000":            {func(e *Event) { e.Time = time.Date(10000, 1, 1, 0, 0, 0, 0, time.UTC) }, "time", "value", 0},
		"year 0":                {func(e *Event) { e.Time = time.Date(0, 1, 1, 0, 0, 0, 0, time.UTC) }, "time", "value", 0},
		"no data":               {func(e *Event) { e.Data = nil }, "data", "required", 0},
		"empty raw data":        {func(e *Event) { e.Data = json.RawMessage{} }, "data", "required", 0},
		"bytes":                 {func(e *Event) { e.Data = []byte(`{}`) }, "data", "value", 0},
		"raw data, no JSON":     {func(e *Event) { e.Data = json.RawMessage(`{"a":`) }, "data", "json", 0},
		"raw data, two values":  {func(e *Event) { e.Data = json.RawMessage(`{}{}`) }, "data", "json", 0},
		"raw data, no UTF-8":    {func(e *Event) { e.Data = json.RawMessage("\"\xff\"") }, "data", "utf8", 0},
		"data without JSON":     {func(e *Event) { e.Data = math.Inf(1) }, "data", "json", 0},
		"extension in capitals": {func(e *Event) { e.Extensions = map[string]string{"mwTeams": "a"} }, "mwTeams", "value", 0},
		"extension, no name":    {func(e *Event) { e.Extensions = map[string]string{"": "a"} }, "", "value", 0},
		"extension, long name":  {func(e *Event) { e.Extensions = map[string]string{strings.Repeat("x", 21): "a"} }, strings.Repeat("x", 21), "value", 0},
		"extension, quoted":     {func(e *Event) { e.Extensions = map[string]string{`a":1,"b`: "a"} }, `a":1,"b`, "value", 0},
		"extension named id":    {func(e *Event) { e.Extensions = map[string]string{"id": "a"} }, "id", "value", 0},
		"extension named data":  {func(e *Event) { e.Extensions = map[string]string{"data": "a"} }, "data", "value", 0},
		"extension with a bell": {func(e *Event) { e.Extensions = map[string]string{"x": "\a"} }, "x", "control_character", 0},
		"too large":             {func(e *Event) { e.Data = strings.Repeat("x", bus.MaxEventBytes) }, "", "max_bytes", 262144},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()

			event := whole()
			c.change(&event)
			_, err := encode(event)
			var field *FieldError
			require.ErrorAs(t, err, &field)
			require.Equal(t, c.field, field.Field)
			require.Equal(t, c.rule, field.Rule)
			require.Equal(t, c.limit, field.Limit)
			require.NotEmpty(t, field.Message)
			require.Contains(t, err.Error(), "invalid event: ")

			require.True(t, fault.Is(err, fault.InvalidArgument))
			fields := fault.From(err).Fields
			require.Len(t, fields, 1)
			require.Equal(t, strings.TrimSuffix("event."+c.field, "."), fields[0].Path)
		})
	}
}

func TestFieldErrorKeepsItsCause(t *testing.T) {
	t.Parallel()

	event := whole()
	event.Data = math.Inf(1)
	_, err := encode(event)
	var unsupported *json.UnsupportedValueError
	require.ErrorAs(t, err, &unsupported)
	require.ErrorContains(t, err, "data cannot be written as JSON: json: unsupported value")
}

func TestEncodeUpToTheLimit(t *testing.T) {
	t.Parallel()

	event := whole()
	event.Data = ""
	empty, err := encode(event)
	require.NoError(t, err)

	event.Data = strings.Repeat("x", MaxEventBytes-len(empty))
	document, err := encode(event)
	require.NoError(t, err)
	require.Len(t, document, MaxEventBytes)

	event.Data = strings.Repeat("x", MaxEventBytes-len(empty)+1)
	_, err = encode(event)
	require.EqualError(t, err, "invalid event: has 262145 bytes; at most 262144 are allowed")
}

// cloudEvent reads a document back, as strictly as CloudEvents is.
func cloudEvent(t require.TestingT, document []byte) (attributes map[string]string, data json.RawMessage) {
	require.True(t, utf8.Valid(document))
	var members map[string]json.RawMessage
	require.NoError(t, json.Unmarshal(document, &members))
	data = members["data"]
	delete(members, "data")
	attributes = make(map[string]string, len(members))
	for name, raw := range members {
		var value string
		require.NoError(t, json.Unmarshal(raw, &value), name)
		attributes[name] = value
	}
	return attributes, data
}

func TestEncodeLosesNothing(t *testing.T) {
	t.Parallel()

	printable := rapid.StringOfN(rapid.Rune().Filter(func(r rune) bool { return !unicode.IsControl(r) }), 1, 256, -1)
	name := printable.Filter(func(s string) bool { return strings.TrimSpace(s) == s })
	extension := rapid.StringMatching(`x[a-z0-9]{0,19}`)
	rapid.Check(t, func(t *rapid.T) {
		data := rapid.MapOf(rapid.String(), rapid.Int64()).Draw(t, "data")
		event := Event{
			Organization: "acme",
			Trigger:      rapid.StringMatching(`[a-z][a-z0-9_]{0,9}(\.[a-z][a-z0-9_]{0,9}){1,3}`).Draw(t, "trigger"),
			ID:           name.Draw(t, "id"),
			Source:       name.Draw(t, "source"),
			Subject:      printable.Draw(t, "subject"),
			Time:         time.Unix(rapid.Int64Range(0, 253402300799).Draw(t, "unix"), rapid.Int64Range(0, 999_999_999).Draw(t, "nano")),
			Data:         data,
			Extensions:   rapid.MapOf(extension, printable).Draw(t, "extensions"),
		}
		document, err := encode(event)
		require.NoError(t, err)

		attributes, raw := cloudEvent(t, document)
		var decoded map[string]int64
		require.NoError(t, json.Unmarshal(raw, &decoded))
		require.Len(t, decoded, len(data))
		for key, value := range data {
			require.Equal(t, value, decoded[key])
		}
		written, err := time.Parse(time.RFC3339, attributes["time"])
		require.NoError(t, err)
		require.True(t, event.Time.Equal(written))
		require.True(t, strings.HasSuffix(attributes["time"], "Z"))

		want := maps.Clone(event.Extensions)
		maps.Copy(want, map[string]string{
			"specversion": "1.0", "id": event.ID, "source": event.Source, "type": event.Trigger,
			"subject": event.Subject, "time": attributes["time"], "datacontenttype": "application/json",
		})
		require.Equal(t, want, attributes)
	})
}

// FuzzEncode holds that every event is either refused with the field at fault, or becomes a document from which
// exactly the same comes out.
func FuzzEncode(f *testing.F) {
	f.Add("acme", "meeting.booked", "1", "/s", "m-1", "mwteams", "a,b", []byte(`{"a":1}`))
	f.Add("acme", "meeting.booked", "1\n", "/s", "", "id", "", []byte(`{`))
	f.Add("*", ">", "", "\xff", "\u2028", `a":"`, "</script>", []byte("\"\xff\""))
	f.Fuzz(func(t *testing.T, organization, trigger, id, source, subject, name, value string, data []byte) {
		document, err := encode(Event{
			Organization: organization, Trigger: trigger, ID: id, Source: source, Subject: subject,
			Time: time.Unix(1_800_000_000, 0), Data: json.RawMessage(data), Extensions: map[string]string{name: value},
		})
		if err != nil {
			var field *FieldError
			require.ErrorAs(t, err, &field)
			return
		}
		require.LessOrEqual(t, len(document), MaxEventBytes)
		attributes, raw := cloudEvent(t, document)
		require.Equal(t, id, attributes["id"])
		require.Equal(t, source, attributes["source"])
		require.Equal(t, trigger, attributes["type"])
		require.Equal(t, subject, attributes["subject"])
		require.Equal(t, value, attributes[name])
		require.JSONEq(t, string(data), string(raw))
		require.Subset(t, []string{
			"specversion", "id", "source", "type", "subject", "time", "datacontenttype", name,
		}, slices.Collect(maps.Keys(attributes)))
	})
}

func BenchmarkEncode(b *testing.B) {
	event := whole()
	event.Data = json.RawMessage(`{"notes":"` + strings.Repeat("x", 1000) + `"}`)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := encode(event); err != nil {
			b.Fatal(err)
		}
	}
}
