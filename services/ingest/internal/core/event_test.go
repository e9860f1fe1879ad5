package core_test

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"
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
		"extensions":            with(t, "anything", `"x"`, "number", `-2147483648`, "flag", `true`, "none", `null`, "a1", `"é"`, "empty", `""`),
		"nulls":                 with(t, "time", `null`, "subject", `null`, "datacontenttype", `null`, "dataschema", `null`, "data_base64", `null`),
		"the deepest":           with(t, "data", strings.Repeat(`[`, 64)+strings.Repeat(`]`, 64)),
		"great numbers":         with(t, "data", `[1e308,-1.5E-308,`+strings.Repeat("9", 300)+`,0.`+strings.Repeat("1", 398)+`,-0,1E+05]`),
		"names in two objects":  with(t, "data", `[{"a":1,"b":{"a":1}},{"a":1}]`),
		"many names":            with(t, "data", `{`+names(1000)+`}`),
		"a surrogate pair":      with(t, "data", `{"\ud83c\udf89":"\uD83C\uDF89 \ue000"}`),
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

// names returns members with names of their own.
func names(n int) string {
	members := make([]string, n)
	for i := range members {
		members[i] = fmt.Sprintf(`"n%d":1`, i)
	}
	return strings.Join(members, ",")
}

func TestSubjectAndTimeOfAnEvent(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ subject, data, want string }{
		{``, ``, ""}, {``, `{"id":"m1"}`, "m1"}, {`"s1"`, `{"id":"m1"}`, "s1"}, {`null`, `{"id":"m1"}`, "m1"},
		{``, `{"id":1}`, ""}, {``, `{"id":["m1"]}`, ""}, {``, `{"a":{"id":"m1"}}`, ""}, {``, `["id","m1"]`, ""}, {``, `{"\u0069d":"\u006d1"}`, "m1"},
		{``, `{"id":"a\u0000"}`, ""}, {``, `{"id":` + quoted(strings.Repeat("é", 257)) + `}`, ""},
		{``, `{"id":` + quoted(strings.Repeat("é", 256)) + `}`, strings.Repeat("é", 256)}, {`"room/1"`, ``, "room/1"},
	} {
		event, err := core.Parse(with(t, "subject", c.subject, "data", c.data))
		require.NoError(t, err)
		require.Equal(t, c.want, event.Subject, "%s %s", c.subject, c.data)
	}
	event, err := core.Parse(with(t, "time", `"2026-01-31T12:00:00.123456789+02:00"`))
	require.NoError(t, err)
	require.Equal(t, time.Date(2026, 1, 31, 10, 0, 0, 123456789, time.UTC), event.Time)
	event, err = core.Parse([]byte(minimal))
	require.NoError(t, err)
	require.Zero(t, event.Time)
}

