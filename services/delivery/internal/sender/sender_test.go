package sender

import (
	"bytes"
	"compress/gzip"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/meetwire/meetwire/services/delivery/internal/core"
)

func TestSendSucceedsWithAnyStatusOf2xx(t *testing.T) {
	t.Parallel()
	s := newSender(t)
	for _, status := range []int{200, 201, 202, 204, 299} {
		server := receive(t, func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("X-Receiver", "yes")
			w.WriteHeader(status)
			if status != 204 {
				_, _ = io.WriteString(w, "thank you")
			}
		})
		before := time.Now()
		attempt := send(t, s, post(server.URL))
		require.True(t, attempt.Succeeded(), attempt.ErrorMessage)
		require.Empty(t, attempt.ErrorMessage)
		require.Equal(t, status, attempt.StatusCode)
		require.Equal(t, "attempt-id", attempt.ID)
		require.WithinRange(t, attempt.StartedAt, before, time.Now())
		require.Positive(t, attempt.Duration)
		require.LessOrEqual(t, attempt.Duration, time.Since(before))
		require.Contains(t, attempt.ResponseHeaders, core.Header{Name: "X-Receiver", Value: "yes"})
		require.Equal(t, post(server.URL), attempt.Request)
		if status != 204 {
			require.Equal(t, "thank you", string(attempt.ResponseBody))
		}
		require.False(t, attempt.ResponseTruncated)
	}
}

func TestSendMakesTheRequestAsItWasRendered(t *testing.T) {
	t.Parallel()
	var method, path, body string
	var header http.Header
	server := receive(t, func(_ http.ResponseWriter, r *http.Request) {
		text, err := io.ReadAll(r.Body)
		if err == nil {
			method, path, body, header = r.Method, r.URL.String(), string(text), r.Header
		}
	})
	request := post(server.URL + "/hook?a=b%20c")
	send(t, newSender(t), request)
	require.Equal(t, http.MethodPost, method)
	require.Equal(t, "/hook?a=b%20c", path)
	require.Equal(t, string(request.Body), body)
	require.Equal(t, http.Header{
		"Content-Type": {"application/json"}, "Content-Length": {"25"}, "User-Agent": {"Meetwire/1.2.3"}, "Webhook-Id": {"d"},
	}, header, "and nothing else")
}

func TestSendTellsWhenToComeAgain(t *testing.T) {
	t.Parallel()
	server := receive(t, func(w http.ResponseWriter, _ *http.Request) {
		for i := range 20 { // of what of the headers is kept they leave no room for it
			w.Header().Set(fmt.Sprintf("A-%d", i), strings.Repeat("x", 1000))
			for j := range 5 {
				w.Header().Set(fmt.Sprintf("B-%d", 5*i+j), strings.Repeat("x", 10))
			}
		}
		w.Header().Set("Retry-After", "120")
		w.WriteHeader(http.StatusTooManyRequests)
	})
	attempt := send(t, newSender(t), post(server.URL))
	requireFailed(t, attempt, core.ErrorStatus)
	require.Equal(t, "120", attempt.RetryAfter)
	require.NotContains(t, attempt.ResponseHeaders, core.Header{Name: "Retry-After", Value: "120"})
}

func TestSendFailsWithAnyOtherStatus(t *testing.T) {
	t.Parallel()
	s := newSender(t)
	for _, status := range []int{304, 400, 404, 410, 429, 500, 503, 599} {
		server := receive(t, func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(status) })
		attempt := send(t, s, post(server.URL))
		requireFailed(t, attempt, core.ErrorStatus)
		require.Equal(t, status, attempt.StatusCode)
		require.Contains(t, attempt.ErrorMessage, fmt.Sprint(status))
	}
}

func TestSendDoesNotFollowRedirects(t *testing.T) {
	t.Parallel()
	s := newSender(t)
	for i, location := range []string{
		"/elsewhere", "/elsewhere", "/elsewhere", "/elsewhere", "/elsewhere",
		"http://[bad", "%zz", "http://a b/", "", "https://127.0.0.1:99999/", // the answer is kept wherever it leads, if anywhere
	} {
		status := []int{301, 302, 303, 307, 308}[i%5]
		var followed atomic.Bool
		server := receive(t, func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Path == "/elsewhere" {
				followed.Store(true)
				return
			}
			w.Header().Set("Location", location)
			w.WriteHeader(status)
			_, _ = io.WriteString(w, "over there")
		})
		attempt := send(t, s, post(server.URL))
		requireFailed(t, attempt, core.ErrorStatus)
		require.Equal(t, status, attempt.StatusCode)
		require.Contains(t, attempt.ResponseHeaders, core.Header{Name: "Location", Value: location})
		require.Equal(t, "over there", string(attempt.ResponseBody))
		require.False(t, followed.Load())
	}
}

