package operation_test

import (
	"context"
	"encoding/json"
	"log/slog"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/stretchr/testify/require"

	"github.com/meetwire/meetwire/pkg/operation"
	"github.com/meetwire/meetwire/pkg/pgtest"
)

func TestMain(m *testing.M) { pgtest.Main(m) }

const (
	patience = 25 * time.Second
	tick     = 5 * time.Millisecond
	schema   = "work"
)

// clock tells a time that moves a little each time it is asked, in another zone and with nanoseconds, neither of which a
// store keeps.
type clock struct {
	mu  sync.Mutex
	now time.Time
}

// Now returns the time.
func (c *clock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(time.Microsecond)
	return c.now
}

func (c *clock) advance(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(d)
}

// env is a database with a store.
type env struct {
	*operation.PgStore

	pool  *pgxpool.Pool
	clock *clock
}

func migrate(ctx context.Context, pool *pgxpool.Pool) error {
	_, err := pool.Exec(ctx, "CREATE SCHEMA "+schema+";"+operation.Table(schema))
	return err
}

func setup(t *testing.T) *env {
	t.Helper()
	e := &env{
		pool:  pgtest.Database(t, "operation", migrate),
		clock: &clock{now: time.Date(2026, 3, 1, 12, 0, 0, 123_456_789, time.FixedZone("east", 3600))},
	}
	e.PgStore = operation.NewPgStore(e.pool, schema, e.clock.Now)
	return e
}

// begin stores an operation of acme.
func (e *env) begin(t *testing.T) operation.Operation {
	t.Helper()
	o, err := e.Begin(t.Context(), operation.Operation{
		Organization: "acme", Type: "count", Target: "organizations/acme", Parameters: json.RawMessage(`{"to": 3}`), Rate: 0,
	}, "")
	require.NoError(t, err)
	return o
}

// take takes over an operation that must be there.
func (e *env) take(t *testing.T) operation.Work {
	t.Helper()
	w, ok, err := e.Take(t.Context(), time.Minute)
	require.NoError(t, err)
	require.True(t, ok)
	return w
}

// requireNothingToTake requires that nobody waits to be worked on.
func (e *env) requireNothingToTake(t *testing.T) {
	t.Helper()
	_, ok, err := e.Take(t.Context(), time.Minute)
	require.NoError(t, err)
	require.False(t, ok)
}

// get returns an operation of acme.
func (e *env) get(t *testing.T, id string) operation.Operation {
	t.Helper()
	o, err := e.Operation(t.Context(), "acme", id)
	require.NoError(t, err)
	return o
}

// run starts an instance with a store whose clock is the machine's; stop ends it in order and waits.
func (e *env) run(t *testing.T, lease time.Duration, handler operation.Handler) (stop func()) {
	t.Helper()
	runner, err := operation.NewRunner(operation.Config{
		Store: e.real(), Handlers: map[string]operation.Handler{"count": handler}, Logger: slog.New(slog.DiscardHandler),
		Now: time.Now, Lease: lease, Poll: 20 * time.Millisecond, Clean: e.RemoveEnded,
	})
	require.NoError(t, err)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- runner.Run(ctx) }()
	stop = sync.OnceFunc(func() {
		cancel()
		select {
		case err := <-done:
			require.NoError(t, err)
		case <-time.After(patience):
			require.Fail(t, "the runner does not stop")
		}
	})
	t.Cleanup(stop)
	return stop
}

// real is the store with the machine's clock.
func (e *env) real() *operation.PgStore { return operation.NewPgStore(e.pool, schema, time.Now) }

// awaitThat waits until something holds for an operation and returns it.
func (e *env) awaitThat(t *testing.T, id string, holds func(operation.Operation) bool) operation.Operation {
	t.Helper()
	var o operation.Operation
	require.Eventually(t, func() bool {
		o = e.get(t, id)
		return holds(o)
	}, patience, tick)
	return o
}

// await waits until an operation has ended and returns it.
func (e *env) await(t *testing.T, id string) operation.Operation {
	t.Helper()
	return e.awaitThat(t, id, operation.Operation.Done)
}
