package filter

import (
	"bytes"
	"encoding/json"
	"errors"
	"math"
	"strconv"
	"strings"
	"testing"
	"unicode/utf8"

	"cel.dev/cel-go/cel"
	"cel.dev/cel-go/common/types"
	"cel.dev/cel-go/common/types/ref"
	"github.com/stretchr/testify/require"
)

const sample = `{"id": "e", "type": "meeting.booked", "data": {"n": 3, "d": 1.5, "b": true, "z": null, "s": "añb",
  "t": "2026-03-01T09:00:00Z", "e": [], "l": [1, "x", 2.0, [1], {"k": 1}, null], "m": {"a": 1, "b": {"c": [true]}, "": 0}}}`

// Filters of every construct, also with values that do not fit.
func conformanceFilters() []string {
	operands := []string{`1`, `2u`, `1.5`, `"a"`, `b"a"`, `true`, `null`, `[1]`, `{"a": 1}`, `int`, `duration("1h")`,
		`timestamp("2026-03-01T09:00:00Z")`, `event`, `event.data.n`, `event.data.d`, `event.data.s`, `event.data.l`, `event.data.m`,
		`event.data.e`, `event.data.z`, `event.data.missing`, `event.data.t`, `event.data.b`}
	var filters []string
	for _, a := range operands {
		for _, b := range operands {
			for _, operator := range []string{"==", "!=", "<", ">=", "in"} {
				filters = append(filters, `dyn(`+a+`) `+operator+` dyn(`+b+`)`)
			}
			for _, operator := range []string{"+", "-", "*", "/", "%"} {
				filters = append(filters, `dyn(`+a+`) `+operator+` dyn(`+b+`) != dyn("?")`)
			}
			filters = append(filters, `dyn(`+a+`)[dyn(`+b+`)] != "?"`, `dyn(`+a+`) && dyn(`+b+`)`, `dyn(`+a+`) || dyn(`+b+`)`,
				`[dyn(`+a+`), dyn(`+b+`)].exists_one(x, x == dyn(`+b+`))`)
		}
		for _, f := range []string{"bool", "bytes", "double", "duration", "int", "string", "timestamp", "type", "uint", "size", "-", "!"} {
			filters = append(filters, `dyn(`+f+`(dyn(`+a+`))) != dyn("?")`)
		}
		for _, f := range []string{`getFullYear()`, `getMonth()`, `getDate()`, `getDayOfMonth()`, `getDayOfWeek()`, `getDayOfYear()`,
			`getHours()`, `getMinutes()`, `getSeconds()`, `getMilliseconds()`, `getHours("Asia/Tokyo")`, `getHours("-03:30")`,
			`startsWith("a")`, `endsWith("b")`, `contains("ñ")`, `matches("^a.b$")`, `size()`} {
			filters = append(filters, `dyn(`+a+`).`+f+` != dyn("?")`)
		}
		for _, f := range []string{`all(x, x == 1)`, `all(x, x)`, `exists(x, x == "x")`, `exists(x, x)`, `exists_one(x, x == 1)`, `map(x, x) != []`,
			`filter(x, x == 1) != []`, `filter(x, x) == []`, `map(x, x == 1, [x]) != []`, `all(x, has(x.k))`, `exists(x, x.k == 1)`} {
			filters = append(filters, `dyn(`+a+`).`+f)
		}
		filters = append(filters, `has(event.data.n) && has(event.data.m.a) && has(event.data.m.q.r)`, `dyn(`+a+`).k != 1`, `has(dyn(`+a+`).a)`,
			`dyn(`+a+`) ? true : false`, `(true ? dyn(`+a+`) : 1) == 1`, `{dyn(`+a+`): 1} == {1: 1}`, `[`+a+`].map(event, event) == [event]`)
	}
	return filters
}

// compare evaluates a filter here and with CEL's own interpreter, which must say the same.
func compare(t *testing.T, source string, event ref.Val) {
	f, err := Compile(source)
	if err != nil {
		var wrong *SourceError
		require.ErrorAs(t, err, &wrong, source)
		require.Positive(t, wrong.Line, source)
		require.Positive(t, wrong.Column, source)
		require.True(t, utf8.ValidString(wrong.Message))
		return
	}
	got, spent, err := f.run(event, Budget)
	require.LessOrEqual(t, spent, int64(Budget), source)
	if errors.Is(err, ErrBudget) || (err != nil && strings.Contains(err.Error(), "unsupported key type")) {
		return // CEL has no such limit, and panics for some keys
	}
	l, err2 := standard()
	require.NoError(t, err2)
	checked, issues := l.env.Compile(source)
	require.NoError(t, issues.Err(), source)
	program, err2 := l.env.Program(checked, cel.CostLimit(1_000_000))
	if err2 != nil && strings.Contains(err2.Error(), "undefined type") {
		return // CEL takes the variable of a macro over types for the name of a type
	}
	require.NoError(t, err2, source)
	want, _, wantErr := program.Eval(map[string]any{variable: event})
	if wantErr != nil && (strings.Contains(wantErr.Error(), "cost limit exceeded") || strings.Contains(wantErr.Error(), "internal error")) {
		return // the latter is a panic of CEL's, over keys that cannot be hashed
	}
	if wantErr == nil && want.Type() != types.BoolType {
		wantErr = errors.New("not a bool")
	}
	if wantErr != nil {
		require.Error(t, err, "%s: CEL says %v", source, wantErr)
		return
	}
	require.NoError(t, err, "%s: CEL says %v", source, want)
	require.Equal(t, want == types.True, got, source)
}

