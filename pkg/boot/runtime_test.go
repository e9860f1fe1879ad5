package boot

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/url"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/stretchr/testify/require"

	"github.com/meetwire/meetwire/pkg/bus"
	"github.com/meetwire/meetwire/pkg/fault"
	"github.com/meetwire/meetwire/pkg/natstest"
	"github.com/meetwire/meetwire/pkg/pg"
	"github.com/meetwire/meetwire/pkg/pgtest"
	"github.com/meetwire/meetwire/pkg/secret"
)

func setup(t *testing.T) (*Runtime, *output) {
	t.Helper()
	out := &output{}
	return newRuntime("test", slog.New(slog.NewJSONHandler(out, nil)), newGarbage()), out
}

// ended is a context that has ended.
func ended(t *testing.T) context.Context {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	return ctx
}

func TestDeferClosesEverythingLastFirst(t *testing.T) {
	t.Parallel()
	r, _ := setup(t)
	var order []string
	closing := func(name string, err error) func(context.Context) error {
		return func(context.Context) error {
			order = append(order, name)
			return err
		}
	}
	r.Defer("a", closing("a", nil))
	r.Defer("b", closing("b", errBroken))
	r.Defer("c", func(context.Context) error {
		order = append(order, "c")
		r.Defer("late", closing("late", nil))
		panic("ouch")
	})
	require.EqualError(t, r.close(t.Context()), "c: panic: ouch\nb: broken")
	require.Equal(t, []string{"c", "late", "b", "a"}, order)
	require.NoError(t, r.close(t.Context()))
	require.Len(t, order, 4, "each is closed once")
}

func TestListen(t *testing.T) {
	t.Parallel()
	r, out := setup(t)
	listener, err := r.Listen(t.Context(), "127.0.0.1:0")
	require.NoError(t, err)
	closed, err := r.Listen(t.Context(), "127.0.0.1:0")
	require.NoError(t, err)
	require.Equal(t, listener.Addr().String(), out.lines(t, "listening")[0]["address"], "the log tells the port")

	_, err = r.Listen(t.Context(), listener.Addr().String())
	require.ErrorContains(t, err, "listen: ")

	require.NoError(t, closed.Close())
	require.NoError(t, r.close(t.Context()), "also when somebody else has closed one")
	_, err = listener.Accept()
	require.ErrorIs(t, err, net.ErrClosed)
}

func TestPostgresIsOpenedAndClosed(t *testing.T) {
	t.Parallel()
	r, out := setup(t)
	databaseURL := pgtest.DatabaseURL(t, "boot", nil)
	pool, err := r.Postgres(t.Context(), pg.Config{DatabaseURL: databaseURL, MaxConns: 2})
	require.NoError(t, err)
	conn, err := pool.Acquire(t.Context())
	require.NoError(t, err)

	err = r.close(ended(t))
	require.EqualError(t, err, "postgres: close with 1 connections in use: context canceled")
	conn.Release()
	require.Eventually(t, func() bool { return pool.Stat().TotalConns() == 0 }, patience, time.Millisecond)
	require.Error(t, pool.Ping(t.Context()), "the pool is closed")
	require.NotContains(t, out.String(), databaseURL.Reveal())
}

func TestPostgresWaitsUntilItIsThere(t *testing.T) {
	t.Parallel()
	r, out := setup(t)
	databaseURL, err := url.Parse(pgtest.DatabaseURL(t, "boot", nil).Reveal())
	require.NoError(t, err)
	target := databaseURL.Host
	relay, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer relay.Close()
	databaseURL.Host = relay.Addr().String()

	// The first connections break; then the database is there.
	go func() {
		for i := 0; ; i++ {
			conn, err := relay.Accept()
			if err != nil {
				return
			}
			if i < 2 {
				conn.Close()
				continue
			}
			go forward(t.Context(), conn, target)
		}
	}()
	pool, err := r.Postgres(t.Context(), pg.Config{DatabaseURL: secret.New(databaseURL.String()), MaxConns: 2})
	require.NoError(t, err)
	require.NoError(t, pool.Ping(t.Context()))
	require.NotEmpty(t, out.lines(t, "failed and will be tried again"))
	if password, ok := databaseURL.User.Password(); ok {
		require.NotContains(t, out.String(), password)
	}
	require.NoError(t, r.close(t.Context()))
}

// forward copies between a client and a server until one of them hangs up.
func forward(ctx context.Context, client net.Conn, target string) {
	defer client.Close()
	server, err := (&net.Dialer{}).DialContext(ctx, "tcp", target)
	if err != nil {
		return
	}
	defer server.Close()
	done := make(chan struct{})
	go func() {
		defer close(done)
		_, _ = io.Copy(server, client)
		server.Close()
	}()
	_, _ = io.Copy(client, server)
	client.Close()
	<-done
}

func TestPostgresLaterDoesNotWait(t *testing.T) {
	t.Parallel()
	r, _ := setup(t)
	_, err := r.PostgresLater(t.Context(), pg.Config{DatabaseURL: secret.New("postgres://user:" + password + "@[broken")})
	require.True(t, fault.Is(err, fault.InvalidArgument), "%v", err)
	require.NotContains(t, err.Error(), password)
	away, err := r.PostgresLater(t.Context(), pg.Config{DatabaseURL: secret.New("postgres://user:" + password + "@127.0.0.1:1/db")})
	require.NoError(t, err)
	require.True(t, fault.Is(pg.Fault(away.Ping(t.Context())), fault.Unavailable))
	there, err := r.PostgresLater(t.Context(), pg.Config{DatabaseURL: pgtest.DatabaseURL(t, "boot", nil), MaxConns: 2})
	require.NoError(t, err)
	require.NoError(t, there.Ping(t.Context()))
	require.NoError(t, r.close(t.Context()))
	require.Error(t, there.Ping(t.Context()), "the pool is closed")
}

