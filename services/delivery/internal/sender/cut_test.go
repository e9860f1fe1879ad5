package sender

import (
	"context"
	"io"
	"net"
	"net/http"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/meetwire/meetwire/services/delivery/internal/core"
)

func TestSendIsHungUpOn(t *testing.T) {
	t.Parallel()
	s := newSender(t)
	for name, test := range map[string]struct {
		answer string
		reset  bool
		status int
		class  string
	}{
		"before an answer":                 {class: core.ErrorReset},
		"before an answer, by a reset":     {reset: true, class: core.ErrorReset},
		"in the headers":                   {answer: "HTTP/1.1 200 OK\r\nServer: x\r\n", class: core.ErrorReset},
		"in the body of a success":         {answer: "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nthank", status: 200},
		"in the body, by a reset":          {answer: "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nthank", reset: true, status: 200},
		"in the body of a failure":         {answer: "HTTP/1.1 500 No\r\nContent-Length: 100\r\n\r\nsorry", status: 500, class: core.ErrorStatus},
		"after a part of a chunked answer": {answer: "HTTP/1.1 404 No\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nsorry\r\nzz", status: 404, class: core.ErrorStatus},
	} {
		url := raw(t, func(conn *net.TCPConn) {
			_, _ = io.WriteString(conn, test.answer)
			if test.reset {
				_ = conn.SetLinger(0)
			}
		})
		attempt := send(t, s, post(url))
		require.Equal(t, test.class, attempt.ErrorClass, "%s: %s", name, attempt.ErrorMessage)
		if !test.reset || test.status == 0 { // a reset may overtake what was sent before
			require.Equal(t, test.status, attempt.StatusCode, name)
		}
		require.Equal(t, attempt.StatusCode != 0, attempt.ResponseTruncated, name)
		if test.status >= 400 {
			require.Equal(t, "sorry", string(attempt.ResponseBody), name)
		}
	}
}

func TestSendIsCutOff(t *testing.T) {
	t.Parallel()
	arrived := make(chan struct{})
	server := receive(t, func(_ http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		close(arrived)
		<-r.Context().Done()
	})
	ctx, cancel := context.WithCancel(t.Context())
	go func() {
		<-arrived
		cancel()
	}()
	attempt, err := newSender(t).Send(ctx, post(server.URL))
	require.ErrorIs(t, err, context.Canceled)
	require.Equal(t, core.Attempt{}, attempt, "nobody knows how it would have gone")

	_, err = newSender(t).Send(ctx, post(server.URL))
	require.ErrorIs(t, err, context.Canceled)
}

// transport answers without a network.
type transport func(*http.Request) (*http.Response, error)

func (f transport) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

// reader is a body that fails.
type reader func() error

func (f reader) Read([]byte) (int, error) { return 0, f() }
func (reader) Close() error               { return nil }

func TestSendIsCutOffAfterTheStatus(t *testing.T) {
	t.Parallel()
	for _, status := range []int{200, 500} {
		ctx, cancel := context.WithCancel(t.Context())
		s := newSender(t)
		s.transport = transport(func(*http.Request) (*http.Response, error) {
			return &http.Response{StatusCode: status, Body: reader(func() error {
				cancel()
				return ctx.Err()
			})}, nil
		})
		attempt, err := s.Send(ctx, post("https://receiver.example/"))
		if status == 200 {
			require.NoError(t, err)
			require.True(t, attempt.Succeeded(), "it has said yes")
		} else {
			require.ErrorIs(t, err, context.Canceled)
		}
	}
}
