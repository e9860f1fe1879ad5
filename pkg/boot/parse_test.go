package boot

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/alecthomas/kong"
	"github.com/stretchr/testify/require"

	"github.com/meetwire/meetwire/pkg/secret"
	"github.com/meetwire/meetwire/pkg/version"
)

const password = "hunter2-and-more"

// whole is a configuration with everything that those of services have.
type whole struct {
	Config  `embed:""`
	Service serviceConfig `embed:""`
}

type serviceConfig struct {
	GRPCAddr string        `help:"Address." name:"grpc-addr" default:"127.0.0.1:9002" env:"MEETWIRE_GRPC_ADDR"`
	Token    secret.String `help:"Token." name:"service-token" env:"MEETWIRE_SERVICE_TOKEN"`
	Attempts int           `help:"Attempts." default:"3" env:"MEETWIRE_ATTEMPTS"`
	Migrate  bool          `help:"Migrate." default:"true" negatable:"" env:"MEETWIRE_MIGRATE"`
	Nameless string        `help:"A flag without a variable." default:"x"`
}

func (c *serviceConfig) Validate() error {
	var all []error
	if c.Token.IsZero() {
		all = append(all, errors.New("MEETWIRE_SERVICE_TOKEN is required"))
	}
	if c.Attempts < 1 {
		all = append(all, errors.New("--attempts must be at least 1"))
	}
	if c.GRPCAddr == "" {
		all = append(all, errors.New("grpc-addr (MEETWIRE_GRPC_ADDR): must not be empty"))
	}
	if c.Nameless == "" {
		all = append(all, errors.New("--nameless must not be empty"))
	}
	return errors.Join(all...)
}

var errBuilt = errors.New("built")

// parse runs a program until it builds its service.
func parse(t *testing.T, args ...string) (config *whole, code int, stderr string) {
	t.Helper()
	config = &whole{}
	var out output
	built := false
	code = Main("ingest", "Takes events in.", config, &config.Config, args, &out,
		func(context.Context, *Runtime, *whole) (Service, error) {
			built = true
			return nil, errBuilt
		})
	require.Equal(t, code == exitFailed, built, "the service is built when the configuration is right, and only then")
	return config, code, out.String()
}

func TestParseDefaults(t *testing.T) {
	t.Parallel()
	config, code, _ := parse(t, "--service-token", password)
	require.Equal(t, exitFailed, code)
	require.Equal(t, whole{
		Config: Config{
			LogConfig:     config.LogConfig,
			OpsAddr:       "127.0.0.1:0",
			ShutdownGrace: 10 * time.Second,
		},
		Service: serviceConfig{GRPCAddr: "127.0.0.1:9002", Token: secret.New(password), Attempts: 3, Migrate: true, Nameless: "x"},
	}, *config)
	require.Equal(t, "info", config.LogLevel)
	require.Equal(t, "json", config.LogFormat)
}

func TestParseFlags(t *testing.T) {
	t.Parallel()
	config, _, stderr := parse(t, "--service-token="+password, "--ops-addr=127.0.0.1:", "--shutdown-grace", "90s",
		"--log-level=error", "--log-format=text", "--no-migrate")
	require.Equal(t, "127.0.0.1:", config.OpsAddr)
	require.Equal(t, 90*time.Second, config.ShutdownGrace)
	require.False(t, config.Service.Migrate)
	require.Contains(t, stderr, "level=ERROR msg=failed service=ingest error=\"service: start: built\"\n")
	require.NotContains(t, stderr, "level=INFO")
}

// The environment belongs to the whole process, so this test does not run beside others.
func TestParseEnvironment(t *testing.T) {
	t.Setenv("MEETWIRE_SERVICE_TOKEN", password)
	t.Setenv("MEETWIRE_LOG_LEVEL", "warn")
	t.Setenv("MEETWIRE_LOG_FORMAT", "text")
	t.Setenv("MEETWIRE_OPS_ADDR", "localhost:0")
	t.Setenv("MEETWIRE_SHUTDOWN_GRACE", "1m")
	t.Setenv("MEETWIRE_MIGRATE", "false")
	config, code, _ := parse(t, "--shutdown-grace=2m")
	require.Equal(t, exitFailed, code)
	require.Equal(t, password, config.Service.Token.Reveal())
	require.Equal(t, "warn", config.LogLevel)
	require.Equal(t, "text", config.LogFormat)
	require.Equal(t, "localhost:0", config.OpsAddr)
	require.Equal(t, 2*time.Minute, config.ShutdownGrace, "a flag goes before the environment")
	require.False(t, config.Service.Migrate)
}

