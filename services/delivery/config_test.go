package delivery_test

import (
	"encoding/pem"
	"io"
	"net/http/httptest"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/alecthomas/kong"
	"github.com/stretchr/testify/require"

	"github.com/meetwire/meetwire/pkg/boot"
	"github.com/meetwire/meetwire/pkg/bus"
	"github.com/meetwire/meetwire/pkg/pg"
	"github.com/meetwire/meetwire/pkg/seal"
	"github.com/meetwire/meetwire/pkg/secret"
	"github.com/meetwire/meetwire/pkg/telemetry"
	"github.com/meetwire/meetwire/services/delivery"
)

const serviceToken = "service-token-of-the-tests-0123456789"

// parse reads arguments as the process does. The environment comes from values, not from the machine.
func parse(t *testing.T, values map[string]string, args ...string) (delivery.Settings, error) {
	t.Helper()
	var settings delivery.Settings
	parser, err := kong.New(&settings, kong.Writers(io.Discard, io.Discard), kong.Exit(func(int) {}),
		kong.Resolvers(kong.ResolverFunc(func(_ *kong.Context, _ *kong.Path, flag *kong.Flag) (any, error) {
			for _, name := range flag.Envs {
				if value, ok := values[name]; ok {
					return value, nil
				}
			}
			return nil, nil
		})))
	require.NoError(t, err)
	_, err = parser.Parse(args)
	return settings, err
}

// required returns the values without which the service does not start.
func required(t *testing.T) map[string]string {
	t.Helper()
	keyset, err := seal.GenerateKeyset()
	require.NoError(t, err)
	return map[string]string{
		"MEETWIRE_SERVICE_TOKEN": serviceToken,
		"MEETWIRE_KEYSET":        keyset.Reveal(),
		"MEETWIRE_DATABASE_URL":  "postgres://meetwire:secret@db.internal:5432/meetwire",
	}
}

func TestDefaults(t *testing.T) {
	t.Parallel()
	values := required(t)
	got, err := parse(t, values)
	require.NoError(t, err)
	require.Equal(t, delivery.Settings{
		Config: boot.Config{
			LogConfig:     telemetry.LogConfig{LogLevel: "info", LogFormat: "json"},
			OpsAddr:       "127.0.0.1:0",
			ShutdownGrace: 10 * time.Second,
		},
		NATSConfig: bus.NATSConfig{NATSURL: secret.New("nats://127.0.0.1:4222")},
		Postgres:   pg.Config{DatabaseURL: secret.New(values["MEETWIRE_DATABASE_URL"]), MaxConns: 10},
		Service: delivery.Config{
			GRPCAddr:         "127.0.0.1:9003",
			SubscriptionAddr: "127.0.0.1:9001",
			ServiceToken:     secret.New(serviceToken),
			Keyset:           secret.New(values["MEETWIRE_KEYSET"]),
			Concurrency:      1000,
			MaxAttempts:      4096,
			Retention:        30 * 24 * time.Hour,
			PayloadRetention: 30 * 24 * time.Hour,
			MaxConfigAge:     time.Minute,
			Streams:          bus.DefaultConfig(),
		},
		Migrate: true,
	}, got)
	require.NoError(t, got.Service.Validate())
}

