package publisher

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/meetwire/meetwire/pkg/bus"
	"github.com/meetwire/meetwire/pkg/fault"
)

// ErrClosed is returned for what is published after Close.
var ErrClosed = errors.New("the publisher is closed")

// errLost is the failure of an attempt whose connection broke before its acknowledgement came.
var errLost = errors.New("the connection broke before the acknowledgement came")

// Future is an event of PublishAsync on its way. It is safe for concurrent use.
type Future struct {
	// Source and ID are the event's, given or filled in.
	Source, ID string

	done chan struct{}
	ack  Ack   // valid when done is closed
	err  error // valid when done is closed
}

// Done is closed when the outcome is known.
func (f *Future) Done() <-chan struct{} { return f.done }

// Result waits for the outcome, and returns what Publish would have. When ctx ends first it returns ctx's error; the
// event is still on its way then.
func (f *Future) Result(ctx context.Context) (Ack, error) {
	select {
	case <-f.done:
		return f.ack, f.err
	default:
	}
	select {
	case <-f.done:
		return f.ack, f.err
	case <-ctx.Done():
		return Ack{}, ctx.Err()
	}
}

// flight is what PublishAsync has begun and not ended.
type flight struct {
	room chan struct{} // one value for each event on its way

	mu      sync.Mutex
	js      jetstream.JetStream // of the first attempts; nil until there is one
	futures map[*Future]context.CancelFunc
	closed  bool
}

// PublishAsync begins to publish an event and returns before it is acknowledged; the Future tells how it ended. When
// as many events are on their way as WithMaxInFlight allows, it waits for one of them: who publishes faster than the
// stream stores is held back. All that Publish does is done here, too: message ids, repetitions, the trace.
//
// Events of one caller reach the stream in the order of the calls, except one that has to be repeated: others may
// overtake it. Where the order must hold whatever happens, wait for each Future before the next call, or use the
// package outbox.
//
// The context holds for the event until its outcome is known, not only for the call: give it a deadline, and end it
// only to give up. Errors: *FieldError; ErrClosed; *UnacknowledgedError (with no attempts), when the context ended before
// anything was sent.
func (p *Publisher) PublishAsync(ctx context.Context, event Event) (*Future, error) {
	event, msg, err := p.prepare(ctx, event)
	if err != nil {
		return nil, err
	}
	if err := p.enter(ctx); err != nil {
		return nil, &UnacknowledgedError{Source: event.Source, ID: event.ID, ended: err}
	}
	ctx, cancel := p.bounded(ctx)
	future := &Future{Source: event.Source, ID: event.ID, done: make(chan struct{})}
	if err := p.begin(future, cancel); err != nil {
		cancel()
		<-p.flight.room
		return nil, err
	}
	// Here and not in the goroutine, so that the order is that of the calls.
	first := p.begun(msg, bus.EventMsgID(event.Organization, event.Source, event.ID))
	go func() {
		defer cancel()
		future.ack, future.err = p.send(ctx, copyOf(msg), event, first)
		p.end(future)
	}()
	return future, nil
}

