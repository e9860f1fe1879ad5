package filter

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"cel.dev/cel-go/common/types/ref"
	"github.com/stretchr/testify/require"
)

// eventBytes is the greatest size of an event.
const eventBytes = 256 << 10

// largest returns an event of nearly eventBytes whose data is made of a unit, as often as it fits.
func largest(before, unit, separator, after string) string {
	head, tail := `{"id":"e","data":`+before, after+`}`
	n := (eventBytes - len(head) - len(tail)) / (len(unit) + len(separator))
	return head + strings.Repeat(unit+separator, n-1) + unit + tail
}

// Events that make filters work.
func hostileEvents() map[string]string {
	numbered := make([]string, 0, 20_000)
	for i := range 20_000 {
		numbered = append(numbered, fmt.Sprintf(`"k%05d":%d`, i, i%10))
	}
	return map[string]string{
		"numbers":  largest(`{"a":[`, `0`, `,`, `]}`),
		"twice":    largest(`{"a":[`, `0,[0]`, `,`, `]}`),
		"string":   largest(`{"a":["x"],"s":"`, `a`, ``, `"}`),
		"both":     largest(`{"s":"`+strings.Repeat("a", eventBytes/2)+`","a":[`, `0`, `,`, `]}`),
		"strings":  largest(`{"a":[`, `"aaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"`, `,`, `]}`),
		"deep":     `{"id":"e","data":{"a":` + strings.Repeat(`[`, 9_000) + strings.Repeat(`]`, 9_000) + `,"s":"a"}}`,
		"maps":     largest(`{"s":"k","a":[`, `{"x":{"y":1}}`, `,`, `]}`),
		"keys":     `{"id":"e","data":{"s":"k","a":{` + strings.Join(numbered, ",") + `}}}`,
		"times":    largest(`{"s":"2026-03-01T09:00:00Z","a":[`, `"2026-03-01T09:00:00Z"`, `,`, `]}`),
		"hours":    largest(`{"a":["x"],"s":"`, `1h`, ``, `"}`),
		"wide":     largest(`{"a":["é"],"s":"`, `é`, ``, `"}`),
		"escapes":  largest(`{"a":["é"],"s":"`, `\u00e9`, ``, `"}`),
		"doubles":  largest(`{"s":"1.5","a":[`, `1.7976931348623157e308`, `,`, `]}`),
		"nonsense": largest(`{"s":"Europe/Nowhere","a":[`, `"Europe/Nowhere"`, `,`, `]}`),
	}
}

