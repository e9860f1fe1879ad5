package sender

import (
	"bufio"
	"crypto/tls"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/meetwire/meetwire/pkg/secret"
)

// gateway is a proxy of the tests. It connects to nothing but what routes says.
type gateway struct {
	t       *testing.T
	address string
	// routes is where it really connects to for an address that it is told.
	routes map[string]string
	// answer is given instead of a connection to an address that is not in routes: a status line and headers, or the
	// code of SOCKS. Empty, or 0: it says nothing.
	answer string
	code   byte
	silent string // an address that it says nothing of either
	// user and password are asked for if they are not empty.
	user, password string

	mu   sync.Mutex
	told []string // the addresses
}

func (g *gateway) url(scheme string) secret.String {
	credentials := ""
	if g.user != "" {
		credentials = g.user + ":" + g.password + "@"
	}
	return secret.New(scheme + "://" + credentials + g.address)
}

// using returns a change that sends by way of the proxy.
func using(t *testing.T, url secret.String) func(*Config) {
	t.Helper()
	return func(c *Config) {
		proxy, err := ParseProxy(url, c.Roots)
		require.NoError(t, err)
		c.Proxy = proxy
	}
}

// tell notes an address and returns where it leads.
func (g *gateway) tell(address string) (string, bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.told = append(g.told, address)
	to, ok := g.routes[address]
	return to, ok
}

func (g *gateway) addresses() []string {
	g.mu.Lock()
	defer g.mu.Unlock()
	return append([]string(nil), g.told...)
}

// serveHTTP starts it as a proxy of HTTP, over TLS if there is a configuration.
func (g *gateway) serveHTTP(t *testing.T, config *tls.Config) *gateway {
	t.Helper()
	g.t = t
	g.address = listen(t, func(plain *net.TCPConn) {
		var conn net.Conn = plain
		if config != nil {
			conn = tls.Server(plain, config)
		}
		reader := bufio.NewReader(conn)
		request, err := http.ReadRequest(reader)
		if err != nil {
			return
		}
		if request.Method != http.MethodConnect {
			t.Errorf("it is not asked for a connection, but to %s %s", request.Method, request.URL)
			return
		}
		for name := range request.Header {
			if name != "Proxy-Authorization" {
				t.Errorf("it is told %s", name)
			}
		}
		if g.user != "" {
			login := &http.Request{Header: http.Header{"Authorization": request.Header["Proxy-Authorization"]}}
			if user, password, _ := login.BasicAuth(); user != g.user || password != g.password {
				_, _ = io.WriteString(conn, "HTTP/1.1 407 Log In\r\nProxy-Authenticate: Basic\r\nContent-Length: 0\r\n\r\n")
				return
			}
		}
		to, ok := g.tell(request.Host)
		switch {
		case ok:
			g.join(conn, to, "HTTP/1.1 200 Connected\r\n\r\n")
		case g.answer == "", request.Host == g.silent:
			_, _ = io.Copy(io.Discard, conn)
		default:
			_, _ = io.WriteString(conn, g.answer)
		}
	})
	return g
}

// serveSOCKS starts it as a proxy of SOCKS5.
func (g *gateway) serveSOCKS(t *testing.T) *gateway {
	t.Helper()
	g.t = t
	g.address = listen(t, func(conn *net.TCPConn) {
		if !g.greet(conn) {
			return
		}
		head := make([]byte, 4)
		if _, err := io.ReadFull(conn, head); err != nil {
			return
		}
		var host string
		if size := map[byte]int{1: 4, 4: 16}[head[3]]; size == 0 {
			host = string(readPart(conn))
		} else {
			addr := make([]byte, size)
			_, _ = io.ReadFull(conn, addr)
			host = net.IP(addr).String()
		}
		port := make([]byte, 2)
		_, _ = io.ReadFull(conn, port)
		to, ok := g.tell(net.JoinHostPort(host, fmt.Sprint(binary.BigEndian.Uint16(port))))
		switch {
		case ok:
			g.join(conn, to, "\x05\x00\x00\x03\x05proxy\x00\x50")
		case g.code == 0:
			_, _ = io.Copy(io.Discard, conn)
		default:
			_, _ = conn.Write([]byte{5, g.code, 0, 1, 0, 0, 0, 0, 0, 0})
		}
	})
	return g
}

// readPart reads a text that follows its length.
func readPart(r io.Reader) []byte {
	length := make([]byte, 1)
	_, _ = io.ReadFull(r, length)
	text := make([]byte, length[0])
	_, _ = io.ReadFull(r, text)
	return text
}

func (g *gateway) greet(conn net.Conn) bool {
	version := make([]byte, 1)
	if _, err := io.ReadFull(conn, version); err != nil || version[0] != 5 {
		return false
	}
	offered := string(readPart(conn))
	switch {
	case g.user == "" && strings.Contains(offered, "\x00"):
		_, _ = conn.Write([]byte{5, 0})
		return true
	case !strings.Contains(offered, "\x02"):
		_, _ = conn.Write([]byte{5, 0xff})
		return false
	}
	_, _ = conn.Write([]byte{5, 2})
	_, _ = io.ReadFull(conn, version)
	user, password := string(readPart(conn)), string(readPart(conn))
	if user != g.user || password != g.password {
		_, _ = conn.Write([]byte{1, 1})
		return false
	}
	_, _ = conn.Write([]byte{1, 0})
	return true
}

// join says that there is a connection and passes on what is said over it.
func (g *gateway) join(client net.Conn, to, welcome string) {
	server, err := net.Dial("tcp", to)
	if err != nil {
		g.t.Errorf("the receiver: %v", err)
		return
	}
	if _, err := io.WriteString(client, welcome); err != nil {
		_ = server.Close()
		return
	}
	var back sync.WaitGroup
	back.Go(func() {
		_, _ = io.Copy(client, server)
		_ = client.Close()
	})
	_, _ = io.Copy(server, client)
	_ = server.Close()
	back.Wait()
}
