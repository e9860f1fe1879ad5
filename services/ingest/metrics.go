package ingest

import "github.com/prometheus/client_golang/prometheus"

// metrics implements natsbus.Metrics and grpcapi.Metrics.
type metrics struct {
	events     prometheus.Counter
	deliveries prometheus.Counter
	rejected   *prometheus.CounterVec
	refused    *prometheus.CounterVec
	warned     prometheus.Counter
	filters    prometheus.Counter
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
		refused: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "meetwire_ingest_refused_total",
			Help: "Events that were refused over gRPC or REST, by the rule that they break, or by why there was no room for them.",
		}, []string{"rule"}),
		warned: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "meetwire_ingest_schema_warnings_total",
			Help: "Events that were fanned out although their data does not satisfy the schema of their trigger, which only warns.",
		}),
		filters: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "meetwire_ingest_filter_failures_total",
			Help: "Times that a webhook's filter could not tell whether an event satisfies it, which counts as no.",
		}),
	}
	registry.MustRegister(m.events, m.deliveries, m.rejected, m.refused, m.warned, m.filters)
	return m
}

// FannedOut implements natsbus.Metrics.
func (m *metrics) FannedOut(deliveries int) {
	m.events.Inc()
	m.deliveries.Add(float64(deliveries))
}

// Rejected implements natsbus.Metrics.
func (m *metrics) Rejected(rule string) { m.rejected.WithLabelValues(rule).Inc() }

// Refused implements grpcapi.Metrics.
func (m *metrics) Refused(rule string) { m.refused.WithLabelValues(rule).Inc() }

// Warned implements natsbus.Metrics.
func (m *metrics) Warned() { m.warned.Inc() }

// FiltersFailed implements natsbus.Metrics.
func (m *metrics) FiltersFailed(n int) { m.filters.Add(float64(n)) }
