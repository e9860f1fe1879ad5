package delivery

import (
	"github.com/prometheus/client_golang/prometheus"

	"github.com/meetwire/meetwire/services/delivery/internal/core"
)

// metrics counts what was sent. No label is an organization's or a webhook's: there are too many of them.
type metrics struct {
	attempts *prometheus.CounterVec
	duration prometheus.Histogram
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
	}
	registry.MustRegister(m.attempts, m.duration)
	return m
}

func (m *metrics) attempt(attempt *core.Attempt) {
	m.attempts.WithLabelValues(attempt.ErrorClass).Inc()
	m.duration.Observe(attempt.Duration.Seconds())
}