// Filters that make as much work as their source allows.
func hostileFilters() []string {
	many := func(part, separator string, n int) string {
		return strings.TrimSuffix(strings.Repeat(part+separator, n), separator)
	}
	d := `event.data`
	return []string{
		// Lists that refer to the same thing many times, compared.
		`[[` + many(`event`, `,`, 55) + `]].map(a,[` + many(`a`, `,`, 80) + `]) == [[` + many(`event`, `,`, 55) + `]].map(a,[` + many(`a`, `,`, 80) + `])`,
		`[` + many(`event`, `,`, 75) + `] == [` + many(`event`, `,`, 75) + `]`,
		`{"a":[` + many(`event`, `,`, 70) + `]} != {"a":[` + many(`event`, `,`, 70) + `]}`,
		`[` + d + `.a,` + d + `.a] in [` + many(d+`.a`, `,`, 60) + `]`,
		d + `.a == ` + d + `.a`,
		d + `.a.all(x, ` + d + `.a == ` + d + `.a)`,
		d + `.a.all(x, ` + d + ` == ` + d + ` && event == event)`,
		d + `.a.exists(x, [` + many(d, `,`, 60) + `] == [x])`,
		d + `.a.all(x, x in ` + d + `.a)`,
		d + `.a.all(x, !(2 in ` + d + `.a))`,
		d + `.a.map(x, event) == ` + d + `.a.map(x, event)`,
		// Lists that grow.
		`(` + many(d+`.a`, `+`, 60) + `).exists(x, x == "no")`,
		`(` + many(d+`.a`, `+`, 50) + `).map(x, [x,x]) == [[1]]`,
		d + `.a.all(x, (` + many(d+`.a`, `+`, 40) + `) != [])`,
		d + `.a.map(x, ` + d + `.a + ` + d + `.a) == []`,
		`size(` + d + `.a.filter(x, true)) == size(` + d + `.a.map(x, x))`,
		d + `.a.exists_one(x, ` + many(`x == 1`, ` || `, 80) + `)`,
		// Strings that grow.
		`(` + many(d+`.s`, `+`, 60) + `).size() > 1`,
		`(` + many(d+`.s`, `+`, 60) + `).contains("` + strings.Repeat("a", 200) + `b")`,
		`[` + many(d+`.s`, `+`, 30) + `].map(a, ` + many(`a`, `+`, 60) + `) == []`,
		d + `.a.all(x, ` + many(d+`.s`, `+`, 55) + ` != "")`,
		d + `.a.all(x, ` + d + `.s == ` + d + `.s)`,
		d + `.a.all(x, ` + d + `.s.size() > 0)`,
		d + `.a.all(x, ` + d + `.s.contains("aaaaaaaaaaaaaaaaaaaaaaaaaaaaab"))`,
		d + `.a.all(x, ` + d + `.s.startsWith(` + d + `.s))`,
		d + `.a.all(x, ` + d + `.s < ` + d + `.s || true)`,
		d + `.a.all(x, bytes(` + d + `.s) == bytes(` + d + `.s))`,
		d + `.a.all(x, string(bytes(` + d + `.s)) == ` + d + `.s)`,
		// Patterns.
		d + `.s.matches("` + strings.Repeat("a?", 60) + strings.Repeat("a", 60) + `b")`,
		d + `.s.matches("(a|aa|aaa)*b")`,
		d + `.s.matches("(?i)(.*a){9}b")`,
		d + `.s.matches("[^x]{150}x")`,
		d + `.a.all(x, ` + d + `.s.matches("(a*)*b") || true)`,
		d + `.a.exists(x, x.matches("a{99}b"))`,
		d + `.s.matches("\\pL+$") || ` + d + `.s.matches("(\\w+\\W*)+\\d$")`,
		// Errors, which cost something to make.
		d + `.a.all(x, x.nothing == 1)`,
		d + `.a.exists(x, ` + many(`x.a.b == 1`, ` || `, 60) + `)`,
		d + `.a.exists(x, dyn(x + 1) == "a" || dyn(x + "a") == 1)`,
		d + `.a.exists(x, ` + d + `[` + d + `.s] == 1)`,
		d + `.a.exists(x, timestamp(` + d + `.s) == timestamp(x))`,
		d + `.a.exists(x, duration(` + d + `.s) == duration(x))`,
		d + `.a.exists(x, int(` + d + `.s) == int(x) || double(` + d + `.s) == 1.0 || bool(` + d + `.s))`,
		// Conversions and time.
		d + `.a.all(x, string(x) != "")`,
		d + `.a.all(x, type(x) != type(event))`,
		d + `.a.all(x, timestamp(x).getHours("Europe/Vienna") < 99)`,
		d + `.a.all(x, timestamp("2026-03-01T09:00:00Z").getFullYear("America/New_York") < 99999)`,
		d + `.a.exists(x, timestamp("2026-03-01T09:00:00Z").getDate(x) == 99)`,
		d + `.a.all(x, string(timestamp("2026-03-01T09:00:00Z") + duration("1h")) != "")`,
		d + `.a.all(x, string(1.5e300) != string(double(x)))`,
		// Maps.
		d + `.a.all(k, ` + d + `.a[k] == ` + d + `.a[k])`,
		d + `.a.map(k, k) == ` + d + `.a.map(k, k)`,
		d + `.a.all(k, {"a": k, "b": k, string(k): k, ` + d + `.s: k} != {})`,
		d + `.a.all(x, "s" in ` + d + ` && has(` + d + `.s) && has(event.id))`,
		// Many small steps.
		many(d+`.a[0] == 1`, ` || `, 40),
		d + `.a.all(x, ` + many(`true`, ` && `, 100) + `)`,
		d + `.a.all(x, ` + strings.Repeat(`true ? true : `, 50) + `true` + `)`,
		d + `.a.filter(x, false) == [] && ` + d + `.a.all(x, true)`,
		d + `.a.all(x, [[[[[[[[[[[[[[[[x]]]]]]]]]]]]]]]] != [[[[[[[[[[[[[[[[1]]]]]]]]]]]]]]]])`,
	}
}

