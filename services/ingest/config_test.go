package ingest_test

import (
	"io"
	"strings"
	"testing"
	"time"

	"github.com/alecthomas/kong"
	"github.com/stretchr/testify/require"

	"github.com/meetwire/meetwire/pkg/bus"
	"github.com/meetwire/meetwire/pkg/pg"
	"github.com/meetwire/meetwire/pkg/secret"
	"github.com/meetwire/meetwire/services/ingest"
)

const (
	serviceToken = "service-token-of-the-tests-0123456789"
	databaseURL  = "postgres://u:p@db/d"
)

// newParser reads what the process does. The environment comes from values, not from the machine.
func newParser(t *testing.T, settings any, values map[string]string) *kong.Kong {
	t.Helper()
	parser, err := kong.New(settings, kong.Writers(io.Discard, io.Discard), kong.Exit(func(int) {}),
		kong.Resolvers(kong.ResolverFunc(func(_ *kong.Context, _ *kong.Path, flag *kong.Flag) (any, error) {
			for _, name := range flag.Envs {
				if value, ok := values[name]; ok {
					return value, nil
				}
			}
			return nil, nil
		})))
	require.NoError(t, err)
	return parser
}

func parse(t *testing.T, values map[string]string, args ...string) (ingest.Settings, error) {
	t.Helper()
	var settings ingest.Settings
	_, err := newParser(t, &settings, values).Parse(args)
	return settings, err
}

// config returns a configuration without a fault.
func config(t *testing.T) ingest.Config {
	t.Helper()
	settings, err := parse(t, map[string]string{"MEETWIRE_SERVICE_TOKEN": serviceToken, "MEETWIRE_DATABASE_URL": databaseURL})
	require.NoError(t, err)
	return settings.Service
}

func TestDefaults(t *testing.T) {
	t.Parallel()
	got, err := parse(t, map[string]string{"MEETWIRE_SERVICE_TOKEN": serviceToken, "MEETWIRE_DATABASE_URL": databaseURL})
	require.NoError(t, err)
	require.Equal(t, ingest.Config{
		GRPCAddr:         "127.0.0.1:9002",
		SubscriptionAddr: "127.0.0.1:9001",
		DeliveryAddr:     "127.0.0.1:9003",
		ServiceToken:     secret.New(serviceToken),
		MaxConfigAge:     time.Minute,
		Streams:          bus.DefaultConfig(),
	}, got.Service)
	require.Equal(t, bus.NATSConfig{NATSURL: secret.New("nats://127.0.0.1:4222")}, got.NATSConfig)
	require.True(t, got.Migrate)
	require.NoError(t, got.Validate())
	require.NoError(t, got.Service.Validate())
}

// Names and defaults are what installations are configured with: this is all of them.
func TestFlagsAndVariables(t *testing.T) {
	t.Parallel()
	var config ingest.Config
	have := make(map[string][2]string)
	for _, group := range newParser(t, &config, nil).Model.AllFlags(false) {
		for _, flag := range group {
			if flag.Name != "help" {
				have[flag.Name] = [2]string{strings.Join(flag.Envs, " "), flag.Default}
				require.NotEmpty(t, flag.Help, flag.Name)
			}
		}
	}
	require.Equal(t, map[string][2]string{
		"grpc-addr":            {"MEETWIRE_GRPC_ADDR", "127.0.0.1:9002"},
		"subscription-addr":    {"MEETWIRE_SUBSCRIPTION_ADDR", "127.0.0.1:9001"},
		"delivery-addr":        {"MEETWIRE_DELIVERY_ADDR", "127.0.0.1:9003"},
		"service-token":        {"MEETWIRE_SERVICE_TOKEN", ""},
		"max-config-age":       {"MEETWIRE_MAX_CONFIG_AGE", "60s"},
		"replicas":             {"MEETWIRE_STREAM_REPLICAS", "1"},
		"events-max-age":       {"MEETWIRE_EVENTS_MAX_AGE", "720h"},
		"deliveries-max-bytes": {"MEETWIRE_DELIVERIES_MAX_BYTES", "4294967296"},
		"dead-letters-max-age": {"MEETWIRE_DEADLETTERS_MAX_AGE", "720h"},
		"records-max-age":      {"MEETWIRE_RECORDS_MAX_AGE", "72h"},
		"rejects-max-age":      {"MEETWIRE_REJECTS_MAX_AGE", "336h"},
		"ack-wait":             {"MEETWIRE_ACK_WAIT", "60s"},
		"max-ack-pending":      {"MEETWIRE_MAX_ACK_PENDING", "20000"},
	}, have)
}

func TestEnvironmentAndFlags(t *testing.T) {
	t.Parallel()
	got, err := parse(t, map[string]string{
		"MEETWIRE_SERVICE_TOKEN": serviceToken, "MEETWIRE_GRPC_ADDR": "0.0.0.0:1", "MEETWIRE_SUBSCRIPTION_ADDR": "subscription:2",
		"MEETWIRE_DELIVERY_ADDR": "delivery:3", "MEETWIRE_DATABASE_URL": databaseURL, "MEETWIRE_MIGRATE": "false",
		"MEETWIRE_MAX_CONFIG_AGE": "90s", "MEETWIRE_STREAM_REPLICAS": "3", "MEETWIRE_ACK_WAIT": "2m",
	}, "--ack-wait=30s")
	require.NoError(t, err)
	want := ingest.Config{
		GRPCAddr: "0.0.0.0:1", SubscriptionAddr: "subscription:2", DeliveryAddr: "delivery:3", ServiceToken: secret.New(serviceToken),
		MaxConfigAge: 90 * time.Second, Streams: bus.DefaultConfig(),
	}
	want.Streams.Replicas, want.Streams.AckWait = 3, 30*time.Second
	require.Equal(t, want, got.Service)
	require.Equal(t, pg.Config{DatabaseURL: secret.New(databaseURL), MaxConns: 10}, got.Postgres)
	require.False(t, got.Migrate)
}

func TestValidateReportsEverythingAtOnce(t *testing.T) {
	t.Parallel()
	broken := ingest.Config{ServiceToken: secret.New("hunter2-hunter2")}
	err := broken.Validate()
	for _, variable := range []string{"MEETWIRE_SERVICE_TOKEN", "MEETWIRE_MAX_CONFIG_AGE", "MEETWIRE_STREAM_REPLICAS", "MEETWIRE_ACK_WAIT"} {
		require.ErrorContains(t, err, variable)
	}
	require.NotContains(t, err.Error(), "hunter2")
	_, err = ingest.New(broken, ingest.Deps{})
	require.ErrorContains(t, err, "MEETWIRE_SERVICE_TOKEN")

	for variable, spoil := range map[string]func(*ingest.Config){
		"MEETWIRE_SERVICE_TOKEN":   func(c *ingest.Config) { c.ServiceToken = secret.New(strings.Repeat("x", 31)) },
		"MEETWIRE_MAX_CONFIG_AGE":  func(c *ingest.Config) { c.MaxConfigAge = 0 },
		"MEETWIRE_STREAM_REPLICAS": func(c *ingest.Config) { c.Streams.Replicas = 4 },
	} {
		c := config(t)
		spoil(&c)
		require.ErrorContains(t, c.Validate(), variable)
		require.NotContains(t, c.Validate().Error(), "\n", "nothing else is wrong")
	}
}
