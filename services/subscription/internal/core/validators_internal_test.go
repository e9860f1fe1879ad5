package core

import (
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/meetwire/meetwire/pkg/fault"
)

// requireWrong asserts which paths are wrong and by which rules, written `path rule`.
func requireWrong(t *testing.T, fields []fault.Field, want ...string) {
	t.Helper()
	got := make([]string, 0, len(fields))
	for _, f := range fields {
		require.NotEmpty(t, f.Message)
		got = append(got, f.Path+" "+f.Rule)
	}
	require.ElementsMatch(t, want, got, "%v", fields)
}

func TestCheckHeaders(t *testing.T) {
	t.Parallel()
	reserved := func(name string) bool { return name == "host" || strings.HasPrefix(name, "webhook-") }
	twenty := make([]Header, MaxHeaders)
	for i := range twenty {
		twenty[i] = Header{Name: fmt.Sprintf("X-%d", i), Value: "x"}
	}
	for name, test := range map[string]struct {
		headers []Header
		want    []string
	}{
		"none":              {},
		"as usual":          {headers: []Header{{"Authorization", "Bearer abc.def-_~+/="}, {"X-Tenant", "a\tb c"}}},
		"every character":   {headers: []Header{{"!#$%&'*+-.^_`|~09azAZ", "!\"#~"}}},
		"twenty":            {headers: twenty},
		"twenty-one":        {headers: append(twenty, Header{"Y", "y"}), want: []string{"h max_items"}},
		"the largest":       {headers: []Header{{"Name", strings.Repeat("v", MaxHeaderBytes-4)}}},
		"one byte too many": {headers: []Header{{"Name", strings.Repeat("v", MaxHeaderBytes-3)}}, want: []string{"h max_bytes"}},
		"no name":           {headers: []Header{{"", "v"}}, want: []string{"h[0].name required"}},
		"no value":          {headers: []Header{{"A", ""}}, want: []string{"h[0].value required"}},
		"same name":         {headers: []Header{{"X-A", "v"}, {"B", "v"}, {"x-a", "w"}}, want: []string{"h[2].name unique"}},
		"reserved":          {headers: []Header{{"Host", "v"}, {"WEBHOOK-Id", "v"}}, want: []string{"h[0].name reserved", "h[1].name reserved"}},
		"names": {
			headers: []Header{{"a b", "v"}, {"a:", "v"}, {"a\r\nb", "v"}, {"ä", "v"}, {"a\x00", "v"}, {"(a)", "v"}, {"a\xff", "v"}},
			want: []string{"h[0].name format", "h[1].name format", "h[2].name format", "h[3].name format", "h[4].name format",
				"h[5].name format", "h[6].name format"},
		},
		"values": {
			headers: []Header{{"A", " v"}, {"B", "v "}, {"C", "\tv"}, {"D", "v\r\nEvil: x"}, {"E", "\x00"}, {"F", "ä"}, {"G", "\x7f"},
				{"H", " "}, {"I", "\xff"}},
			want: []string{"h[0].value format", "h[1].value format", "h[2].value format", "h[3].value format", "h[4].value format",
				"h[5].value format", "h[6].value format", "h[7].value format", "h[8].value format"},
		},
		"both": {headers: []Header{{"a b", ""}}, want: []string{"h[0].name format", "h[0].value required"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			requireWrong(t, checkHeaders("h", test.headers, reserved), test.want...)
		})
	}
}

func FuzzHeaders(f *testing.F) {
	f.Add("Authorization", "Bearer s3cr3t")
	f.Add("x-\r\ny", " s3cr3t ")
	f.Fuzz(func(t *testing.T, name, value string) {
		fields := checkHeaders("h", []Header{{name, value}}, func(string) bool { return false })
		for _, field := range fields {
			// Short values can be in a message by chance.
			if len(value) > 20 && !strings.Contains(name, value) {
				require.NotContains(t, field.Message, value)
			}
		}
		if len(fields) == 0 {
			require.False(t, strings.ContainsAny(name+value, "\r\n\x00"), "nothing ends the header early")
			require.NotEmpty(t, name)
			require.Equal(t, strings.TrimSpace(value), value)
		}
	})
}

