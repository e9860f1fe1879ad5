package bench

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/meetwire/meetwire/pkg/bus"
)

// isolationRun is one round of the part isolation while it is measured.
type isolationRun struct {
	*environment

	target    *target
	publisher *publisher
}

// configure makes an organization and the 1,000 webhooks.
func (m *isolationRun) configure(ctx context.Context, api *restClient, bad *badEndpoints) error {
	if err := api.createOrganization(ctx, organization); err != nil {
		return err
	}
	type endpoint struct{ eventType, url string }
	var all []endpoint
	for group := range healthyGroups {
		for i := range groupSize {
			all = append(all, endpoint{healthyType(group), m.receiver.lightURL(i)})
		}
	}
	for _, address := range bad.hung() {
		all = append(all, endpoint{typeHung, "http://" + address})
	}
	for _, address := range bad.refused() {
		all = append(all, endpoint{typeDead, "http://" + address})
	}
	for range slowWebhooks {
		all = append(all, endpoint{typeSlow, m.receiver.base + pathSlow})
	}
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(4)
	for i, one := range all {
		g.Go(func() error {
			err := api.call(ctx, http.MethodPost, "/v1/organizations/"+organization+"/webhooks", map[string]any{
				"displayName": fmt.Sprint("Webhook ", i), "targetUrl": one.url, "triggers": []string{trigger},
				"eventTypes": []string{one.eventType}, "secret": m.secret,
			})
			if err != nil {
				return fmt.Errorf("create webhook %d: %w", i, err)
			}
			return nil
		})
	}
	return g.Wait()
}

// warmUp waits until every healthy webhook is in force.
func (m *isolationRun) warmUp(ctx context.Context) error {
	deadline := time.Now().Add(m.config.Patience)
	for {
		number, err := m.receiver.begin(ctx, groupSize, healthyGroups, true)
		if err != nil {
			return err
		}
		if err := m.publisher.burstOf(ctx, number, healthyGroups, healthyType); err != nil {
			return err
		}
		got, err := m.receiver.result(ctx, 8*probeWait)
		switch {
		case err != nil:
			return err
		case got.Wrong > 0:
			return fmt.Errorf("%w: %d requests had a wrong signature or body", errAnswer, got.Wrong)
		case got.Arrived == groupSize*healthyGroups:
			_, err = m.target.settle(ctx, m.config.Patience)
			return err
		case time.Now().After(deadline):
			return fmt.Errorf("%w: a probe came to %d of %d webhooks", errMissing, got.Arrived, groupSize*healthyGroups)
		}
	}
}

// burst publishes what one webhook receives at once, and returns when all of it has been fanned out.
func (m *isolationRun) burst(ctx context.Context) error {
	m.receiver.phase++
	err := m.publisher.burstOf(ctx, m.receiver.phase, m.config.Isolation.Burst, func(int) string { return typeSlow })
	if err != nil {
		return err
	}
	return m.target.fannedOut(ctx, m.config.Patience)
}

// offer publishes healthy events at their share of a rate, and the others at theirs when asked to, and waits until the
// healthy ones have arrived.
func (m *isolationRun) offer(ctx context.Context, rate int, bad bool) (latencies, error) {
	healthy := float64(rate) * (100 - hungShare - deadShare) / 100 / groupSize
	seconds := m.config.Isolation.Time.Seconds()
	events := max(healthyGroups, int(healthy*seconds))
	number, err := m.receiver.begin(ctx, groupSize, events, false)
	if err != nil {
		return latencies{}, err
	}
	g, paced := errgroup.WithContext(ctx)
	g.Go(func() error { return m.publisher.pacedOf(paced, number, events, healthy, healthyType) })
	if bad {
		hung := float64(rate) * hungShare / 100 / (hungWebhooks)
		g.Go(func() error {
			return m.publisher.pacedOf(paced, number, int(hung*seconds), hung, func(int) string { return typeHung })
		})
		dead := float64(rate) * deadShare / 100 / deadWebhooks
		g.Go(func() error {
			return m.publisher.pacedOf(paced, number, int(dead*seconds), dead, func(int) string { return typeDead })
		})
	}
	if err := g.Wait(); err != nil {
		return latencies{}, err
	}
	got, err := m.receiver.result(ctx, m.config.Patience)
	switch {
	case err != nil:
		return latencies{}, err
	case got.Wrong > 0:
		return latencies{}, fmt.Errorf("%w: %d requests had a wrong body", errAnswer, got.Wrong)
	}
	found := latencies{
		p50: percentile(got.Latencies, 50), p99: percentile(got.Latencies, 99), max: percentile(got.Latencies, 100),
		lost: events*groupSize - got.Arrived,
	}
	if !bad && found.lost > 0 {
		return found, fmt.Errorf("%w: %d of %d within %s", errMissing, got.Arrived, events*groupSize, m.config.Patience)
	}
	if !bad {
		_, err = m.target.settle(ctx, m.config.Patience)
	}
	return found, err
}

// fannedOut waits until every event has been fanned out.
func (t *target) fannedOut(ctx context.Context, within time.Duration) error {
	ctx, cancel := context.WithTimeout(ctx, within)
	defer cancel()
	ticker := time.NewTicker(settlePeriod)
	defer ticker.Stop()
	for {
		left, err := t.leftIn(ctx, bus.StreamEvents)
		if err != nil || left == "" {
			return err
		}
		select {
		case <-ticker.C:
		case <-ctx.Done():
			return errors.Join(fmt.Errorf("%w: %s", errNotSettled, left), ctx.Err())
		}
	}
}

// waiting is how many messages are still to be delivered, timers included.
func (t *target) waiting(ctx context.Context) (uint64, error) {
	var sum uint64
	for _, name := range []string{bus.StreamDeliveries, bus.StreamRetries} {
		stream, err := t.js.Stream(ctx, name)
		if err != nil {
			return 0, fmt.Errorf("look at stream %s: %w", name, err)
		}
		sum += stream.CachedInfo().State.Msgs
	}
	return sum, nil
}

// unwritten is how many records are still to be written.
func (t *target) unwritten(ctx context.Context) (uint64, error) {
	stream, err := t.js.Stream(ctx, bus.StreamRecords)
	if err != nil {
		return 0, fmt.Errorf("look at stream %s: %w", bus.StreamRecords, err)
	}
	return t.records.waiting(ctx, stream.CachedInfo().State.LastSeq)
}
