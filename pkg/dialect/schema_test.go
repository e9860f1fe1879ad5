package dialect_test

import (
	"encoding/json"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/meetwire/meetwire/pkg/dialect"
)

// dataSchema returns the schema of a built-in trigger's data, with all definitions that there are.
func dataSchema(t *testing.T, trigger string) []byte {
	t.Helper()
	read := func(file string) map[string]any {
		text, err := os.ReadFile(file)
		require.NoError(t, err)
		var parsed map[string]any
		require.NoError(t, json.Unmarshal(text, &parsed))
		return parsed
	}
	root := read(filepath.Join(catalogue, "triggers", trigger+".schema.json"))
	defs := map[string]any{}
	files, err := filepath.Glob(filepath.Join(catalogue, "defs", "*.json"))
	require.NoError(t, err)
	require.NotEmpty(t, files)
	for _, file := range files {
		maps.Copy(defs, read(file))
	}
	root["$defs"] = defs
	text, err := json.Marshal(root)
	require.NoError(t, err)
	return text
}

// described is a schema, with the resource that its references are resolved in.
type described struct {
	schema, resource map[string]any
}

// alternatives returns the schemas that apply to a value: the schema itself, what it refers to, and each of anyOf.
func (d described) alternatives(t *testing.T) []described {
	t.Helper()
	if d.schema["$id"] != nil {
		d.resource = d.schema
	}
	all := []described{d}
	if ref, ok := d.schema["$ref"].(string); ok {
		defs, _ := d.resource["$defs"].(map[string]any)
		target, ok := defs[strings.TrimPrefix(ref, "#/$defs/")].(map[string]any)
		require.True(t, ok, ref)
		all = append(all, described{target, d.resource}.alternatives(t)...)
	}
	anyOf, _ := d.schema["anyOf"].([]any)
	for _, one := range anyOf {
		s, ok := one.(map[string]any)
		require.True(t, ok)
		all = append(all, described{s, d.resource}.alternatives(t)...)
	}
	return all
}

// requireDescribed checks that every member of a value, at every depth, is a property with a description, and that
// every member that must be there is.
func (d described) requireDescribed(t *testing.T, path string, value any) {
	t.Helper()
	alternatives := d.alternatives(t)
	switch v := value.(type) {
	case map[string]any:
		if !slices.ContainsFunc(alternatives, func(a described) bool {
			return a.schema["properties"] != nil || a.schema["additionalProperties"] != nil
		}) {
			return // anything may be in it
		}
		for _, a := range alternatives {
			required, _ := a.schema["required"].([]any)
			for _, name := range required {
				require.Contains(t, v, name, path)
			}
		}
		for name, member := range v {
			at := path + "." + name
			var found []described
			for _, a := range alternatives {
				properties, _ := a.schema["properties"].(map[string]any)
				if s, ok := properties[name].(map[string]any); ok {
					found = append(found, described{s, a.resource})
				} else if s, ok := a.schema["additionalProperties"].(map[string]any); ok {
					s = maps.Clone(s)
					s["description"] = a.schema["description"] // that of the map is that of its members
					found = append(found, described{s, a.resource})
				}
			}
			require.NotEmpty(t, found, at)
			for _, f := range found {
				require.NotEmpty(t, f.schema["description"], at)
				f.requireDescribed(t, at, member)
			}
		}
	case []any:
		for _, a := range alternatives {
			if items, ok := a.schema["items"].(map[string]any); ok {
				for _, element := range v {
					described{items, a.resource}.requireDescribed(t, path+"[]", element)
				}
			}
		}
	}
}

func TestEveryFieldOfASampleIsDescribed(t *testing.T) {
	t.Parallel()
	for _, name := range dialect.Names() {
		for _, trigger := range triggers() {
			text, err := dialect.Schema(name, trigger, dataSchema(t, trigger))
			require.NoError(t, err)
			var root map[string]any
			require.NoError(t, json.Unmarshal(text, &root))
			require.Equal(t, "https://json-schema.org/draft/2020-12/schema", root["$schema"])
			require.Contains(t, root["title"], trigger)
			described{root, root}.requireDescribed(t, name+" "+trigger, bodyOf(t, name, trigger))
			requireDescriptions(t, name+" "+trigger, root)
		}
	}
}

// requireDescriptions checks that everything that is called a property has a description, whether a sample has it or
// not.
func requireDescriptions(t *testing.T, path string, part any) {
	t.Helper()
	switch p := part.(type) {
	case map[string]any:
		properties, _ := p["properties"].(map[string]any)
		for name, property := range properties {
			s, ok := property.(map[string]any)
			require.True(t, ok)
			require.Regexp(t, `^[A-Z].*\.$`, s["description"], "%s.%s", path, name)
		}
		for name, member := range p {
			requireDescriptions(t, path+"/"+name, member)
		}
	case []any:
		for _, item := range p {
			requireDescriptions(t, path, item)
		}
	}
}