func TestEnvironmentAndFlags(t *testing.T) {
	t.Parallel()
	values := required(t)
	values["MEETWIRE_GRPC_ADDR"] = "0.0.0.0:1"
	values["MEETWIRE_SUBSCRIPTION_ADDR"] = "subscription:2"
	values["MEETWIRE_ALLOWED_TARGETS"] = "10.1.0.0/16,fd00::/8"
	values["MEETWIRE_CONCURRENCY"] = "1000"
	values["MEETWIRE_EGRESS_PROXY"] = "socks5://user:hunter2@10.0.0.1:1080"
	values["MEETWIRE_EGRESS_PROXY_RESOLVES"] = "true"
	values["MEETWIRE_EXTRA_CA"] = file(t, certificate(t))
	values["MEETWIRE_RETENTION"] = "24h"
	values["MEETWIRE_PAYLOAD_RETENTION"] = "12h"
	values["MEETWIRE_MAX_CONFIG_AGE"] = "90s"
	values["MEETWIRE_STREAM_REPLICAS"] = "3"
	got, err := parse(t, values, "--concurrency=1")
	require.NoError(t, err)
	want := delivery.Config{
		GRPCAddr:         "0.0.0.0:1",
		SubscriptionAddr: "subscription:2",
		ServiceToken:     secret.New(serviceToken),
		Keyset:           secret.New(values["MEETWIRE_KEYSET"]),
		AllowedTargets:   []netip.Prefix{netip.MustParsePrefix("10.1.0.0/16"), netip.MustParsePrefix("fd00::/8")},
		EgressProxy:      secret.New("socks5://user:hunter2@10.0.0.1:1080"),
		ProxyResolves:    true,
		ExtraCA:          values["MEETWIRE_EXTRA_CA"],
		Concurrency:      1, // flags come before the environment
		MaxAttempts:      4096,
		Retention:        24 * time.Hour,
		PayloadRetention: 12 * time.Hour,
		MaxConfigAge:     90 * time.Second,
		Streams:          bus.DefaultConfig(),
	}
	want.Streams.Replicas = 3
	require.Equal(t, want, got.Service)
}

func TestUnreadableValuesAreRefused(t *testing.T) {
	t.Parallel()
	for name, value := range map[string]string{
		"MEETWIRE_ALLOWED_TARGETS":   "10.0.0.1", // an address, not a prefix
		"MEETWIRE_CONCURRENCY":       "many",
		"MEETWIRE_RETENTION":         "30 days",
		"MEETWIRE_PAYLOAD_RETENTION": "forever",
		"MEETWIRE_MAX_CONFIG_AGE":    "60",
	} {
		values := required(t)
		values[name] = value
		_, err := parse(t, values)
		require.ErrorContains(t, err, strings.ToLower(strings.ReplaceAll(strings.TrimPrefix(name, "MEETWIRE_"), "_", "-")))
	}
}

// file writes a file and returns its path.
func file(t *testing.T, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "ca.pem")
	require.NoError(t, os.WriteFile(path, []byte(text), 0o600))
	return path
}

// certificate returns one in PEM.
func certificate(t *testing.T) string {
	t.Helper()
	server := httptest.NewTLSServer(nil)
	defer server.Close()
	return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw}))
}

// validConfig is a configuration without a fault.
func validConfig(t *testing.T) delivery.Config {
	t.Helper()
	got, err := parse(t, required(t))
	require.NoError(t, err)
	return got.Service
}

