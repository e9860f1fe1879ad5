package recorder

import (
	"context"
	"log/slog"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/meetwire/meetwire/pkg/bus"
	"github.com/meetwire/meetwire/pkg/natstest"
)

// A delivery now and then is seen at once. Of many the batch waits for more, since it costs as much with few in it.
func TestBatchWaitsForMoreWhenManyCome(t *testing.T) {
	t.Parallel()
	const never = time.Hour
	for name, test := range map[string]struct {
		delay, longer time.Duration
		records       int
		bytes         int
		many          int
		waiting       int // records that are there before
		want          int
	}{
		"one ends after the delay":  {delay: time.Millisecond, longer: never, records: 100, bytes: 1 << 20, many: 2, waiting: 1, want: 1},
		"few end after the delay":   {delay: time.Second, longer: never, records: 100, bytes: 1 << 20, many: 10, waiting: 9, want: 9},
		"many end after the longer": {delay: time.Millisecond, longer: time.Second, records: 100, bytes: 1 << 20, many: 1, waiting: 50, want: 50},
		"many end when it is full":  {delay: never, longer: never, records: 40, bytes: 1 << 20, many: 1, waiting: 50, want: 40},
		"many end when it is a lot": {delay: never, longer: never, records: 100, bytes: 300, many: 1, waiting: 50, want: 3},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			ctx, js := records(t, test.waiting)
			follow := newTail(t, js, bounds{
				records: test.records, bytes: test.bytes, delay: test.delay, longer: test.longer, many: test.many, idle: never,
			})
			batch, err := follow.next(ctx, 0)
			require.NoError(t, err)
			require.NoError(t, ctx.Err())
			require.Len(t, batch, test.want)
		})
	}
}

// What comes while a batch waits for more is in it.
func TestBatchTakesWhatComesMeanwhile(t *testing.T) {
	t.Parallel()
	const some, never = 20, time.Hour
	ctx, js := records(t, some)
	follow := newTail(t, js, bounds{records: 2 * some, bytes: 1 << 20, delay: time.Millisecond, longer: never, many: 1, idle: never})
	left := &left{Gauge: follow.lag}
	left.records.Store(some)
	follow.lag = left
	taken := make(chan []entry, 1)
	go func() {
		batch, err := follow.next(ctx, 0)
		assert.NoError(t, err)
		taken <- batch
	}()
	require.Eventually(t, func() bool { return left.records.Load() == 0 }, 20*time.Second, 10*time.Millisecond)
	require.NoError(t, publish(ctx, js, some))
	batch := <-taken
	require.Len(t, batch, 2*some)
	require.EqualValues(t, 2*some, batch[len(batch)-1].sequence)
}

// left is how many records the tail has not read.
type left struct {
	prometheus.Gauge

	records atomic.Int64
}

func (l *left) Set(records float64) { l.records.Store(int64(records)) }

// records returns a server on which so many records are.
func records(t *testing.T, count int) (context.Context, jetstream.JetStream) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	t.Cleanup(cancel)
	_, js := natstest.Start(t).Connect(t)
	require.NoError(t, bus.EnsureStreams(ctx, js, bus.DefaultConfig(), slog.New(slog.DiscardHandler)))
	require.NoError(t, publish(ctx, js, count))
	return ctx, js
}

// publish publishes records of a hundred bytes that nobody can read.
func publish(ctx context.Context, js jetstream.JetStream, count int) error {
	for range count {
		if _, err := js.Publish(ctx, bus.RecordSubject("acme", "webhook"), make([]byte, 100)); err != nil {
			return err
		}
	}
	return nil
}

func newTail(t *testing.T, js jetstream.JetStream, b bounds) *tail {
	t.Helper()
	follow := &tail{
		js: js, logger: slog.New(slog.DiscardHandler), bounds: b,
		lag: prometheus.NewGauge(prometheus.GaugeOpts{Name: "lag", Help: "lag"}),
	}
	t.Cleanup(follow.close)
	return follow
}
