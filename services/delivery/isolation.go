package delivery

import (
	"context"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/meetwire/meetwire/pkg/bus"
	"github.com/meetwire/meetwire/services/delivery/internal/core"
	"github.com/meetwire/meetwire/services/delivery/internal/natsbus"
	"github.com/meetwire/meetwire/services/delivery/internal/sender"
)

// lentPart is the part of a consumer's messages that may wait, given back, for one webhook.
const lentPart = 100

// idleHands is how long a goroutine that made attempts is kept for the next one.
const idleHands = 100 * time.Millisecond

// newSlots makes the slots of the process.
func newSlots(config Config) *core.Slots {
	return core.NewSlots(config.Concurrency, time.Now,
		core.WithTotal(min(config.MaxAttempts, sender.Attempts(0))), core.WithLent(max(config.Streams.MaxAckPending/lentPart, 1)),
		core.WithHands(idleHands))
}

// joinWait is how long the first attempt waits at most until it is known how many processes share the limits of the
// webhooks. Without NATS nothing arrives anyway; with one that refuses the bucket, deliveries are worth more than limits.
const joinWait = 10 * time.Second

// join returns when attempts can begin, or the context ends.
func (s *Service) join(ctx context.Context) {
	if s.loaded(ctx) != nil {
		return
	}
	limited, cancel := context.WithTimeout(ctx, joinWait)
	defer cancel()
	if err := s.members.WaitJoined(limited); err != nil && ctx.Err() == nil {
		s.deps.Logger.WarnContext(ctx, "the number of workers is not known; limits of webhooks may be exceeded", "count", s.members.Count())
	}
}

const (
	// sweepPeriod is how often lines are looked through for tasks whose turn is too far off.
	sweepPeriod = time.Second
	// maxFeeds is how many webhooks are fed at once.
	maxFeeds = 8
)

// sweep looks after the slots until the context ends, and passes on who is hungry to whoever listens.
func sweep(ctx context.Context, slots *core.Slots, hungry chan<- []core.Hungry) error {
	ticker := time.NewTicker(sweepPeriod)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-ticker.C:
		}
		select {
		case hungry <- slots.Sweep():
		default: // those of the last time are being fed
		}
	}
}

// feed gives webhooks that were slow when their tasks were sent away, and are fast now, such tasks before their time, until
// the context ends.
func (s *Service) feed(ctx context.Context, queue *natsbus.Queue, hungry <-chan []core.Hungry) error {
	for {
		var webhooks []core.Hungry
		select {
		case <-ctx.Done():
			return nil
		case webhooks = <-hungry:
		}
		rank, count := s.members.Share()
		var feeds sync.WaitGroup
		turns := make(chan struct{}, maxFeeds)
		for _, webhook := range webhooks {
			turns <- struct{}{}
			feeds.Go(func() {
				defer func() { <-turns }()
				fed, err := queue.Feed(ctx, webhook.ID, webhook.Tasks, rank, count)
				s.isolation.fed.Add(float64(fed))
				switch {
				case err == nil:
					s.slots.Fed(webhook.ID, fed)
				case ctx.Err() == nil:
					s.deps.Logger.WarnContext(ctx, "what waits for a webhook keeps its time", "webhook", webhook.ID, "error", err)
				}
			})
		}
		feeds.Wait()
	}
}

// isolationMetrics shows how webhooks are kept apart.
type isolationMetrics struct {
	deferrals   *prometheus.CounterVec
	deadLetters *prometheus.CounterVec
	rewritten   prometheus.Counter
	fed         prometheus.Counter
}

func newIsolationMetrics(registry prometheus.Registerer, slots *core.Slots, members *bus.Membership) *isolationMetrics {
	m := &isolationMetrics{
		deferrals: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "meetwire_delivery_deferrals_total",
			Help: "Tasks that found no slot, by kind: nak, the message is given back to come again soon; schedule, a timer is set.",
		}, []string{"kind"}),
		deadLetters: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "meetwire_delivery_dead_letters_total",
			Help: "Deliveries that were given up, by reason.",
		}, []string{"reason"}),
		rewritten: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "meetwire_delivery_timers_rewritten_total",
			Help: "Timers that were overdue by more than a minute and were set again.",
		}),
		fed: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "meetwire_delivery_timers_hastened_total",
			Help: "Timers of tasks that had found no slot, made due before their time because their webhook had become faster.",
		}),
	}
	registry.MustRegister(m.deferrals, m.deadLetters, m.rewritten, m.fed, newLoadCollector(slots, members))
	return m
}

// deferred counts a task that found no slot.
func (m *isolationMetrics) deferred(timer bool) {
	kind := "nak"
	if timer {
		kind = "schedule"
	}
	m.deferrals.WithLabelValues(kind).Inc()
}

// loadCollector reads what a process has to do once for all metrics that show it.
type loadCollector struct {
	load  func() core.Load
	count func() int
	descs []*prometheus.Desc
}

// The metrics of a loadCollector, in the order of its values.
func newLoadCollector(slots *core.Slots, members *bus.Membership) *loadCollector {
	c := &loadCollector{load: slots.Load, count: members.Count}
	for _, metric := range []struct{ name, help string }{
		{"meetwire_delivery_active_attempts", "Attempts that are under way, or wait for the rate of their webhook."},
		{"meetwire_delivery_suspect_attempts", "Of the active attempts, those of webhooks whose last attempt timed out."},
		{"meetwire_delivery_waiting_tasks", "Tasks that wait in memory for a slot of their webhook."},
		{"meetwire_delivery_delayed_messages", "Messages that were given back and wait at the broker to come again."},
		{"meetwire_delivery_open_breakers", "Webhooks that are left alone because they only fail."},
		{"meetwire_delivery_members", "Processes of the delivery service that share the limits of the webhooks."},
		{"meetwire_delivery_breaker_opens_total", "How often a webhook was begun to be left alone."},
	} {
		c.descs = append(c.descs, prometheus.NewDesc(metric.name, metric.help, nil, nil))
	}
	return c
}

// Describe implements prometheus.Collector.
func (c *loadCollector) Describe(descs chan<- *prometheus.Desc) {
	for _, desc := range c.descs {
		descs <- desc
	}
}

// Collect implements prometheus.Collector.
func (c *loadCollector) Collect(metrics chan<- prometheus.Metric) {
	load := c.load()
	gauges := []int{load.Active, load.Suspects, load.Waiting, load.Lent, load.BreakerOpen, c.count()}
	for i, value := range gauges {
		metrics <- prometheus.MustNewConstMetric(c.descs[i], prometheus.GaugeValue, float64(value))
	}
	metrics <- prometheus.MustNewConstMetric(c.descs[len(gauges)], prometheus.CounterValue, float64(load.Opened))
}