func TestParseRefusesTheEnvironment(t *testing.T) {
	t.Setenv("MEETWIRE_SERVICE_TOKEN", password)
	tests := []struct{ variable, value, want string }{
		{"MEETWIRE_SHUTDOWN_GRACE", "soon", "--shutdown-grace"},
		{"MEETWIRE_SHUTDOWN_GRACE", "-1s", "--shutdown-grace"},
		{"MEETWIRE_ATTEMPTS", "many", "--attempts"},
		{"MEETWIRE_LOG_LEVEL", "loud", "--log-level"},
		{"MEETWIRE_OPS_ADDR", "nowhere", "--ops-addr"},
		{"MEETWIRE_MIGRATE", "perhaps", "--migrate"},
	}
	for _, test := range tests {
		t.Run(test.variable, func(t *testing.T) {
			t.Setenv(test.variable, test.value)
			_, code, stderr := parse(t)
			require.Equal(t, exitUsage, code)
			require.Contains(t, stderr, test.want)
			require.Contains(t, stderr, test.variable)
			require.NotContains(t, stderr, password)
		})
	}
}

func TestParseRefusesFlags(t *testing.T) {
	t.Parallel()
	token := "--service-token=" + password
	tests := map[string]struct {
		args []string
		want []string
	}{
		"required":         {nil, []string{"--service-token (MEETWIRE_SERVICE_TOKEN) is required"}},
		"unknown flag":     {[]string{token, "--servce-token=" + password}, []string{`unknown flag --servce-token, did you mean "--service-token"?`}},
		"bad level":        {[]string{token, "--log-level=loud"}, []string{"--log-level (MEETWIRE_LOG_LEVEL) must be one of", `"loud"`}},
		"bad format":       {[]string{token, "--log-format=xml"}, []string{"--log-format (MEETWIRE_LOG_FORMAT) must be one of"}},
		"bad duration":     {[]string{token, "--shutdown-grace=soon"}, []string{"--shutdown-grace (MEETWIRE_SHUTDOWN_GRACE)", "duration"}},
		"no duration":      {[]string{token, "--shutdown-grace=0s"}, []string{"--shutdown-grace (MEETWIRE_SHUTDOWN_GRACE) must be longer than 0s, not 0s"}},
		"bad number":       {[]string{token, "--attempts=many"}, []string{"--attempts (MEETWIRE_ATTEMPTS)"}},
		"bad address":      {[]string{token, "--ops-addr=9090"}, []string{`--ops-addr (MEETWIRE_OPS_ADDR) must be an address like 127.0.0.1:9090, not "9090"`}},
		"a missing value":  {[]string{"--service-token"}, []string{"--service-token (MEETWIRE_SERVICE_TOKEN)"}},
		"named already":    {[]string{token, "--grpc-addr="}, []string{"grpc-addr (MEETWIRE_GRPC_ADDR): must not be empty"}},
		"without variable": {[]string{token, "--nameless="}, []string{"--nameless must not be empty"}},
		"a stray argument": {[]string{token, password}, []string{"unexpected argument"}},
		"a stray space":    {[]string{"--service-token=", password}, []string{"unexpected argument"}},
		"all at once": {[]string{"--attempts=0", "--shutdown-grace=0s", "--ops-addr=x"}, []string{
			"--service-token (MEETWIRE_SERVICE_TOKEN) is required\n",
			"--attempts (MEETWIRE_ATTEMPTS) must be at least 1\n",
			"--shutdown-grace (MEETWIRE_SHUTDOWN_GRACE) must",
			"--ops-addr (MEETWIRE_OPS_ADDR) must",
		}},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, code, stderr := parse(t, test.args...)
			require.Equal(t, exitUsage, code, stderr)
			for _, want := range test.want {
				require.Contains(t, stderr, want)
			}
			require.NotContains(t, stderr, password)
			require.Contains(t, stderr, "See ingest --help.\n")
		})
	}
}

