package telemetry_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/alecthomas/kong"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/meetwire/meetwire/pkg/lifecycle"
	"github.com/meetwire/meetwire/pkg/secret"
	"github.com/meetwire/meetwire/pkg/telemetry"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestLoggerLevels(t *testing.T) {
	t.Parallel()
	levels := []string{"debug", "info", "warn", "error"}
	for i, level := range levels {
		t.Run(level, func(t *testing.T) {
			t.Parallel()
			var out bytes.Buffer
			logger, err := telemetry.NewLogger(&out, telemetry.LogConfig{LogLevel: level, LogFormat: "json"})
			require.NoError(t, err)
			logger.Debug("m")
			logger.Info("m")
			logger.Warn("m")
			logger.Error("m")
			require.Equal(t, len(levels)-i, strings.Count(out.String(), "\n"))
		})
	}
}

func TestLoggerFormats(t *testing.T) {
	t.Parallel()
	log := func(format string) string {
		var out bytes.Buffer
		logger, err := telemetry.NewLogger(&out, telemetry.LogConfig{LogLevel: "info", LogFormat: format})
		require.NoError(t, err)
		at := time.Date(2026, 3, 4, 12, 0, 0, 0, time.FixedZone("", 2*60*60))
		logger.Info("started", slog.Time("at", at), slog.Duration("took", 1500*time.Millisecond), slog.Any("token", secret.New("hunter2")))
		return out.String()
	}

	var line map[string]any
	require.NoError(t, json.Unmarshal([]byte(log("json")), &line))
	require.Equal(t, "started", line["msg"])
	require.Equal(t, "INFO", line["level"])
	require.Equal(t, "2026-03-04T10:00:00Z", line["at"])
	require.Equal(t, "1.5s", line["took"])
	require.Equal(t, "REDACTED", line["token"])
	require.True(t, strings.HasSuffix(line["time"].(string), "Z"), "times are UTC")

	require.Contains(t, log("text"), "msg=started at=2026-03-04T10:00:00.000Z took=1.5s token=REDACTED")
}

func TestLoggerRefusesWhatItDoesNotKnow(t *testing.T) {
	t.Parallel()
	_, err := telemetry.NewLogger(io.Discard, telemetry.LogConfig{LogLevel: "loud", LogFormat: "json"})
	require.ErrorContains(t, err, `log level "loud" is not one of debug, info, warn, error`)
	_, err = telemetry.NewLogger(io.Discard, telemetry.LogConfig{LogLevel: "info", LogFormat: "xml"})
	require.ErrorContains(t, err, `log format "xml" is not one of json, text`)
	_, err = telemetry.NewLogger(io.Discard, telemetry.LogConfig{})
	require.Error(t, err)
}

func TestLogConfigDefaultsMakeALogger(t *testing.T) {
	t.Parallel()
	var cfg telemetry.LogConfig
	parser, err := kong.New(&cfg)
	require.NoError(t, err)
	_, err = parser.Parse(nil)
	require.NoError(t, err)
	require.Equal(t, telemetry.LogConfig{LogLevel: "info", LogFormat: "json"}, cfg)
	_, err = parser.Parse([]string{"--log-level=loud"})
	require.ErrorContains(t, err, "--log-level")
}

func ready(context.Context) error { return nil }

func get(t *testing.T, handler http.Handler, method, path string) *httptest.ResponseRecorder {
	t.Helper()
	answer := httptest.NewRecorder()
	handler.ServeHTTP(answer, httptest.NewRequestWithContext(t.Context(), method, path, nil))
	return answer
}

func TestHealthz(t *testing.T) {
	t.Parallel()
	failing := func(context.Context) error { return errors.New("postgres is away") }
	answer := get(t, telemetry.OpsHandler(telemetry.NewRegistry(), failing), http.MethodGet, "/healthz")
	require.Equal(t, http.StatusOK, answer.Code, "a process that is not ready is still alive")
	require.Equal(t, "ok\n", answer.Body.String())
}

func TestReadyz(t *testing.T) {
	t.Parallel()
	const host = "dial tcp 10.0.0.7:5432: password hunter2 refused"
	tests := map[string]struct {
		err    error
		status int
		body   string
	}{
		"ready":              {nil, 200, `{"ready":true}`},
		"checks are named":   {lifecycle.Ready(t.Context(), failing("postgres", host), failing("nats", host)), 503, `{"ready":false,"error":"not ready: postgres, nats"}`},
		"others are not":     {errors.New(host), 503, `{"ready":false,"error":"not ready"}`},
		"nested":             {&lifecycle.CheckError{Name: "delivery", Err: lifecycle.Ready(t.Context(), failing("feed", host))}, 503, `{"ready":false,"error":"not ready: delivery.feed"}`},
		"names are escaped":  {&lifecycle.CheckError{Name: `"<b>`, Err: errors.New(host)}, 503, `{"ready":false,"error":"not ready: \"\u003cb\u003e"}`},
		"a context that end": {context.DeadlineExceeded, 503, `{"ready":false,"error":"not ready"}`},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			handler := telemetry.OpsHandler(telemetry.NewRegistry(), func(context.Context) error { return test.err })
			answer := get(t, handler, http.MethodGet, "/readyz")
			require.Equal(t, test.status, answer.Code)
			require.Equal(t, test.body+"\n", answer.Body.String())
			require.Equal(t, "application/json", answer.Header().Get("Content-Type"))
			require.Equal(t, "no-store", answer.Header().Get("Cache-Control"))
		})
	}
}

func failing(name, text string) lifecycle.Check {
	return lifecycle.Check{Name: name, Func: func(context.Context) error { return errors.New(text) }}
}

func TestReadyzBoundsItsChecks(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		began := time.Now()
		answer := get(t, telemetry.OpsHandler(telemetry.NewRegistry(), func(ctx context.Context) error {
			<-ctx.Done()
			return ctx.Err()
		}), http.MethodGet, "/readyz")
		require.Equal(t, http.StatusServiceUnavailable, answer.Code)
		require.Equal(t, 5*time.Second, time.Since(began))
	})
}

func TestMetrics(t *testing.T) {
	t.Parallel()
	registry := telemetry.NewRegistry()
	counter := prometheus.NewCounter(prometheus.CounterOpts{Name: "meetwire_test_total", Help: "For this test."})
	registry.MustRegister(counter)
	counter.Add(3)
	answer := get(t, telemetry.OpsHandler(registry, ready), http.MethodGet, "/metrics")
	require.Equal(t, http.StatusOK, answer.Code)
	for _, want := range []string{"meetwire_test_total 3", "go_goroutines ", "process_open_fds ", "go_build_info{"} {
		require.Contains(t, answer.Body.String(), want)
	}
	other := get(t, telemetry.OpsHandler(telemetry.NewRegistry(), ready), http.MethodGet, "/metrics")
	require.NotContains(t, other.Body.String(), "meetwire_test_total", "registries share nothing")
}

func TestOpsHandlerRefusesEverythingElse(t *testing.T) {
	t.Parallel()
	handler := telemetry.OpsHandler(telemetry.NewRegistry(), ready)
	for _, path := range []string{"/healthz", "/readyz", "/metrics"} {
		require.Equal(t, http.StatusMethodNotAllowed, get(t, handler, http.MethodPost, path).Code, path)
		require.Equal(t, http.StatusOK, get(t, handler, http.MethodHead, path).Code, path)
	}
	for _, path := range []string{"/", "/debug/pprof/", "/metrics/x"} {
		require.Equal(t, http.StatusNotFound, get(t, handler, http.MethodGet, path).Code, path)
	}
}