func TestCheckEmails(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("a", 64) + "@" + strings.Repeat(strings.Repeat("b", 47)+".", 3) + strings.Repeat("c", 45)
	require.Len(t, long, MaxEmailLength)
	eleven := make([]string, MaxEmails+1)
	for i := range eleven {
		eleven[i] = fmt.Sprintf("ops%d@example.com", i)
	}
	requireWrong(t, checkEmails("e", nil))
	requireWrong(t, checkEmails("e", eleven[1:]))
	requireWrong(t, checkEmails("e", eleven), "e max_items")
	requireWrong(t, checkEmails("e", []string{"ops@example.com", "Ops@example.com", "o'b+x_y@ex-ample.co.uk", "jörg@bücher.example", long}))
	requireWrong(t, checkEmails("e", []string{"a@example.com", "b@example.com", "a@EXAMPLE.com"}), "e[2] unique")
	requireWrong(t, checkEmails("e", []string{"", "b" + long, strings.Repeat("a", 65) + "@example.com"}),
		"e[0] required", "e[1] max_length", "e[2] max_length")
	for _, address := range []string{"ops", "@example.com", "ops@", "Ops <ops@example.com>", "<ops@example.com>", "ops@example.com (Ops)",
		" ops@example.com", "ops@example.com ", "a@b, c@d", `"a b"@example.com`, "a b@example.com", "ops@[127.0.0.1]", "ops@example.com\r\nBcc: x@y",
		"ops@example\x00.com", "a..b@example.com", "a@b@c", "a@localhost", "a@1.2.3.4",
		"a@exa_mple .com", "a@-..com", "a@\xff.com", ".a@example.com"} {
		requireWrong(t, checkEmails("e", []string{"ok@example.com", address}), "e[1] format")
	}
}

func TestCheckMetadata(t *testing.T) {
	t.Parallel()
	many := make(map[string]string)
	for i := range MaxMetadata {
		many[fmt.Sprintf("k%d", i)] = ""
	}
	requireWrong(t, checkMetadata("m", nil))
	requireWrong(t, checkMetadata("m", many))
	longest := strings.Repeat("k", MaxMetadataKeyLength)
	requireWrong(t, checkMetadata("m", map[string]string{"azAZ09_.-": "Größe 😀", longest: strings.Repeat("ä", MaxMetadataValueLength)}))
	many["one-more"] = ""
	requireWrong(t, checkMetadata("m", many), "m max_items")
	for _, key := range []string{"", longest + "k", "a b", "ä", "a/b", "a\n", "a~"} {
		requireWrong(t, checkMetadata("m", map[string]string{key: "v"}), "m format")
	}
	requireWrong(t, checkMetadata("m", map[string]string{
		"long": strings.Repeat("v", MaxMetadataValueLength+1), "line": "a\nb", "bytes": "\xff", "null": "\x00", "ok": "v",
	}), "m.long max_length", "m.line format", "m.bytes format", "m.null format")
}

func TestCheckEventTypes(t *testing.T) {
	t.Parallel()
	many := make([]string, MaxEventTypes+1)
	for i := range many {
		many[i] = fmt.Sprintf("slug-%d", i)
	}
	requireWrong(t, checkEventTypes("s", nil))
	requireWrong(t, checkEventTypes("s", many[1:]))
	requireWrong(t, checkEventTypes("s", many), "s max_items")
	requireWrong(t, checkEventTypes("s", []string{"a", "A", "az.AZ_09~-", strings.Repeat("x", MaxEventTypeLength)}))
	requireWrong(t, checkEventTypes("s", []string{"a", "b", "a"}), "s[2] unique")
	for _, slug := range []string{"", strings.Repeat("x", MaxEventTypeLength+1), "a b", "a/b", "ä", "a,b", "a%20", "\xff", "a\x00"} {
		requireWrong(t, checkEventTypes("s", []string{"ok", slug}), "s[1] format")
	}
}

func TestABareStarIsNoPattern(t *testing.T) {
	t.Parallel()
	require.Contains(t, patternProblem("*"), "must not be * alone")
	require.Contains(t, patternProblem("meeting"), "two to four tokens")
	require.Empty(t, patternProblem("meeting.*"))
	require.Empty(t, patternProblem("meeting.booked"))
}
