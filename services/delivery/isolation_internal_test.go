package delivery

import (
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/stretchr/testify/require"

	"github.com/meetwire/meetwire/services/delivery/internal/core"
)

// Each value is shown under its own name.
func TestLoadIsShown(t *testing.T) {
	t.Parallel()
	collector := newLoadCollector(nil, nil)
	collector.load = func() core.Load {
		return core.Load{Active: 1, Suspects: 2, Waiting: 3, Lent: 4, BreakerOpen: 5, Opened: 6}
	}
	collector.count = func() int { return 7 }
	registry := prometheus.NewPedanticRegistry()
	registry.MustRegister(collector)
	families, err := registry.Gather()
	require.NoError(t, err)
	shown := make(map[string]float64)
	for _, family := range families {
		require.Len(t, family.GetMetric(), 1)
		one := family.GetMetric()[0]
		shown[family.GetName()] = one.GetGauge().GetValue() + one.GetCounter().GetValue()
		counter := family.GetName() == "meetwire_delivery_breaker_opens_total"
		require.Equal(t, counter, (family.GetType().String() == "COUNTER"), family.GetName())
	}
	require.Equal(t, map[string]float64{
		"meetwire_delivery_active_attempts":     1,
		"meetwire_delivery_suspect_attempts":    2,
		"meetwire_delivery_waiting_tasks":       3,
		"meetwire_delivery_delayed_messages":    4,
		"meetwire_delivery_open_breakers":       5,
		"meetwire_delivery_breaker_opens_total": 6,
		"meetwire_delivery_members":             7,
	}, shown)
}
