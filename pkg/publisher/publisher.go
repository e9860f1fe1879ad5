package publisher

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/google/uuid"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"go.opentelemetry.io/otel/propagation"

	"github.com/meetwire/meetwire/pkg/bus"
)

const (
	headerContentType = "Content-Type"
	contentType       = "application/cloudevents+json"
)

// DefaultAttemptTimeout is how long one attempt waits for its acknowledgement before it is repeated. An
// acknowledgement takes milliseconds; when a connection breaks or a leader changes after the message has left,
// none comes, and nothing but this time tells.
const DefaultAttemptTimeout = 2 * time.Second

// retryWindow is how long an attempt that the stream may have stored is repeated. It is less than the two
// minutes for which the stream remembers message ids: past them a repetition would be another event.
const retryWindow = 90 * time.Second

// Publisher publishes events. It is safe for concurrent use.
type Publisher struct {
	js      jetstream.JetStream
	source  string
	attempt time.Duration
	window  time.Duration
	now     func() time.Time
}

// Option changes a Publisher.
type Option func(*Publisher)

// WithSource sets the Source of events that have none.
func WithSource(source string) Option {
	return func(p *Publisher) { p.source = source }
}

// WithAttemptTimeout sets how long one attempt waits for its acknowledgement before it is repeated: more than
// 0, at most 60 seconds. The default is DefaultAttemptTimeout.
func WithAttemptTimeout(d time.Duration) Option {
	return func(p *Publisher) { p.attempt = d }
}

// WithClock sets the clock that the Time of events is taken from. The default is time.Now.
func WithClock(now func() time.Time) Option {
	return func(p *Publisher) { p.now = now }
}

// New makes a Publisher that uses a connection of the caller. The connection should reconnect without end
// (nats.MaxReconnects(-1)), and without a buffer of its own (nats.ReconnectBufSize(-1)), so that nothing is sent
// after Publish has given up.
func New(js jetstream.JetStream, options ...Option) (*Publisher, error) {
	p := &Publisher{js: js, attempt: DefaultAttemptTimeout, window: retryWindow, now: time.Now}
	for _, option := range options {
		option(p)
	}
	const longestAttempt = time.Minute
	switch {
	case js == nil:
		return nil, errors.New("make a publisher: jetstream is nil")
	case p.now == nil:
		return nil, errors.New("make a publisher: the clock is nil")
	case p.attempt <= 0 || p.attempt > longestAttempt:
		return nil, fmt.Errorf("make a publisher: an attempt of %s is not in the range up to %s", p.attempt, longestAttempt)
	}
	if p.source != "" {
		if err := checkName("source", p.source); err != nil {
			return nil, fmt.Errorf("make a publisher: %w", err)
		}
	}
	return p, nil
}

// Ack says that the stream has stored an event.
type Ack struct {
	// Sequence is the event's place in the stream of all events. Receivers get it as Meetwire-Event-Sequence.
	Sequence uint64
	// Duplicate says that the stream had the event already: from an earlier Publish within the last two minutes,
	// or from an attempt of this one whose acknowledgement was lost. Nothing was stored again.
	Duplicate bool
	// ID and Source are the event's, given or filled in.
	ID, Source string
}

// Publish publishes an event and returns after the stream has stored it. While NATS is away, has no leader or no
// room, it tries again with growing pauses of up to a second until ctx ends: give ctx a deadline. All attempts
// carry the same message id, so the event is stored once. If ctx carries an OpenTelemetry span, it travels with
// the event to its receivers.
//
// Errors:
//
//   - *FieldError: the event is refused, nothing was sent;
//   - *UnacknowledgedError: ctx ended, or no acknowledgement came for 90 seconds after an attempt that reached a
//     server. The event may have been stored. Publish it again with the same ID (UnacknowledgedError.ID);
//   - any other: a permanent failure: a closed connection (nats.ErrConnectionClosed), no permission to publish
//     for the organization (fault.PermissionDenied), a stream that refuses the message.
func (p *Publisher) Publish(ctx context.Context, event Event) (Ack, error) {
	event, err := p.complete(event)
	if err != nil {
		return Ack{}, err
	}
	document, err := encode(event)
	if err != nil {
		return Ack{}, err
	}
	msg := nats.NewMsg(bus.EventSubject(event.Organization, event.Trigger))
	msg.Data = document
	msg.Header.Set(headerContentType, contentType)
	setTrace(ctx, msg.Header)

	ack, err := p.send(ctx, msg, event)
	if err != nil {
		return Ack{}, err
	}
	return Ack{Sequence: ack.Sequence, Duplicate: ack.Duplicate, ID: event.ID, Source: event.Source}, nil
}

// complete fills in what the caller has left out.
func (p *Publisher) complete(event Event) (Event, error) {
	if event.Source == "" {
		event.Source = p.source
	}
	if event.Time.IsZero() {
		event.Time = p.now()
	}
	if event.ID == "" {
		id, err := uuid.NewV7()
		if err != nil {
			return Event{}, fmt.Errorf("make an event id: %w", err)
		}
		event.ID = id.String()
	}
	return event, nil
}

// setTrace writes the span of the context, if it has one, as a W3C trace context.
func setTrace(ctx context.Context, header nats.Header) {
	carrier := propagation.MapCarrier{}
	propagation.TraceContext{}.Inject(ctx, carrier)
	for _, name := range []string{bus.HeaderTraceParent, bus.HeaderTraceState} {
		if value := carrier.Get(name); value != "" {
			header.Set(name, value)
		}
	}
}