// A pointer does not grow with what the publisher writes.
func TestPointersAreShort(t *testing.T) {
	t.Parallel()
	_, err := core.Parse(with(t, "data", `{"a":{`+quoted(strings.Repeat("x", 10_000))+`:1e999}}`))
	requireViolation(t, err, "event.data/a", core.RuleNumber)
	require.Equal(t, "/data/a", core.PointerOf("event.data/a"))
	require.Empty(t, core.PointerOf("event"))
	require.Empty(t, core.PointerOf("parent"))
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
		"too deep":                {[]byte(`{"data":{"b":` + strings.Repeat("[", 20_000)), "event.data/b" + strings.Repeat("/0", 63), core.RuleDepth},
		"a level too deep":        {with(t, "data", strings.Repeat(`{"a":`, 64)+`[]`+strings.Repeat(`}`, 64)), "event.data" + strings.Repeat("/a", 64), core.RuleDepth},
		"a great exponent":        {with(t, "data", `{"a":[0,1e309]}`), "event.data/a/1", core.RuleNumber},
		"a small exponent":        {with(t, "data", `1E-0309`), "event.data", core.RuleNumber},
		"an endless exponent":     {with(t, "data", `1e`+strings.Repeat("9", 1000)), "event.data", core.RuleNumber},
		"no double":               {with(t, "data", `999e308`), "event.data", core.RuleNumber},
		"no double without e":     {with(t, "data", strings.Repeat("9", 310)), "event.data", core.RuleNumber},
		"a long number":           {with(t, "data", `0.`+strings.Repeat("1", 399)), "event.data", core.RuleNumber},
		"an id twice":             {[]byte(strings.Replace(minimal, `{`, `{"id":"other",`, 1)), "event.id", core.RuleDuplicateKey},
		"an escaped id twice":     {[]byte(strings.Replace(minimal, `{`, `{"\u0069d":"other",`, 1)), "event.id", core.RuleDuplicateKey},
		"a name twice":            {with(t, "data", `[{"a~/b":1,"c":{},"a~/b":2}]`), "event.data/0/a~0~1b", core.RuleDuplicateKey},
		"one of many names twice": {with(t, "data", `{`+names(40)+`,"n30":1}`), "event.data/n30", core.RuleDuplicateKey},
		"half a pair":             {with(t, "data", `["","\ud83c"]`), "event.data/1", core.RuleUTF8},
		"the other half":          {with(t, "id", `"\udf89"`), "event.id", core.RuleUTF8},
		"two first halves":        {with(t, "data", `{"\ud83c\ud83c\udf89":1}`), "event.data", core.RuleUTF8},
		"an upper-case name":      {with(t, "Anything", `"x"`), "event.Anything", core.RuleAttributeName},
		"a name with a dash":      {with(t, "any-thing", `"x"`), "event.any-thing", core.RuleAttributeName},
		"a name like a path":      {with(t, "a/b", `"x"`), "event.a~1b", core.RuleAttributeName},
		"an empty name":           {with(t, "", `"x"`), "event", core.RuleAttributeName},
		"an extension's object":   {with(t, "anything", `{"deep":1}`), "event.anything", core.RuleType},
		"an extension's list":     {with(t, "anything", `[]`), "event.anything", core.RuleType},
		"an extension's fraction": {with(t, "anything", `1.5`), "event.anything", core.RuleType},
		"a great extension":       {with(t, "anything", `2147483648`), "event.anything", core.RuleType},
		"a zero in an extension":  {with(t, "anything", `"\u0000"`), "event.anything", core.RuleControlCharacter},
		"a zero in the subject":   {with(t, "subject", `"\u0000"`), "event.subject", core.RuleControlCharacter},
		"a zero in the type":      {with(t, "type", `"a\u0000"`), "event.type", core.RuleControlCharacter},
		"a number as subject":     {with(t, "subject", `1`), "event.subject", core.RuleType},
		"a long subject":          {with(t, "subject", quoted(strings.Repeat("é", 257))), "event.subject", core.RuleLength},
		"an empty subject":        {with(t, "subject", `""`), "event.subject", core.RuleLength},
		"an empty time":           {with(t, "time", `""`), "event.time", core.RuleLength},
		"an empty content type":   {with(t, "datacontenttype", `""`), "event.datacontenttype", core.RuleLength},
		"an empty dataschema":     {with(t, "dataschema", `""`), "event.dataschema", core.RuleLength},
		"an hour of one digit":    {with(t, "time", `"2026-01-31T2:00:00Z"`), "event.time", core.RuleValue},
		"a comma in the time":     {with(t, "time", `"2026-01-31T12:00:00,5Z"`), "event.time", core.RuleValue},
		"the year 0":              {with(t, "time", `"0000-01-31T12:00:00Z"`), "event.time", core.RuleValue},
		"a relative dataschema":   {with(t, "dataschema", `"/schemas/1"`), "event.dataschema", core.RuleValue},
		"a list as dataschema":    {with(t, "dataschema", `["https://x"]`), "event.dataschema", core.RuleType},
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
	f.Add([]byte(`{"id":"a","id":"b","data":[1e400,{"a":[[[]]]}]}`))
	f.Add([]byte(`{"specversion":"1.0","id":"a","source":"b","type":"c","subject":"s","x":-1,"data":{"id":"\ud83c\udf89","n":[0,-0.0,1E5]}}`))
	f.Add([]byte("{\"\xff\":1}"))
	rules := map[string]bool{
		core.RuleMaxBytes: true, core.RuleUTF8: true, core.RuleJSON: true, core.RuleRequired: true, core.RuleType: true,
		core.RuleLength: true, core.RuleMaxItems: true, core.RuleControlCharacter: true, core.RuleValue: true,
		core.RuleDepth: true, core.RuleNumber: true, core.RuleDuplicateKey: true, core.RuleAttributeName: true,
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
