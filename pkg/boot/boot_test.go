package boot

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/meetwire/meetwire/pkg/lifecycle"
	"github.com/meetwire/meetwire/pkg/pgtest"
)

// patience bounds waiting for what should happen at once: the machine may be busy.
const patience = 20 * time.Second

var errBroken = errors.New("broken")

func TestMain(m *testing.M) {
	if mode := os.Getenv(envChild); mode != "" {
		os.Exit(child(mode)) //nolint:forbidigo // this is main of another process
	}
	pgtest.Main(m)
}

// output is what a process wrote to its standard error.
type output struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (o *output) Write(b []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.text.Write(b)
}

func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.text.String()
}

// lines returns the whole lines of the log that have this message, and those of any message when it is empty.
func (o *output) lines(t *testing.T, message string) (lines []map[string]any) {
	t.Helper()
	for text := range strings.Lines(o.String()) {
		if !strings.HasSuffix(text, "\n") {
			break
		}
		var line map[string]any
		require.NoError(t, json.Unmarshal([]byte(text), &line), text)
		if message == "" || line["msg"] == message {
			lines = append(lines, line)
		}
	}
	return lines
}

// service is a service made of functions.
type service struct {
	run   func(context.Context) error
	ready func(context.Context) error
}

func (s service) Run(ctx context.Context) error { return s.run(ctx) }

func (s service) Ready(ctx context.Context) error {
	if s.ready == nil {
		return nil
	}
	return s.ready(ctx)
}

// untilStopped is a run that does nothing until it is told to stop.
func untilStopped(ctx context.Context) error {
	<-ctx.Done()
	return nil
}

// settings is a configuration as services have it.
type settings struct {
	Config `embed:""`
}

// process is a program that runs in the background, as long as its test.
type process struct {
	output

	stop context.CancelFunc
	done chan struct{}
	code int // when done is closed
}

func start(t *testing.T, build func(context.Context, *Runtime) (Service, error), args ...string) *process {
	t.Helper()
	p := &process{done: make(chan struct{})}
	config := &settings{}
	program := &program{name: "test", config: config, common: &config.Config, stderr: &p.output, build: build}
	ctx, cancel := context.WithCancel(t.Context())
	p.stop = cancel
	go func() {
		defer close(p.done)
		p.code = program.run(ctx, args)
	}()
	t.Cleanup(func() {
		cancel()
		<-p.done
	})
	return p
}

// startService starts a program whose service is ready made.
func startService(t *testing.T, s Service, args ...string) *process {
	t.Helper()
	return start(t, func(context.Context, *Runtime) (Service, error) { return s, nil }, args...)
}

// wait returns the exit code.
func (p *process) wait(t *testing.T) int {
	t.Helper()
	select {
	case <-p.done:
	case <-time.After(patience):
		require.FailNow(t, "the program does not end", p.String())
	}
	return p.code
}

// logged waits for a message in the log and returns its line.
func (p *process) logged(t *testing.T, message string) map[string]any {
	t.Helper()
	require.Eventually(t, func() bool { return len(p.lines(t, message)) > 0 }, patience, time.Millisecond, "wait for %q", message)
	return p.lines(t, message)[0]
}

// get asks one of the operators' endpoints.
func (p *process) get(t *testing.T, path string) (status int, body string) {
	t.Helper()
	address, ok := p.logged(t, "listening")["address"].(string)
	require.True(t, ok)
	status, body, err := get(t.Context(), address, path)
	require.NoError(t, err)
	return status, body
}

func get(ctx context.Context, address, path string) (status int, body string, err error) {
	transport := &http.Transport{DisableKeepAlives: true}
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+address+path, nil)
	if err != nil {
		return 0, "", err
	}
	answer, err := transport.RoundTrip(request)
	if err != nil {
		return 0, "", err
	}
	defer answer.Body.Close()
	content, err := io.ReadAll(answer.Body)
	return answer.StatusCode, string(content), err
}

