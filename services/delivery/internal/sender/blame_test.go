package sender

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/meetwire/meetwire/pkg/secret"
	"github.com/meetwire/meetwire/services/delivery/internal/core"
)

// TestSendThroughAProxyThatRefuses looks at who is blamed, before the proxy has reached anybody and after.
func TestSendThroughAProxyThatRefuses(t *testing.T) {
	t.Parallel()
	ours, server := newAuthority(t), receive(t, echo)
	requireBlamed := func(what, class string, start func(*gateway) secret.String, g *gateway) {
		z := &zone{names: map[string][]netip.Addr{"good.example": addrs("93.184.216.35"), "receiver.example": addrs(public)}}
		g.routes = map[string]string{"93.184.216.35:80": server.Listener.Addr().String()}
		s := through(t, ours, z, start(g))
		refused := func(class, why string) {
			attempt := send(t, s, post("https://receiver.example/"))
			require.Equal(t, class, attempt.ErrorClass, "%s: %s", what, why)
			requireFailed(t, attempt, class)
			require.NotContains(t, attempt.ErrorMessage, "secret", what)
			require.Empty(t, attempt.ResponseBody, "it is not the receiver's answer")
			require.Empty(t, attempt.ResponseHeaders)
		}
		refused(core.ErrorProxy, "it has reached nobody so far")
		require.Empty(t, send(t, s, post("http://good.example/")).ErrorClass)
		refused(class, "it has reached another")
		refused(core.ErrorProxy, "and nobody since")
		s.Close()
		require.Empty(t, send(t, s, post("http://good.example/")).ErrorClass)
		refused(class, "now it has")
	}
	for answer, class := range map[string]string{
		"400 Bad": core.ErrorProxy, "401 No": core.ErrorProxy, "403 No": core.ErrorProxy, "404 No": core.ErrorProxy, "405 No": core.ErrorProxy,
		"407 No": core.ErrorProxy, "429 No": core.ErrorProxy, "500 No": core.ErrorProxy, "503 Busy": core.ErrorProxy, "302 No": core.ErrorProxy,
		"502 No": core.ErrorConnect, "504 No": core.ErrorConnect,
		"503 No\r\nX-Squid-Error: ERR_CONNECT_FAIL 111": core.ErrorConnect, "503 No\r\nX-Squid-Error: ERR_DNS_FAIL 0": core.ErrorConnect,
		"503 No\r\nX-Squid-Error: ERR_TOO_BIG 0": core.ErrorProxy,
	} {
		requireBlamed(answer, class, func(g *gateway) secret.String { return g.serveHTTP(t, nil).url("http") },
			&gateway{answer: "HTTP/1.1 " + answer + "\r\nContent-Length: 100\r\n\r\nsecret of the proxy"})
	}
	for code, class := range map[byte]string{
		1: core.ErrorProxy, 2: core.ErrorProxy, 3: core.ErrorConnect, 4: core.ErrorConnect, 5: core.ErrorConnect, 6: core.ErrorConnect,
		7: core.ErrorProxy, 8: core.ErrorConnect, 99: core.ErrorProxy,
	} {
		requireBlamed(string('0'+rune(code)), class, func(g *gateway) secret.String { return g.serveSOCKS(t).url("socks5") }, &gateway{code: code})
	}
}

// TestSendThroughAProxyWithoutANetwork has a proxy lose its own way out: of all receivers one is blamed for that, once.
func TestSendThroughAProxyWithoutANetwork(t *testing.T) {
	t.Parallel()
	server := receive(t, echo)
	g := &gateway{code: 3, routes: map[string]string{public + ":80": server.Listener.Addr().String()}}
	z := &zone{names: map[string][]netip.Addr{"good.example": addrs(public), "a.example": addrs("93.184.216.35"), "b.example": addrs("93.184.216.36")}}
	s := through(t, newAuthority(t), z, g.serveSOCKS(t).url("socks5"))
	require.Empty(t, send(t, s, post("http://good.example/")).ErrorClass)
	classes := map[string]int{}
	for range 3 {
		for _, host := range []string{"a.example", "b.example"} {
			classes[send(t, s, post("http://"+host+"/")).ErrorClass]++
		}
	}
	require.Equal(t, map[string]int{core.ErrorConnect: 1, core.ErrorProxy: 5}, classes)
}

// mortal is a proxy of HTTP that can die, with the connections that go through it.
type mortal struct {
	listener net.Listener
	serving  sync.WaitGroup
	mu       sync.Mutex
	open     []net.Conn
}

func newMortal(t *testing.T, g *gateway) *mortal {
	t.Helper()
	g.serveHTTP(t, nil)
	listener, err := net.Listen("tcp", "127.0.0.4:0") // an address that nothing else is asked to listen on
	require.NoError(t, err)
	m := &mortal{listener: listener}
	m.serving.Go(func() {
		for {
			client, err := listener.Accept()
			if err != nil {
				return
			}
			server, err := net.Dial("tcp", g.address)
			if err != nil {
				t.Error(err)
				return
			}
			m.mu.Lock()
			m.open = append(m.open, client, server)
			m.mu.Unlock()
			m.serving.Go(func() { _, _ = io.Copy(client, server) })
			m.serving.Go(func() { _, _ = io.Copy(server, client) })
		}
	})
	t.Cleanup(m.die)
	return m
}

