package aip_test

import (
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/meetwire/meetwire/pkg/aip"
)

// filterFields is a copy for each caller.
func filterFields() []string {
	return []string{"webhook", "trigger", "event_id", "state", "event.source"}
}

func TestParseFilter(t *testing.T) {
	t.Parallel()
	for filter, want := range map[string]map[string]string{
		"":                                   {},
		" \t\n":                              {},
		`event_id = "bk_1"`:                  {"event_id": "bk_1"},
		`event_id='bk_1'`:                    {"event_id": "bk_1"},
		`(event_id = "bk_1")`:                {"event_id": "bk_1"},
		`state = STATE_DEAD_LETTERED`:        {"state": "STATE_DEAD_LETTERED"},
		`trigger = meeting.booked`:           {"trigger": "meeting.booked"},
		`trigger = "meeting.booked"`:         {"trigger": "meeting.booked"},
		`webhook = organizations/a/webhooks`: {"webhook": "organizations/a/webhooks"},
		`event.source = "/bookings"`:         {"event.source": "/bookings"},
		`event_id = "a\"b\\c\n"`:             {"event_id": "a\"b\\c\n"},
		`event_id = "a AND b = (c) OR *"`:    {"event_id": "a AND b = (c) OR *"},
		`event_id = "ü"`:                     {"event_id": "ü"},
		`event_id = "bk_1" AND state = STATE_SUCCEEDED AND (trigger = "meeting.booked")`: {
			"event_id": "bk_1", "state": "STATE_SUCCEEDED", "trigger": "meeting.booked",
		},
		`webhook = "organizations/acme/webhooks/0b3c7f6e-0000-4000-8000-000000000001"`: {
			"webhook": "organizations/acme/webhooks/0b3c7f6e-0000-4000-8000-000000000001",
		},
	} {
		got, err := aip.ParseFilter(filter, filterFields()...)
		require.NoError(t, err, filter)
		require.Equal(t, want, got, filter)
	}
}

func TestParseFilterSaysWhatIsAllowed(t *testing.T) {
	t.Parallel()
	for _, filter := range []string{
		`event_id`, `"bk_1"`, `event_id = `, `= "bk_1"`, `event_id == "bk_1"`,
		`event_id != "bk_1"`, `event_id : "bk_1"`, `event_id < "bk_1"`, `event_id >= "bk_1"`,
		`event_id = "a" OR event_id = "b"`, `event_id = ("a" OR "b")`, `NOT event_id = "a"`, `-event_id = "a"`,
		`event_id = "a" state = B`, `event_id = "a", state = B`, `event_id = "a" and state = B`,
		`event_id = "a" AND`, `AND event_id = "a"`, `event_id = "a" AND event_id = "a"`,
		`event_id = 1`, `event_id = -1`, `event_id = 0x10`, `event_id = 1.5`, `event_id = bk-1`, `event_id = f("a")`,
		`timestamp(event_id) = "a"`, `event_id = ""`, `event_id = "\x00"`, `event_id = "a`, `event_id = "a" AND "b"`,
		`other = "a"`, `event_id.x = "a"`, `event = "a"`, `"event_id" = "a"`, `event_id = state = "a"`,
		"event_id = \"\xff\"", `(event_id = "a"`, strings.Repeat("(", 2000), `event_id = "` + strings.Repeat("a", 2048) + `"`,
	} {
		got, err := aip.ParseFilter(filter, filterFields()...)
		require.Nil(t, got, filter)
		field := requireInvalid(t, err, "filter")
		require.Contains(t, field.Message, `webhook = "value", joined by AND, of: webhook, trigger, event_id, state, event.source`, filter)
	}
}

func TestParseFilterOfAMap(t *testing.T) {
	t.Parallel()
	for filter, want := range map[string]map[string]string{
		`metadata.env = test`:                            {"metadata.env": "test"},
		`metadata."a-b" = "c"`:                           {"metadata.a-b": "c"},
		`metadata.a.b = "c" AND metadata.a = "d"`:        {"metadata.a.b": "c", "metadata.a": "d"},
		`metadata.Env = "x" AND name = "metadata.other"`: {"metadata.Env": "x", "name": "metadata.other"},
		`metadata.AND = "x"`:                             {"metadata.AND": "x"},
	} {
		got, err := aip.ParseFilter(filter, "name", "metadata.*")
		require.NoError(t, err, filter)
		require.Equal(t, want, got, filter)
	}
	for _, filter := range []string{`metadata = "a"`, `metadata.a = "b" AND metadata.a = "b"`, `metadat.a = "b"`, `metadata."" = "a"`, "metadata.\"a\x00\" = \"a\"", `metadata."a\x00" = "a"`} {
		_, err := aip.ParseFilter(filter, "name", "metadata.*")
		requireInvalid(t, err, "filter")
	}
}

func TestParseFilterWithoutFields(t *testing.T) {
	t.Parallel()
	got, err := aip.ParseFilter("")
	require.NoError(t, err)
	require.Empty(t, got)
	_, err = aip.ParseFilter(`a = "b"`)
	requireInvalid(t, err, "filter")
}

func FuzzParseFilter(f *testing.F) {
	for _, seed := range []string{
		``, `event_id = "bk_1" AND state = STATE_DEAD_LETTERED`, `((trigger = a.b))`, `event_id = "\u00fc\x41\101"`,
		`f(f(f(`, `a = -1`, `NOT a`, `"a".b = c`, "event_id = '\n'",
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, filter string) {
		values, err := aip.ParseFilter(filter, filterFields()...)
		if err != nil {
			requireInvalid(t, err, "filter")
			return
		}
		// What was understood can be written down again, and means the same.
		var parts []string
		for field, value := range values {
			require.Contains(t, filterFields(), field)
			require.NotContains(t, value, "\x00")
			parts = append(parts, field+" = "+quote(value))
		}
		written := strings.Join(parts, " AND ")
		if len(written) > 2048 {
			return
		}
		again, err := aip.ParseFilter(written, filterFields()...)
		require.NoError(t, err, written)
		require.Equal(t, values, again)
	})
}

// quote writes a text with the escapes that filters share with Go.
func quote(value string) string {
	return strings.ReplaceAll(strconv.QuoteToASCII(value), `\x7f`, `\u007f`)
}
