package core_test

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"
	"unicode"
	"unicode/utf8"

	"github.com/stretchr/testify/require"

	"github.com/meetwire/meetwire/pkg/bus"
	"github.com/meetwire/meetwire/pkg/fault"
	"github.com/meetwire/meetwire/services/ingest/internal/core"
)

const minimal = `{"specversion":"1.0","id":"bk_1","source":"/bookings","type":"meeting.booked"}`

// with returns a valid event as JSON, with attributes (JSON text) replaced, added, or removed when empty.
func with(t testing.TB, changes ...string) []byte {
	t.Helper()
	var attributes map[string]json.RawMessage
	require.NoError(t, json.Unmarshal([]byte(minimal), &attributes))
	for i := 0; i < len(changes); i += 2 {
		if changes[i+1] == "" {
			delete(attributes, changes[i])
			continue
		}
		attributes[changes[i]] = json.RawMessage(changes[i+1])
	}
	raw, err := json.Marshal(attributes)
	require.NoError(t, err)
	return raw
}

// requireViolation asserts that an error tells one field at fault, with a text for people.
func requireViolation(t testing.TB, err error, path, rule string) fault.Field {
	t.Helper()
	var f *fault.Error
	require.ErrorAs(t, err, &f)
	require.Equal(t, fault.InvalidArgument, f.Kind)
	require.Len(t, f.Fields, 1)
	require.Equal(t, path, f.Fields[0].Path)
	require.Equal(t, rule, f.Fields[0].Rule, "%v", err)
	require.NotEmpty(t, f.Fields[0].Message)
	return f.Fields[0]
}

func TestEventsThatAreAccepted(t *testing.T) {
	t.Parallel()
	for name, raw := range map[string][]byte{
		"the least":             []byte(minimal),
		"all attributes":        with(t, "time", `"2026-01-31T12:00:00.123+02:00"`, "subject", `"room/1"`, "dataschema", `"https://x/y"`, "mwteams", `"a,b"`, "data", `{}`),
		"data that is an array": with(t, "data", `[1]`),
		"data that is null":     with(t, "data", `null`),
		"a content type":        with(t, "datacontenttype", `"application/json; charset=utf-8"`),
		"a kind of JSON":        with(t, "datacontenttype", `"application/vnd.meetings+json"`),
		"characters":            with(t, "id", `"会議-é-🎉"`, "source", `"urn:räume:1"`),
		"inner white space":     with(t, "id", `"a  b"`),
		"long names":            with(t, "id", quoted(strings.Repeat("é", 256)), "source", quoted(strings.Repeat("s", 256))),
		"white space around":    []byte("\n \t" + minimal + " \n"),
		"the greatest size":     padded(core.MaxEventBytes),
		"escapes":               with(t, "id", `"\u0061"`),
		"extensions":            with(t, "anything", `{"deep":[1,2]}`, "number", `1e400`),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			event, err := core.Parse(raw)
			require.NoError(t, err)
			require.Equal(t, raw, event.Raw, "the document stays as it was published")
			require.NotEmpty(t, event.ID)
			require.NotEmpty(t, event.Source)
			require.Equal(t, "meeting.booked", event.Type)
		})
	}
	event, err := core.Parse(with(t, "id", `"\u0061b"`, "source", `"/x"`, "data", `{"a": 1}`))
	require.NoError(t, err)
	require.Equal(t, "ab", event.ID)
	require.Equal(t, "/x", event.Source)
	require.JSONEq(t, `{"a": 1}`, string(event.Data))
	event, err = core.Parse([]byte(minimal))
	require.NoError(t, err)
	require.Nil(t, event.Data)
}

