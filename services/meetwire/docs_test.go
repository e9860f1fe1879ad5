package meetwire_test

import (
	"flag"
	"fmt"
	"os"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/meetwire/meetwire/services/delivery"
	"github.com/meetwire/meetwire/services/gateway"
	"github.com/meetwire/meetwire/services/ingest"
	"github.com/meetwire/meetwire/services/subscription"
)

var update = flag.Bool("update", false, "write the table of the README anew") //nolint:gochecknoglobals // a test flag

const (
	readme     = "../../README.md"
	tableBegin = "<!-- configuration: written by `go test ./services/meetwire -update` -->\n"
	tableEnd   = "<!-- end of configuration -->\n"
)

// TestConfigurationIsDocumented compares the README's table with the structs that are configured.
func TestConfigurationIsDocumented(t *testing.T) {
	t.Parallel()
	content, err := os.ReadFile(readme)
	require.NoError(t, err)
	before, rest, found := strings.Cut(string(content), tableBegin)
	require.True(t, found, "the README has no %q", tableBegin)
	documented, after, found := strings.Cut(rest, tableEnd)
	require.True(t, found, "the README has no %q", tableEnd)
	table := configurationTable(t)
	if *update {
		require.NoError(t, os.WriteFile(readme, []byte(before+tableBegin+table+tableEnd+after), 0o600))
		return
	}
	require.Equal(t, table, documented)
}

// ownDefault stands for a default that differs from service to service.
const ownDefault = "its own"

// services returns what the process of each service is configured with.
func services() map[string]any {
	return map[string]any{
		"subscription": subscription.Settings{},
		"ingest":       ingest.Settings{},
		"delivery":     delivery.Settings{},
		"gateway":      gateway.Settings{},
	}
}

type variable struct {
	name, value, help string
	services          []string
}

func configurationTable(t *testing.T) string {
	t.Helper()
	known := make(map[string]*variable)
	var names []string
	all := services()
	for _, service := range []string{"subscription", "ingest", "delivery", "gateway"} {
		walk(t, reflect.TypeOf(all[service]), func(field reflect.StructField) {
			name := field.Tag.Get("env")
			v := known[name]
			if v == nil {
				v = &variable{name: name, value: field.Tag.Get("default"), help: field.Tag.Get("help")}
				known[name] = v
				names = append(names, name)
			}
			if v.value != field.Tag.Get("default") {
				v.value = ownDefault // such as the port of each service
			}
			v.services = append(v.services, service)
		})
	}
	slices.Sort(names)
	var table strings.Builder
	table.WriteString("| variable | default | read by | meaning |\n|---|---|---|---|\n")
	for _, name := range names {
		v := known[name]
		by := strings.Join(v.services, ", ")
		if len(v.services) == 4 {
			by = "all"
		}
		value := "`" + v.value + "`"
		switch v.value {
		case "":
			value = "none"
		case ownDefault:
			value = ownDefault
		}
		fmt.Fprintf(&table, "| `%s` | %s | %s | %s |\n", v.name, value, by, strings.ReplaceAll(v.help, "|", "\\|"))
	}
	return table.String()
}

// walk visits every field that can be set from the environment.
func walk(t *testing.T, of reflect.Type, visit func(reflect.StructField)) {
	t.Helper()
	for field := range fields(of) {
		_, embedded := field.Tag.Lookup("embed")
		switch {
		case field.Tag.Get("env") != "":
			require.NotEmpty(t, field.Tag.Get("help"), field.Name)
			visit(field)
		case embedded || field.Anonymous:
			walk(t, field.Type, visit)
		}
	}
}

func fields(of reflect.Type) func(func(reflect.StructField) bool) {
	return func(yield func(reflect.StructField) bool) {
		for i := range of.NumField() {
			if !yield(of.Field(i)) {
				return
			}
		}
	}
}
