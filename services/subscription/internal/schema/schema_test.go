package schema_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/meetwire/meetwire/services/subscription/internal/schema"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestSchemasThatAreAllRight(t *testing.T) {
	t.Parallel()
	for _, text := range []string{
		`true`, `false`, `{}`, ` {"type": "object"} `,
		`{"$schema": "https://json-schema.org/draft/2020-12/schema", "$id": "https://example.com/thing.json", "$ref": "#/$defs/a", "$defs": {"a": {"type": "string"}}}`,
		`{"properties": {"a/b": {"type": "null"}, "c": {"$ref": "#/properties/a~1b"}}}`,
		`{"properties": {"$ref": {"type": "string"}, "$id": {}, "items": {"items": {"format": "date-time"}}}}`,
		`{"const": {"$ref": "#/nowhere"}, "examples": [{"$anchor": "x"}]}`,
		`{"if": {"required": ["a"]}, "then": {"minProperties": 2}, "else": false, "dependentSchemas": {"a": true}}`,
	} {
		require.Empty(t, schema.Checker{}.CheckSchema(text), text)
	}
}

func TestSchemasThatAreNone(t *testing.T) {
	t.Parallel()
	for text, says := range map[string]string{
		``:                        "must be JSON",
		`{`:                       "must be JSON",
		`{} {}`:                   "must be JSON",
		`3`:                       "an object, true or false",
		`[]`:                      "an object, true or false",
		`{"type": "text"}`:        "at /type: ",
		`{"properties": []}`:      "at /properties: ",
		`{"allOf": [3]}`:          "at /allOf/0: ",
		`{"required": "a"}`:       "at /required: ",
		`{"pattern": "("}`:        "at /pattern: ",
		`{"multipleOf": 1e-4000}`: "at /multipleOf: must be a number with an exponent",
		`{"$schema": "http://json-schema.org/draft-07/schema#"}`: "at /$schema: must be https://json-schema.org/draft/2020-12/schema",
		`{"$ref": "https://example.com/other.json"}`:             "at /$ref: must be # or a JSON pointer",
		`{"$ref": "#/$defs/nowhere"}`:                            "at /$ref: must be",
		`{"$ref": "#name", "$anchor": "name"}`:                   "at /$anchor: is not supported",
		`{"items": {"$dynamicRef": "#x"}}`:                       "at /items/$dynamicRef: is not supported",
		`{"$defs": {"a": {"$id": "a.json"}}}`:                    "at /$defs/a/$id: is supported at the top only",
		`{"$ref": "#"}`:                                          "at the top: must not contain itself",
		`{"properties": {"child": {"$ref": "#"}}}`:               "at the top: must not contain itself",
		`{"$defs": {"a": {"items": {"$ref": "#/$defs/b"}}, "b": {"not": {"$ref": "#/$defs/a"}}}}`: "must not contain itself",
		strings.Repeat(`{"items":`, 70) + `{}` + strings.Repeat(`}`, 70):                          "deeper than 64",
	} {
		require.Contains(t, schema.Checker{}.CheckSchema(text), says, text)
	}
}

// doubling returns a schema in which each of n definitions refers to the next one twice.
func doubling(n int) string {
	var b strings.Builder
	b.WriteString(`{"$ref":"#/$defs/d0","$defs":{`)
	for i := range n {
		fmt.Fprintf(&b, `"d%d":{"allOf":[{"$ref":"#/$defs/d%d"},{"$ref":"#/$defs/d%d"}]},`, i, i+1, i+1)
	}
	fmt.Fprintf(&b, `"d%d":{"type":"object"}}}`, n)
	return b.String()
}

func TestSchemaThatDoublesWithEachReferenceIsRefused(t *testing.T) {
	t.Parallel()
	require.Empty(t, schema.Checker{}.CheckSchema(doubling(8)))
	for _, n := range []int{14, 40, 900} {
		require.Contains(t, schema.Checker{}.CheckSchema(doubling(n)), "at most 10000 places", n)
	}
}

func TestSamples(t *testing.T) {
	t.Parallel()
	const text = `{"type":"object","required":["id"],"properties":{"id":{"type":"string"},"when":{"type":"string","format":"date-time"},"a/b":{"items":{"type":"integer"}}}}`
	for sample, says := range map[string]string{
		`{"id": "x"}`: "",
		`{"id": "x", "when": "2026-03-10T09:12:46Z", "a/b": [1, 2]}`: "",
		`{"id": 3}`:                          "at /id: ",
		`{}`:                                 "at the top: missing property 'id'",
		`{"id": "x", "when": "today"}`:       "at /when: ",
		`{"id": "x", "a/b": [1, 2.5]}`:       "at /a~1b/1: ",
		`{"id": "x", "a/b": [1, 1e1000000]}`: "at /a~1b/1: must be a number with an exponent from -308 to 308",
		`{"id": "x"`:                         "must be JSON",
		`{"id": "x"}{}`:                      "must be JSON",
		strings.Repeat(`[`, 70) + strings.Repeat(`]`, 70): "deeper than 64",
	} {
		problem := schema.Checker{}.CheckSample(text, sample)
		if says == "" {
			require.Empty(t, problem, sample)
			continue
		}
		require.Contains(t, problem, says, sample)
	}
}

