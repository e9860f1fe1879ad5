package sender

import (
	"crypto/tls"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/meetwire/meetwire/services/delivery/internal/core"
)

func TestSendTellsHowLongEachPartTook(t *testing.T) {
	t.Parallel()
	ours := newAuthority(t)
	for _, http2 := range []bool{false, true} {
		server := httptest.NewUnstartedServer(http.HandlerFunc(ok))
		server.TLS = &tls.Config{Certificates: []tls.Certificate{ours.issueName(t, "receiver.example")}}
		server.EnableHTTP2 = http2
		server.StartTLS()
		t.Cleanup(server.Close)
		resolver := serveDNS(t, &zone{names: map[string][]netip.Addr{"receiver.example": addrs("127.0.0.1")}})
		s := newSender(t, func(c *Config) { c.Roots, c.Resolver = ours.pool(), resolver })

		attempt := send(t, s, post("https://receiver.example:"+port(server)+"/"))
		require.True(t, attempt.Succeeded(), attempt.ErrorMessage)
		took := attempt.Timings
		for name, part := range map[string]time.Duration{"dns": took.DNS, "connect": took.Connect, "tls": took.TLS} {
			require.Positive(t, part, name)
		}
		require.LessOrEqual(t, took.DNS+took.Connect+took.TLS, took.FirstByte)
		require.LessOrEqual(t, took.FirstByte, attempt.Duration)
		require.Equal(t, server.Listener.Addr().String(), attempt.RemoteAddr)

		again := send(t, s, post("https://receiver.example:"+port(server)+"/"))
		require.True(t, again.Succeeded(), again.ErrorMessage)
		require.Positive(t, again.Timings.FirstByte)
		require.Equal(t, core.Timings{FirstByte: again.Timings.FirstByte}, again.Timings, "the connection was there")
		require.Equal(t, attempt.RemoteAddr, again.RemoteAddr)
	}
}

func TestSendTellsWhereAnAttemptEnded(t *testing.T) {
	t.Parallel()
	s := newSender(t)
	refused := send(t, s, post("http://127.0.0.3:9/"))
	requireFailed(t, refused, core.ErrorConnect)
	require.Equal(t, core.Timings{Connect: refused.Timings.Connect}, refused.Timings)
	require.Positive(t, refused.Timings.Connect)
	require.Empty(t, refused.RemoteAddr)

	// A receiver that accepts a connection and says nothing.
	request := post(strings.Replace(silent(t), "http:", "https:", 1))
	request.Timeout = 2 * time.Second
	attempt := send(t, s, request)
	requireFailed(t, attempt, core.ErrorTimeout)
	require.Positive(t, attempt.Timings.Connect)
	require.Positive(t, attempt.Timings.TLS, "it had begun")
	require.Zero(t, attempt.Timings.FirstByte)
}
