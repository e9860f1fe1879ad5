package sender

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/meetwire/meetwire/services/delivery/internal/core"
)

func TestMain(m *testing.M) {
	// What makes the faults of a network leaves behind what could not be delivered, and the goroutines that hold it.
	const toxiproxy = "github.com/Shopify/toxiproxy/v2"
	goleak.VerifyTestMain(m,
		goleak.IgnoreAnyFunction(toxiproxy+".(*ToxicLink).read"),
		goleak.IgnoreAnyFunction(toxiproxy+".(*ToxicLink).write"),
		goleak.IgnoreAnyFunction(toxiproxy+"/toxics.(*ToxicStub).Run"),
	)
}

// patience is how long a receiver that is expected to answer may take.
const patience = 20 * time.Second

// newSender returns a sender that reaches the loopback addresses as well, after changes to its configuration.
func newSender(t testing.TB, changes ...func(*Config)) *Sender {
	t.Helper()
	config := Config{
		Allowed: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8"), netip.MustParsePrefix("::1/128")}, PerHost: 8,
		Now: time.Now, NewID: func() string { return "attempt-id" },
	}
	for _, change := range changes {
		change(&config)
	}
	s := New(config)
	t.Cleanup(s.Close)
	return s
}

// receive starts a receiver and returns its URL.
func receive(t testing.TB, handler http.HandlerFunc) *httptest.Server {
	t.Helper()
	server := httptest.NewServer(handler)
	t.Cleanup(func() {
		server.CloseClientConnections()
		server.Close()
	})
	return server
}

// raw starts a receiver that gives every connection, after it has sent its request, to answer.
func raw(t *testing.T, answer func(conn *net.TCPConn)) string {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			if request, err := http.ReadRequest(bufio.NewReader(conn)); err == nil && request != nil {
				answer(conn.(*net.TCPConn))
			}
			_ = conn.Close()
		}
	}()
	t.Cleanup(func() {
		require.NoError(t, listener.Close())
		<-done
	})
	return "http://" + listener.Addr().String()
}

// write answers with this text, and with a reset of the connection after it.
func write(format string, args ...any) func(*net.TCPConn) {
	return func(conn *net.TCPConn) {
		_, _ = fmt.Fprintf(conn, format, args...)
	}
}

// silent starts a receiver that accepts connections and says nothing, and returns its URL.
func silent(t *testing.T) string {
	t.Helper()
	return "http://" + listen(t, func(conn *net.TCPConn) { _, _ = io.Copy(io.Discard, conn) })
}

// listen starts a server that talks with everybody who connects, until it has said what it wants or the test ends,
// and returns its address.
func listen(t testing.TB, talk func(conn *net.TCPConn)) string {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	var (
		serving sync.WaitGroup
		mu      sync.Mutex
		open    []net.Conn
	)
	serving.Go(func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			mu.Lock()
			open = append(open, conn)
			mu.Unlock()
			serving.Go(func() {
				talk(conn.(*net.TCPConn))
				_ = conn.Close()
			})
		}
	})
	t.Cleanup(func() {
		require.NoError(t, listener.Close())
		mu.Lock()
		for _, conn := range open {
			_ = conn.Close()
		}
		mu.Unlock()
		serving.Wait()
	})
	return listener.Addr().String()
}

func post(url string) core.Request {
	return core.Request{
		URL: url, Body: []byte(`{"type":"meeting.booked"}`), Timeout: patience,
		Headers: []core.Header{
			{Name: "Content-Type", Value: "application/json"},
			{Name: "User-Agent", Value: "Meetwire/1.2.3"},
			{Name: "webhook-id", Value: "d"},
		},
	}
}

func send(t *testing.T, s *Sender, request core.Request) core.Attempt {
	t.Helper()
	attempt, err := s.Send(t.Context(), request)
	require.NoError(t, err)
	return attempt
}

// requireFailed asserts the class of a failure without an answer, and that it says nothing of our own network.
func requireFailed(t *testing.T, attempt core.Attempt, class string) {
	t.Helper()
	require.Equal(t, class, attempt.ErrorClass, attempt.ErrorMessage)
	require.NotEmpty(t, attempt.ErrorMessage)
	require.NotContains(t, attempt.ErrorMessage, "127.0.0.")
	require.False(t, attempt.Succeeded())
}

// countConnections counts the connections that a receiver accepts.
func countConnections(server *httptest.Server) *atomic.Int64 {
	count := new(atomic.Int64)
	server.Config.ConnState = func(_ net.Conn, state http.ConnState) {
		if state == http.StateNew {
			count.Add(1)
		}
	}
	return count
}

// ended waits until a context ends, and reports whether it did in time.
func ended(ctx context.Context) bool {
	select {
	case <-ctx.Done():
		return true
	case <-time.After(patience):
		return false
	}
}