func (m *mortal) die() {
	_ = m.listener.Close() // it may have died before
	m.mu.Lock()
	for _, conn := range m.open {
		_ = conn.Close()
	}
	m.mu.Unlock()
	m.serving.Wait()
}

func TestSendThroughAProxyThatDies(t *testing.T) {
	t.Parallel()
	for _, first := range []string{"", "over a connection that was used before"} {
		arrived := make(chan struct{}, 1)
		server := receive(t, func(_ http.ResponseWriter, r *http.Request) {
			_, _ = io.Copy(io.Discard, r.Body)
			if r.URL.Path == "/hangs" {
				arrived <- struct{}{}
				<-r.Context().Done()
			}
		})
		m := newMortal(t, &gateway{routes: map[string]string{public + ":80": server.Listener.Addr().String()}})
		z := &zone{names: map[string][]netip.Addr{"receiver.example": addrs(public)}}
		s := through(t, newAuthority(t), z, secret.New("http://"+m.listener.Addr().String()))
		if first != "" {
			require.Empty(t, send(t, s, post("http://receiver.example/")).ErrorClass)
		}
		result := make(chan core.Attempt, 1)
		go func() {
			attempt, err := s.Send(t.Context(), post("http://receiver.example/hangs"))
			if err != nil {
				t.Error(err)
			}
			result <- attempt
		}()
		<-arrived
		m.die()
		requireFailed(t, <-result, core.ErrorProxy)
	}
}

// TestSendThroughAProxyThatWaitsForTheReceiver has a proxy say nothing about one receiver, while it connects to another
// or has only refusals to give.
func TestSendThroughAProxyThatWaitsForTheReceiver(t *testing.T) {
	t.Parallel()
	for _, connects := range []bool{true, false} {
		t.Run(fmt.Sprint(connects), func(t *testing.T) {
			t.Parallel()
			waitForAReceiver(t, connects)
		})
	}
}

func waitForAReceiver(t *testing.T, connects bool) {
	t.Helper()
	server := receive(t, echo)
	g := &gateway{
		routes: map[string]string{public + ":80": server.Listener.Addr().String()},
		answer: "HTTP/1.1 403 No\r\n\r\n", silent: "93.184.216.35:80",
	}
	z := &zone{names: map[string][]netip.Addr{
		"good.example": addrs(public), "hangs.example": addrs("93.184.216.35"), "refused.example": addrs("93.184.216.36"),
	}}
	s := through(t, newAuthority(t), z, g.serveHTTP(t, nil).url("http"))
	request := post("http://hangs.example/")
	request.Timeout = patience / 5
	result := make(chan core.Attempt, 1)
	go func() {
		attempt, err := s.Send(t.Context(), request)
		if err != nil {
			t.Error(err)
		}
		result <- attempt
	}()
	require.Eventually(t, func() bool { return len(g.addresses()) == 1 }, patience, time.Millisecond)
	if connects {
		require.Empty(t, send(t, s, post("http://good.example/")).ErrorClass, "it is alive")
		requireFailed(t, <-result, core.ErrorTimeout)
		return
	}
	requireFailed(t, send(t, s, post("http://refused.example/")), core.ErrorProxy)
	requireFailed(t, <-result, core.ErrorProxy)
}

func TestSendThroughAProxyIsNotBlamedOnIt(t *testing.T) {
	t.Parallel()
	ours := newAuthority(t)
	hangsUp := listen(t, func(conn *net.TCPConn) { _, _ = conn.Read(make([]byte, 1)) })
	untrusted := secure(t, newAuthority(t), "receiver.example")
	slow := receive(t, func(_ http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		<-r.Context().Done()
	})
	for url, test := range map[string]struct{ to, class string }{
		"http://receiver.example/a":  {to: hangsUp, class: core.ErrorReset},
		"https://receiver.example/b": {to: hangsUp, class: core.ErrorReset},
		"https://receiver.example/c": {to: untrusted.Listener.Addr().String(), class: core.ErrorTLS},
		"http://receiver.example/d":  {to: slow.Listener.Addr().String(), class: core.ErrorTimeout},
	} {
		g := &gateway{routes: map[string]string{public + ":80": test.to, public + ":443": test.to}}
		z := &zone{names: map[string][]netip.Addr{"receiver.example": addrs(public)}}
		request := post(url)
		if test.class == core.ErrorTimeout {
			request.Timeout = 2 * time.Second
		}
		requireFailed(t, send(t, through(t, ours, z, g.serveHTTP(t, nil).url("http")), request), test.class)
	}
}
