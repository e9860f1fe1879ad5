package natsbus_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/meetwire/meetwire/pkg/bus"
	"github.com/meetwire/meetwire/pkg/natstest"
	"github.com/meetwire/meetwire/pkg/secret"
	configv1 "github.com/meetwire/meetwire/proto/gen/meetwire/config/v1"
	"github.com/meetwire/meetwire/services/ingest/internal/core"
	"github.com/meetwire/meetwire/services/ingest/internal/natsbus"
	"github.com/meetwire/meetwire/services/ingest/internal/schema"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const (
	// patience is how long a test waits for something that should be there at once.
	patience = 20 * time.Second
	tick     = 10 * time.Millisecond
	// revision is that of the configuration.
	revision = 7
)

func newContext(t testing.TB) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	t.Cleanup(cancel)
	return ctx
}

// counts implements natsbus.Metrics.
type counts struct {
	events, deliveries, warned, filters atomic.Int64

	mu       sync.Mutex
	rejected map[string]int
}

func (c *counts) FannedOut(deliveries int) {
	c.events.Add(1)
	c.deliveries.Add(int64(deliveries))
}

func (c *counts) Rejected(rule string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.rejected == nil {
		c.rejected = make(map[string]int)
	}
	c.rejected[rule]++
}

func (c *counts) Warned() { c.warned.Add(1) }

func (c *counts) FiltersFailed(n int) { c.filters.Add(int64(n)) }

func (c *counts) byRule() map[string]int {
	c.mu.Lock()
	defer c.mu.Unlock()
	all := make(map[string]int, len(c.rejected))
	for rule, n := range c.rejected {
		all[rule] = n
	}
	return all
}

// catalogue knows the organizations acme and beta, and the triggers of the schema catalogue.
type catalogue struct{ *schema.Catalogue }

func (catalogue) HasOrganization(id string) bool { return id == "acme" || id == "beta" }

// env is a server with the streams and a configuration, for which workers can be run.
type env struct {
	server   *natstest.Server
	conn     *nats.Conn
	js       jetstream.JetStream
	triggers *schema.Catalogue
	metrics  *counts
	worker   *natsbus.Worker
	start    map[string]time.Time // of triggers that were registered later
}

// serviceToken is what Meetwire itself publishes with.
var serviceToken = secret.New("service-token-of-the-tests-0123456789")

// setup makes everything and runs no worker. Events count as old, so that nothing is waited for.
func setup(t testing.TB) *env {
	t.Helper()
	e := &env{server: natstest.Start(t), metrics: &counts{}}
	discard := slog.New(slog.DiscardHandler)
	var err error
	e.conn, err = bus.Connect(newContext(t), "tests", bus.NATSConfig{NATSURL: secret.New(e.server.URL())}, discard)
	require.NoError(t, err)
	t.Cleanup(e.conn.Close)
	e.js, err = bus.JetStream(e.conn)
	require.NoError(t, err)
	config := bus.DefaultConfig()
	require.NoError(t, bus.EnsureStreams(newContext(t), e.js, config, discard))
	index := core.NewIndex()
	e.triggers = schema.New(index, discard)
	e.worker = &natsbus.Worker{
		JetStream: e.js, Config: config, Catalogue: catalogue{e.triggers}, Index: index, Metrics: e.metrics, Logger: discard,
		ServiceToken: serviceToken,
		Start:        func(trigger string) time.Time { return e.start[trigger] },
		HeardSince:   func(time.Time) bool { return true },
		Now:          func() time.Time { return time.Now().Add(time.Hour) },
	}
	e.configure(
		trigger("meeting.booked", `{"type":"object","properties":{"title":{"type":"string"}}}`), ownTrigger("custom.door.opened", `{}`),
		webhook("w1", "acme", "meeting.booked"), webhook("w2", "acme", "meeting.booked", "custom.door.opened"),
		webhook("w3", "acme", "meeting.canceled"), webhook("w4", "beta", "meeting.booked"),
	)
	return e
}

// configure replaces the configuration, but for the organizations.
func (e *env) configure(resources ...*configv1.Resource) {
	e.triggers.Reset(append(resources, organization("acme"), organization("beta")), revision)
}

func organization(id string) *configv1.Resource {
	return &configv1.Resource{Resource: &configv1.Resource_Organization{Organization: &configv1.Organization{Id: id, WebhooksAvailable: true}}}
}

func ownTrigger(id, schema string) *configv1.Resource {
	own := trigger(id, schema)
	own.GetTrigger().Organization = "acme"
	return own
}

func trigger(id, schema string) *configv1.Resource {
	return &configv1.Resource{Resource: &configv1.Resource_Trigger{Trigger: &configv1.Trigger{Id: id, Schema: schema}}}
}

