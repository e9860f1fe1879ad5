package ingest

import (
	"github.com/prometheus/client_golang/prometheus"

	"github.com/meetwire/meetwire/services/ingest/internal/index"
)

func newIndexMetrics(registry prometheus.Registerer) index.Metrics {
	m := index.Metrics{
		Rows: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "meetwire_ingest_indexed_events_total",
			Help: "Events that were written into the index in Postgres.",
		}),
		LeftOut: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "meetwire_ingest_index_left_out_total",
			Help: "Messages of FANOUTS that can never be written into the index, and were passed over.",
		}),
		Lag: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "meetwire_ingest_index_lag_messages",
			Help: "Messages of FANOUTS that wait to be written into the index.",
		}),
	}
	registry.MustRegister(m.Rows, m.LeftOut, m.Lag)
	return m
}
