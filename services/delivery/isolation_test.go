package delivery_test

import (
	"context"
	"net/http"
	"net/http/httptest"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/meetwire/meetwire/pkg/bus"
	configv1 "github.com/meetwire/meetwire/proto/gen/meetwire/config/v1"
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

// Of many deliveries that are published with the time of the first, the later ones seem to have waited.
func TestServiceRecordsLaterWhileDeliveriesWait(t *testing.T) {
	t.Parallel()
	i := start(t)
	_, i.webhook.TargetUrl = newBusy(t, 0)
	i.ready(t)
	yielded := func() float64 { return metric(t, i.metrics[0], "meetwire_delivery_recorder_yielded_seconds_total") }
	require.Zero(t, yielded())
	limited, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	for yielded() == 0 {
		require.NoError(t, limited.Err())
		i.publishMany(t, "acme", hook, 500)
	}
}

// busy is a receiver that takes a while, and notes when requests came and how many there were at once.
type busy struct {
	hold         chan struct{} // unless nil: until when no request is answered
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
		case <-b.answers(takes):
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

// answers returns what ends when a request that came now is to be answered.
func (b *busy) answers(takes time.Duration) <-chan struct{} {
	if b.hold != nil {
		return b.hold
	}
	done := make(chan struct{})
	time.AfterFunc(takes, func() { close(done) })
	return done
}

func (b *busy) count() int {
	b.mu.Lock()
	defer b.mu.Unlock()
	return len(b.came)
}

// four runs four workers, and returns when all of them work.
func four(t *testing.T, i *installation) {
	t.Helper()
	for range 3 {
		i.run(t)
	}
	i.ready(t)
	require.Eventually(t, func() bool {
		return !slices.ContainsFunc(i.metrics, func(r *prometheus.Registry) bool { return metric(t, r, "meetwire_delivery_members") != 4 })
	}, patience, tick)
	// Those that have joined last wait until the others leave them their part.
	require.Eventually(t, func() bool {
		durable, err := i.js.Consumer(newContext(t), bus.StreamDeliveries, "deliver-meeting-booked")
		return err == nil && durable.CachedInfo().NumWaiting >= 4
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

// stalls are times during which the machine did nothing for this process.
type stalls struct {
	mu  sync.Mutex
	all []stall
}

type stall struct{ from, until time.Time }

// watch looks, until the test ends, whether a goroutine that has little to do gets to it in time.
func watch(t *testing.T) *stalls {
	t.Helper()
	const every = 2 * time.Millisecond
	s := new(stalls)
	var watching sync.WaitGroup
	watching.Go(func() {
		ticker := time.NewTicker(every)
		defer ticker.Stop()
		for last := time.Now(); t.Context().Err() == nil; {
			<-ticker.C
			now := time.Now()
			if now.Sub(last) > 4*every {
				s.mu.Lock()
				s.all = append(s.all, stall{last, now})
				s.mu.Unlock()
			}
			last = now
		}
	})
	t.Cleanup(watching.Wait)
	return s
}

// during is for how long in all nothing was done in a time.
func (s *stalls) during(from, until time.Time) (sum time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, one := range s.all {
		if one.until.After(from) && one.from.Before(until) {
			sum += one.until.Sub(one.from)
		}
	}
	return sum
}

// requireRate looks at every time between two requests, however short: in none of them may more have come than the rate
// and a tenth of what it allows in a second. What the machine has held up comes a little later, with what is due then.
func (b *busy) requireRate(t *testing.T, perSecond float64, held *stalls, workers int) {
	t.Helper()
	b.mu.Lock()
	defer b.mu.Unlock()
	const late = 50 * time.Millisecond // of a request that was sent in time
	for first := range b.came {
		for last := first + 1; last < len(b.came); last++ {
			from, until := b.came[first], b.came[last]
			span := until.Sub(from) + late + held.during(from.Add(-2*late), until)
			allowed := perSecond*(span.Seconds()+0.1) + float64(workers)
			require.LessOrEqual(t, float64(last-first+1), allowed, "within %s, after %d", until.Sub(from), first)
		}
	}
}

// Three workers that know each other, a fourth that joins them, and one that leaves.
func TestWorkersKeepTheRateOfAWebhookTogether(t *testing.T) {
	t.Parallel()
	i := start(t)
	held := watch(t)
	receiver, url := newBusy(t, 0)
	const perSecond, deliveries = 50, 300
	i.webhook.TargetUrl, i.webhook.RateLimit, i.webhook.MaxConcurrency = url, perSecond, 40
	_, _, stop := i.run(t)
	i.run(t)
	i.ready(t)
	i.requireMembers(t, 3)
	i.publishMany(t, "acme", hook, deliveries)
	require.Eventually(t, func() bool { return receiver.count() > deliveries/6 }, patience, tick)
	i.run(t)
	i.requireMembers(t, 4)
	require.Eventually(t, func() bool { return receiver.count() > deliveries/2 }, patience, tick)
	require.NoError(t, stop())
	i.requireMembers(t, 3)
	require.Eventually(t, func() bool { return receiver.count() == deliveries }, patience, tick)
	require.Equal(t, 4, i.begun(t))
	receiver.requireRate(t, perSecond, held, 4)
	deferred := 0.0
	for _, registry := range i.metrics {
		deferred += max(metric(t, registry, "meetwire_delivery_deferrals_total"), 0)
	}
	require.Positive(t, deferred, "not all can wait in memory")
}

// requireMembers waits until the newest worker knows that there are so many.
func (i *installation) requireMembers(t *testing.T, n float64) {
	t.Helper()
	require.Eventually(t, func() bool {
		return metric(t, i.metrics[len(i.metrics)-1], "meetwire_delivery_members") == n
	}, patience, tick)
}

// Workers come and go while an endpoint has all the attempts under way that it may have.
func TestWorkersKeepTheConcurrencyOfAWebhookWhileTheyChange(t *testing.T) {
	t.Parallel()
	i := start(t)
	const limit, deliveries = 8, 160
	receiver, url := newBusy(t, 400*time.Millisecond)
	i.webhook.TargetUrl, i.webhook.MaxConcurrency = url, limit
	i.ready(t)
	i.publishMany(t, "acme", hook, deliveries)
	require.Eventually(t, func() bool { return receiver.count() >= limit }, patience, tick)
	_, _, stop := i.run(t)
	i.requireMembers(t, 2)
	i.run(t)
	i.requireMembers(t, 3)
	require.NoError(t, stop())
	require.Eventually(t, func() bool { return receiver.count() == deliveries }, patience, tick)
	receiver.mu.Lock()
	defer receiver.mu.Unlock()
	require.Equal(t, limit, receiver.most)
	require.GreaterOrEqual(t, i.begun(t), 2)
}

// An endpoint that hangs has all the attempts that it may have when another worker joins, which must not add to them.
func TestAWorkerThatJoinsDoesNotAddToWhatHangs(t *testing.T) {
	t.Parallel()
	i := start(t)
	const limit, deliveries = 4, 12
	receiver, url := newBusy(t, 0)
	receiver.hold = make(chan struct{})
	release := sync.OnceFunc(func() { close(receiver.hold) })
	t.Cleanup(release)
	i.webhook.TargetUrl, i.webhook.MaxConcurrency, i.webhook.Timeout = url, limit, durationpb.New(30*time.Second)
	i.ready(t)
	i.publishMany(t, "acme", hook, deliveries)
	require.Eventually(t, func() bool { return receiver.count() == limit }, patience, tick)
	i.run(t)
	i.requireMembers(t, 2)
	i.publishMany(t, "acme", hook, deliveries)
	require.Eventually(t, func() bool {
		return metric(t, i.metrics[1], "meetwire_delivery_deferrals_total") > 0
	}, patience, tick, "what comes to the new worker is put off")
	require.Equal(t, limit, receiver.count())
	release()
	sent := 2 * deliveries
	for deadline := time.Now().Add(patience); i.begun(t) < 2; sent++ {
		require.True(t, time.Now().Before(deadline), "it gets its part as soon as that is free")
		i.publishMany(t, "acme", hook, 1)
		<-time.After(tick)
	}
	require.Eventually(t, func() bool { return receiver.count() == sent }, patience, tick)
	receiver.mu.Lock()
	defer receiver.mu.Unlock()
	require.Equal(t, limit, receiver.most)
}

// What keeps webhooks apart is to be seen, each thing when it happens.
func TestServiceShowsHowItKeepsWebhooksApart(t *testing.T) {
	t.Parallel()
	i := start(t)
	released := make(chan struct{})
	hangs := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		select {
		case <-released:
		case <-r.Context().Done():
		}
	}))
	t.Cleanup(hangs.Close)
	t.Cleanup(func() { close(released) })
	i.webhook.TargetUrl, i.webhook.MaxConcurrency, i.webhook.Timeout = hangs.URL, 2, durationpb.New(time.Second)
	failing, url := i.another(t, ""), listen(t)
	require.NoError(t, url.Close())
	failing.TargetUrl = "http://" + url.Addr().String()
	patient(failing)
	i.feed.open(append(i.resources(), &configv1.Resource{Resource: &configv1.Resource_Webhook{Webhook: failing}})...)
	i.readyWhenOpen(t)
	shows := func(name string, right func(float64) bool) {
		t.Helper()
		require.Eventually(t, func() bool { return right(metric(t, i.metrics[0], "meetwire_delivery_"+name)) }, patience, tick, name)
	}
	are := func(n float64) func(float64) bool { return func(v float64) bool { return v == n } }
	some := func(v float64) bool { return v > 0 }
	shows("members", are(1))
	shows("active_attempts", are(0))
	shows("open_breakers", are(0))

	i.publishMany(t, "acme", failing.GetId(), 20)
	shows("open_breakers", are(1))
	shows("breaker_opens_total", are(1))
	i.publishMany(t, "acme", hook, 60)
	shows("active_attempts", some)
	shows("waiting_tasks", some)
	shows("suspect_attempts", some)
	shows("delayed_messages", some)
	shows("deferrals_total", some)
	shows("dead_letters_total", some)
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
