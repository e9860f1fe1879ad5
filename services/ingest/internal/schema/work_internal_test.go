package schema

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

const maxData = 256 << 10

// many returns a part as often as it fits into the greatest event.
func many(part string, n int) string {
	n = min(n, (maxData-100)/(len(part)+1))
	return strings.TrimSuffix(strings.Repeat(part+",", n), ",")
}

// numbered returns parts with their number in them.
func numbered(format string, n int) string {
	var b strings.Builder
	for i := range n {
		if i > 0 {
			b.WriteByte(',')
		}
		fmt.Fprintf(&b, format, i)
	}
	return b.String()
}

// colliding returns lists that are all different, and between whose members nothing but the separator of the library's
// hashes stands.
func colliding(n int) string {
	var b strings.Builder
	for i := range n {
		if i > 0 {
			b.WriteByte(',')
		}
		b.WriteString(`["a`)
		for bit := range 14 {
			if i>>bit&1 == 0 {
				b.WriteString(`\u0004a`)
			} else {
				b.WriteString(`","a`)
			}
		}
		b.WriteString(`"]`)
	}
	return b.String()
}

func mustCompile(t testing.TB, source string) compiled {
	t.Helper()
	s, err := compile(source)
	require.NoError(t, err)
	return compiled{s, costsOf(s)}
}

func TestChecksThatAreTooMuchWork(t *testing.T) {
	t.Parallel()
	patterns := numbered(`{"pattern":"^(a|b%d)*(x|y){200}c$"}`, 100)
	for name, c := range map[string]struct{ schema, data string }{
		"many alternatives":     {`{"items":{"anyOf":[` + numbered(`{"const":"x%d"}`, 2000) + `]}}`, `[` + many("1", maxData) + `]`},
		"all of many":           {`{"items":{"allOf":[` + numbered(`{"minimum":-%d}`, 2000) + `]}}`, `[` + many("1", maxData) + `]`},
		"long enumerations":     {`{"items":{"enum":[` + numbered(`%d.5`, 8000) + `]}}`, `[` + many("1", maxData) + `]`},
		"patterns":              {`{"items":{"anyOf":[` + patterns + `]}}`, `["` + strings.Repeat("a", maxData-100) + `"]`},
		"patterns of names":     {`{"patternProperties":{"` + strings.Repeat("a*", 500) + `$":{}}}`, `{"` + strings.Repeat("a", maxData-100) + `":1}`},
		"lists with one hash":   {`{"uniqueItems":true}`, `[` + colliding(5000) + `]`},
		"what is not evaluated": {`{"unevaluatedItems":false,"allOf":[` + many(`{"contains":{"const":1}}`, 500) + `]}`, `[` + many("0", maxData) + `]`},
		"references": {
			`{"$defs":{"a":{"anyOf":[{"$ref":"#/$defs/b"},{"$ref":"#/$defs/b"}]},"b":{"anyOf":[{"$ref":"#/$defs/c"},{"$ref":"#/$defs/c"}]},"c":{"type":"string"}},
			"items":{"anyOf":[` + many(`{"$ref":"#/$defs/a"}`, 50) + `]}}`, `[` + many("1", maxData) + `]`,
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			pointer, problem, ok := mustCompile(t, c.schema).Check(json.RawMessage(c.data))
			require.False(t, ok)
			require.Empty(t, pointer)
			require.Contains(t, problem, "too much work")
		})
	}
}

// What organizations really publish is far from the limit, also when it is long.
func TestChecksThatAreNotTooMuchWork(t *testing.T) {
	t.Parallel()
	attendee := `{"type":"object","required":["email"],"properties":{"email":{"type":"string","format":"email","maxLength":254},"name":{"type":"string","pattern":"^[^<>]*$"},"status":{"enum":["yes","no","maybe"]}},"additionalProperties":false}`
	for name, c := range map[string]struct{ schema, data string }{
		"a thousand attendees": {
			`{"properties":{"attendees":{"items":` + attendee + `,"uniqueItems":true}}}`,
			`{"attendees":[` + numbered(`{"email":"someone.%d@example.com","name":"Some Body","status":"maybe"}`, 1000) + `]}`,
		},
		"a long text":      {`{"properties":{"notes":{"type":"string","pattern":"^[^<]*$"}}}`, `{"notes":"` + strings.Repeat("é", maxData/3) + `"}`},
		"many numbers":     {`{"items":{"type":"integer","minimum":0,"multipleOf":1}}`, `[` + many("17", 50_000) + `]`},
		"different things": {`{"uniqueItems":true}`, `[` + numbered(`%d`, 40_000) + `]`},
		"nothing asked":    {`{}`, `[` + many(`{"a":[1]}`, maxData) + `]`},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			began := time.Now()
			_, problem, ok := mustCompile(t, c.schema).Check(json.RawMessage(c.data))
			require.True(t, ok, problem)
			t.Log(time.Since(began))
		})
	}
}

func TestProblemsAreCut(t *testing.T) {
	t.Parallel()
	name := strings.Repeat("é", 100_000)
	pointer, problem, ok := mustCompile(t, `{"properties":{"`+name+`":{"type":"string"}}}`).Check(json.RawMessage(`{"` + name + `":1}`))
	require.False(t, ok)
	require.Empty(t, pointer, "the nearest place whose pointer is not long")
	require.Contains(t, problem, "string")
	_, problem, ok = mustCompile(t, `{"additionalProperties":false}`).Check(json.RawMessage(`{"` + name + `":1}`))
	require.False(t, ok)
	require.LessOrEqual(t, len(problem), maxProblem+len("…"))
}