// The schema of an event in a dialect's own form has no more of the published data than the form has.
func TestSchemasOfMeetingsTakeOnlyWhatTheyNeed(t *testing.T) {
	t.Parallel()
	defs := func(name dialect.Name, trigger string) []string {
		text, err := dialect.Schema(name, trigger, dataSchema(t, trigger))
		require.NoError(t, err)
		var root struct {
			Defs map[string]json.RawMessage `json:"$defs"`
		}
		require.NoError(t, json.Unmarshal(text, &root))
		return slices.Sorted(maps.Keys(root.Defs))
	}
	for _, name := range []dialect.Name{dialect.Orufy, dialect.Harmonizely} {
		plain := defs(name, "meeting.booked")
		sorted := func(more ...string) []string {
			return slices.Sorted(slices.Values(append(slices.Clone(plain), more...)))
		}
		require.Equal(t, plain, defs(name, "meeting.canceled"))
		require.Equal(t, sorted("no_show", "actor"), defs(name, "meeting.no_show"))
		require.Equal(t, sorted("ai_notes", "ai_notes_category", "ai_notes_item", "ai_notes_links"), defs(name, "meeting.notes_ready"))
	}
}

func TestSchemasOfAnOrganizationsOwnTriggers(t *testing.T) {
	t.Parallel()
	schemaOf := func(name dialect.Name, trigger, data string) (map[string]any, error) {
		text, err := dialect.Schema(name, trigger, []byte(data))
		if err != nil {
			return nil, err
		}
		var root map[string]any
		require.NoError(t, json.Unmarshal(text, &root))
		return root, nil
	}
	place := map[dialect.Name]string{
		dialect.Standard: "data", dialect.CloudEvents: "data", dialect.ACE: "data", dialect.Avoma: "data",
		dialect.Orufy: "meetData", dialect.Harmonizely: "data", dialect.Axcelerate: "message",
	}
	requireEvery(t, slices.Collect(maps.Keys(place))...)
	for _, name := range dialect.Names() {
		for data, want := range map[string]string{
			` {"type":"object","$ref":"#/$defs/x"} `: `{"$id":"urn:meetwire:data:custom.a","description":"D","type":"object","$ref":"#/$defs/x"}`,
			`{"$id":"urn:x","description":"Mine."}`:  `{"$id":"urn:x","description":"Mine."}`,
			`{"description":"Mine."}`:                `{"$id":"urn:meetwire:data:custom.a","description":"Mine."}`,
			`{}`:                                     `{"$id":"urn:meetwire:data:custom.a","description":"D"}`,
			``:                                       `{"description":"D"}`,
			`true`:                                   `{"description":"D"}`,
			`false`:                                  `{"description":"D","not":{}}`,
		} {
			root, err := schemaOf(name, "custom.a", data)
			require.NoError(t, err)
			found := at(root, "properties."+place[name])
			require.Len(t, found, 1)
			got, err := json.Marshal(found[0])
			require.NoError(t, err)
			want = strings.Replace(want, `"D"`, `"What happened, as the service that published the event describes it."`, 1)
			require.JSONEq(t, want, string(got))
		}
		for _, bad := range []string{`[]`, `null`, `1`, `"x"`, `{`} {
			_, err := schemaOf(name, "custom.a", bad)
			require.ErrorIs(t, err, dialect.ErrSchema, "%s %s", name, bad)
		}
		// A schema without the definition does not keep the form from being described.
		_, err := schemaOf(name, "meeting.no_show", `{}`)
		require.NoError(t, err)
	}
	_, err := dialect.Schema("x", "a.b", nil)
	require.ErrorIs(t, err, dialect.ErrUnknown)
}

func FuzzSchema(f *testing.F) {
	for _, seed := range []string{
		`{"$defs":{"no_show":{"$ref":"#/$defs/no_show"},"ai_notes":{"items":[{"$ref":"#/$defs/no_show"}]}}}`, `true`, `{`, ``,
		` {"$id":1} `, `{"$defs":{"no_show":true}}`, `{"$defs":[]}`, `{"description":null,"$ref":"#"}`,
	} {
		f.Add("meeting.no_show", seed)
		f.Add("meeting.notes_ready", seed)
		f.Add("x\"", seed)
	}
	f.Fuzz(func(t *testing.T, trigger, data string) {
		for _, name := range dialect.Names() {
			text, err := dialect.Schema(name, trigger, []byte(data))
			if err != nil {
				require.ErrorIs(t, err, dialect.ErrSchema)
				continue
			}
			var root map[string]any
			require.NoError(t, json.Unmarshal(text, &root))
			require.NotEmpty(t, root["properties"])
		}
	})
}
