package bus

import (
	"context"
	"errors"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/meetwire/meetwire/pkg/fault"
)

// stallWait is how long an asynchronous publish waits for room in the window before it fails.
const stallWait = 20 * time.Second

// Error codes of the JetStream API that say a stream or the server has no room.
const (
	codeInsufficientResources = 10023
	codeStorageInsufficient   = 10047
	codeMessageTooLarge       = 10054
	codeStoreFailed           = 10077 // DiscardNew: maximum bytes or messages exceeded
)

// Publish publishes a message and waits for the stream's acknowledgement. The message id makes a repeated
// publish a duplicate for two minutes. Errors: fault.Unavailable, fault.ResourceExhausted (the stream is
// full), fault.InvalidArgument (too large), or the context's.
func Publish(ctx context.Context, js jetstream.JetStream, msg *nats.Msg, msgID string) (*jetstream.PubAck, error) {
	ack, err := js.PublishMsg(ctx, msg, jetstream.WithMsgID(msgID))
	if err != nil {
		return nil, PublishFault(err)
	}
	return ack, nil
}

// PublishAsync publishes a message without waiting for the acknowledgement, which comes through the future: its
// errors go through PublishFault. An empty message id sends none.
func PublishAsync(js jetstream.JetStream, msg *nats.Msg, msgID string) (jetstream.PubAckFuture, error) {
	options := []jetstream.PublishOpt{jetstream.WithStallWait(stallWait)}
	if msgID != "" {
		options = append(options, jetstream.WithMsgID(msgID))
	}
	future, err := js.PublishMsgAsync(msg, options...)
	if err != nil {
		return nil, PublishFault(err)
	}
	return future, nil
}

// Await waits for the acknowledgement of an asynchronous publish.
func Await(ctx context.Context, future jetstream.PubAckFuture) (*jetstream.PubAck, error) {
	select {
	case ack := <-future.Ok():
		return ack, nil
	case err := <-future.Err():
		return nil, PublishFault(err)
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// PublishFault says what a failed publish means to its caller.
func PublishFault(err error) error {
	if err == nil || errors.Is(err, context.Canceled) {
		return err
	}
	var api *jetstream.APIError
	if errors.As(err, &api) {
		switch api.ErrorCode {
		case codeInsufficientResources, codeStorageInsufficient, codeStoreFailed:
			return fault.Wrap(fault.ResourceExhausted, "STREAM_FULL", err, "the stream is full")
		case codeMessageTooLarge:
			return fault.Wrap(fault.InvalidArgument, "MESSAGE_TOO_LARGE", err, "the message is larger than the stream takes")
		}
		if api.Code == 503 || api.ErrorCode == codeNotLeader || api.ErrorCode == codeNoPeers {
			return fault.Wrap(fault.Unavailable, "STREAM_UNAVAILABLE", err, "the stream is not available")
		}
		return fault.Wrap(fault.Internal, "PUBLISH_REFUSED", err, "the stream refused the message")
	}
	if errors.Is(err, nats.ErrMaxPayload) {
		return fault.Wrap(fault.InvalidArgument, "MESSAGE_TOO_LARGE", err, "the message is larger than NATS takes")
	}
	return fault.Wrap(fault.Unavailable, "STREAM_UNAVAILABLE", err, "the stream is not available")
}

// ScheduleRetry makes a message a timer: on its subject, RetryTimerSubject, it waits until at, and then its
// headers and body are published to target, a RetryDueSubject. A time that has passed fires at once.
func ScheduleRetry(msg *nats.Msg, at time.Time, target string) {
	// The client library's own option writes whole seconds, which would fire up to a second early.
	msg.Header.Set(headerSchedule, scheduleAt+at.UTC().Format(time.RFC3339Nano))
	msg.Header.Set(headerScheduleTarget, target)
}
