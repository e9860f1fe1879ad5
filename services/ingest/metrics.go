package ingest

import "github.com/prometheus/client_golang/prometheus"

// metrics implements natsbus.Metrics.
type metrics struct {
	events     prometheus.Counter
	deliveries prometheus.Counter
	rejected   *prometheus.CounterVec
}

func newMetrics(registry prometheus.Registerer) *metrics {
	m := &metrics{
		events: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "meetwire_ingest_events_total",
			Help: "Events that were fanned out.",
		}),
		deliveries: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "meetwire_ingest_deliveries_total",
			Help: "Deliveries that were made from events.",
		}),
		rejected: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "meetwire_ingest_rejected_total",
			Help: "Events that came over NATS and were not accepted, by the rule that they break.",
		}, []string{"rule"}),
	}
	registry.MustRegister(m.events, m.deliveries, m.rejected)
	return m
}

// FannedOut implements natsbus.Metrics.
func (m *metrics) FannedOut(deliveries int) {
	m.events.Inc()
	m.deliveries.Add(float64(deliveries))
}

// Rejected implements natsbus.Metrics.
func (m *metrics) Rejected(rule string) { m.rejected.WithLabelValues(rule).Inc() }
