package bus_test

import (
	"bytes"
	"context"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/stretchr/testify/require"

	"github.com/meetwire/meetwire/pkg/bus"
	"github.com/meetwire/meetwire/pkg/natstest"
	"github.com/meetwire/meetwire/pkg/secret"
)

func TestConnectWaitsForTheServer(t *testing.T) {
	t.Parallel()
	s := natstest.Start(t)
	s.Shutdown()
	connected := make(chan *nats.Conn, 1)
	connecting := run(t, func(ctx context.Context) error {
		conn, err := bus.Connect(ctx, "tests", bus.NATSConfig{NATSURL: secret.New(s.URL())}, discard())
		connected <- conn
		return err
	})
	s.Restart(t)
	conn := receive(t, connected)
	t.Cleanup(conn.Close)
	require.NoError(t, connecting.wait(t))
	require.Equal(t, "tests", conn.Opts.Name)

	// What was lost comes back by itself.
	s.Restart(t)
	require.Eventually(t, func() bool { return conn.IsConnected() && conn.Stats().Reconnects == 1 }, patience, tick)
}

func TestConnectEndsWithItsContext(t *testing.T) {
	t.Parallel()
	s := natstest.Start(t)
	s.Shutdown()
	ctx, cancel := context.WithTimeout(newContext(t), 100*time.Millisecond)
	defer cancel()
	_, err := bus.Connect(ctx, "tests", bus.NATSConfig{NATSURL: secret.New(s.URL())}, discard())
	require.ErrorIs(t, err, context.DeadlineExceeded)
}

// guarded starts a server that asks for a user and a password, and returns its host and port.
func guarded(t *testing.T) string {
	t.Helper()
	s, err := server.NewServer(&server.Options{
		Host: "127.0.0.1", Port: server.RANDOM_PORT, NoSigs: true, NoLog: true, Username: "ingest", Password: "open-sesame",
	})
	require.NoError(t, err)
	s.Start()
	t.Cleanup(func() {
		s.Shutdown()
		s.WaitForShutdown()
	})
	require.True(t, s.ReadyForConnections(patience))
	return s.Addr().String()
}

func TestConnectWithAPassword(t *testing.T) {
	t.Parallel()
	address := guarded(t)
	conn, err := bus.Connect(newContext(t), "tests", bus.NATSConfig{NATSURL: secret.New("nats://ingest:open-sesame@" + address)}, discard())
	require.NoError(t, err)
	conn.Close()
}

func TestConnectDoesNotRetryAWrongPassword(t *testing.T) {
	t.Parallel()
	var log bytes.Buffer
	_, err := bus.Connect(newContext(t), "tests", bus.NATSConfig{NATSURL: secret.New("nats://ingest:hunter2@" + guarded(t))},
		slog.New(slog.NewTextHandler(&log, nil)))
	require.ErrorIs(t, err, nats.ErrAuthorization)
	require.NotContains(t, err.Error()+log.String(), "hunter2")
}

func TestConnectTellsNoPasswordOfAURLThatCannotBeRead(t *testing.T) {
	t.Parallel()
	for _, bad := range []string{
		"nats://ingest:hunter2%zz@127.0.0.1:4222", "nats://127.0.0.1:4222,nats://ingest:hunter2 @127.0.0.1:4222",
		"ingest:hunter2%zz@127.0.0.1", "nats://ingest:hunter2@127.0.0.1:port", "nats:///hunter2", "://hunter2",
	} {
		var log bytes.Buffer
		_, err := bus.Connect(newContext(t), "tests", bus.NATSConfig{NATSURL: secret.New(bad)}, slog.New(slog.NewTextHandler(&log, nil)))
		require.ErrorContains(t, err, "MEETWIRE_NATS_URL", bad)
		require.NotContains(t, err.Error()+log.String(), "hunter2")
	}
}

func TestConnectWithFilesThatAreNotThere(t *testing.T) {
	t.Parallel()
	s := natstest.Start(t)
	for _, config := range []bus.NATSConfig{
		{NATSCredsFile: filepath.Join(t.TempDir(), "absent.creds")}, {NATSCAFile: filepath.Join(t.TempDir(), "absent.pem")},
	} {
		config.NATSURL = secret.New(s.URL())
		ctx, cancel := context.WithTimeout(newContext(t), 200*time.Millisecond)
		_, err := bus.Connect(ctx, "tests", config, discard())
		cancel()
		require.Error(t, err)
		require.Contains(t, err.Error(), "absent", "%v", err)
	}
	// A file that is no certificate is no reason to trust the system's.
	file := filepath.Join(t.TempDir(), "ca.pem")
	require.NoError(t, os.WriteFile(file, []byte(strings.Repeat("x", 10)), 0o600))
	ctx, cancel := context.WithTimeout(newContext(t), 200*time.Millisecond)
	defer cancel()
	_, err := bus.Connect(ctx, "tests", bus.NATSConfig{NATSURL: secret.New(s.URL()), NATSCAFile: file}, discard())
	require.Error(t, err)
}
