package sender

import (
	"bufio"
	"io"
	"net"
	"net/http"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/meetwire/meetwire/services/delivery/internal/core"
)

// leaver is a receiver that answers so many requests over each connection, and hangs up when another comes.
type leaver struct {
	answers int
	reset   bool // it does so without having read it

	mu     sync.Mutex
	bodies []string // of the requests that were answered
	came   int      // requests
}

func (l *leaver) start(t *testing.T) string {
	t.Helper()
	return "http://" + listen(t, func(conn *net.TCPConn) {
		reader := bufio.NewReader(conn)
		for range l.answers {
			body, ok := l.read(reader)
			if !ok {
				return
			}
			l.mu.Lock()
			l.bodies = append(l.bodies, body)
			l.mu.Unlock()
			_, _ = io.WriteString(conn, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
		}
		if l.reset {
			if _, err := reader.Peek(1); err == nil {
				l.count()
			}
			_ = conn.SetLinger(0)
			return
		}
		_, _ = l.read(reader)
	})
}

func (l *leaver) count() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.came++
}

func (l *leaver) read(reader *bufio.Reader) (body string, ok bool) {
	request, err := http.ReadRequest(reader)
	if err != nil {
		return "", false
	}
	l.count()
	text, err := io.ReadAll(request.Body)
	return string(text), err == nil
}

func TestSendOverAKeptConnectionThatCloses(t *testing.T) {
	t.Parallel()
	for _, reset := range []bool{false, true} {
		l := &leaver{answers: 1, reset: reset}
		s, url := newSender(t), l.start(t)
		for range 3 {
			attempt := send(t, s, post(url))
			require.Empty(t, attempt.ErrorClass, attempt.ErrorMessage)
			require.Equal(t, http.StatusOK, attempt.StatusCode)
			require.NotEmpty(t, attempt.RemoteAddr)
		}
		l.mu.Lock()
		body := string(post(url).Body)
		require.Equal(t, []string{body, body, body}, l.bodies, "the whole of it, when it is sent again")
		l.mu.Unlock()
	}
}

func TestSendOverANewConnectionThatCloses(t *testing.T) {
	t.Parallel()
	for _, reset := range []bool{false, true} {
		l := &leaver{reset: reset}
		requireFailed(t, send(t, newSender(t), post(l.start(t))), core.ErrorReset)
		l.mu.Lock()
		require.Equal(t, 1, l.came, "it is not asked again at once")
		l.mu.Unlock()
	}
}
