package bus_test

import (
	"context"
	"log/slog"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/meetwire/meetwire/pkg/bus"
	"github.com/meetwire/meetwire/pkg/fault"
	"github.com/meetwire/meetwire/pkg/natstest"
	"github.com/meetwire/meetwire/pkg/secret"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const (
	// patience is how long a test waits for something that should be there at once.
	patience = 20 * time.Second
	tick     = 10 * time.Millisecond
)

func discard() *slog.Logger { return slog.New(slog.DiscardHandler) }

func newContext(t *testing.T) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	t.Cleanup(cancel)
	return ctx
}

// env is a server with the streams, and a connection as the services make it.
type env struct {
	server *natstest.Server
	conn   *nats.Conn
	js     jetstream.JetStream
	config bus.Config
}

func setup(t *testing.T) *env {
	t.Helper()
	e := &env{server: natstest.Start(t), config: bus.DefaultConfig()}
	e.conn, e.js = connect(t, e.server.URL())
	require.NoError(t, bus.EnsureStreams(newContext(t), e.js, e.config, discard()))
	return e
}

func connect(t *testing.T, url string) (*nats.Conn, jetstream.JetStream) {
	t.Helper()
	conn, err := bus.Connect(newContext(t), t.Name(), bus.NATSConfig{NATSURL: secret.New(url)}, discard())
	require.NoError(t, err)
	t.Cleanup(conn.Close)
	js, err := bus.JetStream(conn)
	require.NoError(t, err)
	return conn, js
}

// publish publishes a message and returns its sequence.
func (e *env) publish(t *testing.T, subject, body string) uint64 {
	t.Helper()
	msg := nats.NewMsg(subject)
	msg.Data = []byte(body)
	ack, err := bus.Publish(newContext(t), e.js, msg, nats.NewInbox())
	require.NoError(t, err)
	return ack.Sequence
}

const bookedSubject = "events.acme.meeting.booked"

// consumer returns a consumer of bookedSubject.
func (e *env) consumer(handle func(context.Context, *bus.Msg)) *bus.Consumer {
	return &bus.Consumer{
		JetStream: e.js,
		Stream:    bus.StreamEvents,
		Config:    e.config.IngestConsumer("meeting.booked", time.Time{}),
		Pull:      100,
		Workers:   4,
		Handle:    handle,
		Logger:    discard(),
	}
}

// pending returns how many messages of a consumer of bookedSubject are not settled.
func (e *env) pending(t *testing.T) int {
	t.Helper()
	stream, err := e.js.Stream(newContext(t), bus.StreamEvents)
	require.NoError(t, err)
	consumer, err := stream.Consumer(newContext(t), "ingest-meeting-booked")
	require.NoError(t, err)
	last, err := stream.GetLastMsgForSubject(newContext(t), bookedSubject)
	require.NoError(t, err)
	info := consumer.CachedInfo()
	// A consumer hears of what is stored a little later.
	unheard := max(last.Sequence, info.Delivered.Stream) - info.Delivered.Stream
	return info.NumAckPending + int(info.NumPending) + int(unheard)
}

// requireSettled waits until every message of bookedSubject is settled.
func (e *env) requireSettled(t *testing.T) {
	t.Helper()
	require.Eventually(t, func() bool { return e.pending(t) == 0 }, patience, tick)
}

// running is a call of Run.
type running struct {
	cancel context.CancelFunc
	done   chan struct{}
	err    error
}

// run runs something until the test ends, or stop is called.
func run(t *testing.T, f func(context.Context) error) *running {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	r := &running{cancel: cancel, done: make(chan struct{})}
	go func() {
		defer close(r.done)
		r.err = f(ctx)
	}()
	t.Cleanup(func() {
		cancel()
		<-r.done
	})
	return r
}

// stop ends it and returns what it returned.
func (r *running) stop(t *testing.T) error {
	t.Helper()
	r.cancel()
	return r.wait(t)
}

func (r *running) wait(t *testing.T) error {
	t.Helper()
	receive(t, r.done)
	return r.err
}

// receive returns the next value of a channel, for which it waits a limited time.
func receive[T any](t *testing.T, ch <-chan T) T {
	t.Helper()
	select {
	case v := <-ch:
		return v
	case <-time.After(patience):
		require.Fail(t, "nothing came")
		panic("unreachable")
	}
}

// requireFault asserts that an error is a fault of a kind, with a reason.
func requireFault(t *testing.T, err error, kind fault.Kind, reason string) {
	t.Helper()
	var f *fault.Error
	require.ErrorAs(t, err, &f)
	require.Equal(t, kind, f.Kind, "%v", err)
	require.Equal(t, reason, f.Reason)
}

// counter counts what came, by a key.
type counter struct {
	mu     sync.Mutex
	counts map[string]int
}

func (c *counter) add(key string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.counts == nil {
		c.counts = make(map[string]int)
	}
	c.counts[key]++
}

func (c *counter) different() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.counts)
}

func (c *counter) most() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	most := 0
	for _, n := range c.counts {
		most = max(most, n)
	}
	return most
}
