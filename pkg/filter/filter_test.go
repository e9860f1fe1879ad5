package filter_test

import (
	"strings"
	"testing"

	"buf.build/go/protovalidate"
	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/types/known/structpb"

	"github.com/meetwire/meetwire/pkg/filter"
)

func TestAFilterSaysWhatItMatches(t *testing.T) {
	t.Parallel()
	e := event(t, booked)
	for _, test := range []struct {
		source string
		want   bool
	}{
		{`true`, true},
		{`event.type == "meeting.booked"`, true},
		{`event.data.event_type.slug == "demo" && event.data.duration > 30`, true},
		{`event.data.event_type.slug == "demo" && event.data.duration > 45`, false},
		{`event.type.startsWith("meeting.") && event.subject.endsWith("/m-1") && event.source.contains("sched")`, true},
		{`event.data["odd key"] == 'x'`, true},
		{`event["data"]["id"] == "m-1"`, true},
		{`"sales" in ["sales", "support"]`, true},
		{`event.data.event_type.kind in ["group", "solo"]`, true},
		{`"budget" in event.data.answers`, true},
		{`"colour" in event.data.answers`, false},
		{`has(event.data.note) && event.data.note == null`, true},
		{`has(event.data.missing)`, false},
		{`has(event.data.missing) && event.data.missing > 1`, false},
		{`event.data.missing > 1 || event.data.live == true`, true},
		{`!(event.data.live == true)`, false},
		{`event.data.attendees.exists(a, a.email.endsWith("@example.org"))`, true},
		{`event.data.attendees.all(a, a.age >= 36)`, true},
		{`event.data.attendees.exists_one(a, has(a.vip) && a.vip == true)`, true},
		{`event.data.attendees.filter(a, a.age > 40).size() == 1`, true},
		{`event.data.attendees.map(a, a.age) == [36, 41]`, true},
		{`event.data.attendees.map(a, a.age > 40, a.email) == ["bob@example.org"]`, true},
		{`event.data.attendees[1].age == 41`, true},
		{`event.data.answers.exists(k, event.data.answers[k] == "high")`, true},
		{`event.data.answers.map(k, k) == ["budget", "size"]`, true},
		{`event.data.empty.all(x, false) && event.data.none == {}`, true},
		{`event.data.answers == {"size": 12, "budget": "high"}`, true},
		{`event.data.answers == {"size": 12.0, "budget": "high"}`, true},
		{`event.data.event_type == event.data.answers`, false},
		{`event.data.title.matches("^Größe .L. – 😀$")`, true},
		{`matches(event.data.id, "m-[0-9]")`, true},
		{`event.data.title.size() == 13`, true},
		{`timestamp(event.data.start) - timestamp(event.time) == duration("23h30m")`, true},
		{`timestamp(event.data.start).getHours() == 8`, true},
		{`timestamp(event.data.start).getHours("Europe/Vienna") == 9`, true},
		{`timestamp(event.data.start).getDayOfWeek() == 1`, true},
		{`event.data.live == true ? event.data.duration == 45 : false`, true},
		{`int(event.data.price) + 1 == 20 && string(event.data.duration) == "45"`, true},
		{`double(event.data.duration) * 2.0 == 90.0 && event.data.duration * 2 == 90 && -event.data.duration < 0`, true},
		{`type(event.data.duration) == int && type(event.data.price) == double && type(event.data.none) == map`, true},
		{`[1].exists(event, event == 1)`, true},
		{`[1, 2] + [3] == [1, 2, 3] && 2 in [1] + [2]`, true},
		{`{1: "a", true: "b"}[true] == "b"`, true},
		{`{"c": 0, 2: 0, "a": 0, true: 0, "b": 0, 1u: 0, 1: 0, false: 0}.map(k, k) == [false, true, 1, 2, "a", "b", "c", 1u]`, true},
		{"// what sales wants\nevent.data.duration > 30", true},
	} {
		got, err := compile(t, test.source).Match(e)
		require.NoError(t, err, test.source)
		require.Equal(t, test.want, got, test.source)
	}
}

func TestNumbersAreComparedByTheirValue(t *testing.T) {
	t.Parallel()
	e := event(t, booked)
	for _, source := range []string{
		`event.data.duration == 45.0`, `event.data.duration > 44.5`, `event.data.whole == 30`, `30 in [event.data.whole]`,
		`event.data.price > 19`, `event.data.exponent == 100`, `type(event.data.exponent) == double`,
		`event.data.huge > 9223372036854770000`, `event.data.huge == 9223372036854775808.0`, `event.data.duration == 45u`,
	} {
		got, err := compile(t, source).Match(e)
		require.NoError(t, err, source)
		require.True(t, got, source)
	}
	_, err := compile(t, `event.data.duration * 1.5 > 60.0`).Match(e)
	require.ErrorContains(t, err, "no such overload", "arithmetic does not mix types")
	got, err := compile(t, `event.n > 1e308 && -event.m > 1e308 && event.z == 0`).
		Match(event(t, `{"n": 1e999, "m": -1e999, "z": -0}`))
	require.NoError(t, err)
	require.True(t, got)
}

