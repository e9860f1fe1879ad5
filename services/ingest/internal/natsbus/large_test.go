package natsbus_test

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"github.com/stretchr/testify/require"

	"github.com/meetwire/meetwire/pkg/bus"
	"github.com/meetwire/meetwire/pkg/secret"
	configv1 "github.com/meetwire/meetwire/proto/gen/meetwire/config/v1"
)

// large is how many webhooks ask for one event.
const large = 10_000

// configureLarge configures so many webhooks for one trigger, and one for another.
func (e *env) configureLarge() {
	resources := []*configv1.Resource{
		trigger("meeting.booked", `{}`), ownTrigger("custom.gate.opened", `{"type":"object"}`), webhook("doors", "acme", "custom.gate.opened"),
	}
	for i := range large {
		resources = append(resources, webhook(fmt.Sprint("w", i), "acme", "meeting.booked"))
	}
	e.configure(resources...)
}

// on counts the messages of a stream that a filter selects, without listing them.
func (e *env) on(t testing.TB, name, filter string) (n int) {
	t.Helper()
	stream, err := e.js.Stream(newContext(t), name)
	require.NoError(t, err)
	info, err := stream.Info(newContext(t), jetstream.WithSubjectFilter(filter))
	require.NoError(t, err)
	for _, messages := range info.State.Subjects {
		n += int(messages)
	}
	return n
}

// slow is a line to the server over which its answers come slowly. It returns its URL, and what cuts it for good.
func slow(t *testing.T, e *env, chunk int, pause time.Duration) (url string, cut func()) {
	t.Helper()
	listener, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	require.NoError(t, err)
	var copies sync.WaitGroup
	ctx, cancel := context.WithCancel(t.Context())
	carry := func(to, from net.Conn, chunk int, pause time.Duration) {
		stop := context.AfterFunc(ctx, func() { _, _ = to.Close(), from.Close() })
		defer stop()
		defer func() { _, _ = to.Close(), from.Close() }()
		part, carried := make([]byte, chunk), 0
		for {
			n, err := from.Read(part)
			if err == nil {
				_, err = to.Write(part[:n])
			}
			if err != nil {
				return
			}
			if carried += n; carried < chunk || pause == 0 {
				continue
			}
			carried -= chunk
			select {
			case <-time.After(pause):
			case <-ctx.Done():
			}
		}
	}
	copies.Go(func() {
		for {
			near, err := listener.Accept()
			if err != nil {
				return
			}
			far, err := (&net.Dialer{Timeout: patience}).DialContext(ctx, "tcp", strings.TrimPrefix(e.server.URL(), "nats://"))
			if err != nil {
				_ = near.Close()
				continue
			}
			copies.Go(func() { carry(near, far, chunk, pause) })
			copies.Go(func() { carry(far, near, 64<<10, 0) })
		}
	})
	cut = sync.OnceFunc(func() {
		cancel()
		_ = listener.Close()
		copies.Wait()
	})
	t.Cleanup(cut)
	return "nats://" + listener.Addr().String(), cut
}

// runOver runs a worker of all lanes over a connection of its own, as another process does. It ends with the test.
func (e *env) runOver(t *testing.T, url string) {
	t.Helper()
	discard := slog.New(slog.DiscardHandler)
	conn, err := bus.Connect(newContext(t), "another", bus.NATSConfig{NATSURL: secret.New(url)}, discard)
	require.NoError(t, err)
	worker := *e.worker
	worker.JetStream, err = bus.JetStream(conn)
	require.NoError(t, err)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() {
		done <- bus.RunAll(ctx,
			func(ctx context.Context) error { return worker.Run(ctx, "meeting.booked") },
			func(ctx context.Context) error { return worker.Run(ctx, bus.LaneCustom) },
			worker.RunIndex,
		)
	}()
	t.Cleanup(func() {
		cancel()
		require.NoError(t, <-done)
		conn.Close()
	})
}

// One event takes several times AckWait to be fanned out. Meanwhile events of other triggers pass it, and nobody else is
// given it.
func TestLargeFanOutIsGivenOutOnceAndLetsOthersPass(t *testing.T) {
	t.Parallel()
	e := setup(t)
	e.worker.Config.AckWait = 2 * time.Second
	e.configureLarge()
	const booked, doors = "deliveries.meeting-booked.acme.*", "deliveries.custom.acme.*"
	url, _ := slow(t, e, 1024, 4*time.Millisecond)
	e.runOver(t, url)
	require.Eventually(t, func() bool { return e.unsettled(t) == 0 }, patience, tick, "it runs")
	began := time.Now()
	e.publish(t, bookedSubject, event("/s", "1", "meeting.booked", `{}`), nil)
	require.Eventually(t, func() bool { return e.count(t, bus.StreamDeliveries) > 100 }, patience, tick, "it has begun")
	e.run(t) // would be given what nobody seems to work on
	for i := range 20 {
		e.publish(t, "events.acme.custom.gate.opened", event("/s", fmt.Sprint(i), "custom.gate.opened", `{}`), nil)
	}
	require.Eventually(t, func() bool { return e.on(t, bus.StreamDeliveries, doors) == 20 }, patience, tick)
	require.Less(t, e.count(t, bus.StreamDeliveries), large, "they have passed it")
	require.Eventually(t, func() bool { return e.metrics.events.Load() == 21 }, 2*patience, tick)
	require.Greater(t, time.Since(began), e.worker.Config.AckWait, "it has taken long enough")
	e.requireSettled(t)
	require.Equal(t, large, e.on(t, bus.StreamDeliveries, booked))
	require.Equal(t, large+20, e.count(t, bus.StreamDeliveries))
	consumer, err := e.js.Consumer(newContext(t), bus.StreamEvents, "ingest-meeting-booked")
	require.NoError(t, err)
	require.EqualValues(t, 1, consumer.CachedInfo().Delivered.Consumer, "it was given out once")
}

// A worker dies in the middle of a fan-out, several times. Who comes after it completes it, and doubles nothing.
func TestLargeFanOutIsCompletedAfterCrashes(t *testing.T) {
	t.Parallel()
	e := setup(t)
	e.worker.Config.AckWait = time.Second
	e.configureLarge()
	e.publish(t, bookedSubject, event("/s", "1", "meeting.booked", `{}`), nil)
	for _, reached := range []int{1, 1500, 6000} {
		url, die := slow(t, e, 4096, time.Millisecond)
		e.runOver(t, url)
		require.Eventually(t, func() bool { return e.count(t, bus.StreamDeliveries) >= reached }, patience, time.Millisecond)
		die()
		require.Less(t, e.count(t, bus.StreamDeliveries), large, "it died before the end")
	}
	e.run(t)
	e.requireSettled(t)
	require.Equal(t, large, e.count(t, bus.StreamDeliveries))
	stream, err := e.js.Stream(newContext(t), bus.StreamDeliveries)
	require.NoError(t, err)
	info, err := stream.Info(newContext(t), jetstream.WithSubjectFilter("deliveries.meeting-booked.acme.*"))
	require.NoError(t, err)
	require.Len(t, info.State.Subjects, large, "one for each webhook")
	require.Equal(t, 1, e.count(t, bus.StreamFanOuts))
}
