package publisher

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"go.opentelemetry.io/otel/propagation"

	"github.com/meetwire/meetwire/pkg/bus"
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
	js          jetstream.JetStream
	source      string
	attempt     time.Duration
	window      time.Duration
	giveUp      time.Duration // 0: only the context ends a publish
	maxInFlight int
	binary      bool
	now         func() time.Time

	flight flight
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

// DefaultMaxInFlight is how many events of PublishAsync wait for their acknowledgements at once.
const DefaultMaxInFlight = 256

// WithMaxInFlight sets how many events of PublishAsync wait for their acknowledgements at once, from 1 to 65,536; they
// are kept in memory. The default is DefaultMaxInFlight.
func WithMaxInFlight(n int) Option {
	return func(p *Publisher) { p.maxInFlight = n }
}

// WithGiveUpAfter bounds how long one event is tried, beside its context. The default is no bound: while NATS is
// away, an event whose context has no deadline is tried without end.
func WithGiveUpAfter(d time.Duration) Option {
	return func(p *Publisher) { p.giveUp = d }
}

// WithBinaryMode sends events in the binary mode of CloudEvents: attributes in headers that begin with ce-, the data
// alone in the body. The default is the structured mode, one JSON document. Receivers of webhooks see no difference.
func WithBinaryMode() Option {
	return func(p *Publisher) { p.binary = true }
}

// New makes a Publisher that uses a connection of the caller. The connection should reconnect without end
// (nats.MaxReconnects(-1)), and without a buffer of its own (nats.ReconnectBufSize(-1)), so that nothing is sent
// after Publish has given up.
func New(js jetstream.JetStream, options ...Option) (*Publisher, error) {
	p := &Publisher{js: js, attempt: DefaultAttemptTimeout, window: retryWindow, maxInFlight: DefaultMaxInFlight, now: time.Now}
	for _, option := range options {
		option(p)
	}
	const (
		longestAttempt = time.Minute
		mostInFlight   = 1 << 16
	)
	switch {
	case js == nil:
		return nil, errors.New("make a publisher: jetstream is nil")
	case p.now == nil:
		return nil, errors.New("make a publisher: the clock is nil")
	case p.attempt <= 0 || p.attempt > longestAttempt:
		return nil, fmt.Errorf("make a publisher: an attempt of %s is not in the range up to %s", p.attempt, longestAttempt)
	case p.maxInFlight < 1 || p.maxInFlight > mostInFlight:
		return nil, fmt.Errorf("make a publisher: %d in flight is not in the range from 1 to %d", p.maxInFlight, mostInFlight)
	case p.giveUp < 0:
		return nil, fmt.Errorf("make a publisher: giving up after %s is negative", p.giveUp)
	}
	if p.source != "" {
		if err := checkName("source", p.source); err != nil {
			return nil, fmt.Errorf("make a publisher: %w", err)
		}
	}
	p.flight.room = make(chan struct{}, p.maxInFlight)
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
//   - ErrClosed: Close was called;
//   - *UnacknowledgedError: ctx ended (or WithGiveUpAfter), or no acknowledgement came for 90 seconds after an attempt that reached a
//     server. The event may have been stored. Publish it again with the same ID (UnacknowledgedError.ID);
//   - any other: a permanent failure: a closed connection (nats.ErrConnectionClosed), no permission to publish
//     for the organization (fault.PermissionDenied), a stream that refuses the message.
func (p *Publisher) Publish(ctx context.Context, event Event) (Ack, error) {
	event, msg, err := p.prepare(ctx, event)
	if err != nil {
		return Ack{}, err
	}
	if p.isClosed() {
		return Ack{}, ErrClosed
	}
	ctx, cancel := p.bounded(ctx)
	defer cancel()
	return p.send(ctx, msg, event, nil)
}

// prepare makes the message of an event, and returns the event with what was filled in.
func (p *Publisher) prepare(ctx context.Context, event Event) (Event, *nats.Msg, error) {
	event, err := complete(event, p.source, p.now)
	if err != nil {
		return Event{}, nil, err
	}
	msg, err := newMessage(event, p.binary)
	if err != nil {
		return Event{}, nil, err
	}
	setTrace(ctx, msg.Header)
	return event, msg, nil
}

// bounded returns the context of one event.
func (p *Publisher) bounded(ctx context.Context) (context.Context, context.CancelFunc) {
	if p.giveUp == 0 {
		return context.WithCancel(ctx)
	}
	return context.WithTimeout(ctx, p.giveUp)
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