func TestSendGivesUpOnAReceiverThatNeverAnswers(t *testing.T) {
	t.Parallel()
	server := receive(t, func(_ http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		<-r.Context().Done()
	})
	request := post(server.URL)
	request.Timeout = 100 * time.Millisecond
	attempt := send(t, newSender(t), request)
	requireFailed(t, attempt, core.ErrorTimeout)
	require.Contains(t, attempt.ErrorMessage, "100ms")
	require.Zero(t, attempt.StatusCode)
	require.GreaterOrEqual(t, attempt.Duration, request.Timeout)
	require.Less(t, attempt.Duration, patience)
}

// drip writes a byte every few milliseconds for as long as somebody reads.
func drip(w io.Writer) {
	ticker := time.NewTicker(5 * time.Millisecond)
	defer ticker.Stop()
	for {
		<-ticker.C
		if _, err := io.WriteString(w, "x"); err != nil {
			return
		}
		if f, ok := w.(http.Flusher); ok {
			f.Flush()
		}
	}
}

func TestSendGivesUpOnAnAnswerThatDrips(t *testing.T) {
	t.Parallel()
	s := newSender(t)
	for _, test := range []struct {
		status int
		class  string
	}{
		{status: 200, class: ""}, // it has said yes
		{status: 500, class: core.ErrorTimeout},
	} {
		server := receive(t, func(w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(test.status)
			drip(w)
		})
		request := post(server.URL)
		request.Timeout = 2 * time.Second
		attempt := send(t, s, request)
		require.Equal(t, test.class, attempt.ErrorClass)
		require.Equal(t, test.status, attempt.StatusCode)
		require.NotEmpty(t, attempt.ResponseBody, "what has come is kept")
		require.True(t, attempt.ResponseTruncated)
		require.GreaterOrEqual(t, attempt.Duration, request.Timeout)
	}

	url := raw(t, func(conn *net.TCPConn) {
		_, _ = io.WriteString(conn, "HTTP/1.1 200 OK\r\nX-Long: ")
		drip(conn)
	})
	request := post(url)
	request.Timeout = 200 * time.Millisecond
	attempt := send(t, s, request)
	requireFailed(t, attempt, core.ErrorTimeout)
	require.Zero(t, attempt.StatusCode)
}

func TestSendKeeps64KiBOfAnAnswerAndHangsUp(t *testing.T) {
	t.Parallel()
	stopped := make(chan bool, 1)
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/small" {
			return
		}
		chunk := bytes.Repeat([]byte("x"), 32<<10)
		for {
			if _, err := w.Write(chunk); err != nil {
				stopped <- ended(r.Context())
				return
			}
		}
	}))
	connections := countConnections(server)
	server.Start()
	t.Cleanup(server.Close)
	s := newSender(t)
	attempt := send(t, s, post(server.URL))
	require.True(t, attempt.Succeeded())
	require.Len(t, attempt.ResponseBody, 64<<10)
	require.True(t, attempt.ResponseTruncated)
	require.True(t, <-stopped, "the receiver does not go on for ever")
	send(t, s, post(server.URL+"/small"))
	require.EqualValues(t, 2, connections.Load(), "a connection with a rest of an answer is not used again")
}

func TestSendTruncatesOnlyWhatIsTooLong(t *testing.T) {
	t.Parallel()
	s := newSender(t)
	for size, truncated := range map[int]bool{0: false, 64<<10 - 1: false, 64 << 10: false, 64<<10 + 1: true, 100 << 10: true} {
		server := receive(t, func(w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(http.StatusTeapot)
			_, _ = w.Write(bytes.Repeat([]byte("x"), size))
		})
		attempt := send(t, s, post(server.URL))
		require.Equal(t, truncated, attempt.ResponseTruncated, "%d bytes", size)
		require.Len(t, attempt.ResponseBody, min(size, 64<<10))
		require.Equal(t, core.ErrorStatus, attempt.ErrorClass)
	}
}

func TestSendKeepsAnAnswerAsItCame(t *testing.T) {
	t.Parallel()
	var packed bytes.Buffer
	zip := gzip.NewWriter(&packed)
	_, err := zip.Write(bytes.Repeat([]byte("x"), 10<<20))
	require.NoError(t, err)
	require.NoError(t, zip.Close())
	server := receive(t, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Encoding", "gzip")
		_, _ = w.Write(packed.Bytes())
	})
	attempt := send(t, newSender(t), post(server.URL))
	require.Equal(t, packed.Bytes(), attempt.ResponseBody)
}

