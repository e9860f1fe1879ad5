package natsbus

import (
	"context"
	"testing"

	"github.com/google/uuid"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/stretchr/testify/require"

	"github.com/meetwire/meetwire/pkg/bus"
	"github.com/meetwire/meetwire/pkg/fault"
	deliveryv1 "github.com/meetwire/meetwire/proto/gen/meetwire/delivery/v1"
	"github.com/meetwire/meetwire/services/delivery/internal/core"
)

// deaf is a JetStream whose streams store what is published, and whose acknowledgements get lost.
type deaf struct{ jetstream.JetStream }

func (d deaf) PublishMsg(ctx context.Context, msg *nats.Msg, options ...jetstream.PublishOpt) (*jetstream.PubAck, error) {
	if _, err := d.JetStream.PublishMsg(ctx, msg, options...); err != nil {
		return nil, err
	}
	return nil, nats.ErrTimeout
}

func (d deaf) PublishMsgAsync(msg *nats.Msg, options ...jetstream.PublishOpt) (jetstream.PubAckFuture, error) {
	future, err := d.JetStream.PublishMsgAsync(msg, options...)
	return unheard{future}, err
}

// unheard is an acknowledgement that does not come.
type unheard struct{ jetstream.PubAckFuture }

func (unheard) Ok() <-chan *jetstream.PubAck { return nil }

func (u unheard) Err() <-chan error {
	failed := make(chan error, 1)
	select {
	case <-u.PubAckFuture.Ok():
		failed <- nats.ErrTimeout
	case err := <-u.PubAckFuture.Err():
		failed <- err
	}
	return failed
}

// deafened is dead letters whose publishes are not acknowledged; those of records are.
func (e *environment) deafened() *DeadLetters {
	d := *e.letters
	d.js = deaf{e.js}
	return &d
}

func TestReplayWhoseAcknowledgementIsLost(t *testing.T) {
	t.Parallel()
	for name, replay := range map[string]func(ctx context.Context, d *DeadLetters, letter *DeadLetter) error{
		"one": func(ctx context.Context, d *DeadLetters, letter *DeadLetter) error {
			return d.Replay(ctx, "acme", letter.Task.Delivery)
		},
		"many": func(ctx context.Context, d *DeadLetters, letter *DeadLetter) error {
			_, err := d.ReplayAll(ctx, []*DeadLetter{letter})
			return err
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			e := setup(t)
			ctx := newContext(t)
			letter := e.buried(t, 1)[0]
			err := replay(ctx, e.deafened(), letter)
			require.True(t, fault.Is(err, fault.Unavailable), "%v", err)
			_, err = e.letters.Get(ctx, "acme", letter.Task.Delivery)
			require.NoError(t, err, "nobody knows that it was sent")

			sent := e.delivery(t, bus.LaneBulk)
			require.NoError(t, e.queue.Record(ctx, succeeded(sent.task))())
			require.NoError(t, sent.DoubleAck(ctx))
			require.NoError(t, replay(ctx, e.letters, letter))
			require.Zero(t, e.count(t, bus.StreamDeliveries, ">"), "it is not sent twice")
			e.requireNoLetter(t, "acme", letter.Task.Delivery)
			require.Equal(t, map[deliveryv1.Delivery_State]int{deliveryv1.Delivery_STATE_SUCCEEDED: 1}, e.states(t))
		})
	}
}

func TestResendWhoseAcknowledgementIsLost(t *testing.T) {
	t.Parallel()
	for name, put := range map[string]func(t *testing.T, e *environment, task *core.Task){
		"of what waits":     func(t *testing.T, e *environment, task *core.Task) { t.Helper(); e.waiting(t, task, false) },
		"of a dead letter":  func(t *testing.T, e *environment, task *core.Task) { t.Helper(); e.bury(t, task) },
		"of what has ended": func(*testing.T, *environment, *core.Task) {},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			e := setup(t)
			ctx, task := newContext(t), task()
			task.EventSequence = e.publishEvent(t, event)
			put(t, e, task)
			find := func() *Found {
				found, err := e.letters.Find(ctx, "acme", task.Delivery)
				require.NoError(t, err)
				if found == nil {
					found = NewFound(task)
				}
				require.NoError(t, e.letters.Complete(ctx, found))
				return found
			}
			request := uuid.NewString()
			err := e.deafened().Resend(ctx, find(), request)
			require.True(t, fault.Is(err, fault.Unavailable), "%v", err)
			sent := e.delivery(t, "meeting-booked")
			require.NoError(t, sent.DoubleAck(ctx))

			require.NoError(t, e.letters.Resend(ctx, find(), request))
			require.Zero(t, e.count(t, bus.StreamDeliveries, ">"), "it is not sent twice")
			require.Zero(t, e.count(t, bus.StreamRetries, ">"), "neither now nor later")
			e.requireNoLetter(t, "acme", task.Delivery)
		})
	}
}
