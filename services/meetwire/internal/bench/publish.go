package bench

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/meetwire/meetwire/pkg/bus"
)

// publisher publishes events to NATS, as an internal service does, the same for every line.
type publisher struct {
	js       jetstream.JetStream
	template *template
}

// burst publishes events as fast as they are acknowledged, with as many on the way as the services allow
// themselves, and returns when it began.
func (p *publisher) burst(ctx context.Context, phase, events int) (time.Time, error) {
	began := time.Now()
	return began, p.burstOf(ctx, phase, events, func(int) string { return "" })
}

// paced publishes events at a steady rate, however long each takes.
func (p *publisher) paced(ctx context.Context, phase, events, perSecond int) error {
	return p.pacedOf(ctx, phase, events, float64(perSecond), func(int) string { return "" })
}

// pacedOf is paced for events of which each has its event type.
func (p *publisher) pacedOf(ctx context.Context, phase, events int, perSecond float64, eventType func(number int) string) error {
	futures := make([]jetstream.PubAckFuture, 0, events)
	timer := time.NewTimer(0)
	defer timer.Stop()
	began := time.Now()
	for number := range events {
		due := began.Add(time.Duration(float64(number) / perSecond * float64(time.Second)))
		if wait := time.Until(due); wait > 0 {
			timer.Reset(wait)
			select {
			case <-timer.C:
			case <-ctx.Done():
				return ctx.Err()
			}
		}
		// Its time counts from when it was due: what waits for a slow publish waits, too.
		future, err := p.publish(mark{phase: phase, number: number, published: due}, eventType(number))
		if err != nil {
			return err
		}
		futures = append(futures, future)
	}
	return await(ctx, futures)
}

// burstOf is burst for events of one event type.
func (p *publisher) burstOf(ctx context.Context, phase, events int, eventType func(number int) string) error {
	futures := make([]jetstream.PubAckFuture, 0, events)
	for number := range events {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		future, err := p.publish(mark{phase: phase, number: number, published: time.Now()}, eventType(number))
		if err != nil {
			return err
		}
		futures = append(futures, future)
	}
	return await(ctx, futures)
}

func (p *publisher) publish(m mark, eventType string) (jetstream.PubAckFuture, error) {
	msg, id := p.template.messageOf(m, eventType)
	future, err := bus.PublishAsync(p.js, msg, id)
	if err != nil {
		return nil, fmt.Errorf("publish event %d: %w", m.number, err)
	}
	return future, nil
}

var errDuplicate = errors.New("the stream took a new event for a duplicate")

// await waits for the acknowledgement of every event.
func await(ctx context.Context, futures []jetstream.PubAckFuture) error {
	for number, future := range futures {
		ack, err := bus.Await(ctx, future)
		if err != nil {
			return fmt.Errorf("publish event %d: %w", number, err)
		}
		if ack.Duplicate {
			return fmt.Errorf("publish event %d: %w", number, errDuplicate)
		}
	}
	return nil
}
