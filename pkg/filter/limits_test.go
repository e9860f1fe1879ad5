package filter_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/meetwire/meetwire/pkg/filter"
)

func TestMacrosAreFewAndNotNested(t *testing.T) {
	t.Parallel()
	const nested, many = "must not be inside each other", "at most 2 of the macros"
	for source, want := range map[string]string{
		`event.a.all(x, true)`:                                                      "",
		`event.a.all(x, true) && event.a.exists(x, true)`:                           "",
		`event.a.map(x, x) == event.b.filter(x, true)`:                              "",
		`event.a.map(x, true, x) == [1] && event.b.exists_one(x, true)`:             "",
		`has(event.a) && has(event.b) && has(event.c)`:                              "",
		`event.a.all(x, has(x.y))`:                                                  "",
		`event.a.all(x, true) && event.b.all(x, true) && event.c.all(x, true)`:      many,
		`event.a.all(x, true) && (event.b.all(x, true) || event.c.exists(x, true))`: many,
		`event.a.all(x, event.b.all(y, true))`:                                      nested,
		`event.a.map(x, x).all(y, true)`:                                            nested,
		`[1].map(a, [a, a]).map(a, [a, a]) == []`:                                   nested,
		`event.a.filter(x, true).map(x, x) == []`:                                   nested,
		`dyn(event.a.map(x, x)).all(y, true)`:                                       nested,
		`event.a.map(x, x)[0].all(y, true)`:                                         nested,
		`{"k": event.a.map(x, x)}.k.all(y, true)`:                                   nested,
		`[event.a.map(x, x)].exists(y, true)`:                                       nested,
		`(event.a.map(x, x) + [1]).exists(y, true)`:                                 nested,
		`(true ? event.a.map(x, x) : []).exists(y, true)`:                           nested,
		`event.a.all(x, size(event.b.map(y, y)) > 0)`:                               nested,
		`event.a.all(x, [event.b.map(y, y)] == [])`:                                 nested,
		`event.a.all(x, {"k": event.b.map(y, y)} == {})`:                            nested,
		`event.a.all(x, x.matches("a") && event.b.exists_one(y, true))`:             nested,
		`event.a.map(x, event.b.exists(y, true), x) == []`:                          nested,
		`event.a.map(x, x > 1, event.b.filter(y, true)) == []`:                      nested,
		`event.a.exists_one(x, x in event.b.map(y, y))`:                             nested,
		`has(event.a.map(x, x)[0].y) && [1].exists(z, z == 1)`:                      "",
	} {
		_, err := filter.Compile(source)
		if want == "" {
			require.NoError(t, err, source)
			continue
		}
		require.ErrorContains(t, err, want, source)
	}
}

// expression draws a boolean expression, with how many macros it has and how deep they are in each other.
func expression(t *rapid.T, level int) (source string, macros, nesting int) {
	if level == 0 {
		return rapid.SampledFrom([]string{`true`, `event.a == 1`, `has(event.b)`, `1 in event.c`, `{"k": 1}.k == 2`}).Draw(t, "leaf"), 0, 0
	}
	sub, macros, nesting := expression(t, level-1)
	macro := func(format string) (string, int, int) { return fmt.Sprintf(format, sub), macros + 1, nesting + 1 }
	plain := func(format string) (string, int, int) { return fmt.Sprintf(format, sub), macros, nesting }
	switch rapid.IntRange(0, 13).Draw(t, "kind") {
	case 0:
		return macro(`event.a.all(x, %s)`)
	case 1:
		return macro(`[%s].exists(y, y)`)
	case 2:
		return macro(`([true] + [%s]).exists_one(x, x)`)
	case 3:
		return macro(`[1, 2].map(z, %s) == []`)
	case 4:
		return macro(`event.a.map(z, %s, z.id) == []`)
	case 5:
		return macro(`event.a.filter(z, true || %s) != [1]`)
	case 6:
		return plain(`!(%s)`)
	case 7:
		return plain(`{"k": %s}["k"]`)
	case 8:
		return plain(`[dyn(%s)][0] == true`)
	case 9:
		return plain(`string(%s).matches("t.*e")`)
	case 10:
		return plain(`size([%s]) == 1`)
	case 11:
		return plain(`(%s ? event.x : event.y) == 1`)
	}
	other, more, deep := expression(t, level-1)
	return fmt.Sprintf(`(%s) && (%s)`, sub, other), macros + more, max(nesting, deep)
}

func TestMacrosAreCountedWhereverTheyAre(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		source, macros, nesting := expression(t, rapid.IntRange(0, 5).Draw(t, "level"))
		if len(source) > filter.MaxSourceBytes {
			return
		}
		_, err := filter.Compile(source)
		if macros <= filter.MaxMacros && nesting <= 1 {
			require.NoError(t, err, source)
			return
		}
		require.ErrorContains(t, err, "macros all, exists", source)
	})
}

func TestDepthIsLimited(t *testing.T) {
	t.Parallel()
	// What has more than the greatest number of levels, in every way there is to make levels.
	for _, source := range []string{
		"event" + strings.Repeat(".a", 64) + " == 1",
		"event" + strings.Repeat("[0]", 64) + " == 1",
		strings.Repeat("[", 65) + strings.Repeat("]", 65) + " == []",
		strings.Repeat("{1:", 65) + "1" + strings.Repeat("}", 65) + " == {}",
		"1" + strings.Repeat("+1", 65) + " == 1",
		strings.Repeat("-(", 65) + "1" + strings.Repeat(")", 65) + " == 1",
		strings.Repeat("true?true:", 65) + "true",
		strings.Repeat("dyn(", 65) + "1" + strings.Repeat(")", 65) + " == 1",
		strings.Repeat("(", 200) + "true" + strings.Repeat(")", 200),
		strings.Repeat("(", 1000),
		strings.Repeat("[", 1000),
		strings.Repeat("has(", 250),
		strings.Repeat("a.map(x,", 120),
	} {
		_, err := filter.Compile(source)
		var wrong *filter.SourceError
		require.ErrorAs(t, err, &wrong, source)
	}
	_, err := filter.Compile("event" + strings.Repeat(".a", 64) + " == 1")
	require.ErrorContains(t, err, "at most 64 levels")
	for _, source := range []string{
		"event" + strings.Repeat(".a", 60) + " == 1",
		"1" + strings.Repeat("+1", 60) + " == 1",
		// The parser balances these, so that a long list of alternatives is not deep.
		"event.id == 'a'" + strings.Repeat(" || event.id == 'a'", 50),
		strings.Repeat("(", 30) + "true" + strings.Repeat(")", 30),
	} {
		_, err := filter.Compile(source)
		require.NoError(t, err, source)
	}
}