func TestFiltersMeanWhatCELSays(t *testing.T) {
	t.Parallel()
	event, err := decode([]byte(sample))
	require.NoError(t, err)
	for _, source := range conformanceFilters() {
		compare(t, source, event)
	}
}

func FuzzFilter(f *testing.F) {
	for i, source := range conformanceFilters() {
		if i%50 == 0 {
			f.Add(source)
		}
	}
	for _, source := range hostileFilters() {
		f.Add(source)
	}
	for _, source := range []string{`[1].map(a,[a,a]).map(a,[a,a])==[]`, `((((`, "\x00", `"\u00`, `event.a.all(x,`, `.event.id == "e"`,
		`event.id.matches("(?P<x>a{2,}[^b-\\d]+?)|\\Q..\\E$")`, "event.`a b` == 1", `1e999 > 1.0 && 0x10 == 16`, `google.protobuf.NullValue.NULL_VALUE == 0`,
		`[int].exists(x, x != event.id)`} {
		f.Add(source)
	}
	event, err := decode([]byte(sample))
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, source string) { compare(t, source, event) })
}

// FuzzEvent compares how a document is read with encoding/json.
func FuzzEvent(f *testing.F) {
	for _, document := range []string{sample, `{}`, `{"a":[]}`, `{"a": [ ] , "b" :{ } }`, `{"a":-0,"b":1e2,"c":1E+2,"d":0.0}`,
		`{"a":9223372036854775807,"b":9223372036854775808,"c":-9223372036854775808}`, `{"\u0061":"\ud83d\ude00\ud83d\"\\\/"}`, "{\"\xff\":\"\xff\"}",
		`{"a":1,"a":2}`, `{"a"`, `[1]`, `{"a":[[[{"b":[null,true,false]}]]]}`, `{"a":1e999}`} {
		f.Add([]byte(document))
	}
	f.Fuzz(func(t *testing.T, document []byte) {
		event, err := NewEvent(document)
		if err != nil {
			require.ErrorIs(t, err, ErrEvent)
			return
		}
		got, err := event.value()
		var want any
		decoder := json.NewDecoder(bytes.NewReader(document))
		decoder.UseNumber()
		if !json.Valid(document) || decoder.Decode(&want) != nil {
			require.ErrorIs(t, err, ErrEvent)
			return
		}
		require.NoError(t, err)
		requireSame(t, want, got)
	})
}

func requireSame(t *testing.T, want any, got ref.Val) {
	switch want := want.(type) {
	case nil:
		require.Equal(t, types.NullValue, got)
	case bool:
		require.Equal(t, types.Bool(want), got)
	case string:
		require.IsType(t, types.String(""), got)
		require.True(t, utf8.ValidString(want))
		require.Equal(t, strings.Count(want, "\uFFFD") > 0, strings.Contains(string(got.(types.String)), "\uFFFD"))
		if !strings.Contains(want, "\uFFFD") {
			require.Equal(t, types.String(want), got)
		}
	case json.Number:
		if i, err := strconv.ParseInt(want.String(), 10, 64); err == nil {
			require.Equal(t, types.Int(i), got)
			return
		}
		d, err := want.Float64()
		require.True(t, err == nil || math.IsInf(d, 0))
		require.Equal(t, types.True, types.Double(d).Equal(got))
	case []any:
		values := got.Value().([]ref.Val)
		require.Len(t, values, len(want))
		for i := range want {
			requireSame(t, want[i], values[i])
		}
	case map[string]any:
		fields := got.(*object).fields
		if strings.Contains(strings.Join(keysOf(want), ""), "\uFFFD") {
			return // names that are no UTF-8 can fall together
		}
		require.Len(t, fields, len(want))
		for name, value := range want {
			require.Contains(t, fields, name)
			requireSame(t, value, fields[name])
		}
	}
}

func keysOf(m map[string]any) []string {
	keys := make([]string, 0, len(m))
	for key := range m {
		keys = append(keys, key)
	}
	return keys
}
