package boot

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/nats-io/nats.go"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/meetwire/meetwire/pkg/bus"
	"github.com/meetwire/meetwire/pkg/fault"
	"github.com/meetwire/meetwire/pkg/lifecycle"
	"github.com/meetwire/meetwire/pkg/pg"
	"github.com/meetwire/meetwire/pkg/telemetry"
)

// Waits between attempts to reach Postgres.
const (
	minPostgresWait = 100 * time.Millisecond
	maxPostgresWait = 5 * time.Second
)

// Why a process is not ready although nothing is wrong.
var (
	errStarting = errors.New("has not started yet")
	errStopping = errors.New("is stopping")
)

// Runtime is what a service is built with. It owns what it opens, and closes it after the service has stopped.
type Runtime struct {
	// Logger names the service in every line.
	Logger *slog.Logger
	// Registry is what /metrics shows.
	Registry *prometheus.Registry

	name     string
	garbage  *garbage
	service  atomic.Pointer[Service] // nil until it is built
	stop     func()                  // closes stopping; may be called again
	stopping chan struct{}

	mu      sync.Mutex
	closers []closer

	notReady atomic.Pointer[string] // what /readyz found the last time; nil before the first
}

type closer struct {
	name  string
	close func(context.Context) error
}

func newRuntime(name string, logger *slog.Logger, garbage *garbage) *Runtime {
	r := &Runtime{Logger: logger, Registry: telemetry.NewRegistry(), name: name, garbage: garbage, stopping: make(chan struct{})}
	r.stop = sync.OnceFunc(func() { close(r.stopping) })
	return r
}

// Defer has close called after the service has stopped, or could not be built; the last one that was given comes
// first. Its context ends with the grace period; close is called even when that is over. May be called until the
// service has stopped.
func (r *Runtime) Defer(name string, close func(context.Context) error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.closers = append(r.closers, closer{name: name, close: close})
}

// AllowGarbage lets the process have so many bytes of garbage when it makes much of it, however little it keeps: each
// collection delays what the process does meanwhile. GOGC overrides it.
func (r *Runtime) AllowGarbage(bytes uint64) { r.garbage.allowed.Store(bytes) }

// Listen listens for TCP connections on an address, host:port. The log tells the port when it was 0. The listener
// is closed with the runtime, if nobody has by then.
func (r *Runtime) Listen(ctx context.Context, addr string) (net.Listener, error) {
	var config net.ListenConfig
	listener, err := config.Listen(ctx, "tcp", addr)
	if err != nil {
		return nil, fmt.Errorf("listen: %w", err)
	}
	r.Defer("listener", func(context.Context) error {
		if err := listener.Close(); err != nil && !errors.Is(err, net.ErrClosed) {
			return fmt.Errorf("close: %w", err)
		}
		return nil
	})
	r.Logger.InfoContext(ctx, "listening", "address", listener.Addr().String())
	return listener, nil
}

// Postgres opens a pool of connections. While the database is away it tries again, until the context ends. The
// pool is closed with the runtime, when all connections have been given back.
func (r *Runtime) Postgres(ctx context.Context, config pg.Config) (*pgxpool.Pool, error) {
	var pool *pgxpool.Pool
	err := lifecycle.Retry(ctx, r.Logger, "connect to postgres", minPostgresWait, maxPostgresWait, func(ctx context.Context) error {
		var err error
		pool, err = pg.Open(ctx, config)
		if err == nil || ctx.Err() != nil || fault.Is(err, fault.Unavailable) {
			return err
		}
		return lifecycle.Permanent(err)
	})
	if err != nil {
		return nil, fmt.Errorf("connect to postgres: %w", err)
	}
	r.closePool(pool)
	return pool, nil
}

