package outbox_test

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"os"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/stretchr/testify/require"

	"github.com/meetwire/meetwire/pkg/bus"
	"github.com/meetwire/meetwire/pkg/natstest"
	"github.com/meetwire/meetwire/pkg/pgtest"
	"github.com/meetwire/meetwire/pkg/publisher"
	"github.com/meetwire/meetwire/pkg/publisher/outbox"
)

// Variables that make this program a relay and nothing else, so that a test can kill it.
const (
	envDatabase = "OUTBOX_TEST_DATABASE_URL"
	envNATS     = "OUTBOX_TEST_NATS_URL"
)

func TestMain(m *testing.M) {
	if database := os.Getenv(envDatabase); database != "" {
		fmt.Fprintln(os.Stderr, relayProcess(context.Background(), database, os.Getenv(envNATS)))
		os.Exit(1) //nolint:forbidigo // what TestMain is for
	}
	pgtest.Main(m)
}

// relayProcess relays until it is killed.
func relayProcess(ctx context.Context, database, url string) error {
	pool, err := pgxpool.New(ctx, database)
	if err != nil {
		return err
	}
	defer pool.Close()
	conn, err := nats.Connect(url, nats.MaxReconnects(-1), nats.ReconnectBufSize(-1))
	if err != nil {
		return err
	}
	defer conn.Close()
	js, err := jetstream.New(conn)
	if err != nil {
		return err
	}
	events, err := publisher.New(js)
	if err != nil {
		return err
	}
	relay := &outbox.Relay{Pool: pool, Publisher: events, Poll: poll, Batch: 20}
	return relay.Run(ctx)
}

// patience is how long a test waits for what must happen.
const patience = time.Minute

// poll is short, so that what is looked at again is soon.
const poll = 20 * time.Millisecond

func newContext(t *testing.T) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	t.Cleanup(cancel)
	return ctx
}

// env is a database with an outbox, and a server with the stream of events.
type env struct {
	pool   *pgxpool.Pool
	server *natstest.Server
	js     jetstream.JetStream
	log    *syncBuffer
}

func migrate(ctx context.Context, pool *pgxpool.Pool) error {
	return outbox.DefaultTable.Migrate(ctx, pool)
}

func setup(t *testing.T, stream jetstream.StreamConfig) *env {
	t.Helper()
	e := &env{pool: pgtest.Database(t, "outbox", migrate), server: natstest.Start(t), log: &syncBuffer{}}
	_, e.js = e.server.Connect(t)
	createEvents(t, e.js, stream)
	return e
}

func createEvents(t *testing.T, js jetstream.JetStream, config jetstream.StreamConfig) {
	t.Helper()
	config.Name, config.Subjects = bus.StreamEvents, []string{bus.EventsFilter()}
	_, err := js.CreateOrUpdateStream(newContext(t), config)
	require.NoError(t, err)
}

// relay returns a relay that publishes over a connection.
func (e *env) relay(t *testing.T, js jetstream.JetStream) *outbox.Relay {
	t.Helper()
	events, err := publisher.New(js, publisher.WithAttemptTimeout(time.Second))
	require.NoError(t, err)
	return &outbox.Relay{
		Pool: e.pool, Publisher: events, Poll: poll, Batch: 10,
		Logger: slog.New(slog.NewTextHandler(e.log, nil)),
	}
}

// start runs a relay until the function that it returns is called, or the test ends.
func start(t *testing.T, relay *outbox.Relay) (stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- relay.Run(ctx) }()
	var once sync.Once
	stop = func() {
		once.Do(func() {
			cancel()
			select {
			case err := <-done:
				require.NoError(t, err)
			case <-time.After(patience):
				require.Fail(t, "the relay does not stop")
			}
		})
	}
	t.Cleanup(stop)
	return stop
}

// write writes an event in a transaction of its own.
func (e *env) write(t *testing.T, event publisher.Event) {
	t.Helper()
	require.NoError(t, pgx.BeginFunc(newContext(t), e.pool, func(tx pgx.Tx) error {
		return outbox.Write(newContext(t), tx, event)
	}))
}

// waiting is how many rows the outbox has.
func (e *env) waiting(t *testing.T) (n int) {
	t.Helper()
	require.NoError(t, e.pool.QueryRow(newContext(t), `SELECT count(*) FROM meetwire_outbox`).Scan(&n))
	return n
}

func (e *env) awaitEmpty(t *testing.T) {
	t.Helper()
	require.Eventually(t, func() bool { return e.waiting(t) == 0 }, patience, poll, "%s", e.log)
}

// published returns the messages of the stream, in its order.
func published(t *testing.T, js jetstream.JetStream) (all []*jetstream.RawStreamMsg) {
	t.Helper()
	stream, err := js.Stream(newContext(t), bus.StreamEvents)
	require.NoError(t, err)
	for sequence := uint64(1); sequence <= stream.CachedInfo().State.LastSeq; sequence++ {
		msg, err := stream.GetMsg(newContext(t), sequence)
		require.NoError(t, err)
		all = append(all, msg)
	}
	return all
}

// ids returns the ids of the published events of an organization, in the order of the stream.
func ids(t *testing.T, js jetstream.JetStream, organization string) (all []string) {
	t.Helper()
	for _, msg := range published(t, js) {
		of, _, err := bus.ParseEventSubject(msg.Subject)
		require.NoError(t, err)
		if of != organization {
			continue
		}
		var event struct{ ID string }
		require.NoError(t, json.Unmarshal(msg.Data, &event))
		all = append(all, event.ID)
	}
	return all
}

func booked(organization, id string) publisher.Event {
	return publisher.Event{
		Organization: organization, Trigger: "meeting.booked", Source: "/booking", ID: id,
		Data: map[string]any{"meeting": id},
	}
}

// syncBuffer is a log that can be read while it is written.
type syncBuffer struct {
	mu   sync.Mutex
	text []byte
}

var _ io.Writer = (*syncBuffer)(nil)

func (b *syncBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.text = append(b.text, p...)
	return len(p), nil
}

func (b *syncBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return string(b.text)
}
