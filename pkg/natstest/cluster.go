package natstest

import (
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/stretchr/testify/require"
)

// clusterWait is how long a cluster may take to elect a leader and to bring every node up to date. Usual is a
// third of a second; on a busy machine it can take many times that.
const clusterWait = 30 * time.Second

// ClusterHandle is a cluster of nats-servers in the test's process. Its methods belong to the goroutine of the
// test.
type ClusterHandle struct {
	tb    testing.TB
	nodes []*node
}

// Cluster starts a cluster of n nats-servers with JetStream and returns when they have a leader and all are up
// to date, so that streams can be created at once. They are stopped when the test ends.
func Cluster(tb testing.TB, n int) *ClusterHandle {
	tb.Helper()
	require.Positive(tb, n, "a cluster needs at least one node")
	dir := tb.TempDir()
	var err error
	for range startAttempts {
		c := newCluster(tb, n, dir)
		if err = c.start(); err == nil {
			tb.Cleanup(c.stop)
			require.NoError(tb, c.wait(), "form a cluster")
			return c
		}
		c.stop()
	}
	require.NoError(tb, err, "start a cluster of nats-servers")
	return nil
}

func newCluster(tb testing.TB, n int, dir string) *ClusterHandle {
	tb.Helper()
	ports := freePorts(tb, 2*n)
	routes := make([]string, n)
	for i := range routes {
		routes[i] = fmt.Sprintf("nats://127.0.0.1:%d", ports[n+i])
	}
	c := &ClusterHandle{tb: tb, nodes: make([]*node, n)}
	for i := range c.nodes {
		name := fmt.Sprintf("n%d", i)
		c.nodes[i] = &node{
			name:      name,
			store:     filepath.Join(dir, name),
			port:      ports[i],
			routePort: ports[n+i],
			routes:    strings.Join(routes, ","),
		}
	}
	return c
}

func (c *ClusterHandle) start() error {
	for _, n := range c.nodes {
		if err := n.start(); err != nil {
			return err
		}
	}
	return nil
}

func (c *ClusterHandle) stop() {
	for _, n := range c.nodes {
		n.stop()
	}
}

// Size is the number of nodes, stopped ones included.
func (c *ClusterHandle) Size() int { return len(c.nodes) }

// URLs are where clients connect, one for each node, stopped ones included.
func (c *ClusterHandle) URLs() []string {
	urls := make([]string, len(c.nodes))
	for i, n := range c.nodes {
		urls[i] = n.url()
	}
	return urls
}

// URL is all URLs, separated by commas, as clients take them.
func (c *ClusterHandle) URL() string { return strings.Join(c.URLs(), ",") }

// Connect returns a new connection to any of the nodes, which is closed when the test ends. It moves to
// another node when its own stops.
func (c *ClusterHandle) Connect(tb testing.TB) (*nats.Conn, jetstream.JetStream) {
	tb.Helper()
	return connect(tb, c.URLs()...)
}

// ConnectTo returns a new connection to node i only, which is closed when the test ends.
func (c *ClusterHandle) ConnectTo(tb testing.TB, i int) (*nats.Conn, jetstream.JetStream) {
	tb.Helper()
	return connect(tb, c.nodes[i].url())
}

// Leader is the index of the node that leads JetStream's meta group, or -1 while there is none.
func (c *ClusterHandle) Leader() int {
	for i, n := range c.nodes {
		if s := n.server; s != nil && s.JetStreamIsLeader() {
			return i
		}
	}
	return -1
}

// Kill stops node i and returns when it has let go of its ports and its store. The others see it vanish and
// elect new leaders, which this does not wait for. The node shares its process with the test, so it ends in
// order: what only a power cut or a kill signal shows needs a nats-server of its own process.
func (c *ClusterHandle) Kill(i int) { c.nodes[i].stop() }

// Restart stops node i if it runs, starts it on the same ports with the same store, and returns when the
// cluster has a leader and every running node is up to date with it.
func (c *ClusterHandle) Restart(i int) {
	c.tb.Helper()
	c.nodes[i].stop()
	require.NoError(c.tb, c.nodes[i].restart(), "restart node %d", i)
	require.NoError(c.tb, c.wait(), "rejoin node %d", i)
}

// Wait returns when the cluster has a leader and every running node is up to date with it.
func (c *ClusterHandle) Wait() {
	c.tb.Helper()
	require.NoError(c.tb, c.wait(), "wait for the cluster")
}

func (c *ClusterHandle) wait() error {
	err := poll(clusterWait, func() error {
		if c.Leader() < 0 {
			return errors.New("the cluster has no leader")
		}
		for _, n := range c.nodes {
			if n.server != nil && !n.server.JetStreamIsCurrent() {
				return fmt.Errorf("node %s is behind", n.name)
			}
		}
		return nil
	})
	if err == nil {
		return nil
	}
	for _, n := range c.nodes {
		err = fmt.Errorf("%w\n%s: %s", err, n.name, n.log.tail())
	}
	return err
}

// Index returns which node has a name, as streams name their leaders; a name that no node has fails the test.
func (c *ClusterHandle) Index(name string) int {
	c.tb.Helper()
	i := slices.IndexFunc(c.nodes, func(n *node) bool { return n.name == name })
	require.GreaterOrEqual(c.tb, i, 0, "no node is called %q", name)
	return i
}
