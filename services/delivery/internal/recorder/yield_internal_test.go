package recorder

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/stretchr/testify/require"
)

// seconds is a counter that can be read.
type seconds struct {
	prometheus.Counter

	sum float64
}

func (s *seconds) Add(more float64) { s.sum += more }

func TestBatchWaitsWhileDeliveriesDo(t *testing.T) {
	t.Parallel()
	const forever = time.Hour
	for name, test := range map[string]struct {
		records int
		age     time.Duration // of the first record
		strain  time.Duration // for how long deliveries wait
		want    time.Duration
	}{
		"no delivery waits":          {records: 2000},
		"deliveries wait":            {records: 2000, strain: 300 * time.Millisecond, want: 300 * time.Millisecond},
		"deliveries wait for ever":   {records: 2000, strain: forever, want: 2 * time.Second},
		"it is small":                {records: 99, strain: forever},
		"it is not so small":         {records: 100, strain: forever, want: 2 * time.Second},
		"it has waited for long":     {records: 2000, age: 29 * time.Second, strain: forever, want: time.Second},
		"it has waited for too long": {records: 2000, age: 30 * time.Second, strain: forever},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				began, yielded := time.Now(), new(seconds)
				r := &Recorder{Now: time.Now, Yielded: yielded, Strained: func() bool { return time.Since(began) < test.strain }}
				batch := make([]entry, test.records)
				for i := range batch {
					batch[i].stored = began.Add(time.Duration(i)*time.Millisecond - test.age)
				}
				r.yield(t.Context(), batch)
				require.InDelta(t, test.want.Seconds(), time.Since(began).Seconds(), 0.01)
				require.InDelta(t, test.want.Seconds(), yielded.sum, 0.01)
			})
		})
	}
}

func TestStoppingWaitsForNoDelivery(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		began := time.Now()
		r := &Recorder{Now: time.Now, Yielded: new(seconds), Strained: func() bool { return true }}
		ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
		defer cancel()
		batch := make([]entry, 2000)
		batch[0].stored = began
		r.yield(ctx, batch)
		require.Less(t, time.Since(began), 200*time.Millisecond)
	})
}
