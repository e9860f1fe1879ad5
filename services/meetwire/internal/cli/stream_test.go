package cli

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/encoding/protojson"

	"github.com/meetwire/meetwire/pkg/secret"
	operationv1 "github.com/meetwire/meetwire/proto/gen/meetwire/operation/v1"
)

const operationName = "organizations/acme/operations/3f0c5d52-6a4e-4f0e-9d7c-0f5a8a3d6a12"

// streaming answers each request with the next of some streams.
func streaming(t *testing.T, streams ...func(w http.ResponseWriter, flush func())) (url string, paths *[]string) {
	t.Helper()
	paths = new([]string)
	var mu sync.Mutex
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		n := len(*paths)
		*paths = append(*paths, r.Method+" "+r.URL.RequestURI())
		mu.Unlock()
		streams[min(n, len(streams)-1)](w, func() { _ = http.NewResponseController(w).Flush() })
	}))
	t.Cleanup(func() {
		http.DefaultTransport.(*http.Transport).CloseIdleConnections()
		s.Close()
	})
	return s.URL, paths
}

// line writes an operation as a line of a stream.
func line(w io.Writer, o *operationv1.Operation) {
	encoded, _ := protojson.Marshal(o)
	_, _ = fmt.Fprintf(w, "{\"result\":%s}\n", encoded)
}

// under is an operation under way.
func under(done, total int64) *operationv1.Operation {
	return &operationv1.Operation{
		Name: operationName, Type: "replay_events", State: operationv1.Operation_STATE_RUNNING,
		ProcessedCount: done, AffectedCount: done, TotalCount: total,
	}
}

// over is one that has ended.
func over(state operationv1.Operation_State) *operationv1.Operation {
	o := under(10, 10)
	o.State, o.Done = state, true
	return o
}

// receive calls a stream and returns what comes before its end.
func receive(t *testing.T, url string) (all []*operationv1.Operation, err error) {
	t.Helper()
	conn, err := newConn(url, secret.New(testKey))
	require.NoError(t, err)
	stream, err := operationv1.NewOperationServiceClient(conn).WatchOperation(t.Context(), &operationv1.WatchOperationRequest{Name: operationName})
	if err != nil {
		return nil, err
	}
	for {
		o, err := stream.Recv()
		if err != nil {
			_, again := stream.Recv()
			require.ErrorIs(t, again, io.EOF, "there is nothing after the end")
			return all, err
		}
		all = append(all, o)
	}
}

func TestStreamsComeLineByLine(t *testing.T) {
	t.Parallel()
	proceed := make(chan struct{})
	url, paths := streaming(t, func(w http.ResponseWriter, flush func()) {
		line(w, under(1, 10))
		flush()
		<-proceed
		_, _ = io.WriteString(w, `{"result":{"processedCount":"2","ofANewerServer":true}}`+"\n")
		line(w, over(operationv1.Operation_STATE_SUCCEEDED))
	})
	conn, err := newConn(url, secret.New(testKey))
	require.NoError(t, err)
	stream, err := operationv1.NewOperationServiceClient(conn).WatchOperation(t.Context(), &operationv1.WatchOperationRequest{Name: operationName})
	require.NoError(t, err)
	for _, want := range []int64{1, 2, 10} {
		o, err := stream.Recv()
		require.NoError(t, err)
		require.Equal(t, want, o.GetProcessedCount())
		if want == 1 {
			close(proceed) // the first was told before the second was there
		}
	}
	_, err = stream.Recv()
	require.ErrorIs(t, err, io.EOF)
	require.Equal(t, []string{"GET /v1/" + operationName + ":watch"}, *paths)
}

func TestStreamsThatFail(t *testing.T) {
	t.Parallel()
	const refusal = `{"code":5,"message":"it does not exist"}`
	for name, c := range map[string]struct {
		stream func(w http.ResponseWriter, flush func())
		code   codes.Code
		says   string
		before int
	}{
		"refused by the gateway": {func(w http.ResponseWriter, _ func()) {
			w.WriteHeader(http.StatusNotFound)
			_, _ = io.WriteString(w, refusal)
		}, codes.NotFound, "it does not exist", 0},
		"refused by the service": {func(w http.ResponseWriter, _ func()) {
			w.WriteHeader(http.StatusNotFound)
			_, _ = io.WriteString(w, `{"error":`+refusal+"}\n")
		}, codes.NotFound, "it does not exist", 0},
		"refused by a proxy": {func(w http.ResponseWriter, _ func()) { w.WriteHeader(http.StatusBadGateway) }, codes.Unknown, "502", 0},
		"failed later": {func(w http.ResponseWriter, _ func()) {
			line(w, under(1, 2))
			_, _ = io.WriteString(w, `{"error":{"code":14,"message":"watch again"}}`+"\n")
		}, codes.Unavailable, "watch again", 1},
		"broken off": {func(w http.ResponseWriter, flush func()) {
			line(w, under(1, 2))
			flush()
			panic(http.ErrAbortHandler)
		}, codes.Unavailable, "", 1},
		"no JSON":     {func(w http.ResponseWriter, _ func()) { _, _ = io.WriteString(w, "<html>\n") }, codes.Unknown, "right --server", 0},
		"other JSON":  {func(w http.ResponseWriter, _ func()) { _, _ = io.WriteString(w, "{}\n") }, codes.Unknown, "right --server", 0},
		"other field": {func(w http.ResponseWriter, _ func()) { _, _ = io.WriteString(w, `{"result":{"done":7}}`+"\n") }, codes.Unknown, "right --server", 0},
	} {
		url, _ := streaming(t, c.stream)
		all, err := receive(t, url)
		require.Len(t, all, c.before, name)
		require.Equal(t, c.code, status.Code(err), "%s: %v", name, err)
		require.ErrorContains(t, err, c.says, name)
		requireNoKey(t, err.Error())
	}
	_, err := receive(t, "http://127.0.0.1:1")
	require.Equal(t, codes.Unavailable, status.Code(err), "%v", err)
	conn, err := newConn("http://127.0.0.1:1", secret.New(testKey))
	require.NoError(t, err)
	_, err = conn.NewStream(t.Context(), &operationv1.OperationService_ServiceDesc.Streams[0], "/meetwire.config.v1.ConfigService/WatchConfig")
	require.ErrorIs(t, err, errNoMethod)
}

