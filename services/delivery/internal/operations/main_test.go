package operations_test

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/stretchr/testify/require"

	"github.com/meetwire/meetwire/pkg/bus"
	"github.com/meetwire/meetwire/pkg/natstest"
	"github.com/meetwire/meetwire/pkg/operation"
	"github.com/meetwire/meetwire/pkg/pgtest"
	"github.com/meetwire/meetwire/pkg/secret"
	"github.com/meetwire/meetwire/services/delivery/internal/core"
	"github.com/meetwire/meetwire/services/delivery/internal/natsbus"
	"github.com/meetwire/meetwire/services/delivery/internal/operations"
	"github.com/meetwire/meetwire/services/delivery/internal/pgstore"
)

func TestMain(m *testing.M) { pgtest.Main(m) }

const (
	// patience is how long a test waits for what should be there soon; tick is how often it looks.
	patience = 30 * time.Second
	tick     = 10 * time.Millisecond
	fast     = 10_000 // things per second
)

// Webhooks of acme, and one of beta.
const (
	activeHook   = "11111111-1111-4111-8111-111111111111"
	pausedHook   = "22222222-2222-4222-8222-222222222222"
	disabledHook = "33333333-3333-4333-8333-333333333333"
	deletedHook  = "44444444-4444-4444-8444-444444444444"
	betaHook     = "55555555-5555-4555-8555-555555555555"
)

// configuration is all that is configured.
type configuration struct{}

func (configuration) Webhook(id string) (*core.Webhook, bool) {
	w := &core.Webhook{ID: id, Organization: "acme", Status: core.StatusActive}
	switch id {
	case pausedHook:
		w.Status = core.StatusPaused
	case disabledHook:
		w.Status = core.StatusDisabled
	case betaHook:
		w.Organization = "beta"
	case deletedHook:
		return nil, false
	}
	return w, true
}

func (configuration) WaitFor(context.Context, int64) error { return nil }

func (configuration) Revision() int64 { return 1 }

func (configuration) HasOrganization(id string) bool { return id == "acme" || id == "beta" }

// env is a delivery that sends nothing.
type env struct {
	js      jetstream.JetStream
	rows    *pgstore.Store
	store   *operation.PgStore
	queue   *natsbus.Queue
	letters *natsbus.DeadLetters
}

func newContext(t *testing.T) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 2*patience)
	t.Cleanup(cancel)
	return ctx
}

func discard() *slog.Logger { return slog.New(slog.DiscardHandler) }

func setup(t *testing.T) *env {
	t.Helper()
	ctx := newContext(t)
	conn, err := bus.Connect(ctx, "tests", bus.NATSConfig{NATSURL: secret.New(natstest.Start(t).URL())}, discard())
	require.NoError(t, err)
	t.Cleanup(conn.Close)
	pool := pgtest.Database(t, "delivery", pgstore.Migrate)
	e := &env{rows: pgstore.New(pool), store: operation.NewPgStore(pool, pgstore.Schema, time.Now)}
	e.js, err = bus.JetStream(conn)
	require.NoError(t, err)
	streams := bus.DefaultConfig()
	require.NoError(t, bus.EnsureStreams(ctx, e.js, streams, discard()))
	e.queue, err = natsbus.NewQueue(ctx, e.js, e.js, streams, discard(), time.Now)
	require.NoError(t, err)
	e.letters, err = natsbus.NewDeadLetters(ctx, e.js, e.queue, configuration{}, time.Now, func() string { return uuid.NewString() })
	require.NoError(t, err)
	return e
}

// operate runs an instance that works on operations. letters may stand in for the real ones.
func (e *env) operate(t *testing.T, letters operations.Letters) (stop func()) {
	t.Helper()
	steps := &operations.Operations{
		Steps: e.store, Timers: e.queue, Letters: letters, Ledger: e.rows, Configuration: configuration{}, Now: time.Now,
	}
	runner, err := operation.NewRunner(operation.Config{
		Store: e.store, Handlers: steps.Handlers(), Logger: discard(), Now: time.Now, Poll: 20 * time.Millisecond, Lease: 2 * time.Second,
	})
	require.NoError(t, err)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- runner.Run(ctx) }()
	stop = sync.OnceFunc(func() {
		cancel()
		require.NoError(t, <-done)
	})
	t.Cleanup(stop)
	return stop
}

