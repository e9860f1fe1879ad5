package sender

import (
	"bytes"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/Shopify/toxiproxy/v2"
	"github.com/rs/zerolog"
	"github.com/stretchr/testify/require"

	"github.com/meetwire/meetwire/services/delivery/internal/core"
)

// network is the way to a receiver, on which faults can be made.
type network struct {
	t     *testing.T
	proxy *toxiproxy.Proxy
}

func newNetwork(t *testing.T, server *httptest.Server) *network {
	t.Helper()
	api := toxiproxy.NewServer(toxiproxy.NewMetricsContainer(nil), zerolog.Nop())
	proxy := toxiproxy.NewProxy(api, "receiver", "127.0.0.1:0", server.Listener.Addr().String())
	require.NoError(t, proxy.Start())
	t.Cleanup(proxy.Stop)
	return &network{t: t, proxy: proxy}
}

// fail makes a fault: in the direction of the answer, if none is named.
func (n *network) fail(kind, attributes string, direction ...string) *network {
	n.t.Helper()
	stream := append(direction, "downstream")[0]
	_, err := n.proxy.Toxics.AddToxicJson(strings.NewReader(
		fmt.Sprintf(`{"type": %q, "stream": %q, "attributes": {%s}}`, kind, stream, attributes)))
	require.NoError(n.t, err)
	return n
}

func (n *network) url() string { return "http://" + n.proxy.Listen }

// sized answers with the status and so many bytes to those whose request it gets as a whole.
func sized(t *testing.T, status, size int) *httptest.Server {
	t.Helper()
	return receive(t, func(w http.ResponseWriter, r *http.Request) {
		if _, err := io.Copy(io.Discard, r.Body); err != nil {
			panic(http.ErrAbortHandler)
		}
		w.WriteHeader(status)
		_, _ = w.Write(bytes.Repeat([]byte("x"), size))
	})
}

func TestSendOverASlowNetwork(t *testing.T) {
	t.Parallel()
	n := newNetwork(t, sized(t, 200, 10)).fail("latency", `"latency": 250`)
	s := newSender(t)
	attempt := send(t, s, post(n.url()))
	require.True(t, attempt.Succeeded(), attempt.ErrorMessage)
	require.GreaterOrEqual(t, attempt.Timings.FirstByte, 250*time.Millisecond)

	request := post(n.url())
	request.Timeout = 50 * time.Millisecond
	requireFailed(t, send(t, s, request), core.ErrorTimeout)
}

func TestSendOverACutConnection(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		status, bytes int
		direction     string
		class         string
		answered      bool
	}{
		"before the answer":        {status: 200, bytes: 0, direction: "downstream", class: core.ErrorReset},
		"in the status":            {status: 200, bytes: 10, direction: "downstream", class: core.ErrorProtocol},
		"in the headers":           {status: 200, bytes: 30, direction: "downstream", class: core.ErrorReset},
		"in the body of a success": {status: 200, bytes: 5000, direction: "downstream", answered: true},
		"in the body of a failure": {status: 500, bytes: 5000, direction: "downstream", class: core.ErrorStatus, answered: true},
		"in the request":           {status: 200, bytes: 20, direction: "upstream", class: core.ErrorReset},
		"in the body of a request": {status: 200, bytes: 500, direction: "upstream", class: core.ErrorReset},
	} {
		n := newNetwork(t, sized(t, test.status, 20_000)).fail("limit_data", fmt.Sprintf(`"bytes": %d`, test.bytes), test.direction)
		request := post(n.url())
		request.Body = bytes.Repeat([]byte("x"), 1000)
		attempt := send(t, newSender(t), request)
		require.Equal(t, test.class, attempt.ErrorClass, "%s: %s", name, attempt.ErrorMessage)
		require.Equal(t, test.answered, attempt.StatusCode == test.status, name)
		require.Equal(t, test.answered, attempt.ResponseTruncated, name)
	}
}

func TestSendOverAConnectionThatIsReset(t *testing.T) {
	t.Parallel()
	for _, direction := range []string{"upstream", "downstream"} {
		n := newNetwork(t, sized(t, 200, 10)).fail("reset_peer", `"timeout": 0`, direction)
		requireFailed(t, send(t, newSender(t), post(n.url())), core.ErrorReset)
	}
}