func TestProgramStopsInOrder(t *testing.T) {
	t.Parallel()
	var events []string // by one goroutine at a time
	draining, drained := make(chan struct{}), make(chan struct{})
	p := start(t, func(_ context.Context, r *Runtime) (Service, error) {
		closing := func(name string) func(context.Context) error {
			return func(ctx context.Context) error {
				events = append(events, "close "+name)
				return ctx.Err()
			}
		}
		r.Defer("first", closing("first"))
		r.Defer("second", closing("second"))
		return service{run: func(ctx context.Context) error {
			<-ctx.Done()
			close(draining)
			<-drained
			if lifecycle.Grace(ctx).Err() == nil {
				events = append(events, "drained")
			}
			return nil
		}}, nil
	})
	p.logged(t, "started")
	status, body := p.get(t, "/readyz")
	require.Equal(t, http.StatusOK, status)
	require.JSONEq(t, `{"ready":true}`, body)

	p.stop()
	<-draining
	p.logged(t, "stopping")
	status, body = p.get(t, "/readyz")
	require.Equal(t, http.StatusServiceUnavailable, status, "unready while it drains")
	require.JSONEq(t, `{"ready":false,"error":"not ready: stop"}`, body)
	status, _ = p.get(t, "/healthz")
	require.Equal(t, http.StatusOK, status, "alive while it drains")

	close(drained)
	require.Equal(t, exitStopped, p.wait(t))
	require.Equal(t, []string{"drained", "close second", "close first"}, events)
	_, _, err := get(t.Context(), p.logged(t, "listening")["address"].(string), "/healthz")
	require.Error(t, err, "the operators' endpoints are closed")

	var messages []string
	for _, line := range p.lines(t, "") {
		require.Equal(t, "test", line["service"])
		messages = append(messages, line["msg"].(string))
	}
	require.Equal(t, []string{"starting", "listening", "started", "ready", "stopping", "not ready", "stopped"}, messages)
}

func TestProgramFails(t *testing.T) {
	t.Parallel()
	run := func(f func(context.Context) error) func(context.Context) (Service, error) {
		return func(context.Context) (Service, error) { return service{run: f}, nil }
	}
	tests := map[string]struct {
		build func(context.Context) (Service, error)
		want  string
	}{
		"build fails":   {func(context.Context) (Service, error) { return nil, errBroken }, "service: start: broken"},
		"build panics":  {func(context.Context) (Service, error) { panic("ouch") }, "service: panic: ouch"},
		"run fails":     {run(func(context.Context) error { return errBroken }), "service: broken"},
		"run panics":    {run(func(context.Context) error { panic("ouch") }), "service: panic: ouch"},
		"run just ends": {run(func(context.Context) error { return nil }), "service: ended by itself"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			closed := false
			p := start(t, func(ctx context.Context, r *Runtime) (Service, error) {
				r.Defer("resource", func(context.Context) error { closed = true; return nil })
				return test.build(ctx)
			})
			require.Equal(t, exitFailed, p.wait(t))
			require.Equal(t, test.want, p.logged(t, "failed")["error"])
			require.True(t, closed, "what was opened is closed")
			require.Equal(t, "a part of the process ended", p.logged(t, "stopping")["cause"])
		})
	}
}

func TestProgramReportsWhatCannotBeClosed(t *testing.T) {
	t.Parallel()
	p := start(t, func(_ context.Context, r *Runtime) (Service, error) {
		r.Defer("first", func(context.Context) error { return errBroken })
		r.Defer("second", func(context.Context) error { panic("ouch") })
		return service{run: untilStopped}, nil
	})
	p.logged(t, "started")
	p.stop()
	require.Equal(t, exitFailed, p.wait(t))
	require.Equal(t, "resources: second: panic: ouch\nfirst: broken", p.logged(t, "failed")["error"])
}

