package catalogue_test

import (
	"bytes"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/santhosh-tekuri/jsonschema/v6"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/meetwire/meetwire/services/subscription/internal/catalogue"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// trigger is a built-in trigger, taken apart.
type trigger struct {
	catalogue.Trigger
	root     map[string]any // the schema
	compiled *jsonschema.Schema
}

// setup returns the built-in triggers by id.
func setup(t *testing.T) map[string]trigger {
	t.Helper()
	all, err := catalogue.Triggers()
	require.NoError(t, err)
	triggers := make(map[string]trigger, len(all))
	for _, c := range all {
		root, ok := parse(t, c.Schema).(map[string]any)
		require.True(t, ok, c.ID)
		compiler := jsonschema.NewCompiler()
		compiler.AssertFormat()
		compiler.UseLoader(noLoader{})
		require.NoError(t, compiler.AddResource("mem:///trigger.json", root), c.ID)
		compiled, err := compiler.Compile("mem:///trigger.json")
		require.NoError(t, err, c.ID)
		triggers[c.ID] = trigger{Trigger: c, root: root, compiled: compiled}
	}
	return triggers
}

// noLoader refuses every reference that leads out of a schema.
type noLoader struct{}

func (noLoader) Load(url string) (any, error) {
	return nil, fmt.Errorf("%s: %w", url, errors.ErrUnsupported)
}

func parse(t *testing.T, text []byte) any {
	t.Helper()
	value, err := jsonschema.UnmarshalJSON(bytes.NewReader(text))
	require.NoError(t, err)
	return value
}

// place is a property as it occurs in a sample.
type place struct {
	path     []any    // keys and indexes that lead to it
	field    string   // the same for people, without indexes: attendees[].email
	schemas  []schema // all that apply to it
	value    any      // in the sample; nil when it is null or absent
	present  bool
	required bool
}

// schema is a JSON Schema that is an object.
type schema = map[string]any

// places returns every property that the schema describes, in every object that the sample has.
func (tr trigger) places(t *testing.T) []place {
	t.Helper()
	var found []place
	tr.walk(t, place{schemas: []schema{tr.root}, value: parse(t, tr.Sample)}, &found)
	require.NotEmpty(t, found)
	return found
}

func (tr trigger) walk(t *testing.T, at place, found *[]place) {
	t.Helper()
	schemas := tr.resolve(t, at.schemas)
	switch value := at.value.(type) {
	case map[string]any:
		properties, required := make(map[string][]schema), make(map[string]bool)
		for _, s := range schemas {
			for name, property := range object(s["properties"]) {
				properties[name] = append(properties[name], object(property))
			}
			for _, name := range list(s["required"]) {
				required[fmt.Sprint(name)] = true
			}
		}
		for _, name := range slices.Sorted(maps.Keys(properties)) {
			member, present := value[name]
			next := place{
				path: append(slices.Clone(at.path), name), field: strings.TrimPrefix(at.field+"."+name, "."),
				schemas: properties[name], value: member, present: present, required: required[name],
			}
			*found = append(*found, next)
			tr.walk(t, next, found)
		}
	case []any:
		var items []schema
		for _, s := range schemas {
			if item := object(s["items"]); item != nil {
				items = append(items, item)
			}
		}
		for i, item := range value {
			tr.walk(t, place{path: append(slices.Clone(at.path), i), field: at.field + "[]", schemas: items, value: item}, found)
		}
	}
}

// resolve adds to schemas those that they refer to.
func (tr trigger) resolve(t *testing.T, schemas []schema) []schema {
	t.Helper()
	all := slices.Clone(schemas)
	for i := 0; i < len(all); i++ {
		if ref, ok := all[i]["$ref"].(string); ok {
			target := object(object(tr.root["$defs"])[strings.TrimPrefix(ref, "#/$defs/")])
			require.NotNil(t, target, "%s: %s", tr.ID, ref)
			all = append(all, target)
		}
	}
	return all
}

func object(value any) map[string]any {
	o, ok := value.(map[string]any)
	if !ok {
		return nil
	}
	return o
}

func list(value any) []any {
	l, ok := value.([]any)
	if !ok {
		return nil
	}
	return l
}

// change returns the sample with the value at a path replaced, or removed if replace says so.
func (tr trigger) change(t *testing.T, path []any, replacement any, remove bool) any {
	t.Helper()
	document := parse(t, tr.Sample)
	at := document
	for _, step := range path[:len(path)-1] {
		switch s := step.(type) {
		case string:
			at = object(at)[s]
		case int:
			at = list(at)[s]
		}
	}
	parent := object(at)
	require.NotNil(t, parent)
	name, ok := path[len(path)-1].(string)
	require.True(t, ok)
	if remove {
		delete(parent, name)
	} else {
		parent[name] = replacement
	}
	return document
}

// reasons returns what a failed validation says, leaf by leaf.
func reasons(err error) []*jsonschema.ValidationError {
	var invalid *jsonschema.ValidationError
	if !errors.As(err, &invalid) {
		return nil
	}
	if len(invalid.Causes) == 0 {
		return []*jsonschema.ValidationError{invalid}
	}
	var leaves []*jsonschema.ValidationError
	for _, cause := range invalid.Causes {
		leaves = append(leaves, reasons(cause)...)
	}
	return leaves
}