// Whatever a filter does, it ends within its budget; and what it may do with that takes no longer than a plain filter
// that uses its budget up, give or take a factor. So the time has a bound on every machine. What it is on this one is
// for BenchmarkHostile to say.
func TestNoFilterTakesLong(t *testing.T) {
	t.Parallel()
	const budget = Budget / 8 // what is shown does not depend on it, but how long the test takes
	plain, err := Compile(`event.data.a.all(x, x == 0 && x < 1 && x + 1 == 1 && x * 2 == 0 && x - 1 < 0 && x != 7)`)
	require.NoError(t, err)
	roots := decodeAll(t)
	yardstick := best(5, func() {
		_, _, err := plain.run(roots["numbers"], budget)
		require.ErrorIs(t, err, ErrBudget)
	})
	for _, source := range hostileFilters() {
		f, err := Compile(source)
		require.NoError(t, err, source)
		for name, root := range roots {
			run := func() {
				_, spent, err := f.run(root, budget)
				require.LessOrEqual(t, spent, int64(budget))
				require.NotErrorIs(t, err, ErrTimeout, source)
			}
			took := best(1, run)
			for attempt := 0; took > 20*yardstick && attempt < 5; attempt++ {
				took = min(took, best(3, run)) // something else may have kept the machine busy
			}
			require.LessOrEqual(t, took, 20*yardstick, "%s: %s", name, source)
		}
	}
}

// BenchmarkHostile measures the longest evaluation of all.
func BenchmarkHostile(b *testing.B) {
	roots := decodeAll(b)
	filters := make([]*Filter, 0, 100)
	for _, source := range hostileFilters() {
		f, err := Compile(source)
		require.NoError(b, err)
		filters = append(filters, f)
	}
	for b.Loop() {
		var longest time.Duration
		for _, f := range filters {
			for name, root := range roots {
				if took := best(3, func() { _, _, _ = f.run(root, Budget) }); took > longest {
					longest = took
					b.Logf("%s: %s: %.150s", took, name, f.Source())
				}
			}
		}
		b.ReportMetric(float64(longest.Microseconds())/1000, "ms/longest")
	}
}

func decodeAll(t testing.TB) map[string]ref.Val {
	roots := make(map[string]ref.Val)
	for name, document := range hostileEvents() {
		require.LessOrEqual(t, len(document), eventBytes+4096, name)
		e, err := NewEvent([]byte(document))
		require.NoError(t, err)
		roots[name], err = e.value()
		require.NoError(t, err)
	}
	return roots
}

func TestAnEvaluationThatTakesTooLongEnds(t *testing.T) {
	t.Parallel()
	f, err := Compile(`event.data.a.all(x, x == 0)`)
	require.NoError(t, err)
	m := meter{left: Budget, event: decodeAll(t)["numbers"], slots: make([]ref.Val, f.slots), began: time.Now().Add(-2 * Timeout)}
	matched, err := m.answer(f.root.eval(&m))
	require.ErrorIs(t, err, ErrTimeout)
	require.False(t, matched)
}

// An event matches the same filters each time, so what a comparison costs must not depend on the order in which Go
// walks over a map.
func TestAnEvaluationCostsTheSameEachTime(t *testing.T) {
	t.Parallel()
	fields := make([]string, 100)
	for i := range fields {
		fields[i] = fmt.Sprintf(`"k%d":%d`, i, i)
	}
	one := strings.Join(fields, ",")
	fields[50] = `"k50":"different"`
	event, err := decode([]byte(`{"a":{` + one + `},"b":{` + strings.Join(fields, ",") + `}}`))
	require.NoError(t, err)
	for _, source := range []string{
		`event.a == event.b`, `event.a.all(k, event.a[k] == event.b[k])`,
		`{"a": 1, "b": 2, "c": 3, "d": 4, "e": 5} == {"a": 1, "b": 2, "c": 0, "d": 4, "e": 5}`,
	} {
		f, err := Compile(source)
		require.NoError(t, err)
		_, first, err := f.run(event, Budget)
		require.NoError(t, err)
		for range 50 {
			_, spent, err := f.run(event, Budget)
			require.NoError(t, err)
			require.Equal(t, first, spent, source)
		}
	}
}

// The size of a pattern is guessed before it is compiled; the guess must be near what comes out.
func TestPatternsAreAsLargeAsTheyLook(t *testing.T) {
	t.Parallel()
	for _, pattern := range []string{`a{180}`, `(ab?){40}`, `(a|b|c|dd){20}`, `[a-z]{90,180}`, `(x{10}){10}`, `.*a.*b`, `(?i)straße{2,}`, `\pL{20}`,
		`(a*)*`, `((a{2}){2}){2}`, `^$`, ``, `(?:a{3,}){3,}`, `\bfoo\b`} {
		_, err := Compile(`event.id.matches(r"` + pattern + `")`)
		require.NoError(t, err, pattern)
		require.LessOrEqual(t, programSize(pattern), 3*MaxPatternSize, pattern)
	}
}

// best returns the shortest of some measurements.
func best(times int, what func()) time.Duration {
	shortest := time.Duration(1 << 62)
	for range times {
		began := time.Now()
		what()
		shortest = min(shortest, time.Since(began))
	}
	return shortest
}
