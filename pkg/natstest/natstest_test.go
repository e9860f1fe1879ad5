package natstest

import (
	"context"
	"fmt"
	"net"
	"os"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func newContext(t *testing.T) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	t.Cleanup(cancel)
	return ctx
}

// createStream creates a stream, as soon as that can be done: a young cluster may not know all its nodes yet.
func createStream(t *testing.T, js jetstream.JetStream, replicas int) {
	t.Helper()
	require.EventuallyWithT(t, func(c *assert.CollectT) {
		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
		defer cancel()
		_, err := js.CreateStream(ctx, jetstream.StreamConfig{
			Name:     "THINGS",
			Subjects: []string{"things.>"},
			Storage:  jetstream.FileStorage,
			Replicas: replicas,
			MaxBytes: 100 << 30, // reserved when the stream is made: more than the disk may have
		})
		require.NoError(c, err)
	}, 30*time.Second, 20*time.Millisecond)
}

// publish publishes until the stream acknowledges: during an election nobody answers.
func publish(t *testing.T, js jetstream.JetStream, id int) {
	t.Helper()
	require.EventuallyWithT(t, func(c *assert.CollectT) {
		ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
		defer cancel()
		_, err := js.Publish(ctx, "things.a", []byte("x"), jetstream.WithMsgID(fmt.Sprint(id)))
		require.NoError(c, err)
	}, 30*time.Second, 20*time.Millisecond)
}

// stored returns how many messages the stream has, asking until somebody answers: during an election nobody does.
func stored(t *testing.T, js jetstream.JetStream) (messages uint64) {
	t.Helper()
	require.EventuallyWithT(t, func(c *assert.CollectT) {
		ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
		defer cancel()
		stream, err := js.Stream(ctx, "THINGS")
		require.NoError(c, err)
		messages = stream.CachedInfo().State.Msgs
	}, 30*time.Second, 20*time.Millisecond)
	return messages
}

func TestServerStoresAndSurvivesARestart(t *testing.T) {
	t.Parallel()
	s := Start(t)
	conn, js := s.Connect(t)
	createStream(t, js, 1)
	publish(t, js, 1)
	url := s.URL()

	s.Shutdown()
	require.Eventually(t, func() bool { return conn.Status() == nats.RECONNECTING }, 10*time.Second, time.Millisecond)
	_, err := nats.Connect(url, nats.MaxReconnects(0))
	require.Error(t, err, "a stopped server must not answer")
	s.Shutdown()

	s.Restart(t)
	require.Equal(t, url, s.URL())
	publish(t, js, 2)
	require.EqualValues(t, 2, stored(t, js))
	require.EqualValues(t, 1, conn.Stats().Reconnects)

	s.Restart(t) // while it runs
	publish(t, js, 3)
	require.EqualValues(t, 3, stored(t, js))
}

func TestServersOfOneTestAreSeparate(t *testing.T) {
	t.Parallel()
	a, b := Start(t), Start(t)
	require.NotEqual(t, a.URL(), b.URL())
	_, jsA := a.Connect(t)
	_, jsB := b.Connect(t)
	createStream(t, jsA, 1)
	_, err := jsB.Stream(newContext(t), "THINGS")
	require.ErrorIs(t, err, jetstream.ErrStreamNotFound)
}

func TestConnectionsAreClosedAndStoresRemoved(t *testing.T) { //nolint:tparallel // the inner test must have ended before the outer one looks
	t.Parallel()
	var conn *nats.Conn
	var dir, url string
	require.True(t, t.Run("inner", func(t *testing.T) {
		s := Start(t)
		dir, url = s.node.store, s.URL()
		var js jetstream.JetStream
		conn, js = s.Connect(t)
		createStream(t, js, 1)
		publish(t, js, 1)
	}))
	require.True(t, conn.IsClosed())
	_, err := os.Stat(dir)
	require.ErrorIs(t, err, os.ErrNotExist)
	_, err = nats.Connect(url, nats.MaxReconnects(0))
	require.Error(t, err)
}

func TestTakenPortIsAnErrorThatSaysSo(t *testing.T) {
	t.Parallel()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer func() { require.NoError(t, l.Close()) }()
	n := &node{name: "n", store: t.TempDir(), port: l.Addr().(*net.TCPAddr).Port}
	err = n.start()
	require.ErrorContains(t, err, "address already in use")
	require.Nil(t, n.server, "nothing runs after a failed start")
}

func TestClusterKeepsServingWithoutAnyOneNode(t *testing.T) {
	t.Parallel()
	c := Cluster(t, 3)
	require.Len(t, c.URLs(), 3)
	require.Equal(t, 3, c.Size())
	_, js := c.Connect(t)
	createStream(t, js, 3)
	id := 0
	for i := range c.Size() {
		id++
		publish(t, js, id)
		c.Kill(i)
		id++
		publish(t, js, id)
		c.Restart(i)
	}
	c.Wait()
	require.GreaterOrEqual(t, c.Leader(), 0)
	for i := range c.Size() {
		_, js := c.ConnectTo(t, i)
		require.EqualValues(t, id, stored(t, js), "every message must be there exactly once")
	}
}

func TestLogKeepsTheLatest(t *testing.T) {
	t.Parallel()
	var l serverLog
	require.Equal(t, "nothing in its log", l.tail())
	for i := range logLines + 1 {
		l.Warnf("line %d.", i)
	}
	require.NotContains(t, l.tail(), "line 0.")
	require.Contains(t, l.tail(), "line 30.")
	require.Empty(t, l.fatal())
	l.Fatalf("first %s", "x")
	l.Fatalf("second")
	require.Equal(t, "first x", l.fatal())
	l.reset()
	require.Empty(t, l.fatal())
}
