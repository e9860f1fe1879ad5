package delivery

import (
	"github.com/prometheus/client_golang/prometheus"

	"github.com/meetwire/meetwire/services/delivery/internal/core"
)

// metrics counts what was sent. No label is an organization's or a webhook's: there are too many of them.
type metrics struct {
	attempts *prometheus.CounterVec
	duration prometheus.Histogram
	drained  prometheus.Counter
	reports  *prometheus.CounterVec
	lag      prometheus.Gauge
	yielded  prometheus.Counter
}

func newMetrics(registry prometheus.Registerer) *metrics {
	m := &metrics{
		attempts: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "meetwire_delivery_attempts_total",
			Help: "HTTP requests to receivers, by class of error; an empty class is a success.",
		}, []string{"error_class"}),
		duration: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name:    "meetwire_delivery_attempt_duration_seconds",
			Help:    "How long HTTP requests to receivers took.",
			Buckets: prometheus.ExponentialBuckets(0.001, 2, 16),
		}),
		drained: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "meetwire_delivery_drained_total",
			Help: "Deliveries that waited for a webhook when it was disabled, and were made dead letters.",
		}),
		reports: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "meetwire_delivery_reports_total",
			Help: "Reports to subscription, by kind and gRPC code.",
		}, []string{"kind", "code"}),
		lag: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "meetwire_delivery_recorder_lag_records",
			Help: "Records that wait to be written to Postgres, as seen by the instance that writes them.",
		}),
		yielded: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "meetwire_delivery_recorder_yielded_seconds_total",
			Help: "How long records have waited because deliveries did.",
		}),
	}
	registry.MustRegister(m.attempts, m.duration, m.drained, m.reports, m.lag, m.yielded)
	return m
}

func (m *metrics) attempt(attempt *core.Attempt) {
	m.attempts.WithLabelValues(attempt.ErrorClass).Inc()
	m.duration.Observe(attempt.Duration.Seconds())
}