func TestSendKeepsHeadersWithinLimits(t *testing.T) {
	t.Parallel()
	s := newSender(t)
	server := receive(t, func(w http.ResponseWriter, _ *http.Request) {
		for i := range 30 {
			w.Header().Set(fmt.Sprintf("X-%02d", i), strings.Repeat("v", 1000))
		}
		w.Header()["B-List"] = []string{"2", "1"}
	})
	attempt := send(t, s, post(server.URL))
	require.True(t, attempt.Succeeded())
	size := 0
	var names []string
	for _, header := range attempt.ResponseHeaders {
		size += len(header.Name) + len(header.Value)
		names = append(names, header.Name)
	}
	require.LessOrEqual(t, size, 16<<10)
	require.Greater(t, size, 15<<10)
	require.True(t, slices.IsSorted(names), "in the order of their names: %v", names)
	require.Equal(t, []core.Header{{Name: "B-List", Value: "2"}, {Name: "B-List", Value: "1"}}, attempt.ResponseHeaders[:2])

	server = receive(t, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("A-Large", strings.Repeat("v", 20<<10))
		w.Header().Set("Z-Small", "v")
	})
	attempt = send(t, s, post(server.URL))
	require.Contains(t, attempt.ResponseHeaders, core.Header{Name: "Z-Small", Value: "v"}, "it has room")
	require.NotContains(t, attempt.ResponseHeaders, core.Header{Name: "A-Large", Value: strings.Repeat("v", 20<<10)})

	server = receive(t, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("X-Huge", strings.Repeat("v", 1<<20))
	})
	attempt = send(t, s, post(server.URL))
	requireFailed(t, attempt, core.ErrorProtocol)
	require.Zero(t, attempt.StatusCode)
}

func TestSendKeepsOnlyHeadersThatCanBeStored(t *testing.T) {
	t.Parallel()
	url := raw(t, write("HTTP/1.1 200 OK\r\nX-Good: ü\r\nX-Latin-1: f\xfcr\r\nX-Tab: a\tb\r\nContent-Length: 0\r\n\r\n"))
	attempt := send(t, newSender(t), post(url))
	require.True(t, attempt.Succeeded())
	require.Equal(t, []core.Header{
		{Name: "Content-Length", Value: "0"}, {Name: "X-Good", Value: "ü"}, {Name: "X-Latin-1", Value: "f\uFFFDr"}, {Name: "X-Tab", Value: "a\tb"},
	}, attempt.ResponseHeaders)

	for _, bad := range []string{"a\x00b", "a\x01b"} {
		url := raw(t, write("HTTP/1.1 200 OK\r\nX-Bad: %s\r\nContent-Length: 0\r\n\r\n", bad))
		for _, header := range send(t, newSender(t), post(url)).ResponseHeaders {
			require.NotContains(t, header.Value, bad, "neither Postgres nor a console takes it")
		}
	}
}

func TestSendToSomethingElse(t *testing.T) {
	t.Parallel()
	s := newSender(t)
	for _, answer := range []string{
		"SSH-2.0-OpenSSH_9.6\r\n", "220 mail.example ESMTP\r\n\r\n", "HTTP/1.1 abc OK\r\n\r\n",
		"HTTP/1.1 200 OK\r\nno colon\r\n\r\n", "HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n", "\x00\x01\x02\r\n\r\n",
	} {
		attempt := send(t, s, post(raw(t, write("%s", answer))))
		requireFailed(t, attempt, core.ErrorProtocol)
		require.Zero(t, attempt.StatusCode, "%q", answer)
	}
}

func TestSendUsesConnectionsAgain(t *testing.T) {
	t.Parallel()
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(http.StatusInternalServerError)
		_, _ = io.WriteString(w, strings.Repeat("x", 60<<10))
	}))
	connections := countConnections(server)
	server.Start()
	t.Cleanup(server.Close)
	s := newSender(t)
	for range 20 {
		require.Len(t, send(t, s, post(server.URL)).ResponseBody, 60<<10)
	}
	require.EqualValues(t, 1, connections.Load())

	for range 5 {
		var senders sync.WaitGroup
		for range 8 {
			senders.Go(func() {
				if _, err := s.Send(t.Context(), post(server.URL)); err != nil {
					t.Error(err)
				}
			})
		}
		senders.Wait()
	}
	require.LessOrEqual(t, connections.Load(), int64(8), "as many are kept as attempts are made at once")
}
