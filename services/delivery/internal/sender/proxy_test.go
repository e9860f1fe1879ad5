package sender

import (
	"crypto/tls"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/meetwire/meetwire/pkg/secret"
	"github.com/meetwire/meetwire/services/delivery/internal/core"
)

// public is an address that may be called. Nothing here connects to it.
const public = "93.184.216.34"

// secure starts a receiver with TLS and a name, which answers with the host that it was called by.
func secure(t *testing.T, ours *authority, name string) *httptest.Server {
	t.Helper()
	return receiveTLS(t, &tls.Config{Certificates: []tls.Certificate{ours.issueName(t, name)}}, echo)
}

func echo(w http.ResponseWriter, r *http.Request) {
	server := ""
	if r.TLS != nil {
		server = r.TLS.ServerName
	}
	_, _ = fmt.Fprintf(w, "%s %s %s", r.RequestURI, r.Host, server)
}

// each runs a test with each kind of proxy.
func each(t *testing.T, ours *authority, test func(t *testing.T, start func(*gateway) secret.String)) {
	t.Helper()
	t.Run("http", func(t *testing.T) {
		t.Parallel()
		test(t, func(g *gateway) secret.String { return g.serveHTTP(t, nil).url("http") })
	})
	t.Run("https", func(t *testing.T) {
		t.Parallel()
		certificate := ours.issue(t, net.IPv4(127, 0, 0, 1), time.Now().Add(time.Hour))
		test(t, func(g *gateway) secret.String {
			return g.serveHTTP(t, &tls.Config{Certificates: []tls.Certificate{certificate}}).url("https")
		})
	})
	t.Run("socks5", func(t *testing.T) {
		t.Parallel()
		test(t, func(g *gateway) secret.String { return g.serveSOCKS(t).url("socks5") })
	})
}

// through returns a sender that may call public addresses only, by way of a proxy at an internal one.
func through(t *testing.T, ours *authority, z *zone, url secret.String, changes ...func(*Config)) *Sender {
	t.Helper()
	first := func(c *Config) { c.Allowed, c.Roots, c.Resolver = nil, ours.pool(), serveDNS(t, z) }
	return newSender(t, append([]func(*Config){first, func(c *Config) { using(t, url)(c) }}, changes...)...)
}

func TestSendThroughAProxy(t *testing.T) {
	t.Parallel()
	ours := newAuthority(t)
	each(t, ours, func(t *testing.T, start func(*gateway) secret.String) {
		server := secure(t, ours, "receiver.example")
		plain := receive(t, echo)
		g := &gateway{user: "meetwire", password: "hunter2", routes: map[string]string{
			public + ":443": server.Listener.Addr().String(), public + ":80": plain.Listener.Addr().String(),
		}}
		s := through(t, ours, &zone{names: map[string][]netip.Addr{"receiver.example": addrs(public)}}, start(g))

		attempt := send(t, s, post("https://receiver.example/hook"))
		require.True(t, attempt.Succeeded(), attempt.ErrorMessage)
		require.Equal(t, "/hook receiver.example receiver.example", string(attempt.ResponseBody), "with its own name")
		require.Equal(t, public+":443", attempt.RemoteAddr)
		require.Positive(t, attempt.Timings.DNS)
		require.Positive(t, attempt.Timings.Connect)
		require.Positive(t, attempt.Timings.TLS)

		attempt = send(t, s, post("http://receiver.example/plain"))
		require.True(t, attempt.Succeeded(), attempt.ErrorMessage)
		require.Equal(t, "/plain receiver.example ", string(attempt.ResponseBody))
		require.Equal(t, []string{public + ":443", public + ":80"}, g.addresses(), "it is told the address that was checked")

		attempt = send(t, s, post("https://receiver.example/again"))
		require.True(t, attempt.Succeeded(), attempt.ErrorMessage)
		require.Len(t, g.addresses(), 2, "the connection is used again")
		require.Zero(t, attempt.Timings.Connect)
	})
}

