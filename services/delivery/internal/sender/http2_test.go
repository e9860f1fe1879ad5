package sender

import (
	"bytes"
	"crypto/tls"
	"net"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/meetwire/meetwire/services/delivery/internal/core"
)

// TestSendLeavesOtherStreamsAlone has receivers misbehave over a connection of HTTP/2 while somebody else waits for an
// answer over the same one.
func TestSendLeavesOtherStreamsAlone(t *testing.T) {
	t.Parallel()
	ours := newAuthority(t)
	arrived, release := make(chan struct{}), make(chan struct{})
	ends := make(chan bool, 10) // of the streams of those that misbehave
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/waits":
			close(arrived)
			<-release
			_, _ = w.Write([]byte(r.Proto))
			return
		case "/hangs":
		case "/drips":
			drip(w)
		case "/fails-and-drips":
			w.WriteHeader(http.StatusInternalServerError)
			drip(w)
		case "/huge":
			for {
				if _, err := w.Write(bytes.Repeat([]byte("x"), 32<<10)); err != nil {
					break
				}
			}
		default:
			return
		}
		ends <- ended(r.Context())
	}))
	server.TLS = &tls.Config{Certificates: []tls.Certificate{ours.issue(t, net.IPv4(127, 0, 0, 1), time.Now().Add(time.Hour))}}
	server.EnableHTTP2 = true
	connections := countConnections(server)
	server.StartTLS()
	t.Cleanup(func() {
		server.CloseClientConnections()
		server.Close()
	})
	s := ours.trusting(t)
	require.Empty(t, send(t, s, post(server.URL)).ErrorClass)
	waiting := make(chan core.Attempt, 1)
	go func() {
		attempt, err := s.Send(t.Context(), post(server.URL+"/waits"))
		if err != nil {
			t.Error(err)
		}
		waiting <- attempt
	}()
	<-arrived

	for _, test := range []struct {
		path, class string
		status      int
	}{
		{path: "/hangs", class: core.ErrorTimeout},
		{path: "/drips", status: 200}, // it has said yes
		{path: "/fails-and-drips", class: core.ErrorTimeout, status: 500},
		{path: "/huge", status: 200},
	} {
		request := post(server.URL + test.path)
		if test.path != "/huge" {
			request.Timeout = time.Second
		}
		attempt := send(t, s, request)
		require.Equal(t, test.class, attempt.ErrorClass, "%s: %s", test.path, attempt.ErrorMessage)
		require.Equal(t, test.status, attempt.StatusCode, test.path)
		require.Equal(t, test.status != 0, attempt.ResponseTruncated, test.path)
		require.LessOrEqual(t, len(attempt.ResponseBody), 64<<10)
		require.True(t, <-ends, "%s: its stream is ended", test.path)
	}
	close(release)
	attempt := <-waiting
	require.Empty(t, attempt.ErrorClass, attempt.ErrorMessage)
	require.Equal(t, "HTTP/2.0", string(attempt.ResponseBody))
	require.Empty(t, send(t, s, post(server.URL)).ErrorClass)
	require.EqualValues(t, 1, connections.Load())
}
