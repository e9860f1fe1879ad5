package telemetry

import (
	"context"
	"encoding/json"
	"net/http"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/meetwire/meetwire/pkg/lifecycle"
)

// readyTimeout bounds the checks behind one call of /readyz.
const readyTimeout = 5 * time.Second

// NewRegistry returns a metrics registry with what the Go runtime and the operating system tell of the process.
func NewRegistry() *prometheus.Registry {
	registry := prometheus.NewRegistry()
	registry.MustRegister(
		collectors.NewGoCollector(),
		collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}),
		collectors.NewBuildInfoCollector(),
	)
	return registry
}

// OpsHandler serves what operators and orchestrators ask a process, with GET and HEAD:
//
//	/healthz  200 "ok" while the process serves at all
//	/readyz   200 {"ready":true}, or 503 with the names of the checks that failed, within 5 s
//	/metrics  the registry, in the Prometheus text format or OpenMetrics
//
// It is meant for a private address and asks for no credential; so the answer of /readyz tells the names that
// lifecycle.Ready puts into an error, and nothing else of it.
func OpsHandler(registry *prometheus.Registry, ready func(context.Context) error) http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/plain; charset=utf-8")
		write(w, http.StatusOK, []byte("ok\n"))
	})
	mux.HandleFunc("GET /readyz", func(w http.ResponseWriter, r *http.Request) {
		ctx, cancel := context.WithTimeout(r.Context(), readyTimeout)
		defer cancel()
		writeReadiness(w, ready(ctx))
	})
	mux.Handle("GET /metrics", promhttp.HandlerFor(registry, promhttp.HandlerOpts{
		Registry:          registry,
		EnableOpenMetrics: true,
		ErrorHandling:     promhttp.ContinueOnError,
	}))
	return mux
}

// readiness is the answer of /readyz.
type readiness struct {
	Ready bool   `json:"ready"`
	Error string `json:"error,omitempty"`
}

func writeReadiness(w http.ResponseWriter, err error) {
	status, answer := http.StatusOK, readiness{Ready: true}
	if err != nil {
		status, answer = http.StatusServiceUnavailable, readiness{Error: "not ready"}
		if names := lifecycle.FailedChecks(err); len(names) > 0 {
			answer.Error = "not ready: " + strings.Join(names, ", ")
		}
	}
	body, err := json.Marshal(answer)
	if err != nil {
		http.Error(w, "encode the answer", http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	write(w, status, append(body, '\n'))
}

func write(w http.ResponseWriter, status int, body []byte) {
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(status)
	// It fails when the client has gone, which is its own business.
	_, _ = w.Write(body)
}
