package meetwire_test

import (
	"bytes"
	"os"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
	"go.yaml.in/yaml/v3"

	"github.com/meetwire/meetwire/pkg/rpc"
	"github.com/meetwire/meetwire/pkg/seal"
	"github.com/meetwire/meetwire/pkg/secret"
	"github.com/meetwire/meetwire/services/meetwire"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// newEnvironment runs `meetwire env` and returns what it prints.
func newEnvironment(t *testing.T) map[string]string {
	t.Helper()
	var out, problems bytes.Buffer
	require.Zero(t, meetwire.Main([]string{"env"}, nil, &out, &problems), problems.String())
	values := make(map[string]string)
	for line := range strings.Lines(out.String()) {
		name, value, ok := strings.Cut(strings.TrimSpace(line), "=")
		require.True(t, ok, line)
		values[name] = value
	}
	return values
}

// TestEnvironmentIsWhatComposeAsksFor compares `meetwire env` with the variables of docker-compose.yml.
func TestEnvironmentIsWhatComposeAsksFor(t *testing.T) {
	t.Parallel()
	values := newEnvironment(t)
	compose, err := os.ReadFile("../../docker-compose.yml")
	require.NoError(t, err)
	asked := make(map[string]bool)
	for _, part := range strings.Split(string(compose), "${")[1:] {
		name, _, required := strings.Cut(part[:strings.Index(part, "}")], ":?")
		require.Contains(t, values, name)
		if required {
			asked[name] = true
		}
	}
	require.Len(t, asked, len(values))
	_, _, ok := rpc.ParseKey(values["MEETWIRE_OPERATOR_KEY"])
	require.True(t, ok)
	_, err = seal.New(secret.New(values["MEETWIRE_KEYSET"]))
	require.NoError(t, err)
	require.NotEqual(t, values, newEnvironment(t))
}

// TestComposeSetsWhatServicesRead compares the variables of docker-compose.yml with what each service reads.
func TestComposeSetsWhatServicesRead(t *testing.T) {
	t.Parallel()
	content, err := os.ReadFile("../../docker-compose.yml")
	require.NoError(t, err)
	var compose struct {
		Services map[string]struct {
			Build struct {
				Args struct {
					Service string `yaml:"SERVICE"`
				}
			}
			Environment map[string]string
			HealthCheck struct{ Test []string } `yaml:"healthcheck"`
		}
	}
	require.NoError(t, yaml.Unmarshal(content, &compose))
	for name, settings := range services() {
		service := compose.Services[name]
		require.Equal(t, name, service.Build.Args.Service)
		require.NotEmpty(t, service.HealthCheck.Test, name)
		read := make(map[string]bool)
		walk(t, reflect.TypeOf(settings), func(field reflect.StructField) { read[field.Tag.Get("env")] = true })
		own := 0
		for variable := range service.Environment {
			if read[variable] {
				own++
			}
			require.Contains(t, strings.Join(everyVariable(t), " "), variable)
		}
		require.Positive(t, own, name)
		// What has no default must be set.
		walk(t, reflect.TypeOf(settings), func(field reflect.StructField) {
			if slices.Contains([]string{"MEETWIRE_SERVICE_TOKEN", "MEETWIRE_KEYSET", "MEETWIRE_DATABASE_URL"}, field.Tag.Get("env")) {
				require.NotEmpty(t, service.Environment[field.Tag.Get("env")], "%s: %s", name, field.Tag.Get("env"))
			}
		})
	}
	for _, name := range []string{"nats", "postgres"} {
		require.NotEmpty(t, compose.Services[name].HealthCheck.Test, name)
	}
}

func everyVariable(t *testing.T) (all []string) {
	t.Helper()
	for _, settings := range services() {
		walk(t, reflect.TypeOf(settings), func(field reflect.StructField) { all = append(all, field.Tag.Get("env")) })
	}
	return all
}

// TestUsage tells what is wrong with the command line, and with which exit code.
func TestUsage(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		args []string
		code int
		text string
	}{
		{[]string{"up", "--no-such-flag"}, 2, "no-such-flag"},
		{[]string{"nonsense"}, 2, "nonsense"},
		{[]string{}, 2, "up"},
		{[]string{"--version"}, 0, "meetwire "},
		{[]string{"up", "--server", "x"}, 2, "--server"},
		{[]string{"webhooks", "list"}, 2, "--organization"},
		{[]string{"webhooks", "apply"}, 2, "--file"},
		{[]string{"teams", "list", "-O", "acme", "--output", "xml"}, 2, "--output"},
		{[]string{"teams", "list", "--api-key", "mwk_x"}, 2, "--api-key"},
		{[]string{"teams", "--help"}, 0, "Teams of an organization."},
		{[]string{"up", "--log-level", "loud", "--data-dir", t.TempDir()}, 1, "loud"},
	} {
		var out, problems bytes.Buffer
		require.Equal(t, c.code, meetwire.Main(c.args, nil, &out, &problems), "%v: %s", c.args, problems.String())
		require.Contains(t, out.String()+problems.String(), c.text)
	}
}
