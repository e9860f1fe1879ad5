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
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/meetwire/meetwire/services/delivery/internal/core"
)

func TestSendReadsPastInterimAnswers(t *testing.T) {
	t.Parallel()
	hints := "HTTP/1.1 103 Early Hints\r\nLink: </style.css>\r\n\r\n"
	for name, answer := range map[string]string{
		"hints":             hints + hints,
		"nothing but order": "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 102 Processing\r\n\r\n",
		"an unknown one":    "HTTP/1.1 199 What\r\n\r\n",
	} {
		url := raw(t, write("%sHTTP/1.1 200 OK\r\nX-Final: yes\r\nContent-Length: 2\r\n\r\nok", answer))
		attempt := send(t, newSender(t), post(url))
		require.True(t, attempt.Succeeded(), "%s: %s", name, attempt.ErrorMessage)
		require.Equal(t, 200, attempt.StatusCode)
		require.Equal(t, "ok", string(attempt.ResponseBody))
		require.Equal(t, []core.Header{{Name: "Content-Length", Value: "2"}, {Name: "X-Final", Value: "yes"}}, attempt.ResponseHeaders)
	}
}

func TestSendGivesUpOnInterimAnswersWithoutEnd(t *testing.T) {
	t.Parallel()
	for name, interim := range map[string]string{
		"small": "HTTP/1.1 102 Processing\r\n\r\n",
		"large": "HTTP/1.1 103 Early Hints\r\nLink: " + strings.Repeat("x", 8<<10) + "\r\n\r\n",
	} {
		url := raw(t, func(conn *net.TCPConn) {
			for {
				if _, err := io.WriteString(conn, interim); err != nil {
					return
				}
			}
		})
		attempt := send(t, newSender(t), post(url))
		requireFailed(t, attempt, core.ErrorProtocol)
		require.Less(t, attempt.Duration, patience, name)
	}
}

func TestSendGivesUpOnInterimAnswersOfHTTP2(t *testing.T) {
	t.Parallel()
	ours := newAuthority(t)
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Link", strings.Repeat("x", 8<<10))
		for range 1000 {
			w.WriteHeader(http.StatusEarlyHints)
			if r.Context().Err() != nil {
				return
			}
		}
	}))
	server.TLS = &tls.Config{Certificates: []tls.Certificate{ours.issue(t, net.IPv4(127, 0, 0, 1), time.Now().Add(time.Hour))}}
	server.EnableHTTP2 = true
	server.StartTLS()
	t.Cleanup(server.Close)
	attempt := send(t, ours.trusting(t), post(server.URL))
	require.NotEqual(t, 200, attempt.StatusCode)
	require.False(t, attempt.Succeeded())
}

func TestSendDoesNotSwitchProtocols(t *testing.T) {
	t.Parallel()
	url := raw(t, func(conn *net.TCPConn) {
		_, _ = io.WriteString(conn, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\nhello")
		_, _ = io.Copy(io.Discard, conn) // until it is hung up on
	})
	attempt := send(t, newSender(t), post(url))
	requireFailed(t, attempt, core.ErrorStatus)
	require.Equal(t, 101, attempt.StatusCode)
	require.Empty(t, attempt.ResponseBody)
}

func TestSendTakesAnAnswerThatComesBeforeItHasSentAll(t *testing.T) {
	t.Parallel()
	for _, status := range []string{"200 OK", "413 Too Large"} {
		hungUp := make(chan struct{})
		url := "http://" + listen(t, func(conn *net.TCPConn) {
			defer close(hungUp)
			if err := conn.SetReadBuffer(4 << 10); err != nil {
				t.Error(err)
			}
			_, _ = conn.Read(make([]byte, 100)) // the beginning of the headers, and no more
			_, _ = fmt.Fprintf(conn, "HTTP/1.1 %s\r\nContent-Length: 5\r\n\r\nstop!", status)
			for {
				if _, err := conn.Write([]byte("x")); err != nil {
					return // without having read the request
				}
			}
		})
		request := post(url)
		request.Body = bytes.Repeat([]byte("x"), 16<<20) // more than the buffers on the way hold
		attempt := send(t, newSender(t), request)
		require.Equal(t, status[:3], fmt.Sprint(attempt.StatusCode), attempt.ErrorMessage)
		require.Equal(t, "stop!", string(attempt.ResponseBody))
		<-hungUp
	}
}

func TestSendGivesUpOnHeadersOfHTTP2WithoutEnd(t *testing.T) {
	t.Parallel()
	ours := newAuthority(t)
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/huge" {
			for i := range 200 {
				w.Header().Set(fmt.Sprintf("X-%d", i), strings.Repeat("v", 1000))
			}
		}
	}))
	server.TLS = &tls.Config{Certificates: []tls.Certificate{ours.issue(t, net.IPv4(127, 0, 0, 1), time.Now().Add(time.Hour))}}
	server.EnableHTTP2 = true
	server.StartTLS()
	t.Cleanup(server.Close)
	s := ours.trusting(t)
	requireFailed(t, send(t, s, post(server.URL+"/huge")), core.ErrorProtocol)
	require.Empty(t, send(t, s, post(server.URL)).ErrorClass)
}

func TestSendFollowsNoRedirectToMetadata(t *testing.T) {
	t.Parallel()
	const metadata = "http://169.254.169.254/latest/meta-data/"
	var dialed atomic.Int64
	server := receive(t, func(w http.ResponseWriter, r *http.Request) {
		dialed.Add(1)
		http.Redirect(w, r, metadata, http.StatusTemporaryRedirect)
	})
	attempt := send(t, newSender(t), post(server.URL))
	requireFailed(t, attempt, core.ErrorStatus)
	require.Equal(t, 307, attempt.StatusCode)
	require.Contains(t, attempt.ResponseHeaders, core.Header{Name: "Location", Value: metadata})
	require.Equal(t, server.Listener.Addr().String(), attempt.RemoteAddr)
	require.EqualValues(t, 1, dialed.Load())
}
