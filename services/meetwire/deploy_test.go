package meetwire_test

import (
	"bytes"
	"context"
	"log/slog"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
	"go.yaml.in/yaml/v3"

	"github.com/meetwire/meetwire/pkg/bus"
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

// TestAccountsOfNATS runs nats-server with the configuration of the deployment: the services can do all that they
// do, a publisher can publish events and nothing else.
func TestAccountsOfNATS(t *testing.T) {
	values := newEnvironment(t)
	for name, value := range values {
		if strings.HasPrefix(name, "NATS_") {
			t.Setenv(name, value)
		}
	}
	options, err := server.ProcessConfigFile(filepath.Join("..", "..", "deploy", "nats", "nats.conf"))
	require.NoError(t, err)
	options.Host, options.Port, options.HTTPPort, options.StoreDir, options.NoSigs = "127.0.0.1", -1, 0, t.TempDir(), true
	s, err := server.NewServer(options)
	require.NoError(t, err)
	s.Start()
	t.Cleanup(func() { s.Shutdown(); s.WaitForShutdown() })
	require.True(t, s.ReadyForConnections(20*time.Second))

	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	logger := slog.New(slog.DiscardHandler)
	refused := make(chan error, 100)
	connect := func(user, password string, options ...nats.Option) (*nats.Conn, jetstream.JetStream) {
		options = append(options, nats.UserInfo(user, password), nats.ErrorHandler(func(_ *nats.Conn, _ *nats.Subscription, err error) { refused <- err }))
		conn, err := nats.Connect(s.ClientURL(), options...)
		require.NoError(t, err)
		t.Cleanup(conn.Close)
		js, err := bus.JetStream(conn)
		require.NoError(t, err)
		return conn, js
	}
	_, services := connect("services", values["NATS_SERVICES_PASSWORD"])
	require.NoError(t, bus.EnsureStreams(ctx, services, bus.DefaultConfig(), logger))
	publisherConn, publisher := connect("publisher", values["NATS_PUBLISHER_PASSWORD"], nats.CustomInboxPrefix("_INBOX_publisher"))
	_, err = bus.Publish(ctx, publisher, nats.NewMsg(bus.EventSubject("acme", "meeting.booked")), "1")
	require.NoError(t, err)

	// Services consume, acknowledge and publish on every stream.
	handled := make(chan struct{})
	consume, stop := context.WithCancel(ctx)
	consumer := &bus.Consumer{
		JetStream: services, Stream: bus.StreamEvents, Config: bus.DefaultConfig().EventIndexConsumer(), Pull: 1, Workers: 1, Logger: logger,
		Handle: func(_ context.Context, msg *bus.Msg) { msg.Done(); close(handled) },
	}
	done := make(chan error, 1)
	go func() { done <- consumer.Run(consume) }()
	<-handled
	stop()
	require.NoError(t, <-done)
	subscriptionConn, subscription := connect("subscription", values["NATS_SUBSCRIPTION_PASSWORD"])
	_, err = bus.Publish(ctx, subscription, nats.NewMsg(bus.EventSubject("acme", "webhook.disabled")), "2")
	require.NoError(t, err)
	for _, subject := range []string{
		bus.DeliverySubject("bulk", "acme", "w"), bus.RetryDueSubject("bulk", "acme", "w"),
		bus.DeadLetterSubject("bulk", "acme", "w", "d"), bus.RecordSubject("acme", "w"), bus.RejectSubject("acme"),
	} {
		_, err := bus.Publish(ctx, services, nats.NewMsg(subject), subject)
		require.NoError(t, err, subject)
		for name, js := range map[string]jetstream.JetStream{"a publisher": publisher, "subscription": subscription} {
			short, cancel := context.WithTimeout(ctx, 300*time.Millisecond)
			_, err = js.PublishMsg(short, nats.NewMsg(subject), jetstream.WithMsgID(subject+name), jetstream.WithRetryAttempts(0))
			cancel()
			require.Error(t, err, "%s may publish %s", name, subject)
		}
	}
	for name, js := range map[string]jetstream.JetStream{"a publisher": publisher, "subscription": subscription} {
		short, cancel := context.WithTimeout(ctx, 300*time.Millisecond)
		_, err = js.Stream(short, bus.StreamEvents)
		cancel()
		require.Error(t, err, "%s may look at streams", name)
	}
	requireDeaf(t, publisherConn, refused, "_INBOX.>", "events.>", "deliveries.>", "records.>")
	requireDeaf(t, subscriptionConn, refused, "events.>", "deliveries.>", "records.>", "_INBOX_publisher.>")
	_, err = nats.Connect(s.ClientURL())
	require.ErrorIs(t, err, nats.ErrAuthorization)
}

// requireDeaf asserts that nobody may listen to subjects over a connection.
func requireDeaf(t *testing.T, conn *nats.Conn, refused chan error, subjects ...string) {
	t.Helper()
	for _, subject := range subjects {
		for len(refused) > 0 {
			<-refused
		}
		_, err := conn.SubscribeSync(subject)
		require.NoError(t, err)
		require.NoError(t, conn.Flush())
		require.ErrorIs(t, <-refused, nats.ErrPermissionViolation, "%s may be listened to", subject)
	}
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