// PostgresLater is like Postgres for a service that can do without the database for a while: it does not wait for it.
func (r *Runtime) PostgresLater(ctx context.Context, config pg.Config) (*pgxpool.Pool, error) {
	pool, err := pg.OpenLater(ctx, config)
	if err != nil {
		return nil, fmt.Errorf("open postgres: %w", err)
	}
	r.closePool(pool)
	return pool, nil
}

// closePool has a pool closed with the runtime.
func (r *Runtime) closePool(pool *pgxpool.Pool) {
	r.Defer("postgres", func(ctx context.Context) error {
		closed := make(chan struct{})
		go func() {
			pool.Close()
			close(closed)
		}()
		select {
		case <-closed:
			return nil
		case <-ctx.Done():
			return fmt.Errorf("close with %d connections in use: %w", pool.Stat().AcquiredConns(), ctx.Err())
		}
	})
}

// NATS connects to NATS, trying until the context ends. The connection is drained and closed with the runtime.
func (r *Runtime) NATS(ctx context.Context, config bus.NATSConfig, options ...nats.Option) (*nats.Conn, error) {
	conn, err := bus.Connect(ctx, "meetwire-"+r.name, config, r.Logger, options...)
	if err != nil {
		return nil, err
	}
	r.Defer("nats", func(ctx context.Context) error { return drain(ctx, conn) })
	return conn, nil
}

// drain sends what is buffered and handles what has arrived, then closes the connection. Of a connection that is
// broken nothing can be saved, and it is closed at once.
func drain(ctx context.Context, conn *nats.Conn) error {
	closed := conn.StatusChanged(nats.CLOSED)
	defer conn.RemoveStatusListener(closed)
	err := conn.Drain()
	switch {
	case errors.Is(err, nats.ErrConnectionClosed), errors.Is(err, nats.ErrConnectionReconnecting):
		return nil
	case err != nil:
		conn.Close()
		return fmt.Errorf("drain: %w", err)
	}
	select {
	case <-closed:
		return nil
	case <-ctx.Done():
		conn.Close()
		return fmt.Errorf("drain: %w", ctx.Err())
	}
}

// run is the part of the group that closes what was opened.
func (r *Runtime) run(ctx context.Context) error {
	<-ctx.Done()
	return r.close(lifecycle.Grace(ctx))
}

// close closes everything, the last first, whatever happens to one of them.
func (r *Runtime) close(ctx context.Context) error {
	var failures []error
	for {
		r.mu.Lock()
		if len(r.closers) == 0 {
			r.mu.Unlock()
			return errors.Join(failures...)
		}
		last := r.closers[len(r.closers)-1]
		r.closers = r.closers[:len(r.closers)-1]
		r.mu.Unlock()
		if err := last.call(ctx); err != nil {
			failures = append(failures, fmt.Errorf("%s: %w", last.name, err))
		}
	}
}

func (c closer) call(ctx context.Context) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("panic: %v", p)
		}
	}()
	return c.close(ctx)
}

// started makes the service the one that is asked for readiness.
func (r *Runtime) started(service Service) {
	r.service.Store(&service)
	r.Logger.Info("started")
}

// ready returns what the process lacks to be ready. Whenever that changes, it is in the log.
func (r *Runtime) ready(ctx context.Context) error {
	err := r.check(ctx)
	if ctx.Err() != nil {
		// Whoever asked has given up; that says nothing about this process.
		return err
	}
	text := ""
	if err != nil {
		text = err.Error()
	}
	switch last := r.notReady.Swap(&text); {
	case last != nil && *last == text:
	case err != nil:
		r.Logger.WarnContext(ctx, "not ready", "error", err)
	default:
		r.Logger.InfoContext(ctx, "ready")
	}
	return err
}

func (r *Runtime) check(ctx context.Context) error {
	select {
	case <-r.stopping:
		return &lifecycle.CheckError{Name: "stop", Err: errStopping}
	default:
	}
	service := r.service.Load()
	if service == nil {
		return &lifecycle.CheckError{Name: "start", Err: errStarting}
	}
	return (*service).Ready(ctx)
}
