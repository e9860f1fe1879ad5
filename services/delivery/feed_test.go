package delivery_test

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// What a slow endpoint has no slots for gets times that are minutes ahead. They must not hold when it becomes fast.
func TestServiceCatchesUpWhenAnEndpointBecomesFaster(t *testing.T) {
	t.Parallel()
	i := start(t)
	var fast atomic.Bool
	var answered atomic.Int64
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !fast.Load() {
			select {
			case <-time.After(time.Second):
			case <-r.Context().Done():
			}
		}
		answered.Add(1)
		w.WriteHeader(http.StatusNoContent)
	}))
	t.Cleanup(server.Close)
	i.webhook.TargetUrl, i.webhook.MaxConcurrency = server.URL, 4
	i.ready(t)
	for n := range 8 { // so that it is known how slow it is
		i.publish(t, fmt.Sprint("first_", n))
	}
	require.Eventually(t, func() bool { return answered.Load() == 8 }, patience, tick)
	const deliveries = 300 // for which it would take longer than the test waits
	i.publishMany(t, "acme", hook, deliveries)
	timers := func() float64 { return metric(t, i.metrics[0], "meetwire_delivery_deferrals_total") }
	require.Eventually(t, func() bool { return timers() > deliveries/2 }, patience, tick)
	fast.Store(true)
	require.Eventually(t, func() bool { return answered.Load() == deliveries+8 }, patience, tick)
	require.Positive(t, metric(t, i.metrics[0], "meetwire_delivery_timers_hastened_total"))
}
