package catalogue

import (
	"testing"
	"testing/fstest"

	"github.com/stretchr/testify/require"
)

func filesOf(files map[string]string) fstest.MapFS {
	system := make(fstest.MapFS, len(files))
	for name, content := range files {
		system[name] = &fstest.MapFile{Data: []byte(content)}
	}
	return system
}

func TestSchemaTakesTheDefinitionsThatItNeeds(t *testing.T) {
	t.Parallel()
	from := filesOf(map[string]string{
		"defs/a.defs.json":             `{"one": {"properties": {"two": {"$ref": "#/$defs/two"}}}, "unused": {"type": "null"}}`,
		"defs/b.defs.json":             `{"two": {"items": [{"$ref": "#/$defs/two"}], "description": "<a> & b"}}`,
		"triggers/x.y.schema.json":     `{"title": "x", "$ref": "#/$defs/one", "properties": {"z": {"type": "string"}, "a": {}}}`,
		"triggers/plain.x.schema.json": `{"title": "plain"}`,
	})
	defs, err := readDefinitions(from)
	require.NoError(t, err)
	schema, err := readSchema(from, "x.y", defs)
	require.NoError(t, err)
	//nolint:testifylint // the order of the members and the compact form are what is tested
	require.Equal(t, `{"$schema":"","title":"x","description":"","type":"","$ref":"#/$defs/one",`+
		`"properties":{"z":{"type":"string"},"a":{}},`+
		`"$defs":{"one":{"properties":{"two":{"$ref":"#/$defs/two"}}},`+
		`"two":{"items":[{"$ref":"#/$defs/two"}],"description":"<a> & b"}}}`, string(schema))

	schema, err = readSchema(from, "plain.x", defs)
	require.NoError(t, err)
	//nolint:testifylint // as above
	require.Equal(t, `{"$schema":"","title":"plain","description":"","type":""}`, string(schema))
}

func TestFilesThatDoNotFitAreErrors(t *testing.T) {
	t.Parallel()
	read := func(files map[string]string) error {
		from := filesOf(files)
		defs, err := readDefinitions(from)
		if err != nil {
			return err
		}
		_, err = readSchema(from, "x.y", defs)
		return err
	}
	const schema = "triggers/x.y.schema.json"
	require.NoError(t, read(map[string]string{schema: `{"title": "x"}`}))
	require.ErrorIs(t, read(map[string]string{schema: `{"$ref": "#/$defs/nothing"}`}), errUndefined)
	require.ErrorIs(t, read(map[string]string{
		schema: `{"$ref": "#/$defs/one"}`, "defs/a.defs.json": `{"one": {"items": {"$ref": "#/$defs/nothing"}}}`,
	}), errUndefined)
	require.ErrorIs(t, read(map[string]string{schema: `{"properties": {"a": {"$ref": "https://example.com/a.json"}}}`}), errOutside)
	require.ErrorIs(t, read(map[string]string{
		schema: `{}`, "defs/a.defs.json": `{"one": {}}`, "defs/b.defs.json": `{"one": {}}`,
	}), errDefinedTwice)
	require.ErrorIs(t, read(map[string]string{schema: `{} {}`}), errTrailing)
	require.ErrorContains(t, read(map[string]string{schema: `{"additionalProperties": false}`}), "additionalProperties")
	require.ErrorContains(t, read(map[string]string{schema: `{"title": `}), schema)
	require.ErrorContains(t, read(nil), schema)
}

// What nobody refers to would rot.
func TestEveryFileAndDefinitionIsUsed(t *testing.T) {
	t.Parallel()
	defs, err := readDefinitions(files)
	require.NoError(t, err)
	used := make(definitions)
	names := make(map[string]bool)
	for _, trigger := range builtIn() {
		names[trigger.ID+".schema.json"], names[trigger.ID+".sample.json"] = true, true
		schema, err := readSchema(files, trigger.ID, defs)
		require.NoError(t, err)
		require.NoError(t, used.add(schema, defs))
	}
	require.Len(t, used, len(defs))
	entries, err := files.ReadDir("triggers")
	require.NoError(t, err)
	require.Len(t, entries, len(names))
	for _, entry := range entries {
		require.True(t, names[entry.Name()], entry.Name())
	}
}
