package delivery_test

import (
	"net/http"
	"net/http/httptest"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/stretchr/testify/require"
)

// metric is the sum of a metric over its labels, and -1 when there is none.
func metric(t *testing.T, registry *prometheus.Registry, name string) float64 {
	t.Helper()
	families, err := registry.Gather()
	require.NoError(t, err)
	for _, family := range families {
		if family.GetName() == name {
			sum := 0.0
			for _, m := range family.GetMetric() {
				sum += m.GetGauge().GetValue() + m.GetCounter().GetValue()
			}
			return sum
		}
	}
	return -1
}

// busy is a receiver that takes a while, and notes when requests came and how many there were at once.
type busy struct {
	mu           sync.Mutex
	came         []time.Time
	active, most int
}

func newBusy(t *testing.T, takes time.Duration) (*busy, string) {
	t.Helper()
	b := new(busy)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		b.mu.Lock()
		b.came = append(b.came, time.Now())
		b.active++
		b.most = max(b.most, b.active)
		b.mu.Unlock()
		select {
		case <-time.After(takes):
		case <-r.Context().Done():
		}
		b.mu.Lock()
		b.active--
		b.mu.Unlock()
		w.WriteHeader(http.StatusNoContent)
	}))
	t.Cleanup(server.Close)
	return b, server.URL
}

func (b *busy) count() int {
	b.mu.Lock()
	defer b.mu.Unlock()
	return len(b.came)
}

// four runs four workers, and returns when they know each other.
func four(t *testing.T, i *installation) {
	t.Helper()
	for range 3 {
		i.run(t)
	}
	i.ready(t)
	require.Eventually(t, func() bool {
		return !slices.ContainsFunc(i.metrics, func(r *prometheus.Registry) bool { return metric(t, r, "meetwire_delivery_members") != 4 })
	}, patience, tick)
}

// begun is how many of the workers have made attempts.
func (i *installation) begun(t *testing.T) (workers int) {
	t.Helper()
	for _, registry := range i.metrics {
		if metric(t, registry, "meetwire_delivery_attempts_total") > 0 {
			workers++
		}
	}
	return workers
}

func TestFourWorkersKeepTheRateOfAWebhookTogether(t *testing.T) {
	t.Parallel()
	i := start(t)
	receiver, url := newBusy(t, 0)
	i.webhook.TargetUrl, i.webhook.RateLimit, i.webhook.MaxConcurrency = url, 50, 40
	four(t, i)
	const deliveries = 150
	began := time.Now()
	for n := range deliveries {
		i.publish(t, "bk_"+time.Duration(n).String())
	}
	require.Eventually(t, func() bool { return receiver.count() == deliveries }, patience, tick)
	require.Equal(t, 4, i.begun(t))
	// Counted from the beginning: what comes late, because the machine is busy, is only fewer by then.
	for n, at := range receiver.came {
		allowed := 55*at.Sub(began).Seconds() + 55*0.1 + 4
		require.LessOrEqual(t, float64(n+1), allowed, "after %s", at.Sub(began))
	}
	deferred := 0.0
	for _, registry := range i.metrics {
		deferred += max(metric(t, registry, "meetwire_delivery_deferrals_total"), 0)
	}
	require.Positive(t, deferred, "not all can wait in memory")
}

func TestFourWorkersKeepTheConcurrencyOfAWebhookTogether(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct{ limit, deliveries, workers int }{
		"slots for all":  {limit: 6, deliveries: 200, workers: 4},
		"slots for half": {limit: 2, deliveries: 80, workers: 2},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			i := start(t)
			receiver, url := newBusy(t, 20*time.Millisecond)
			i.webhook.TargetUrl, i.webhook.MaxConcurrency = url, int32(test.limit)
			four(t, i)
			for n := range test.deliveries {
				i.publish(t, "bk_"+time.Duration(n).String())
			}
			require.Eventually(t, func() bool { return receiver.count() == test.deliveries }, patience, tick)
			require.Equal(t, test.workers, i.begun(t))
			require.LessOrEqual(t, receiver.most, test.limit)
			require.Greater(t, receiver.most, 1)
		})
	}
}
