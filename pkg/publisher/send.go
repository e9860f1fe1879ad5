package publisher

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/meetwire/meetwire/pkg/bus"
	"github.com/meetwire/meetwire/pkg/fault"
)

// Pauses between attempts, before jitter.
const (
	leastPause = 20 * time.Millisecond
	mostPause  = time.Second
)

// UnacknowledgedError says that Publish ended without knowing whether the stream has stored the event. It wraps
// the context's error, if the context has ended, and the failure of the last attempt.
type UnacknowledgedError struct {
	// Source and ID are the event's: publish it again with these.
	Source, ID string
	// Attempts is how many attempts were made.
	Attempts int

	ended error // the context's, or nil
	last  error // of the last attempt, or nil
}

// Error says what was not acknowledged, and why.
func (e *UnacknowledgedError) Error() string {
	var text strings.Builder
	fmt.Fprintf(&text, "publish event %q of %q: no acknowledgement after %d attempts", e.ID, e.Source, e.Attempts)
	for _, err := range e.Unwrap() {
		text.WriteString(": " + err.Error())
	}
	return text.String()
}

// Unwrap returns why no further attempt was made, and how the last one failed.
func (e *UnacknowledgedError) Unwrap() []error {
	var chain []error
	for _, err := range []error{e.ended, e.last} {
		if err != nil {
			chain = append(chain, err)
		}
	}
	return chain
}

// errAway is the failure of an attempt that was not made because the connection is being restored.
var errAway = fault.Wrap(fault.Unavailable, "STREAM_UNAVAILABLE", nats.ErrDisconnected, "NATS is away")

// attempt is one attempt to publish a message.
type attempt func(ctx context.Context, msg *nats.Msg, msgID string) (*jetstream.PubAck, error)

// send repeats attempts until one is acknowledged, one fails for good, or there is no use in another. The first may be
// one that has begun already.
func (p *Publisher) send(ctx context.Context, msg *nats.Msg, event Event, first attempt) (Ack, error) {
	var (
		failure = &UnacknowledgedError{Source: event.Source, ID: event.ID}
		msgID   = bus.EventMsgID(event.Organization, event.Source, event.ID)
		unsure  time.Time // when the first attempt began that the stream may have stored
		pause   = leastPause
	)
	try := p.try
	if first != nil {
		try = first
	}
	for {
		if failure.ended = ctx.Err(); failure.ended != nil && first == nil {
			return Ack{}, failure
		}
		began := time.Now()
		ack, err := try(ctx, msg, msgID)
		if err == nil {
			return Ack{Sequence: ack.Sequence, Duplicate: ack.Duplicate, ID: event.ID, Source: event.Source}, nil
		}
		try, first = p.try, nil
		failure.last = err
		failure.Attempts++
		if failure.ended = ctx.Err(); failure.ended != nil {
			return Ack{}, failure
		}
		if !passes(err) {
			return Ack{}, fmt.Errorf("publish event %q of %q: %w", event.ID, event.Source, err)
		}
		if unsure.IsZero() && mayBeStored(err) {
			unsure = began
		}
		if !unsure.IsZero() && time.Since(unsure)+pause+p.attempt > p.window {
			return Ack{}, failure
		}
		if failure.ended = wait(ctx, pause); failure.ended != nil {
			return Ack{}, failure
		}
		pause = min(2*pause, mostPause)
	}
}

// wait waits for about d, at most d, or until the context ends.
func wait(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d/2 + rand.N(d/2)) //nolint:gosec // G404: spreading load needs no secrecy
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// try makes one attempt.
func (p *Publisher) try(ctx context.Context, msg *nats.Msg, msgID string) (*jetstream.PubAck, error) {
	if err := p.usable(); err != nil {
		return nil, err
	}
	attempt, cancel := context.WithTimeout(ctx, p.attempt)
	defer cancel()
	ack, err := bus.Publish(attempt, p.js, msg, msgID)
	return ack, p.explained(err, msg.Subject)
}

// usable reports whether something can be sent now, and if not, why.
func (p *Publisher) usable() error {
	conn := p.js.Conn()
	switch {
	case conn.IsClosed():
		return nats.ErrConnectionClosed
	case conn.IsDraining():
		return nats.ErrConnectionDraining
	case !conn.IsConnected():
		// The connection would keep the message and send it when nobody waits for it any more.
		return errAway
	}
	return nil
}

// explained tells of a failed attempt what the server only says beside it.
func (p *Publisher) explained(err error, subject string) error {
	if err != nil && forbidden(p.js.Conn(), subject) {
		return fault.Wrap(fault.PermissionDenied, "PUBLISH_NOT_ALLOWED", err, "this NATS user may not publish to %s", subject)
	}
	return err
}

// forbidden reports whether the server has refused this subject to this connection's user. It says so without
// naming the message, so all that the publish itself sees is that no acknowledgement comes.
func forbidden(conn *nats.Conn, subject string) bool {
	err := conn.LastError()
	return errors.Is(err, nats.ErrPermissionViolation) && strings.Contains(err.Error(), `"`+subject+`"`)
}

// passes reports whether another attempt may succeed.
func passes(err error) bool {
	if errors.Is(err, nats.ErrConnectionClosed) || errors.Is(err, nats.ErrConnectionDraining) {
		return false
	}
	var api *jetstream.APIError
	if errors.As(err, &api) {
		const serverErrors = 500 // "not the leader", "offline", "no room": as in HTTP, it is not the message
		return api.Code >= serverErrors
	}
	return fault.Is(err, fault.Unavailable) || fault.Is(err, fault.ResourceExhausted)
}

// mayBeStored reports whether a failed attempt may have been stored nevertheless. It was not when it was never
// sent, when the answer says no, and when nobody was there to answer.
func mayBeStored(err error) bool {
	for _, not := range []error{nats.ErrDisconnected, nats.ErrReconnectBufExceeded, jetstream.ErrNoStreamResponse} {
		if errors.Is(err, not) {
			return false
		}
	}
	var api *jetstream.APIError
	return !errors.As(err, &api)
}
