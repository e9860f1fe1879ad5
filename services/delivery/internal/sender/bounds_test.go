package sender

import (
	"context"
	"crypto/tls"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"os/exec"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/meetwire/meetwire/services/delivery/internal/core"
)

func TestBoundsLeaveRoom(t *testing.T) {
	t.Parallel()
	for _, files := range []int{1, 64, 256, 1024, 20_000, 1 << 20, 1 << 30} {
		b := boundsOf(files)
		require.Positive(t, b.attempts)
		require.Positive(t, b.idle)
		require.LessOrEqual(t, b.idle, 4096)
		if files >= 64 {
			require.LessOrEqual(t, 3*b.attempts+b.idle, files, "each attempt may take three while it connects")
			require.LessOrEqual(t, b.attempts+b.idle, b.open)
		}
	}
	require.GreaterOrEqual(t, openFiles(), 256)
}

// TestSendToManyHosts sends to far more hosts than the process could keep connections to.
func TestSendToManyHosts(t *testing.T) {
	t.Parallel()
	t.Run("HTTP/1.1", func(t *testing.T) {
		t.Parallel()
		sendToManyHosts(t, "http", 2000)
	})
	t.Run("HTTP/2", func(t *testing.T) { // whose idle connections the transport does not bound
		t.Parallel()
		sendToManyHosts(t, "https", 300)
	})
}

// countOpen counts the connections that a receiver has.
func countOpen(server *httptest.Server) *atomic.Int64 {
	open := new(atomic.Int64)
	server.Config.ConnState = func(_ net.Conn, state http.ConnState) {
		switch state {
		case http.StateNew:
			open.Add(1)
		case http.StateClosed, http.StateHijacked:
			open.Add(-1)
		}
	}
	return open
}

func sendToManyHosts(t *testing.T, scheme string, hosts int64) {
	t.Helper()
	const senders, files = 10, 160 // of which 20 may be idle, and 80 open
	ours := newAuthority(t)
	server := httptest.NewUnstartedServer(http.HandlerFunc(echo))
	open := countOpen(server)
	if scheme == "http" {
		server.Start()
	} else {
		server.TLS = &tls.Config{Certificates: []tls.Certificate{ours.issueName(t, "*.example")}}
		server.EnableHTTP2 = true
		server.StartTLS()
	}
	t.Cleanup(server.Close)
	z := &zone{names: map[string][]netip.Addr{}}
	for i := range hosts {
		z.names[fmt.Sprintf("h%d.example", i)] = addrs("127.0.0.1")
	}
	resolver := serveDNS(t, z)
	s := newSender(t, func(c *Config) { c.Files, c.Resolver, c.Roots = files, resolver, ours.pool() })
	var (
		next, most atomic.Int64
		sending    sync.WaitGroup
	)
	for range senders {
		sending.Go(func() {
			for i := next.Add(1); i <= hosts; i = next.Add(1) {
				attempt, err := s.Send(t.Context(), post(fmt.Sprintf("%s://h%d.example:%s/", scheme, i-1, port(server))))
				if err != nil || attempt.ErrorClass != "" {
					t.Errorf("host %d: %v, %s", i, err, attempt.ErrorMessage)
				}
				now, seen := s.dialer.open.Load(), most.Load()
				for now > seen && !most.CompareAndSwap(seen, now) {
					seen = most.Load()
				}
			}
		})
	}
	sending.Wait()
	require.LessOrEqual(t, most.Load(), int64(files/2+senders))
	require.Eventually(t, func() bool { return open.Load() == s.dialer.open.Load() }, patience, time.Millisecond,
		"that is how many the receiver sees")
	s.Close()
	require.Eventually(t, func() bool { return open.Load() == 0 && s.dialer.open.Load() == 0 }, patience, time.Millisecond)
}

func TestSendWaitsForItsTurn(t *testing.T) {
	t.Parallel()
	release, arrived := make(chan struct{}), make(chan string, 10)
	server := receive(t, func(_ http.ResponseWriter, r *http.Request) {
		arrived <- r.URL.Path
		<-release
	})
	s := newSender(t, func(c *Config) { c.Files = 8 }) // two at once
	var sending sync.WaitGroup
	begin := func(path string) {
		sending.Go(func() {
			attempt, err := s.Send(t.Context(), post(server.URL+path))
			if err != nil || attempt.ErrorClass != "" {
				t.Errorf("%s: %v, %s", path, err, attempt.ErrorMessage)
			}
		})
	}
	begin("/first")
	begin("/first")
	require.Equal(t, "/first", <-arrived)
	require.Equal(t, "/first", <-arrived)
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	_, err := s.Send(ctx, post(server.URL+"/impatient"))
	require.ErrorIs(t, err, context.DeadlineExceeded, "there was no turn before it had enough")
	begin("/then")
	close(release)
	require.Equal(t, "/then", <-arrived, "and of the impatient one nothing was seen")
	sending.Wait()
}

// TestSendWithoutFiles takes all files away from a process of its own: the others that are tested need theirs.
func TestSendWithoutFiles(t *testing.T) {
	t.Parallel()
	const alone = "MEETWIRE_TEST_WITHOUT_FILES"
	if os.Getenv(alone) == "" {
		command := exec.Command(os.Args[0], "-test.run=^TestSendWithoutFiles$", "-test.v")
		command.Env = append(os.Environ(), alone+"=1")
		output, err := command.CombinedOutput()
		require.NoError(t, err, "%s", output)
		return
	}
	server := httptest.NewUnstartedServer(http.HandlerFunc(echo))
	open := countOpen(server)
	server.Start()
	t.Cleanup(server.Close)
	resolver := serveDNS(t, &zone{names: map[string][]netip.Addr{"receiver.example": addrs("127.0.0.1")}})
	s := newSender(t, func(c *Config) { c.Resolver = resolver })
	give := takeFiles(t)
	for _, host := range []string{"127.0.0.1", "receiver.example"} {
		request := post("http://" + host + ":" + port(server) + "/")
		request.Timeout = patience / 10
		began := time.Now()
		attempt := send(t, s, request)
		requireFailed(t, attempt, core.ErrorOverload)
		require.True(t, core.Blameless(attempt.ErrorClass))
		require.Less(t, time.Since(began), patience)

		request.Timeout = patience
		result := make(chan core.Attempt, 1)
		go func() {
			attempt, err := s.Send(t.Context(), request)
			if err != nil {
				t.Error(err)
			}
			result <- attempt
		}()
		select {
		case attempt := <-result:
			t.Fatalf("it does not wait: %s", attempt.ErrorMessage)
		case <-time.After(50 * time.Millisecond):
		}
		give()
		attempt = <-result
		require.Empty(t, attempt.ErrorClass, attempt.ErrorMessage)
		s.Close()
		require.Eventually(t, func() bool { return open.Load() == 0 && s.dialer.open.Load() == 0 }, patience, time.Millisecond,
			"else their files would become free later")
		give = takeFiles(t)
	}
	give()
}

// takeFiles leaves the process none that it could open, until the returned function is called.
func takeFiles(t *testing.T) (give func()) {
	t.Helper()
	var limit syscall.Rlimit
	require.NoError(t, syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit))
	file, err := os.Open(os.DevNull)
	require.NoError(t, err)
	none := syscall.Rlimit{Cur: uint64(file.Fd()), Max: limit.Max}
	require.NoError(t, file.Close())
	require.NoError(t, syscall.Setrlimit(syscall.RLIMIT_NOFILE, &none))
	return func() { require.NoError(t, syscall.Setrlimit(syscall.RLIMIT_NOFILE, &limit)) }
}
