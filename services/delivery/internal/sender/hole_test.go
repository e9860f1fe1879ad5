package sender

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/meetwire/meetwire/services/delivery/internal/core"
)

// TestSendToBlackHoles has many hosts accept connections and say nothing. What is made for them ends with the attempts,
// and costs others nothing.
func TestSendToBlackHoles(t *testing.T) {
	t.Parallel()
	const rounds, hosts, files = 4, 50, 256 // of which 128 may be open
	server := httptest.NewUnstartedServer(http.HandlerFunc(ok))
	connections := countConnections(server)
	server.Start()
	t.Cleanup(server.Close)
	z := &zone{names: map[string][]netip.Addr{}}
	for i := range rounds * hosts {
		z.names[fmt.Sprintf("h%d.example", i)] = addrs("127.0.0.1")
	}
	_, port, err := net.SplitHostPort(strings.TrimPrefix(silent(t), "http://"))
	require.NoError(t, err)
	resolver := serveDNS(t, z)
	s := newSender(t, func(c *Config) { c.Files, c.Resolver = files, resolver })
	s.dialer.timeout = time.Hour
	var relieved atomic.Int64
	relieve := s.dialer.relieve
	s.dialer.relieve = func() { relieved.Add(1); relieve() }
	t.Cleanup(relieve)

	require.Empty(t, send(t, s, post(server.URL)).ErrorClass)
	for round := range rounds {
		var sending sync.WaitGroup
		for i := range hosts {
			sending.Go(func() {
				request := post(fmt.Sprintf("https://h%d.example:%s/", round*hosts+i, port))
				request.Timeout = 200 * time.Millisecond
				attempt, err := s.Send(t.Context(), request)
				if err != nil || attempt.ErrorClass != core.ErrorTimeout && attempt.ErrorClass != core.ErrorDNS {
					t.Errorf("%v, %s: %s", err, attempt.ErrorClass, attempt.ErrorMessage)
				}
			})
		}
		sending.Wait()
		require.Eventually(t, func() bool { return s.dialer.open.Load() == 1 }, patience, time.Millisecond,
			"only the healthy one's connection is left")
	}
	require.Empty(t, send(t, s, post(server.URL)).ErrorClass)
	require.EqualValues(t, 1, connections.Load(), "it was not closed for want of files")
	require.Zero(t, relieved.Load())
}

func TestSendTellsHowLongItWaitedForAHandshake(t *testing.T) {
	t.Parallel()
	url := strings.Replace(silent(t), "http:", "https:", 1)
	s := newSender(t)
	s.dialer.timeout = 2 * time.Second
	attempt := send(t, s, post(url))
	requireFailed(t, attempt, core.ErrorTimeout)
	require.Equal(t, "no TLS handshake within 2s", attempt.ErrorMessage)
	require.Less(t, attempt.Duration, patience)

	s.dialer.timeout = time.Hour
	request := post(url)
	request.Timeout = 2 * time.Second
	attempt = send(t, s, request)
	requireFailed(t, attempt, core.ErrorTimeout)
	require.Equal(t, "no complete answer within 2s", attempt.ErrorMessage, "the attempt's own time was over")
}

func TestSendBlamesTheTimeThatRanOut(t *testing.T) {
	t.Parallel()
	dial := &net.OpError{Op: "dial", Net: "tcp", Err: os.ErrDeadlineExceeded}
	for over, says := range map[bool]string{false: "no connection within 10s", true: "no complete answer within 5s"} {
		ctx, cancel := context.WithDeadline(t.Context(), time.Now().Add(map[bool]time.Duration{false: time.Hour, true: -time.Second}[over]))
		_, trace := newTrace(ctx)
		class, message := classify(dial, 5*time.Second, trace.stage())
		cancel()
		require.Equal(t, core.ErrorTimeout, class)
		require.Equal(t, says, message)
	}
}

// TestSlotsAreNoMoreThanTurns has more endpoints hang than attempts can be made at once. What slots they may have
// leaves some of the sender's turns to others.
func TestSlotsAreNoMoreThanTurns(t *testing.T) {
	t.Parallel()
	const files, configured, hanging = 64, 4096, 40
	s := newSender(t, func(c *Config) { c.Files = files })
	require.Equal(t, Attempts(files), cap(s.turns))
	require.Equal(t, boundsOf(openFiles()).attempts, Attempts(0))
	slots := core.NewSlots(8, time.Now, core.WithTotal(min(configured, Attempts(files))))
	ctx, cancel := context.WithCancel(t.Context())
	defer slots.Wait()
	defer cancel()

	hole, healthy := silent(t), receive(t, ok)
	take := func(webhook, url string, timeout time.Duration, done func(core.Attempt)) {
		slots.Take(webhook, core.Limits{}, core.Turn{Delivery: webhook, Endpoint: url, Away: func(time.Time) {}, Run: func() core.Verdict {
			request := post(url)
			request.Timeout = timeout
			attempt, err := s.Send(ctx, request)
			if err == nil {
				done(attempt)
			}
			if err == nil && attempt.ErrorClass == "" {
				return core.VerdictSuccess
			}
			return core.VerdictTimeout
		}})
	}
	for i := range hanging { // one after the other, until all are known to hang
		known := make(chan core.Attempt, 1)
		take(fmt.Sprint("hangs", i), hole, 10*time.Millisecond, func(a core.Attempt) { known <- a })
		require.Equal(t, core.ErrorTimeout, (<-known).ErrorClass)
	}
	require.Eventually(t, func() bool { return slots.Load().Active == 0 }, patience, time.Millisecond)
	for i := range hanging {
		take(fmt.Sprint("hangs", i), hole, time.Hour, func(core.Attempt) {})
	}
	require.Eventually(t, func() bool { return len(s.turns) == min(slots.Load().Active, cap(s.turns)) }, patience, time.Millisecond)
	result := make(chan core.Attempt, 1)
	take("healthy", healthy.URL, patience, func(a core.Attempt) { result <- a })
	select {
	case attempt := <-result:
		require.Empty(t, attempt.ErrorClass, attempt.ErrorMessage)
	case <-time.After(patience):
		t.Fatalf("it waits behind those that hang: %+v", slots.Load())
	}
}