func TestSendThroughAProxyOnlyToCheckedAddresses(t *testing.T) {
	t.Parallel()
	ours := newAuthority(t)
	each(t, ours, func(t *testing.T, start func(*gateway) secret.String) {
		g := &gateway{answer: "HTTP/1.1 502 No\r\n\r\n", code: 5}
		z := &zone{names: map[string][]netip.Addr{
			"rebind.example": addrs(public, "127.0.0.1", "169.254.169.254"), "inner.example": addrs("10.0.0.1"), "six.example": addrs("fd00::1"),
		}}
		s := through(t, ours, z, start(g))
		requireFailed(t, send(t, s, post("http://rebind.example/")), core.ErrorProxy)
		for _, host := range []string{
			"rebind.example", "rebind.example", "inner.example", "six.example", "127.0.0.1", "169.254.169.254", "[::1]", "[::ffff:127.0.0.1]",
		} {
			for _, scheme := range []string{"http", "https"} {
				if host == "rebind.example" && scheme == "https" {
					continue // its turn would be the public one's
				}
				requireFailed(t, send(t, s, post(scheme+"://"+host+"/")), core.ErrorAddress)
			}
		}
		require.Equal(t, []string{public + ":80"}, g.addresses(), "of all others it is told nothing")
		requireFailed(t, send(t, s, post("http://unknown.example/")), core.ErrorDNS)
	})
}

func TestSendThroughAProxyThatResolves(t *testing.T) {
	t.Parallel()
	ours := newAuthority(t)
	each(t, ours, func(t *testing.T, start func(*gateway) secret.String) {
		server := secure(t, ours, "receiver.example")
		g := &gateway{code: 4, answer: "HTTP/1.1 502 No\r\n\r\n", routes: map[string]string{"receiver.example:443": server.Listener.Addr().String()}}
		z := &zone{}
		s := through(t, ours, z, start(g), func(c *Config) { c.ProxyResolves = true })
		attempt := send(t, s, post("https://receiver.example/hook"))
		require.True(t, attempt.Succeeded(), attempt.ErrorMessage)
		require.Equal(t, "/hook receiver.example receiver.example", string(attempt.ResponseBody))
		require.Equal(t, g.address, attempt.RemoteAddr, "more is not known")
		require.Zero(t, attempt.Timings.DNS)
		requireFailed(t, send(t, s, post("https://unknown.example/")), core.ErrorConnect)
		for _, host := range []string{
			"127.0.0.1", "169.254.169.254", "[::1]", "127.1", "2130706433", "0x7f.1", "localhost", "metadata.google.internal", "postgres",
		} {
			requireFailed(t, send(t, s, post("http://"+host+"/")), core.ErrorAddress)
		}
		require.Equal(t, []string{"receiver.example:443", "unknown.example:443"}, g.addresses())
		require.Zero(t, z.questions("receiver.example"), "no name is looked up here")
	})
}

func TestSendThroughAProxyTriesEveryAddress(t *testing.T) {
	t.Parallel()
	server := receive(t, echo)
	g := &gateway{code: 5, routes: map[string]string{"93.184.216.35:80": server.Listener.Addr().String()}}
	url := g.serveSOCKS(t).url("socks5")
	s := through(t, newAuthority(t), &zone{}, url)
	opened, err := s.dialer.connectAny(t.Context(), addrs(public, "93.184.216.35", "93.184.216.36"), 80)
	require.NoError(t, err)
	require.Equal(t, "93.184.216.35:80", opened.RemoteAddr().String())
	require.NoError(t, opened.Conn.Close())
	require.Equal(t, []string{public + ":80", "93.184.216.35:80"}, g.addresses())
}