func webhook(id, organization string, triggers ...string) *configv1.Resource {
	return &configv1.Resource{Resource: &configv1.Resource_Webhook{Webhook: &configv1.Webhook{
		Id: id, Organization: organization, Triggers: triggers,
	}}}
}

// run runs workers of all lanes until the test ends, or stop is called.
func (e *env) run(t testing.TB) (stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() {
		done <- bus.RunAll(ctx,
			func(ctx context.Context) error { return e.worker.Run(ctx, "meeting.booked") },
			func(ctx context.Context) error { return e.worker.Run(ctx, bus.LaneCustom) },
			e.worker.RunIndex,
		)
	}()
	stop = sync.OnceFunc(func() {
		cancel()
		require.NoError(t, <-done)
	})
	t.Cleanup(stop)
	return stop
}

// event returns a document.
func event(source, id, kind, data string) string {
	return fmt.Sprintf(`{"specversion":"1.0","id":%q,"source":%q,"type":%q,"data":%s}`, id, source, kind, data)
}

const (
	bookedSubject = "events.acme.meeting.booked"
	deliver1      = "deliveries.meeting-booked.acme.w1"
	deliver2      = "deliveries.meeting-booked.acme.w2"
)

// stored is what a stream knows of an event.
type stored struct {
	sequence string
	at       string // as headers say it
}

// publish publishes an event as a publisher does, without a message id, and returns what EVENTS knows of it.
func (e *env) publish(t testing.TB, subject, body string, header nats.Header) stored {
	t.Helper()
	ack, err := e.js.PublishMsg(newContext(t), &nats.Msg{Subject: subject, Data: []byte(body), Header: header})
	require.NoError(t, err)
	stream, err := e.js.Stream(newContext(t), bus.StreamEvents)
	require.NoError(t, err)
	msg, err := stream.GetMsg(newContext(t), ack.Sequence)
	require.NoError(t, err)
	return stored{strconv.FormatUint(ack.Sequence, 10), msg.Time.UTC().Format(time.RFC3339Nano)}
}

// messages returns what a stream holds, in the order of its arrival.
func (e *env) messages(t testing.TB, name string) []*jetstream.RawStreamMsg {
	t.Helper()
	stream, err := e.js.Stream(newContext(t), name)
	require.NoError(t, err)
	state := stream.CachedInfo().State
	all := make([]*jetstream.RawStreamMsg, 0, state.Msgs)
	for sequence := state.FirstSeq; state.Msgs > 0 && sequence <= state.LastSeq; sequence++ {
		msg, err := stream.GetMsg(newContext(t), sequence)
		require.NoError(t, err)
		if stream.CachedInfo().Config.AllowDirect {
			for _, added := range []string{"Nats-Stream", "Nats-Subject", "Nats-Sequence", "Nats-Time-Stamp"} {
				require.Len(t, msg.Header[added], 1, "what a direct get adds")
				msg.Header.Del(added)
			}
		}
		all = append(all, msg)
	}
	return all
}

// bySubject returns what a stream holds, one message for each subject.
func (e *env) bySubject(t testing.TB, name string) map[string]*jetstream.RawStreamMsg {
	t.Helper()
	all := make(map[string]*jetstream.RawStreamMsg)
	for _, msg := range e.messages(t, name) {
		require.Nil(t, all[msg.Subject], "two messages on %s", msg.Subject)
		all[msg.Subject] = msg
	}
	return all
}

// count returns how many messages a stream holds.
func (e *env) count(t testing.TB, name string) int {
	t.Helper()
	stream, err := e.js.Stream(newContext(t), name)
	require.NoError(t, err)
	return int(stream.CachedInfo().State.Msgs)
}

// requireSettled waits until the workers have settled every event.
func (e *env) requireSettled(t testing.TB) {
	t.Helper()
	require.Eventually(t, func() bool { return e.unsettled(t) == 0 }, patience, tick)
}

// unsettled returns how many messages of EVENTS wait for a worker, over all durables.
func (e *env) unsettled(t testing.TB) int {
	t.Helper()
	stream, err := e.js.Stream(newContext(t), bus.StreamEvents)
	require.NoError(t, err)
	n := 0
	for _, name := range []string{"ingest-meeting-booked", "ingest-custom", bus.DurableEventIndex} {
		consumer, err := stream.Consumer(newContext(t), name)
		if err != nil {
			n++ // its worker has not started
			continue
		}
		info := consumer.CachedInfo()
		n += info.NumAckPending + int(info.NumPending)
		// A consumer hears of what is stored a little later.
		last, err := stream.GetLastMsgForSubject(newContext(t), info.Config.FilterSubject)
		if !errors.Is(err, jetstream.ErrMsgNotFound) {
			require.NoError(t, err)
			n += int(max(last.Sequence, info.Delivered.Stream) - info.Delivered.Stream)
		}
	}
	return n
}
