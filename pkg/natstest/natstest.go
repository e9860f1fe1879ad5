// Package natstest owns real nats-servers for tests: one server, or a cluster, embedded in the test's process,
// with JetStream on disk in a folder of the test. Servers can be stopped and started again on the same port
// with the same store. It creates no streams and knows nothing of Meetwire's subjects; a server that does not
// start fails the test.
package natstest

import (
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/stretchr/testify/require"
)

// startAttempts is how many sets of ports are tried before a start has failed.
const startAttempts = 5

// Server is one nats-server. Its methods belong to the goroutine of the test.
type Server struct {
	node *node
}

// Start starts a nats-server with JetStream on a free port of 127.0.0.1. It is stopped when the test ends.
func Start(tb testing.TB) *Server {
	tb.Helper()
	return StartWith(tb, nil)
}

// StartWith is Start with options that change changes, such as accounts and users, also at each restart; nil changes
// nothing. Ports and the store stay those of the test.
func StartWith(tb testing.TB, change func(*server.Options)) *Server {
	tb.Helper()
	dir := tb.TempDir()
	var err error
	for range startAttempts {
		n := &node{name: "natstest", store: dir, port: FreePort(tb), change: change}
		if err = n.start(); err == nil {
			tb.Cleanup(n.stop)
			return &Server{node: n}
		}
	}
	require.NoError(tb, err, "start a nats-server")
	return nil
}

// URL is where clients connect; it stays the same over a restart.
func (s *Server) URL() string { return s.node.url() }

// Connect returns a new connection, which is closed when the test ends. It survives a restart of the server.
func (s *Server) Connect(tb testing.TB) (*nats.Conn, jetstream.JetStream) {
	tb.Helper()
	return connect(tb, s.URL())
}

// Shutdown stops the server and returns when it has let go of its port and its store. Clients see their
// connection break. Stopping twice is allowed.
func (s *Server) Shutdown() { s.node.stop() }

// Restart stops the server if it runs, and starts it on the same port with the same store.
func (s *Server) Restart(tb testing.TB) {
	tb.Helper()
	s.node.stop()
	require.NoError(tb, s.node.restart(), "restart the nats-server")
}

// Complaints are the latest warnings and errors in the server's log since it was last started, such as violations of
// permissions.
func (s *Server) Complaints() []string { return s.node.log.all() }

// connect opens a connection that reconnects for as long as the test lasts, quickly.
func connect(tb testing.TB, urls ...string) (*nats.Conn, jetstream.JetStream) {
	tb.Helper()
	closed := make(chan struct{})
	conn, err := nats.Connect(strings.Join(urls, ","),
		nats.Name(tb.Name()),
		nats.Timeout(10*time.Second), // the machine may be busy with other tests
		nats.MaxReconnects(-1),
		nats.ReconnectWait(20*time.Millisecond),
		nats.ReconnectJitter(0, 0),
		nats.ClosedHandler(func(*nats.Conn) { close(closed) }),
		// The default prints to standard error. Tests see failures where they happen.
		nats.ErrorHandler(func(*nats.Conn, *nats.Subscription, error) {}),
	)
	require.NoError(tb, err, "connect to the nats-server")
	tb.Cleanup(func() {
		conn.Close()
		<-closed
	})
	js, err := jetstream.New(conn)
	require.NoError(tb, err, "open jetstream")
	return conn, js
}