func TestValidateNamesWhatIsWrong(t *testing.T) {
	t.Parallel()
	for variable, spoil := range map[string][]func(*delivery.Config){
		"service-token (MEETWIRE_SERVICE_TOKEN)": {
			func(c *delivery.Config) { c.ServiceToken = secret.String{} },
			func(c *delivery.Config) { c.ServiceToken = secret.New(strings.Repeat("x", 31)) },
		},
		"keyset (MEETWIRE_KEYSET)": {
			func(c *delivery.Config) { c.Keyset = secret.String{} },
			func(c *delivery.Config) { c.Keyset = secret.New("bm8ga2V5c2V0") },
		},
		"egress-proxy (MEETWIRE_EGRESS_PROXY)": {
			func(c *delivery.Config) { c.EgressProxy = secret.New("proxy:3128") },
			func(c *delivery.Config) { c.EgressProxy = secret.New("http://user:hunter2@proxy:0") },
		},
		"egress-proxy-resolves (MEETWIRE_EGRESS_PROXY_RESOLVES)": {
			func(c *delivery.Config) { c.ProxyResolves = true }, // without a proxy
		},
		"extra-ca (MEETWIRE_EXTRA_CA)": {
			func(c *delivery.Config) { c.ExtraCA = filepath.Join(t.TempDir(), "missing.pem") },
			func(c *delivery.Config) { c.ExtraCA = t.TempDir() },
			func(c *delivery.Config) { c.ExtraCA = file(t, "no certificate") },
			func(c *delivery.Config) {
				c.ExtraCA = file(t, "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n")
			},
			func(c *delivery.Config) {
				c.ExtraCA = file(t, "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n")
			},
		},
		"concurrency (MEETWIRE_CONCURRENCY)": {
			func(c *delivery.Config) { c.Concurrency = 0 },
			func(c *delivery.Config) { c.Concurrency = -1 },
			func(c *delivery.Config) { c.Concurrency = 1001 },
		},
		"max-attempts (MEETWIRE_MAX_ATTEMPTS)": {
			func(c *delivery.Config) { c.MaxAttempts = 0 },
			func(c *delivery.Config) { c.MaxAttempts = 15 },
			func(c *delivery.Config) { c.MaxAttempts = 65537 },
		},
		"retention (MEETWIRE_RETENTION)": {
			func(c *delivery.Config) { c.Retention = 0 },
			func(c *delivery.Config) { c.Retention = 24*time.Hour - 1 },
		},
		"payload-retention (MEETWIRE_PAYLOAD_RETENTION)": {
			func(c *delivery.Config) { c.PayloadRetention = time.Hour - 1 },
		},
		"max-config-age (MEETWIRE_MAX_CONFIG_AGE)": {
			func(c *delivery.Config) { c.MaxConfigAge = 0 },
			func(c *delivery.Config) { c.MaxConfigAge = -time.Minute },
		},
		"replicas (MEETWIRE_STREAM_REPLICAS)": {
			func(c *delivery.Config) { c.Streams.Replicas = 2 },
		},
	} {
		for _, f := range spoil {
			config := validConfig(t)
			f(&config)
			err := config.Validate()
			require.ErrorContains(t, err, variable+": ")
			require.NotContains(t, err.Error(), "\n", "nothing else is wrong")
			require.NotContains(t, err.Error(), "hunter2")
			_, err = delivery.New(config, delivery.Deps{})
			require.ErrorContains(t, err, variable+": ", "the service does not start with it")
		}
	}
}

func TestValidateReportsEverythingAtOnce(t *testing.T) {
	t.Parallel()
	token := strings.Repeat("hunter2", 4)
	config := delivery.Config{
		ServiceToken: secret.New(token), Keyset: secret.New("hunter2-hunter2"), EgressProxy: secret.New("hunter2://u:hunter2@proxy"), ExtraCA: "/none",
	}
	err := config.Validate()
	for _, variable := range []string{
		"MEETWIRE_SERVICE_TOKEN", "MEETWIRE_KEYSET", "MEETWIRE_EGRESS_PROXY", "MEETWIRE_EXTRA_CA",
		"MEETWIRE_CONCURRENCY", "MEETWIRE_MAX_ATTEMPTS", "MEETWIRE_RETENTION", "MEETWIRE_PAYLOAD_RETENTION", "MEETWIRE_MAX_CONFIG_AGE",
		"MEETWIRE_STREAM_REPLICAS", "MEETWIRE_EVENTS_MAX_AGE", "MEETWIRE_DEADLETTERS_MAX_AGE", "MEETWIRE_RECORDS_MAX_AGE",
		"MEETWIRE_REJECTS_MAX_AGE", "MEETWIRE_DELIVERIES_MAX_BYTES", "MEETWIRE_ACK_WAIT", "MEETWIRE_MAX_ACK_PENDING",
	} {
		require.ErrorContains(t, err, "("+variable+"): ")
	}
	require.NotContains(t, err.Error(), "hunter2")
}
