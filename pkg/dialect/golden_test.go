package dialect_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/meetwire/meetwire/pkg/dialect"
)

// golden compares a request with a golden file: method, headers, an empty line, the body.
func golden(t *testing.T, file string, rendered dialect.Rendered) {
	t.Helper()
	var got strings.Builder
	got.WriteString(rendered.Method + "\n")
	for _, h := range rendered.Headers {
		got.WriteString(h.Name + ": " + h.Value + "\n")
	}
	got.WriteString("\n" + string(rendered.Body))
	file = filepath.Join("testdata", file+".golden")
	if *update {
		require.NoError(t, os.MkdirAll(filepath.Dir(file), 0o750))
		require.NoError(t, os.WriteFile(file, []byte(got.String()), 0o600))
	}
	want, err := os.ReadFile(file)
	require.NoError(t, err)
	require.Equal(t, string(want), got.String())
}

func TestSamplesAreThoseOfTheGoldenFiles(t *testing.T) {
	t.Parallel()
	for _, name := range dialect.Names() {
		for _, trigger := range triggers() {
			t.Run(name+"/"+trigger, func(t *testing.T) {
				t.Parallel()
				golden(t, filepath.Join(name, trigger), render(t, name, sampled(t, trigger)))
			})
		}
	}
}

// What an organization defines itself has no form in any of the dialects but its own.
func TestAnOrganizationsOwnTriggerIsThatOfTheGoldenFiles(t *testing.T) {
	t.Parallel()
	e := happened("custom.deal.won", `{"deal": {"id": 9007199254740993, "note": "<b> & é"}, "tags": ["a"]}`)
	e.TraceParent, e.TraceState = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01", "vendor=x"
	for _, name := range dialect.Names() {
		golden(t, filepath.Join(name, "custom.deal.won"), render(t, name, e))
	}
}

func TestADeliveryWithoutASecretIsThatOfTheGoldenFiles(t *testing.T) {
	t.Parallel()
	for _, name := range dialect.Names() {
		if d, _ := dialect.Lookup(name); d.Traits().Secret.Required {
			continue
		}
		rendered, err := renderer(t, dialect.Config{Name: name}).Render(happened("custom.thing", `{}`), attempt())
		require.NoError(t, err)
		golden(t, filepath.Join(name, "unsigned"), rendered)
	}
}