func TestTeamsAndEventTypeOfAnEvent(t *testing.T) {
	t.Parallel()
	for written, want := range map[string][]string{
		``: nil, `null`: nil, `""`: nil, `","`: nil, `"a"`: {"a"}, `"a,b"`: {"a", "b"}, `" a ,, b,"`: {"a", "b"}, `"b,a,b"`: {"b", "a", "b"},
		quoted(strings.Repeat("a,", 99)): slices.Repeat([]string{"a"}, 99),
	} {
		event, err := core.Parse(with(t, "mwteams", written))
		require.NoError(t, err, written)
		require.Equal(t, want, event.Teams, written)
	}
	for written, want := range map[string]string{``: "", `null`: "", `""`: "", `"intro-call"`: "intro-call", `"\u0061"`: "a"} {
		event, err := core.Parse(with(t, "mweventtype", written))
		require.NoError(t, err, written)
		require.Equal(t, want, event.EventType, written)
	}
}

func quoted(s string) string { return fmt.Sprintf("%q", s) }

// padded returns an event of a size.
func padded(size int) []byte {
	head := strings.TrimSuffix(minimal, "}") + `,"data":"`
	return []byte(head + strings.Repeat("x", size-len(head)-2) + `"}`)
}

func TestEventsThatAreRefused(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		raw        []byte
		path, rule string
	}{
		"nothing":                 {nil, "event", core.RuleJSON},
		"no JSON":                 {[]byte(`{"id":`), "event", core.RuleJSON},
		"two documents":           {[]byte(minimal + minimal), "event", core.RuleJSON},
		"an array":                {[]byte(`[` + minimal + `]`), "event", core.RuleJSON},
		"a string":                {[]byte(`"x"`), "event", core.RuleJSON},
		"null":                    {[]byte(`null`), "event", core.RuleJSON},
		"too deep":                {[]byte(`{"a":` + strings.Repeat("[", 20_000)), "event", core.RuleJSON},
		"no UTF-8":                {[]byte(strings.Replace(minimal, "bk_1", "bk_\xff", 1)), "event", core.RuleUTF8},
		"too large":               {padded(core.MaxEventBytes + 1), "event", core.RuleMaxBytes},
		"no specversion":          {with(t, "specversion", ""), "event.specversion", core.RuleRequired},
		"another specversion":     {with(t, "specversion", `"0.3"`), "event.specversion", core.RuleValue},
		"a number as specversion": {with(t, "specversion", `1.0`), "event.specversion", core.RuleType},
		"no id":                   {with(t, "id", ""), "event.id", core.RuleRequired},
		"an empty id":             {with(t, "id", `""`), "event.id", core.RuleRequired},
		"a null id":               {with(t, "id", `null`), "event.id", core.RuleRequired},
		"a number as id":          {with(t, "id", `1`), "event.id", core.RuleType},
		"an object as id":         {with(t, "id", `{}`), "event.id", core.RuleType},
		"ID for id":               {with(t, "id", "", "ID", `"bk_1"`), "event.id", core.RuleRequired},
		"a long id":               {with(t, "id", quoted(strings.Repeat("é", 257))), "event.id", core.RuleLength},
		"a line feed in the id":   {with(t, "id", `"a\nb"`), "event.id", core.RuleControlCharacter},
		"a zero in the id":        {with(t, "id", `"a\u0000b"`), "event.id", core.RuleControlCharacter},
		"a C1 control in the id":  {with(t, "id", `"a\u0085b"`), "event.id", core.RuleControlCharacter},
		"a space before the id":   {with(t, "id", `" a"`), "event.id", core.RuleValue},
		"a wide space after it":   {with(t, "id", `"a\u3000"`), "event.id", core.RuleValue},
		"a blank id":              {with(t, "id", `" "`), "event.id", core.RuleValue},
		"no source":               {with(t, "source", ""), "event.source", core.RuleRequired},
		"a long source":           {with(t, "source", quoted(strings.Repeat("s", 257))), "event.source", core.RuleLength},
		"a header in the source":  {with(t, "source", `"a\r\nNats-Rollup: all"`), "event.source", core.RuleControlCharacter},
		"no type":                 {with(t, "type", ""), "event.type", core.RuleRequired},
		"a list as type":          {with(t, "type", `["a.b"]`), "event.type", core.RuleType},
		"no time":                 {with(t, "time", `"yesterday"`), "event.time", core.RuleValue},
		"a number as time":        {with(t, "time", `1700000000`), "event.time", core.RuleType},
		"a null time":             {with(t, "time", `null`), "event.time", core.RuleRequired},
		"a number as teams":       {with(t, "mwteams", `5`), "event.mwteams", core.RuleType},
		"a list of teams":         {with(t, "mwteams", `["a"]`), "event.mwteams", core.RuleType},
		"too many teams":          {with(t, "mwteams", quoted(strings.Repeat("a,", 100))), "event.mwteams", core.RuleMaxItems},
		"a list of event types":   {with(t, "mweventtype", `["a"]`), "event.mweventtype", core.RuleType},
		"a long event type":       {with(t, "mweventtype", quoted(strings.Repeat("é", 257))), "event.mweventtype", core.RuleLength},
		"binary data":             {with(t, "data_base64", `"AA=="`), "event.data_base64", core.RuleValue},
		"another content type":    {with(t, "datacontenttype", `"text/xml"`), "event.datacontenttype", core.RuleValue},
		"no content type":         {with(t, "datacontenttype", `"/"`), "event.datacontenttype", core.RuleValue},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, err := core.Parse(c.raw)
			requireViolation(t, err, c.path, c.rule)
		})
	}
	_, err := core.Parse(padded(core.MaxEventBytes + 1))
	require.ErrorContains(t, err, "262144", "the limit is told")
	require.Equal(t, bus.MaxEventBytes, core.MaxEventBytes, "one limit, said twice")
}

