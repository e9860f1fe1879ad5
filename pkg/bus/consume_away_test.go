package bus_test

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/url"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/meetwire/meetwire/pkg/bus"
)

func TestConsumerSurvivesARestartOfTheServer(t *testing.T) {
	t.Parallel()
	e := setup(t)
	e.config.AckWait = time.Second // an answer that was lost counts for nothing
	var settled counter
	slow := make(chan struct{}, 1)
	release, open := gate(t)
	running := run(t, e.consumer(func(_ context.Context, msg *bus.Msg) {
		if string(msg.Data()) == "slow" && msg.Deliveries == 1 {
			slow <- struct{}{}
			<-release
		}
		settled.add(string(msg.Data()))
		msg.Done()
	}).Run)
	for i := range 50 {
		e.publish(t, bookedSubject, fmt.Sprint("before ", i))
	}
	e.publish(t, bookedSubject, "slow")
	receive(t, slow)
	e.server.Shutdown()
	require.Eventually(t, func() bool { return !e.conn.IsConnected() }, patience, tick)
	open() // settled while nobody hears it

	e.server.Restart(t)
	require.Eventually(t, func() bool { return e.conn.IsConnected() }, patience, tick)
	for i := range 50 {
		e.publish(t, bookedSubject, fmt.Sprint("after ", i))
	}
	require.Eventually(t, func() bool { return settled.different() == 101 }, patience, tick)
	e.requireSettled(t)
	require.NoError(t, running.stop(t))
}

func TestConsumerStopsWhileTheServerIsAway(t *testing.T) {
	t.Parallel()
	e := setup(t)
	handled := make(chan struct{}, 1)
	running := run(t, e.consumer(func(_ context.Context, msg *bus.Msg) {
		msg.Done()
		handled <- struct{}{}
	}).Run)
	e.publish(t, bookedSubject, "x")
	receive(t, handled)
	e.server.Shutdown()
	require.Eventually(t, func() bool { return !e.conn.IsConnected() }, patience, tick)
	began := time.Now()
	require.NoError(t, running.stop(t))
	require.Less(t, time.Since(began), 5*time.Second)
}

func TestConsumerStartsBeforeItsServerAndStream(t *testing.T) {
	t.Parallel()
	e := setup(t)
	require.NoError(t, e.js.DeleteStream(newContext(t), bus.StreamEvents))
	e.server.Shutdown()
	handled := make(chan string, 1)
	running := run(t, e.consumer(func(_ context.Context, msg *bus.Msg) {
		msg.Done()
		handled <- string(msg.Data())
	}).Run)
	e.server.Restart(t)
	require.NoError(t, bus.EnsureStreams(newContext(t), e.js, e.config, discard()))
	e.publish(t, bookedSubject, "x")
	require.Equal(t, "x", receive(t, handled))
	require.NoError(t, running.stop(t))
}

func TestDeletedConsumerIsMadeAgain(t *testing.T) {
	t.Parallel()
	e := setup(t)
	handled := make(chan string, 10)
	run(t, e.consumer(func(_ context.Context, msg *bus.Msg) {
		msg.Done()
		handled <- string(msg.Data())
	}).Run)
	e.publish(t, bookedSubject, "before")
	require.Equal(t, "before", receive(t, handled))

	require.NoError(t, e.js.DeleteConsumer(newContext(t), bus.StreamEvents, "ingest-meeting-booked"))
	e.publish(t, bookedSubject, "after")
	// Nobody remembers what was settled before, so both come.
	require.ElementsMatch(t, []string{"before", "after"}, []string{receive(t, handled), receive(t, handled)})
}

func TestConsumerDeletedWhileDisconnectedIsMadeAgain(t *testing.T) {
	t.Parallel()
	e := setup(t)
	line := newLine(t, e.server.URL())
	conn, js := connect(t, line.url())
	handled := make(chan string, 10)
	consumer := e.consumer(func(_ context.Context, msg *bus.Msg) {
		msg.Done()
		handled <- string(msg.Data())
	})
	consumer.JetStream = js
	run(t, consumer.Run)
	e.publish(t, bookedSubject, "before")
	require.Equal(t, "before", receive(t, handled))

	line.cut()
	require.Eventually(t, func() bool { return !conn.IsConnected() }, patience, tick)
	require.NoError(t, e.js.DeleteConsumer(newContext(t), bus.StreamEvents, "ingest-meeting-booked"))
	line.mend()
	e.publish(t, bookedSubject, "after")
	require.ElementsMatch(t, []string{"before", "after"}, []string{receive(t, handled), receive(t, handled)})
}

// line is a connection to a server that can be cut.
type line struct {
	target   string
	listener net.Listener
	copies   sync.WaitGroup

	mu     sync.Mutex
	broken bool
	open   map[net.Conn]struct{}
}

func newLine(t *testing.T, target string) *line {
	t.Helper()
	parsed, err := url.Parse(target)
	require.NoError(t, err)
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	l := &line{target: parsed.Host, listener: listener, open: make(map[net.Conn]struct{})}
	l.copies.Go(l.accept)
	t.Cleanup(func() {
		_ = listener.Close()
		l.cut()
		l.copies.Wait()
	})
	return l
}

func (l *line) url() string { return "nats://" + l.listener.Addr().String() }

func (l *line) accept() {
	for {
		near, err := l.listener.Accept()
		if err != nil {
			return
		}
		far, err := net.Dial("tcp", l.target)
		if err != nil {
			_ = near.Close()
			continue
		}
		if !l.keep(near, far) {
			continue
		}
		for _, pair := range [][2]net.Conn{{near, far}, {far, near}} {
			l.copies.Go(func() {
				_, _ = io.Copy(pair[0], pair[1])
				_ = pair[0].Close()
			})
		}
	}
}

// keep notes a pair of connections, or closes them while the line is cut.
func (l *line) keep(conns ...net.Conn) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, conn := range conns {
		l.open[conn] = struct{}{}
		if l.broken {
			_ = conn.Close()
		}
	}
	return !l.broken
}

// cut closes all connections, and new ones at once.
func (l *line) cut() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.broken = true
	for conn := range l.open {
		_ = conn.Close()
	}
	clear(l.open)
}

func (l *line) mend() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.broken = false
}