// enter waits for room for one more event.
func (p *Publisher) enter(ctx context.Context) error {
	if err := ctx.Err(); err != nil {
		return err // also when there is room
	}
	select {
	case p.flight.room <- struct{}{}:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// begin counts an event as being on its way.
func (p *Publisher) begin(future *Future, cancel context.CancelFunc) error {
	p.flight.mu.Lock()
	defer p.flight.mu.Unlock()
	if p.flight.closed {
		return ErrClosed
	}
	if p.flight.js == nil {
		js, err := jetstream.New(p.js.Conn(),
			jetstream.WithPublishAsyncMaxPending(2*p.maxInFlight), // more than there can be
			jetstream.WithPublishAsyncTimeout(p.attempt))
		if err != nil {
			return fmt.Errorf("open jetstream: %w", err)
		}
		p.flight.js = js
		p.flight.futures = make(map[*Future]context.CancelFunc)
	}
	p.flight.futures[future] = cancel
	return nil
}

// end makes the outcome of an event known.
func (p *Publisher) end(future *Future) {
	close(future.done)
	p.flight.mu.Lock()
	delete(p.flight.futures, future)
	p.flight.mu.Unlock()
	<-p.flight.room // the last, so that the futures are never more than there is room for
}

// begun sends a message and returns how to wait for its acknowledgement.
func (p *Publisher) begun(msg *nats.Msg, msgID string) attempt {
	if err := p.usable(); err != nil {
		return failed(err)
	}
	// No attempts of the library's own: they would be made out of our sight.
	pending, err := p.flight.js.PublishMsgAsync(copyOf(msg), jetstream.WithMsgID(msgID), jetstream.WithRetryAttempts(0))
	if err != nil {
		return failed(bus.PublishFault(err))
	}
	return func(ctx context.Context, msg *nats.Msg, _ string) (*jetstream.PubAck, error) {
		ack, err := bus.Await(ctx, pending)
		if errors.Is(err, nats.ErrDisconnected) {
			// It has been sent, unlike what fails with this error at once.
			return nil, fault.Wrap(fault.Unavailable, "STREAM_UNAVAILABLE", errLost, "NATS went away")
		}
		return ack, p.explained(err, msg.Subject)
	}
}

// failed is an attempt that has failed already.
func failed(err error) attempt {
	return func(context.Context, *nats.Msg, string) (*jetstream.PubAck, error) { return nil, err }
}

// copyOf returns a message that the client library may change.
func copyOf(msg *nats.Msg) *nats.Msg {
	header := make(nats.Header, len(msg.Header))
	for name, values := range msg.Header {
		header[name] = values
	}
	return &nats.Msg{Subject: msg.Subject, Header: header, Data: msg.Data}
}

// underWay returns the events whose outcome is not known.
func (p *Publisher) underWay() []*Future {
	p.flight.mu.Lock()
	defer p.flight.mu.Unlock()
	all := make([]*Future, 0, len(p.flight.futures))
	for future := range p.flight.futures {
		all = append(all, future)
	}
	return all
}

// Flush waits until the outcome of every event is known whose PublishAsync had returned when Flush was called; the
// futures tell it. It returns the context's error when that ends first.
func (p *Publisher) Flush(ctx context.Context) error {
	for _, future := range p.underWay() {
		select {
		case <-future.done:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return nil
}

// Close refuses new events, waits for those on their way, and returns nil when the outcome of all is known. When ctx
// ends first it gives them up: their futures end with an *UnacknowledgedError, and it returns ctx's error. It leaves
// the connection open, which is the caller's. Closing twice is allowed.
func (p *Publisher) Close(ctx context.Context) error {
	p.flight.mu.Lock()
	p.flight.closed = true
	js := p.flight.js
	p.flight.mu.Unlock()
	err := p.Flush(ctx)
	if err != nil {
		p.flight.mu.Lock()
		for _, cancel := range p.flight.futures {
			cancel()
		}
		p.flight.mu.Unlock()
		for _, future := range p.underWay() {
			<-future.done
		}
	}
	if js != nil {
		js.CleanupPublisher()
	}
	return err
}

func (p *Publisher) isClosed() bool {
	p.flight.mu.Lock()
	defer p.flight.mu.Unlock()
	return p.flight.closed
}

// Result is the outcome of one event of PublishAll.
type Result struct {
	// Ack is the acknowledgement, when Err is nil.
	Ack Ack
	// Err is nil, or what Publish would have returned for this event.
	Err error
}

// PublishAll publishes several events and returns after the outcome of each is known: results in the order of the
// events, each with its own error. That one is refused does not keep the others back. They reach the stream in their
// order, as with PublishAsync.
func (p *Publisher) PublishAll(ctx context.Context, events []Event) []Result {
	results := make([]Result, len(events))
	futures := make([]*Future, len(events))
	for i, event := range events {
		futures[i], results[i].Err = p.PublishAsync(ctx, event)
	}
	for i, future := range futures {
		if future != nil {
			<-future.done // it ends with ctx at the latest
			results[i] = Result{Ack: future.ack, Err: future.err}
		}
	}
	return results
}
