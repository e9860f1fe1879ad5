package bus_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/stretchr/testify/require"

	"github.com/meetwire/meetwire/pkg/bus"
	"github.com/meetwire/meetwire/pkg/fault"
)

// publishBoth publishes with and without waiting, and returns both outcomes.
func (e *env) publishBoth(t *testing.T, msg *nats.Msg) [2]error {
	t.Helper()
	_, sync := bus.Publish(newContext(t), e.js, msg, nats.NewInbox())
	future, async := bus.PublishAsync(e.js, msg, nats.NewInbox())
	if async == nil {
		_, async = bus.Await(newContext(t), future)
	}
	return [2]error{sync, async}
}

func message(subject string, size int) *nats.Msg {
	msg := nats.NewMsg(subject)
	msg.Data = []byte(strings.Repeat("x", size))
	return msg
}

func TestPublishedTwiceIsStoredOnce(t *testing.T) {
	t.Parallel()
	e := setup(t)
	ctx := newContext(t)
	first, err := bus.Publish(ctx, e.js, message(bookedSubject, 1), "acme:/s:1")
	require.NoError(t, err)
	require.False(t, first.Duplicate)
	require.Equal(t, bus.StreamEvents, first.Stream)
	second, err := bus.Publish(ctx, e.js, message(bookedSubject, 1), "acme:/s:1")
	require.NoError(t, err)
	require.True(t, second.Duplicate)
	require.Equal(t, first.Sequence, second.Sequence)

	future, err := bus.PublishAsync(e.js, message(bookedSubject, 1), "acme:/s:1")
	require.NoError(t, err)
	third, err := bus.Await(ctx, future)
	require.NoError(t, err)
	require.True(t, third.Duplicate)

	for want := first.Sequence + 1; want < first.Sequence+3; want++ { // without an id nothing is a duplicate
		future, err := bus.PublishAsync(e.js, message(bookedSubject, 1), "")
		require.NoError(t, err)
		ack, err := bus.Await(ctx, future)
		require.NoError(t, err)
		require.Equal(t, want, ack.Sequence)
	}
}

func TestPublishToAFullStream(t *testing.T) {
	t.Parallel()
	e := setup(t)
	subject := bus.DeliverySubject("meeting-booked", "acme", "w1")
	stream, err := e.js.Stream(newContext(t), bus.StreamDeliveries)
	require.NoError(t, err)
	for limit, change := range map[string]func(*jetstream.StreamConfig){
		"bytes":    func(c *jetstream.StreamConfig) { c.MaxBytes = 4096 },
		"messages": func(c *jetstream.StreamConfig) { c.MaxMsgs = 1 },
	} {
		config := stream.CachedInfo().Config
		change(&config)
		_, err = e.js.UpdateStream(newContext(t), config)
		require.NoError(t, err)
		require.NoError(t, stream.Purge(newContext(t)))
		e.publish(t, subject, strings.Repeat("x", 3000))
		for _, err := range e.publishBoth(t, message(subject, 3000)) {
			requireFault(t, err, fault.ResourceExhausted, "STREAM_FULL")
			require.NotContains(t, fault.From(err).Message, limit)
		}
		// What was there before is still there.
		info, err := stream.Info(newContext(t))
		require.NoError(t, err)
		require.EqualValues(t, 1, info.State.Msgs)
	}
}

func TestPublishOfAMessageThatIsTooLarge(t *testing.T) {
	t.Parallel()
	e := setup(t)
	for _, size := range []int{600 << 10, 2 << 20} { // for the stream; for the server
		for _, err := range e.publishBoth(t, message(bookedSubject, size)) {
			requireFault(t, err, fault.InvalidArgument, "MESSAGE_TOO_LARGE")
		}
	}
}

func TestPublishWhereNoStreamListens(t *testing.T) {
	t.Parallel()
	e := setup(t)
	for _, err := range e.publishBoth(t, message("nothing.listens.here", 1)) {
		requireFault(t, err, fault.Unavailable, "STREAM_UNAVAILABLE")
	}
}

func TestPublishThatTheStreamRefuses(t *testing.T) {
	t.Parallel()
	e := setup(t)
	msg := message(bookedSubject, 1)
	msg.Header.Set(jetstream.ExpectedLastSeqHeader, "77")
	for _, err := range e.publishBoth(t, msg) {
		requireFault(t, err, fault.Internal, "PUBLISH_REFUSED")
	}
}

func TestPublishWithoutAServerFailsAtOnce(t *testing.T) {
	t.Parallel()
	e := setup(t)
	e.server.Shutdown()
	require.Eventually(t, func() bool { return !e.conn.IsConnected() }, patience, tick)
	began := time.Now()
	for _, err := range e.publishBoth(t, message(bookedSubject, 1)) {
		requireFault(t, err, fault.Unavailable, "STREAM_UNAVAILABLE")
		require.NotContains(t, fault.From(err).Message, "127.0.0.1")
	}
	require.Less(t, time.Since(began), 4*time.Second, "a caller must not wait for what will not come")

	e.server.Restart(t)
	require.Eventually(t, func() bool { return e.conn.IsConnected() }, patience, tick)
	for _, err := range e.publishBoth(t, message(bookedSubject, 1)) {
		require.NoError(t, err)
	}
}

func TestEndOfTheContext(t *testing.T) {
	t.Parallel()
	e := setup(t)
	ctx, cancel := context.WithCancel(newContext(t))
	cancel()
	_, err := bus.Publish(ctx, e.js, message(bookedSubject, 1), "1")
	require.ErrorIs(t, err, context.Canceled)
	require.NotErrorAs(t, err, new(*fault.Error), "nobody has failed")

	_, err = bus.Await(ctx, neverFuture{})
	require.ErrorIs(t, err, context.Canceled)

	require.NoError(t, bus.PublishFault(nil))
	late := bus.PublishFault(fmt.Errorf("wait: %w", context.DeadlineExceeded))
	requireFault(t, late, fault.Unavailable, "STREAM_UNAVAILABLE")
	require.ErrorIs(t, late, context.DeadlineExceeded)
}

// neverFuture is a publish whose acknowledgement never comes.
type neverFuture struct{}

func (neverFuture) Ok() <-chan *jetstream.PubAck { return nil }
func (neverFuture) Err() <-chan error            { return nil }
func (neverFuture) Msg() *nats.Msg               { return nil }

func TestEveryFailedPublishIsAFault(t *testing.T) {
	t.Parallel()
	for err, want := range map[error]fault.Kind{
		&jetstream.APIError{Code: 503, ErrorCode: 10023}: fault.ResourceExhausted,
		&jetstream.APIError{Code: 500, ErrorCode: 10047}: fault.ResourceExhausted,
		&jetstream.APIError{Code: 503, ErrorCode: 10008}: fault.Unavailable,
		&jetstream.APIError{Code: 400, ErrorCode: 10003}: fault.Internal,
		nats.ErrMaxPayload:               fault.InvalidArgument,
		nats.ErrReconnectBufExceeded:     fault.Unavailable,
		jetstream.ErrAsyncPublishTimeout: fault.Unavailable,
		errors.New("something else"):     fault.Unavailable,
	} {
		got := bus.PublishFault(fmt.Errorf("publish: %w", err))
		require.True(t, fault.Is(got, want), "%v: %v", err, got)
		require.ErrorIs(t, got, err)
	}
}