func TestSendOverANarrowNetwork(t *testing.T) {
	t.Parallel()
	for status, class := range map[int]string{200: "", 500: core.ErrorTimeout} {
		n := newNetwork(t, sized(t, status, 60_000)).fail("bandwidth", `"rate": 10`) // KB/s
		request := post(n.url())
		request.Timeout = time.Second
		attempt := send(t, newSender(t), request)
		require.Equal(t, class, attempt.ErrorClass, attempt.ErrorMessage)
		require.Equal(t, status, attempt.StatusCode)
		require.Less(t, len(attempt.ResponseBody), 60_000)
		require.GreaterOrEqual(t, attempt.Duration, request.Timeout)
	}
	n := newNetwork(t, sized(t, 200, 10)).fail("bandwidth", `"rate": 10`, "upstream")
	request := post(n.url())
	request.Body, request.Timeout = bytes.Repeat([]byte("x"), 256<<10), 500*time.Millisecond
	requireFailed(t, send(t, newSender(t), request), core.ErrorTimeout)
}

func TestSendOverANetworkThatCutsThingsUp(t *testing.T) {
	t.Parallel()
	n := newNetwork(t, sized(t, 200, 3000)).fail("slicer", `"average_size": 7, "size_variation": 3, "delay": 10`)
	attempt := send(t, newSender(t), post(n.url()))
	require.True(t, attempt.Succeeded(), attempt.ErrorMessage)
	require.Equal(t, strings.Repeat("x", 3000), string(attempt.ResponseBody))
}

func TestSendOverANetworkThatClosesLate(t *testing.T) {
	t.Parallel()
	server := receive(t, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Connection", "close")
		if f, ok := w.(http.Flusher); ok && r.URL.Path == "/endless" {
			f.Flush() // without a length: the answer ends with the connection
		}
		_, _ = w.Write([]byte("thank you"))
	})
	n := newNetwork(t, server).fail("slow_close", `"delay": 400`)
	s := newSender(t)
	for _, path := range []string{"/", "/endless"} {
		attempt := send(t, s, post(n.url()+path))
		require.True(t, attempt.Succeeded(), attempt.ErrorMessage)
		require.Equal(t, "thank you", string(attempt.ResponseBody))
	}
}

func TestSendOverANetworkThatLosesEverything(t *testing.T) {
	t.Parallel()
	for _, direction := range []string{"upstream", "downstream"} {
		n := newNetwork(t, sized(t, 200, 10)).fail("timeout", `"timeout": 0`, direction)
		request := post(n.url())
		request.Timeout = 200 * time.Millisecond
		requireFailed(t, send(t, newSender(t), request), core.ErrorTimeout)
	}
}

func TestSendToAReceiverThatComesBack(t *testing.T) {
	t.Parallel()
	n := newNetwork(t, sized(t, 200, 10))
	s := newSender(t)
	require.Empty(t, send(t, s, post(n.url())).ErrorClass)
	n.proxy.Stop()
	require.Eventually(t, func() bool { return s.dialer.open.Load() == 0 }, patience, time.Millisecond, "its end is noticed")
	requireFailed(t, send(t, s, post(n.url())), core.ErrorConnect)
	require.NoError(t, n.proxy.Start())
	require.Empty(t, send(t, s, post(n.url())).ErrorClass)
}

func TestSendGivesUpADeadConnectionOfHTTP2(t *testing.T) {
	t.Parallel()
	ours := newAuthority(t)
	server := httptest.NewUnstartedServer(http.HandlerFunc(echo))
	server.TLS = &tls.Config{Certificates: []tls.Certificate{ours.issue(t, net.IPv4(127, 0, 0, 1), time.Now().Add(time.Hour))}}
	server.EnableHTTP2 = true
	server.StartTLS()
	t.Cleanup(func() {
		server.CloseClientConnections()
		server.Close()
	})
	n := newNetwork(t, server)
	url := "https://" + n.proxy.Listen
	s := ours.trusting(t)
	settings := s.transport.(*http.Transport).HTTP2
	require.Positive(t, settings.SendPingTimeout)
	settings.SendPingTimeout, settings.PingTimeout = 50*time.Millisecond, 2*time.Second
	require.Empty(t, send(t, s, post(url)).ErrorClass)
	require.EqualValues(t, 1, s.dialer.open.Load())

	n.fail("timeout", `"timeout": 0`)
	require.Eventually(t, func() bool { return s.dialer.open.Load() == 0 }, patience, time.Millisecond, "it gives no sign of life")
	n.proxy.Toxics.ResetToxics(t.Context())
	attempt := send(t, s, post(url))
	require.Empty(t, attempt.ErrorClass, attempt.ErrorMessage)
	require.Positive(t, attempt.Timings.Connect, "over a new one")
}