func TestIncompatible(t *testing.T) {
	t.Parallel()
	object := func(members string) string { return `{"type":"object","properties":{` + members + `}}` }
	for _, test := range []struct {
		name, old, next string
		want            []string
	}{
		{"the same", object(`"a":{"type":"string"}`), object(`"a":{"type":"string"}`), nil},
		{"one more", object(`"a":{}`), object(`"a":{},"b":{}`), nil},
		{"gone", object(`"a":{},"b/c":{}`), object(`"a":{}`), []string{"/b~1c would be gone"}},
		{"everything gone", object(`"a":{}`), `true`, []string{"the top was object, and would be anything"}},
		{"from anything", `true`, object(`"a":{}`), nil},
		{"narrower", object(`"a":{"type":["string","null"]}`), object(`"a":{"type":"string"}`), nil},
		{"wider", object(`"a":{"type":"string"}`), object(`"a":{"type":["string","null"]}`), []string{"/a was string, and would be null or string"}},
		{"an integer is a number", object(`"a":{"type":"number"}`), object(`"a":{"type":"integer"}`), nil},
		{"a number is no integer", object(`"a":{"type":"integer"}`), object(`"a":{"type":"number"}`), []string{"/a was integer, and would be number"}},
		{"untyped", object(`"a":{"type":"string"}`), object(`"a":{}`), []string{"/a was string, and would be anything"}},
		{"values have types", object(`"a":{"enum":["x","y"]}`), object(`"a":{"enum":["x",1]}`), []string{"/a was string, and would be integer or string"}},
		{
			"required no longer", `{"required":["a","b"],"properties":{"a":{}}}`, `{"required":["b"],"properties":{"a":{}}}`,
			[]string{"/a would be required no longer"},
		},
		{"required now", object(`"a":{}`), `{"type":"object","required":["a"],"properties":{"a":{}}}`, nil},
		{
			"in items", object(`"a":{"items":{"properties":{"b":{"type":"string"}}}}`), object(`"a":{"items":{"properties":{"b":{"type":"null"}}}}`),
			[]string{"/a/*/b was string, and would be null"},
		},
		{
			"items of their own", `{"prefixItems":[{"type":"string"},{}]}`, `{"prefixItems":[{"type":"boolean"}]}`,
			[]string{"/0 was string, and would be boolean", "/1 would be gone"},
		},
		{"items that are described no longer", `{"items":{"type":"string"}}`, `{}`, []string{"/* was string, and would be anything"}},
		{
			"moved into a definition", object(`"a":{"type":"object","properties":{"b":{}}}`),
			`{"type":"object","properties":{"a":{"$ref":"#/$defs/a"}},"$defs":{"a":{"type":"object","properties":{"b":{}}}}}`, nil,
		},
		{
			"through references and parts", `{"allOf":[{"$ref":"#/$defs/x"},{"required":["a"]}],"$defs":{"x":{"properties":{"a":{"type":"string"}}}}}`,
			`{"allOf":[{"properties":{"a":{"type":"integer"}}}]}`,
			[]string{"/a would be required no longer", "/a was string, and would be integer"},
		},
		{
			"alternatives", object(`"a":{"type":"string"}`),
			`{"anyOf":[{"type":"object","properties":{"a":{"type":"string"}}},{"type":"object","properties":{"a":{"type":"null"}}}]}`,
			[]string{"/a was string, and would be null or string"},
		},
		{"an alternative less", `{"oneOf":[{"type":"string"},{"type":"null"}]}`, `{"oneOf":[{"type":"string"}]}`, nil},
		{"a condition", `{"required":["a"]}`, `{"if":{"required":["b"]},"then":{"required":["a"]}}`, []string{"/a would be required no longer"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			require.Empty(t, schema.Checker{}.CheckSchema(test.old))
			require.Empty(t, schema.Checker{}.CheckSchema(test.next))
			require.Equal(t, test.want, schema.Checker{}.Incompatible(test.old, test.next))
		})
	}
}

func TestIncompatibleNamesTheFirstFew(t *testing.T) {
	t.Parallel()
	var members []string
	for n := range 30 {
		members = append(members, fmt.Sprintf(`"m%02d":{}`, n))
	}
	broken := schema.Checker{}.Incompatible(`{"properties":{`+strings.Join(members, ",")+`}}`, `{}`)
	require.Len(t, broken, 21)
	require.Equal(t, "/m00 would be gone", broken[0])
	require.Equal(t, "and 10 more", broken[20])
}

// A schema that is accepted can be compared and applied, whatever it is.
func FuzzCheckSchema(f *testing.F) {
	for _, seed := range []string{
		`true`, `{"type":"object","properties":{"a":{"$ref":"#/$defs/x"}},"$defs":{"x":{"type":["string","null"]}}}`, doubling(3),
		`{"anyOf":[{"items":{}},{"not":{}}],"if":true,"then":{"required":["a"]}}`, `{"$ref":"#"}`, `{"enum":[1,"a",null,1.5,[],{}]}`,
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		c := schema.Checker{}
		if len(text) > 4096 || c.CheckSchema(text) != "" {
			return
		}
		require.Empty(t, c.Incompatible(text, text), "it is compatible with itself")
		require.NotContains(t, c.CheckSample(text, `{"a":[1,"b",null]}`), "cannot be checked")
	})
}
