package rpc

import (
	"errors"
	"fmt"

	"github.com/prometheus/client_golang/prometheus"
	"google.golang.org/grpc/codes"
)

// serverMetrics is what a server tells about its calls. Servers that share a registry share it.
type serverMetrics struct {
	duration *prometheus.HistogramVec // method, code
	inFlight *prometheus.GaugeVec     // method
}

func newServerMetrics(registry prometheus.Registerer) (*serverMetrics, error) {
	duration, err := register(registry, prometheus.NewHistogramVec(prometheus.HistogramOpts{
		Name:    "meetwire_rpc_server_duration_seconds",
		Help:    "How long calls took, from the first byte of the request to the end of the answer.",
		Buckets: []float64{.0005, .001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 30},
	}, []string{"method", "code"}))
	if err != nil {
		return nil, err
	}
	inFlight, err := register(registry, prometheus.NewGaugeVec(prometheus.GaugeOpts{
		Name: "meetwire_rpc_server_in_flight",
		Help: "Calls that have begun and not ended.",
	}, []string{"method"}))
	if err != nil {
		return nil, err
	}
	return &serverMetrics{duration: duration, inFlight: inFlight}, nil
}

// register registers a collector, or returns the one that another server has registered: several servers of
// one process share a registry.
func register[C prometheus.Collector](registry prometheus.Registerer, collector C) (C, error) {
	err := registry.Register(collector)
	if err == nil {
		return collector, nil
	}
	if registered := (prometheus.AlreadyRegisteredError{}); errors.As(err, &registered) {
		if existing, ok := registered.ExistingCollector.(C); ok {
			return existing, nil
		}
	}
	return collector, fmt.Errorf("register the metrics of gRPC calls: %w", err)
}

// methodMetrics is the part of one method, with what almost every call needs looked up once.
type methodMetrics struct {
	method   string
	duration *prometheus.HistogramVec
	ok       prometheus.Observer
	inFlight prometheus.Gauge
}

func (m *serverMetrics) of(fullMethod string) methodMetrics {
	return methodMetrics{
		method:   fullMethod,
		duration: m.duration,
		ok:       m.duration.WithLabelValues(fullMethod, snake(codes.OK)),
		inFlight: m.inFlight.WithLabelValues(fullMethod),
	}
}

func (m *methodMetrics) observe(code codes.Code, seconds float64) {
	if code == codes.OK {
		m.ok.Observe(seconds)
		return
	}
	m.duration.WithLabelValues(m.method, snake(code)).Observe(seconds)
}
