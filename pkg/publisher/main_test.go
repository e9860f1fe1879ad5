package publisher

import (
	"context"
	"encoding/json"
	"log/slog"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/meetwire/meetwire/pkg/bus"
	"github.com/meetwire/meetwire/pkg/natstest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// patience is how long a test waits for what must happen.
const patience = time.Minute

func newContext(t *testing.T) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	t.Cleanup(cancel)
	return ctx
}

// env is a server with Meetwire's streams, and a publisher.
type env struct {
	server    *natstest.Server
	conn      *nats.Conn
	js        jetstream.JetStream
	publisher *Publisher
}

func setup(t *testing.T, options ...Option) *env {
	t.Helper()
	e := &env{server: natstest.Start(t)}
	e.conn, e.js = e.server.Connect(t)
	require.NoError(t, bus.EnsureStreams(newContext(t), e.js, bus.DefaultConfig(), slog.New(slog.DiscardHandler)))
	e.publisher = newPublisher(t, e.js, options...)
	return e
}

func newPublisher(t *testing.T, js jetstream.JetStream, options ...Option) *Publisher {
	t.Helper()
	p, err := New(js, append([]Option{WithSource("/services/booking"), WithAttemptTimeout(time.Second)}, options...)...)
	require.NoError(t, err)
	return p
}

// message returns what the stream of events has at a sequence.
func message(t *testing.T, js jetstream.JetStream, sequence uint64) *jetstream.RawStreamMsg {
	t.Helper()
	stream, err := js.Stream(newContext(t), bus.StreamEvents)
	require.NoError(t, err)
	msg, err := stream.GetMsg(newContext(t), sequence)
	require.NoError(t, err)
	return msg
}

// stored is how many events the stream has.
func stored(t *testing.T, js jetstream.JetStream) int {
	t.Helper()
	stream, err := js.Stream(newContext(t), bus.StreamEvents)
	require.NoError(t, err)
	return int(stream.CachedInfo().State.Msgs)
}

func booked(id string) Event {
	return Event{
		Organization: "acme",
		Trigger:      "meeting.booked",
		ID:           id,
		Data:         json.RawMessage(`{"meeting_id":"m-1"}`),
	}
}

// faulty is a JetStream whose publishes fail as the test likes.
type faulty struct {
	jetstream.JetStream
	attempted chan struct{} // gets a value at each attempt, if there is room
	publish   func(ctx context.Context, msg *nats.Msg, opts ...jetstream.PublishOpt) (*jetstream.PubAck, error)
}

func newFaulty(js jetstream.JetStream) *faulty {
	return &faulty{JetStream: js, attempted: make(chan struct{}, 1), publish: js.PublishMsg}
}

// Conn is called once for each attempt, also for those that send nothing.
func (f *faulty) Conn() *nats.Conn {
	select {
	case f.attempted <- struct{}{}:
	default:
	}
	return f.JetStream.Conn()
}

func (f *faulty) PublishMsg(ctx context.Context, msg *nats.Msg, opts ...jetstream.PublishOpt) (*jetstream.PubAck, error) {
	return f.publish(ctx, msg, opts...)
}

// result is what a Publish in another goroutine returned.
type result struct {
	ack Ack
	err error
}

func inBackground(ctx context.Context, p *Publisher, event Event) <-chan result {
	done := make(chan result, 1)
	go func() {
		ack, err := p.Publish(ctx, event)
		done <- result{ack, err}
	}()
	return done
}

// await returns what comes through a channel.
func await[T any](t *testing.T, c <-chan T) T {
	t.Helper()
	select {
	case value := <-c:
		return value
	case <-newContext(t).Done():
		require.FailNow(t, "nothing came in time")
		panic("unreachable")
	}
}