func TestAFilterThatFailsSaysWhy(t *testing.T) {
	t.Parallel()
	e := event(t, booked)
	for source, want := range map[string]string{
		`event.data.missing > 1`:                           "no such key: missing",
		`event.data.missing.deeper == 1`:                   "no such key: missing",
		`event.data.duration.x == 1`:                       "what it is taken from is no map",
		`event.data.missing > 1 && true`:                   "no such key: missing",
		`event.data.duration && true`:                      "no such overload: int where a bool must be",
		`event.data.duration ? true : false`:               "no such overload: int where a bool must be",
		`event.data.title < 1`:                             "no such overload",
		`event.data.duration.startsWith("4")`:              "no such overload",
		`event.data.duration.matches("4")`:                 "no such overload: matches of int",
		`event.data.attendees[2].age == 1`:                 "out of range",
		`event.data.answers["x"] == 1`:                     "no such key",
		`event.data.duration.exists(x, true)`:              "a macro over int",
		`1 in event.data.duration`:                         "no such overload",
		`event.data.duration / 0 == 1`:                     "division by zero",
		`event.data.duration * 9223372036854775807 > 1`:    "integer overflow",
		`timestamp(event.data.id) > timestamp(event.time)`: "evaluate filter",
		`duration(event.data.id) > duration("1s")`:         "evaluate filter",
		`{event.data.attendees: 1} == {}`:                  "unsupported key type",
		`{event.data.id: 1, "m-1": 2} == {}`:               "the same key twice",
	} {
		got, err := compile(t, source).Match(e)
		require.ErrorContains(t, err, want, source)
		require.False(t, got, source)
	}
}

func TestWhatIsNoEventMatchesNothing(t *testing.T) {
	t.Parallel()
	for _, document := range []string{``, ` `, `[]`, `null`, `"{}"`} {
		_, err := filter.NewEvent([]byte(document))
		require.ErrorIs(t, err, filter.ErrEvent, document)
	}
	f := compile(t, `true`)
	for _, document := range []string{`{`, `{"a":}`, `{} x`, `{"a":1,}`, "{\"a\":\"\n\"}"} {
		_, err := f.Match(event(t, document))
		require.ErrorIs(t, err, filter.ErrEvent, document)
	}
	got, err := compile(t, `event.a == 2 && event.b == "\ufffd"`).Match(event(t, " \n\t\r{\"a\":1 , \"a\" : 2,\"b\":\"\xff\"}"))
	require.NoError(t, err)
	require.True(t, got, "of a name that is there twice the last counts")
}

func TestWhatIsWrongIsNamedWithItsPlace(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		source       string
		line, column int
		message      string
	}{
		{``, 1, 1, "empty"},
		{" \n", 1, 1, "empty"},
		{"\xff", 1, 1, "UTF-8"},
		{strings.Repeat("a", 1025), 1, 1, "at most 1024 bytes, this one has 1025"},
		{strings.Repeat("é", 513), 1, 1, "at most 1024 bytes, this one has 1026"},
		{`event.type ==`, 1, 14, "mismatched input"},
		{"event.type == 'a' &&\n  events.id == 'b'", 2, 3, "undeclared reference to 'events'"},
		{`event.type.lower() == 'a'`, 1, 17, "undeclared reference to 'lower'"},
		{`1 == 'a'`, 1, 3, "found no matching overload"},
		{`event.data.live`, 1, 11, "compare this value"},
		{`event`, 1, 1, "this is of type map(string, dyn)"},
		{`1 + 1`, 1, 3, "this is of type int"},
		{`event.data.a ? event.b : event.c`, 1, 14, "compare this value"},
		{`google.protobuf.Struct{} == google.protobuf.Struct{}`, 1, 23, "no messages such as google.protobuf.Struct{}"},
		{`event.id.matches(event.data.pattern)`, 1, 28, "must be written as a string"},
		{`event.id.matches("a" + "b")`, 1, 22, "must be written as a string"},
		{`event.id.matches("(")`, 1, 18, "must be a regular expression"},
		{`event.id.matches("x{201}")`, 1, 18, "at most 200 characters"},
		{`event.id.matches("x{150}") || event.id.matches("y{150}")`, 1, 48, "at most 200 characters"},
		{`event.id.matches("((x{10}){10}){10}")`, 1, 18, "at most 200 characters"},
		{`event.id.matches("(?:x{1000}){1}")`, 1, 18, "at most 200 characters"},
		{`event.id.matches("((x{500}x{500}){1}){1}")`, 1, 18, "at most 200 characters"},
		{`event.id.matches("(x{201}){0}")`, 1, 18, "at most 200 characters"},
		{`event.id.find("x")`, 1, 14, "undeclared reference to 'find'"},
		{`optional.of(1).hasValue()`, 1, 1, "undeclared reference to 'optional'"},
		{`[1].transformList(i, v, v) == [1]`, 1, 18, "undeclared reference"},
	} {
		// Positions within a line of CEL's own messages are as CEL has them.
		_, err := filter.Compile(test.source)
		var wrong *filter.SourceError
		require.ErrorAs(t, err, &wrong, test.source)
		require.Contains(t, wrong.Message, test.message, test.source)
		require.Equal(t, test.line, wrong.Line, test.source)
		require.Equal(t, test.column, wrong.Column, "%s: %s", test.source, wrong.Message)
		require.Contains(t, err.Error(), wrong.Message)
		require.NotContains(t, err.Error(), "\n")
	}
	_, err := filter.Compile(`event.data.live == true` + strings.Repeat(" ", filter.MaxSourceBytes-23))
	require.NoError(t, err, "exactly the greatest length")
}

// Another version of CEL checks what gRPC takes in. Both are in every service, and one must not disturb the other.
func TestBothVersionsOfCELLiveInOneProcess(t *testing.T) {
	t.Parallel()
	got, err := compile(t, `event.a == 1`).Match(event(t, `{"a": 1}`))
	require.NoError(t, err)
	require.True(t, got)
	require.NoError(t, protovalidate.Validate(structpb.NewStringValue("x")))
}