func TestParseAnswersHelpAndVersion(t *testing.T) {
	t.Parallel()
	_, code, stderr := parse(t, "--help")
	require.Equal(t, exitStopped, code, "also when something that is required is missing")
	for _, want := range []string{"Usage: ingest", "Takes events in.", "--ops-addr", "$MEETWIRE_OPS_ADDR", "--service-token", "--log-level"} {
		require.Contains(t, stderr, want)
	}
	_, code, stderr = parse(t, "--version")
	require.Equal(t, exitStopped, code)
	require.Equal(t, "ingest "+version.Version+"\n", stderr)
}

// thorough asks its parts itself; they are asked without it, too.
type thorough struct {
	Config  `embed:""`
	Service serviceConfig `embed:""`
}

func (c *thorough) Validate() error { return errors.Join(c.Config.Validate(), c.Service.Validate()) }

func TestValidateReportsEverythingOnce(t *testing.T) {
	t.Parallel()
	err := (&grammar{Config: &thorough{}}).Validate()
	require.EqualError(t, err, strings.Join([]string{
		`--ops-addr must be an address like 127.0.0.1:9090, not ""`,
		"--shutdown-grace must be longer than 0s, not 0s",
		"MEETWIRE_SERVICE_TOKEN is required",
		"--attempts must be at least 1",
		"grpc-addr (MEETWIRE_GRPC_ADDR): must not be empty",
		"--nameless must not be empty",
	}, "\n"))
}

// separate is a configuration beside which the common one stands alone.
type separate struct {
	Attempts int `help:"Attempts." default:"3" env:"MEETWIRE_ATTEMPTS"`
}

func TestParseWithACommonConfigThatStandsAlone(t *testing.T) {
	t.Parallel()
	run := func(args ...string) (separate, Config, int, string) {
		var config separate
		var common Config
		var out output
		code := Main("test", "", &config, &common, args, &out,
			func(context.Context, *Runtime, *separate) (Service, error) { return nil, errBuilt })
		return config, common, code, out.String()
	}
	config, common, code, _ := run("--attempts=7", "--shutdown-grace=3s")
	require.Equal(t, exitFailed, code)
	require.Equal(t, 7, config.Attempts)
	require.Equal(t, 3*time.Second, common.ShutdownGrace)
	require.Equal(t, "info", common.LogLevel)

	_, _, code, stderr := run("--shutdown-grace=0s")
	require.Equal(t, exitUsage, code)
	require.Contains(t, stderr, "--shutdown-grace (MEETWIRE_SHUTDOWN_GRACE) must be longer than 0s")

	var alone Config
	code = Main("test", "", &alone, &alone, []string{"--shutdown-grace=3s"}, io.Discard,
		func(context.Context, *Runtime, *Config) (Service, error) { return nil, errBuilt })
	require.Equal(t, exitFailed, code)
	require.Equal(t, 3*time.Second, alone.ShutdownGrace)
}

func TestSecretsOfAConfigurationAreNotShown(t *testing.T) {
	t.Parallel()
	config, code, stderr := parse(t, "--service-token="+password, "--log-level=debug")
	require.Equal(t, exitFailed, code)
	require.NotContains(t, stderr, password)
	for _, verb := range []string{"%v", "%+v", "%#v", "%s"} {
		require.NotContains(t, fmt.Sprintf(verb, config), password)
		require.NotContains(t, fmt.Sprintf(verb, *config), password)
	}

	// Kong shows values of flags in its help and its summaries.
	parser, err := kong.New(&grammar{Config: config}, kong.Vars{"version": ""}, kong.Writers(io.Discard, io.Discard))
	require.NoError(t, err)
	for _, flag := range parser.Model.Flags {
		require.NotContains(t, flag.Summary()+flag.FormatPlaceHolder()+flag.Help, password)
	}
}