func TestProgramIsStoppedWhileItStarts(t *testing.T) {
	t.Parallel()
	building := make(chan struct{})
	p := start(t, func(ctx context.Context, _ *Runtime) (Service, error) {
		close(building)
		<-ctx.Done()
		return nil, fmt.Errorf("connect: %w", ctx.Err())
	})
	<-building
	status, body := p.get(t, "/readyz")
	require.Equal(t, http.StatusServiceUnavailable, status)
	require.JSONEq(t, `{"ready":false,"error":"not ready: start"}`, body)
	status, _ = p.get(t, "/healthz")
	require.Equal(t, http.StatusOK, status, "alive while it waits for what it needs")
	p.stop()
	require.Equal(t, exitStopped, p.wait(t))
}

func TestProgramCutsOffWhatTakesLongerThanTheGracePeriod(t *testing.T) {
	t.Parallel()
	p := startService(t, service{run: func(ctx context.Context) error {
		<-ctx.Done()
		inFlight := lifecycle.Grace(ctx)
		<-inFlight.Done()
		return fmt.Errorf("one delivery in flight: %w", inFlight.Err())
	}}, "--shutdown-grace=50ms")
	p.logged(t, "started")
	p.stop()
	require.Equal(t, exitFailed, p.wait(t))
	failure := p.logged(t, "failed")["error"]
	require.Contains(t, failure, "service: one delivery in flight: context deadline exceeded")
	require.Contains(t, failure, "grace period exceeded: 50ms by service")
}

func TestProgramDoesNotWaitForEver(t *testing.T) {
	t.Parallel()
	release, released := make(chan struct{}), make(chan struct{})
	p := startService(t, service{run: func(context.Context) error {
		defer close(released)
		<-release
		return nil
	}}, "--shutdown-grace=1ms")
	p.logged(t, "started")
	p.stop()
	require.Equal(t, exitFailed, p.wait(t))
	require.Contains(t, p.logged(t, "failed")["error"], "grace period exceeded: parts of the process still run")
	close(release)
	<-released
}

func TestProgramNeedsItsOpsAddress(t *testing.T) {
	t.Parallel()
	var config net.ListenConfig
	taken, err := config.Listen(t.Context(), "tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer taken.Close()
	p := startService(t, service{run: untilStopped}, "--ops-addr", taken.Addr().String())
	require.Equal(t, exitFailed, p.wait(t))
	require.Contains(t, p.logged(t, "failed")["error"], "serve the operators' endpoints (MEETWIRE_OPS_ADDR): listen: ")
}

func TestProgramServesItsMetrics(t *testing.T) {
	t.Parallel()
	p := startService(t, service{run: untilStopped})
	status, body := p.get(t, "/metrics")
	require.Equal(t, http.StatusOK, status)
	require.Contains(t, body, "go_goroutines ")
}

func TestProgramLogsReadinessWhenItChanges(t *testing.T) {
	t.Parallel()
	var mu sync.Mutex
	var problem error
	set := func(err error) {
		mu.Lock()
		defer mu.Unlock()
		problem = err
	}
	p := startService(t, service{run: untilStopped, ready: func(ctx context.Context) error {
		mu.Lock()
		err := problem
		mu.Unlock()
		return lifecycle.Ready(ctx, lifecycle.Check{Name: "postgres", Func: func(context.Context) error { return err }})
	}})
	p.logged(t, "started")
	for _, err := range []error{nil, nil, errors.New("dial 10.0.0.7: refused"), errors.New("dial 10.0.0.7: refused"), nil} {
		set(err)
		status, body := p.get(t, "/readyz")
		require.Equal(t, err == nil, status == http.StatusOK)
		require.NotContains(t, body, "10.0.0.7")
	}
	require.Len(t, p.lines(t, "ready"), 2)
	require.Len(t, p.lines(t, "not ready"), 1)
	require.Equal(t, "postgres: dial 10.0.0.7: refused", p.logged(t, "not ready")["error"])
}