func TestPostgresGivesUp(t *testing.T) {
	t.Parallel()
	r, out := setup(t)

	_, err := r.Postgres(t.Context(), pg.Config{DatabaseURL: secret.New("postgres://user:" + password + "@[broken")})
	require.True(t, fault.Is(err, fault.InvalidArgument), "no repetition helps against a wrong configuration: %v", err)
	require.NotContains(t, err.Error(), password)

	away := secret.New("postgres://user:" + password + "@127.0.0.1:1/db")
	ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	_, err = r.Postgres(ctx, pg.Config{DatabaseURL: away})
	require.ErrorIs(t, err, context.DeadlineExceeded)
	require.ErrorContains(t, err, "connect to postgres: context deadline exceeded")

	_, err = r.Postgres(ended(t), pg.Config{DatabaseURL: away})
	require.ErrorIs(t, err, context.Canceled)
	require.NotContains(t, err.Error()+out.String(), password)
	require.NoError(t, r.close(t.Context()), "nothing was opened")
}

func natsConfig(server *natstest.Server) bus.NATSConfig {
	return bus.NATSConfig{NATSURL: secret.New(server.URL())}
}

func TestNATSIsDrainedAndClosed(t *testing.T) {
	t.Parallel()
	r, _ := setup(t)
	server := natstest.Start(t)
	conn, err := r.NATS(t.Context(), natsConfig(server))
	require.NoError(t, err)
	require.Equal(t, "meetwire-test", conn.Opts.Name)

	// Messages that have arrived are handled, and their answers sent, before the connection closes.
	const messages = 100
	other, _ := server.Connect(t)
	replies, err := other.SubscribeSync("replies")
	require.NoError(t, err)
	require.NoError(t, other.Flush())
	first, proceed := make(chan struct{}), make(chan struct{})
	handled := 0
	_, err = conn.Subscribe("requests", func(m *nats.Msg) {
		if handled == 0 {
			close(first)
			<-proceed
		}
		handled++
		_ = m.Respond(nil) // whether it arrives is what the test is about
	})
	require.NoError(t, err)
	require.NoError(t, conn.Flush())
	for range messages {
		require.NoError(t, other.PublishRequest("requests", "replies", nil))
	}
	require.NoError(t, other.Flush())
	<-first
	require.NoError(t, conn.Flush(), "all have arrived")

	closed := make(chan error, 1)
	go func() { closed <- r.close(context.WithoutCancel(t.Context())) }()
	require.Eventually(t, conn.IsDraining, patience, time.Millisecond)
	close(proceed)
	require.NoError(t, <-closed)
	require.True(t, conn.IsClosed())
	require.Equal(t, messages, handled)
	for range messages {
		_, err := replies.NextMsg(patience)
		require.NoError(t, err)
	}
}

func TestNATSIsClosedWhenDrainingTakesTooLong(t *testing.T) {
	t.Parallel()
	r, _ := setup(t)
	server := natstest.Start(t)
	conn, err := r.NATS(t.Context(), natsConfig(server))
	require.NoError(t, err)
	entered, release, released := make(chan struct{}), make(chan struct{}), make(chan struct{})
	_, err = conn.Subscribe("requests", func(*nats.Msg) {
		close(entered)
		<-release
		close(released)
	})
	require.NoError(t, err)
	require.NoError(t, conn.Publish("requests", nil))
	<-entered

	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	require.EqualError(t, r.close(ctx), "nats: drain: context deadline exceeded")
	require.True(t, conn.IsClosed())
	close(release)
	<-released
}

func TestNATSIsClosedWhenTheServerIsGone(t *testing.T) {
	t.Parallel()
	r, _ := setup(t)
	server := natstest.Start(t)
	conn, err := r.NATS(t.Context(), natsConfig(server))
	require.NoError(t, err)
	already, err := r.NATS(t.Context(), natsConfig(server))
	require.NoError(t, err)
	already.Close()
	server.Shutdown()
	require.Eventually(t, conn.IsReconnecting, patience, time.Millisecond)
	require.NoError(t, r.close(t.Context()), "there is nothing to drain to")
	require.True(t, conn.IsClosed())
}

func TestNATSGivesUpWithItsContext(t *testing.T) {
	t.Parallel()
	r, out := setup(t)
	ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	_, err := r.NATS(ctx, bus.NATSConfig{NATSURL: secret.New("nats://user:" + password + "@127.0.0.1:1")})
	require.ErrorIs(t, err, context.DeadlineExceeded)
	require.NotContains(t, err.Error()+out.String(), password)
	require.NoError(t, r.close(t.Context()))
}

func TestReadyIgnoresWhoHasGone(t *testing.T) {
	t.Parallel()
	r, out := setup(t)
	r.started(service{ready: func(ctx context.Context) error { return ctx.Err() }})
	require.ErrorIs(t, r.ready(ended(t)), context.Canceled)
	require.NoError(t, r.ready(t.Context()))
	require.Empty(t, out.lines(t, "not ready"), "that a prober hung up is no failure of ours")
	require.Len(t, out.lines(t, "ready"), 1)

	broken := errors.New("broken")
	r.started(service{ready: func(context.Context) error { return broken }})
	require.ErrorIs(t, r.ready(t.Context()), broken)
	require.Len(t, out.lines(t, "not ready"), 1)
}