func TestSendThroughAProxyThatFails(t *testing.T) {
	t.Parallel()
	ours := newAuthority(t)
	closed, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	require.NoError(t, closed.Close())
	says := func(text string) string { return listen(t, write("%s", text)) }
	untrusted := &gateway{}
	untrusted.serveHTTP(t, &tls.Config{Certificates: []tls.Certificate{newAuthority(t).issue(t, net.IPv4(127, 0, 0, 1), time.Now().Add(time.Hour))}})
	httpLogin, socksLogin := &gateway{user: "u", password: "p"}, &gateway{user: "u", password: "p"}
	httpLogin.serveHTTP(t, nil)
	socksLogin.serveSOCKS(t)
	for url, what := range map[string]string{
		"http://" + closed.Addr().String():                  "cannot be reached",
		"https://" + closed.Addr().String():                 "cannot be reached",
		"socks5://" + closed.Addr().String():                "cannot be reached",
		"http://proxy.example:8080":                         "cannot be reached",
		"https://" + untrusted.address:                      "does not offer a valid TLS connection",
		"https://" + says("SSH-2.0\r\n"):                    "does not offer a valid TLS connection",
		"http://" + httpLogin.address:                       "refuses our credentials",
		"http://u:hunter2@" + httpLogin.address:             "refuses our credentials",
		"socks5://" + socksLogin.address:                    "refuses our credentials",
		"socks5://u:hunter2@" + socksLogin.address:          "refuses our credentials",
		"http://" + says(""):                                "did not answer as a proxy does",
		"http://" + says("SSH-2.0\r\n\r\n"):                 "did not answer as a proxy does",
		"http://" + says("HTTP/1.1 200 OK\r\n\r\nhello"):    "did not answer as a proxy does",
		"http://" + says(strings.Repeat("x", 100<<10)):      "did not answer as a proxy does",
		"socks5://" + says(""):                              "did not answer as a proxy does",
		"socks5://" + says("HTTP/1.1 400 Bad\r\n\r\n"):      "did not answer as a proxy does",
		"socks5://" + says("\x05\x01"):                      "did not answer as a proxy does",
		"socks5://" + says("\x05\x00\x04\x00\x00\x01"):      "did not answer as a proxy does",
		"socks5://" + says("\x05\x00\x05\x00\x00\x07abcde"): "did not answer as a proxy does",
	} {
		s := through(t, ours, &zone{names: map[string][]netip.Addr{"receiver.example": addrs(public)}}, secret.New(url))
		attempt := send(t, s, post("https://receiver.example/"))
		requireFailed(t, attempt, core.ErrorProxy)
		require.Equal(t, "the egress proxy "+what, attempt.ErrorMessage, url)
		require.NotContains(t, attempt.ErrorMessage, "hunter2")
		require.Zero(t, attempt.StatusCode)
	}
}

func TestSendThroughAProxyThatDoesNotAnswer(t *testing.T) {
	t.Parallel()
	ours := newAuthority(t)
	each(t, ours, func(t *testing.T, start func(*gateway) secret.String) {
		z := &zone{names: map[string][]netip.Addr{"hangs.example": addrs(public)}}
		s := through(t, ours, z, start(&gateway{}))
		request := post("http://hangs.example/")
		request.Timeout = 2 * time.Second
		attempt := send(t, s, request)
		requireFailed(t, attempt, core.ErrorProxy)
		require.Equal(t, "the egress proxy did not answer in time", attempt.ErrorMessage)
	})
}

func TestSendThroughAProxyThatNeverSpeaks(t *testing.T) {
	t.Parallel()
	ours := newAuthority(t)
	quiet := strings.TrimPrefix(silent(t), "http")
	for _, scheme := range []string{"http", "https", "socks5"} {
		s := through(t, ours, &zone{names: map[string][]netip.Addr{"receiver.example": addrs(public)}}, secret.New(scheme+quiet))
		request := post("https://receiver.example/")
		request.Timeout = 2 * time.Second
		requireFailed(t, send(t, s, request), core.ErrorProxy)
	}
}

func TestParseProxy(t *testing.T) {
	t.Parallel()
	for text, address := range map[string]string{
		"http://proxy": "proxy:80", "https://proxy/": "proxy:443", "socks5://10.0.0.1": "10.0.0.1:1080",
		"http://user:hunter2@[::1]:3128": "[::1]:3128", "http://user@proxy": "proxy:80",
	} {
		proxy, err := ParseProxy(secret.New(text), nil)
		require.NoError(t, err, text)
		require.Equal(t, address, proxy.address)
		require.NotContains(t, fmt.Sprintf("%+v %#v", proxy, proxy), "hunter2")
	}
	for text, says := range map[string]string{
		"proxy:3128": "must begin with", "": "must begin with", "ftp://hunter2": "must begin with", "socks5h://hunter2": "must begin with",
		"http://": "must name a host", "http://hunter2:x": "must be a URL", "http://u:hunter2%@proxy": "must be a URL",
		"http://proxy/hunter2": "must end after", "http://proxy?hunter2": "must end after", "http://proxy#hunter2": "must end after",
		"http://hunter2:65536": "must have a port", "http://hunter2:0": "must have a port",
		"socks5://hunter2@proxy": "must have a user and a password", "socks5://:hunter2@proxy": "must have a user and a password",
		"socks5://u:" + strings.Repeat("hunter2", 40) + "@proxy": "must have a user and a password",
	} {
		_, err := ParseProxy(secret.New(text), nil)
		require.ErrorContains(t, err, says, text)
		require.NotContains(t, err.Error(), "hunter2")
	}
}