// FuzzParse checks that every input is either an event with its attributes, or refused with the place.
func FuzzParse(f *testing.F) {
	f.Add([]byte(minimal))
	f.Add([]byte(`{"specversion":"1.0","id":"a","source":"b","type":"c","time":"2026-01-31T12:00:00Z","datacontenttype":"a/b","data":{}}`))
	f.Add([]byte(`{"specversion":"1.0","id":"\ud800","source":"` + "\u2028" + `","type":"c"}`))
	f.Add([]byte(`[{}]`))
	f.Add([]byte("{\"\xff\":1}"))
	rules := map[string]bool{
		core.RuleMaxBytes: true, core.RuleUTF8: true, core.RuleJSON: true, core.RuleRequired: true, core.RuleType: true,
		core.RuleLength: true, core.RuleMaxItems: true, core.RuleControlCharacter: true, core.RuleValue: true,
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		event, err := core.Parse(raw)
		if err != nil {
			var refused *fault.Error
			require.ErrorAs(t, err, &refused)
			require.Equal(t, fault.InvalidArgument, refused.Kind)
			require.Len(t, refused.Fields, 1)
			require.True(t, refused.Fields[0].Path == "event" || strings.HasPrefix(refused.Fields[0].Path, "event."))
			require.True(t, rules[refused.Fields[0].Rule], "unknown rule %q", refused.Fields[0].Rule)
			require.NotEmpty(t, refused.Fields[0].Message)
			return
		}
		require.Equal(t, raw, event.Raw)
		require.NotEmpty(t, event.Type)
		for _, name := range []string{event.ID, event.Source} {
			require.NotEmpty(t, name)
			require.True(t, utf8.ValidString(name))
			require.LessOrEqual(t, utf8.RuneCountInString(name), core.MaxAttributeLength)
			require.False(t, strings.ContainsFunc(name, unicode.IsControl), "%q does not fit into a header", name)
			require.Equal(t, strings.TrimSpace(name), name)
		}
		var generic map[string]any
		require.NoError(t, json.Unmarshal(raw, &generic))
		for attribute, want := range map[string]string{"id": event.ID, "source": event.Source, "type": event.Type} {
			require.Equal(t, want, generic[attribute])
		}
	})
}