// begin begins an operation.
func (e *env) begin(t *testing.T, organization, kind string, dryRun bool, parameters any) string {
	t.Helper()
	encoded, err := json.Marshal(parameters)
	require.NoError(t, err)
	o, err := e.store.Begin(newContext(t), operation.Operation{
		Organization: organization, Type: kind, Target: "organizations/x", Parameters: encoded, Rate: fast, DryRun: dryRun,
	}, "")
	require.NoError(t, err)
	return o.ID
}

// await waits until an operation has ended in a state.
func (e *env) await(t *testing.T, organization, id string, state operation.State) operation.Operation {
	t.Helper()
	var o operation.Operation
	require.Eventually(t, func() bool {
		var err error
		o, err = e.store.Operation(newContext(t), organization, id)
		require.NoError(t, err)
		return o.Done()
	}, patience, tick)
	require.Equal(t, state, o.State, "%+v", o)
	return o
}

// task is a delivery of an event.
func task(organization, webhook string, n int) *core.Task {
	event := fmt.Sprintf("bk_%d", n)
	return &core.Task{
		Delivery: bus.DeliveryID(organization, "/bookings", event, webhook), Organization: organization, Webhook: webhook,
		Lane: "meeting-booked", Trigger: "meeting.booked", EventSource: "/bookings", EventID: event, EventSequence: uint64(n + 1),
		ConfigRevision: 1, AcceptedAt: time.Now().UTC(), Attempts: 3, Event: []byte(`{"id":"` + event + `"}`),
	}
}

// bury makes a dead letter.
func (e *env) bury(t *testing.T, of *core.Task, reason string, at time.Time) {
	t.Helper()
	require.NoError(t, e.queue.DeadLetter(newContext(t), of, reason, at, uuid.NewString()))
}

// wait sets a timer.
func (e *env) wait(t *testing.T, of *core.Task, in time.Duration) {
	t.Helper()
	require.NoError(t, e.queue.Schedule(newContext(t), of, time.Now().Add(in), false, uuid.NewString()))
}

// all is every dead letter that there is now.
func (e *env) all(t *testing.T, selected natsbus.Selection) operations.Some {
	t.Helper()
	last, err := e.letters.Last(newContext(t))
	require.NoError(t, err)
	return operations.Some{Selection: selected, Until: last, Revision: 1}
}

// count is how many messages a stream has on the subjects of a filter.
func (e *env) count(t *testing.T, stream, filter string) int {
	t.Helper()
	opened, err := e.js.Stream(newContext(t), stream)
	require.NoError(t, err)
	info, err := opened.Info(newContext(t), jetstream.WithSubjectFilter(filter))
	require.NoError(t, err)
	n := 0
	for _, messages := range info.State.Subjects {
		n += int(messages)
	}
	return n
}

// sent returns how often each delivery is in DELIVERIES.
func (e *env) sent(t *testing.T) map[string]int {
	t.Helper()
	reader := bus.BatchReader{JetStream: e.js, Stream: bus.StreamDeliveries}
	all := make(map[string]int)
	for from := uint64(1); ; {
		messages, err := reader.Batch(newContext(t), bus.DeliveryLaneFilter(bus.LaneBulk), from, 500)
		require.NoError(t, err)
		if len(messages) == 0 {
			return all
		}
		for _, msg := range messages {
			require.Equal(t, "3", msg.Header.Get(bus.HeaderAttemptBase), "a new run")
			all[msg.Header.Get(bus.HeaderDeliveryID)]++
		}
		from = messages[len(messages)-1].Sequence + 1
	}
}
