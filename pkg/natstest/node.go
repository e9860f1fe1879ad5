package natstest

import (
	"errors"
	"fmt"
	"math"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"go.uber.org/goleak"
)

const (
	// readyWait is how long a server may take until it accepts connections. Usual is a few milliseconds; a
	// restart with a million messages takes seconds.
	readyWait = 30 * time.Second
	// restartWait is how long a restart tries to get its ports back.
	restartWait = 10 * time.Second
	pollEvery   = 10 * time.Millisecond
)

// node is one server: where it listens, where it stores, and its running instance.
type node struct {
	name      string
	store     string
	port      int
	routePort int    // 0: not in a cluster
	routes    string // of all nodes of the cluster, separated by commas
	change    func(*server.Options)

	server *server.Server // nil while stopped
	log    serverLog
}

func (n *node) url() string { return fmt.Sprintf("nats://127.0.0.1:%d", n.port) }

func (n *node) options() *server.Options {
	options := &server.Options{
		ServerName: n.name,
		Host:       "127.0.0.1",
		Port:       n.port,
		JetStream:  true,
		StoreDir:   n.store,
		// Limits are for what a test sets itself, not for the disk that it happens to run on: streams that
		// reserve space would be refused otherwise.
		JetStreamMaxStore:      math.MaxInt64 / 4,
		JetStreamMaxMemory:     math.MaxInt64 / 4,
		DisableJetStreamBanner: true,
		NoSigs:                 true,
	}
	if n.routePort != 0 {
		options.Cluster = server.ClusterOpts{Name: "natstest", Host: "127.0.0.1", Port: n.routePort}
		options.Routes = server.RoutesFromStr(n.routes)
	}
	if n.change != nil {
		n.change(options)
	}
	return options
}

// start starts the server and waits until it accepts connections. After an error nothing runs.
func (n *node) start() error {
	s, err := server.NewServer(n.options())
	if err != nil {
		return fmt.Errorf("make server %s: %w", n.name, err)
	}
	n.log.reset()
	s.SetLogger(&n.log, false, false)
	s.Start()
	n.server = s

	// A server that cannot listen says so in its log and goes on without.
	err = poll(readyWait, func() error {
		if fatal := n.log.fatal(); fatal != "" {
			return permanentError{errors.New(fatal)}
		}
		if !s.ReadyForConnections(pollEvery) {
			return errors.New("the server does not accept connections")
		}
		return nil
	})
	if err != nil {
		n.stop()
		return fmt.Errorf("start server %s on port %d: %w; %s", n.name, n.port, err, n.log.tail())
	}
	return nil
}

// restart starts the server again on its ports, which somebody else may hold for a moment.
func (n *node) restart() error { return poll(restartWait, n.start) }

// stop stops the server and waits until it has let go of ports and store.
func (n *node) stop() {
	if n.server == nil {
		return
	}
	n.server.Shutdown()
	n.server.WaitForShutdown()
	n.server = nil
}

// Leftovers are what a nats-server leaves behind, as seen once in a few hundred runs, that is shut down while it creates a
// stream for a client that is gone by then. They are for tests that start and stop whole services.
func Leftovers() []goleak.Option {
	const server = "github.com/nats-io/nats-server/v2/server"
	return []goleak.Option{
		goleak.IgnoreTopFunction(server + ".(*fileStore).flushStreamStateLoop"),
		goleak.IgnoreTopFunction(server + "/ats.Register.func1"),
	}
}

// permanentError ends a poll at once.
type permanentError struct{ error }

// poll calls f until it returns nil or a permanentError, or the time is over, and returns its last error.
func poll(limit time.Duration, f func() error) error {
	deadline := time.NewTimer(limit)
	defer deadline.Stop()
	ticker := time.NewTicker(pollEvery)
	defer ticker.Stop()
	for {
		err := f()
		var permanent permanentError
		switch {
		case err == nil:
			return nil
		case errors.As(err, &permanent):
			return permanent.error
		}
		select {
		case <-ticker.C:
		case <-deadline.C:
			return fmt.Errorf("gave up after %v: %w", limit, err)
		}
	}
}