func TestWaitingFollowsAnOperationToItsEnd(t *testing.T) {
	t.Parallel()
	url, paths := streaming(t,
		func(w http.ResponseWriter, flush func()) { // an instance that stops
			line(w, under(2, 10))
			flush()
			_, _ = io.WriteString(w, `{"error":{"code":14,"message":"this instance stops"}}`+"\n")
		},
		func(w http.ResponseWriter, _ func()) {
			line(w, over(operationv1.Operation_STATE_SUCCEEDED))
		})
	c := newConsole(t, url, "", "table")
	require.NoError(t, (&operationsWait{operationArg{operationName}}).Run(c.Session))
	require.Len(t, *paths, 2)
	require.Contains(t, c.out.String(), "succeeded")
	require.NotContains(t, c.out.String(), "of 10", "answers stay apart from progress")
	require.Contains(t, c.err.String(), "replay_events: 2 of 10 (20 %), 2 affected\n")
	require.Contains(t, c.err.String(), "replay_events: 10 of 10 (100 %), 10 affected\n")
}

func TestWaitingFailsWithTheOperation(t *testing.T) {
	t.Parallel()
	url, _ := streaming(t, func(w http.ResponseWriter, _ func()) { line(w, over(operationv1.Operation_STATE_CANCELED)) })
	c := newConsole(t, url, "", "json")
	require.ErrorIs(t, c.followOperation(operationName), errOperationFailed)
	require.Contains(t, c.out.String(), `"state": "STATE_CANCELED"`)
	require.Empty(t, c.err.String(), "there was nothing to wait for")

	url, _ = streaming(t, func(w http.ResponseWriter, _ func()) {
		w.WriteHeader(http.StatusForbidden)
		_, _ = io.WriteString(w, `{"code":7,"message":"not yours"}`)
	})
	c = newConsole(t, url, "", "table")
	require.Equal(t, codes.PermissionDenied, status.Code(c.followOperation(operationName)))
}

// screen is a terminal's, and its clock.
type screen struct {
	strings.Builder
	at time.Time
}

func (s *screen) progress(terminal bool) *progress {
	return &progress{out: s, terminal: terminal, now: func() time.Time { return s.at }}
}

func TestProgressInLines(t *testing.T) {
	t.Parallel()
	s := &screen{at: time.Unix(1_000_000, 0)}
	p := s.progress(false)
	o := under(100, 1000)
	o.SkippedCount, o.RepeatCount = 3, 2
	require.NoError(t, p.show(o))
	s.at = s.at.Add(time.Second)
	require.NoError(t, p.show(under(150, 1000)))
	s.at = s.at.Add(9 * time.Second)
	o = under(200, 1000)
	o.DryRun = true
	require.NoError(t, p.show(o))
	s.at = s.at.Add(time.Minute)
	o = under(0, 0)
	o.Error = status.New(codes.Unavailable, "the stream is\nfull "+strings.Repeat("x", 100)).Proto()
	require.NoError(t, p.show(o))
	o = over(operationv1.Operation_STATE_SUCCEEDED)
	require.NoError(t, p.end(o))
	require.Equal(t, strings.Join([]string{
		"replay_events: 100 of 1000 (10 %), 100 affected, 3 skipped, 2 may be repeated",
		"replay_events (dry run): 200 of 1000 (20 %), 200 affected, about 1m20s left",
		"replay_events (the stream is full " + strings.Repeat("x", 41) + "): 0",
		"replay_events: 10 of 10 (100 %), 10 affected", "",
	}, "\n"), s.String())
}

func TestProgressOnATerminal(t *testing.T) {
	t.Parallel()
	s := &screen{at: time.Unix(1_000_000, 0)}
	p := s.progress(true)
	require.NoError(t, p.show(under(0, 0)), "nobody has counted yet")
	for _, done := range []int64{0, 500, 1500, 1000} {
		require.NoError(t, p.show(under(done, 1000)))
	}
	require.NoError(t, p.end(under(1000, 1000)))
	require.NoError(t, p.finish(), "once is enough")
	require.Contains(t, s.String(), "\r")
	require.Contains(t, s.String(), "50%")
	require.Contains(t, s.String(), "500/1000")
	require.Contains(t, s.String(), "100%")
	require.True(t, strings.HasSuffix(s.String(), "\n"))
	require.NoError(t, s.progress(true).end(under(0, 0)), "there was no bar")
	require.ErrorIs(t, s.progress(true).abandon(errNoMethod), errNoMethod)
}

// broken is a terminal that went away.
type broken struct{}

var errBroken = errors.New("broken pipe")

func (broken) Write([]byte) (int, error) { return 0, errBroken }

func TestProgressThatCannotBeWritten(t *testing.T) {
	t.Parallel()
	for _, terminal := range []bool{false, true} {
		p := &progress{out: broken{}, terminal: terminal, now: time.Now}
		require.ErrorIs(t, p.show(under(1, 2)), errBroken)
	}
}
