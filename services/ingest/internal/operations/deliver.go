package operations

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/meetwire/meetwire/pkg/operation"
	"github.com/meetwire/meetwire/pkg/rpc"
	deliveryv1 "github.com/meetwire/meetwire/proto/gen/meetwire/delivery/v1"
	"github.com/meetwire/meetwire/services/ingest/internal/natsbus"
)

const (
	// maxLag is how far the records of deliveries may be behind what happens.
	maxLag = time.Minute
	// lagWait is when it is asked again whether they have caught up.
	lagWait = 5 * time.Second
	// findTime bounds one question to delivery, and maxFind how many deliveries it names.
	findTime = 30 * time.Second
	maxFind  = 1000
)

// deliver sends the deliveries of a part that are to be sent, at the operation's pace, and counts. It returns those that
// had not been sent already.
func (o *Operations) deliver(
	ctx context.Context, w *operation.Work, all []natsbus.Again, step *operation.Step,
) (stored []natsbus.Again, err error) {
	var send []natsbus.Again
	for chunk := range slices.Chunk(all, maxFind) {
		known, err := o.find(ctx, w.Organization, chunk)
		if err != nil {
			return nil, err
		}
		for _, again := range chunk {
			switch one := known.of(again); {
			case one.leave(w.Type):
				step.Skipped++
			default:
				if known.repeats(again, one) {
					step.Repeat++
				}
				send = append(send, one.prepare(w, again))
			}
		}
	}
	step.Affected = int64(len(send))
	if w.DryRun || len(send) == 0 {
		return nil, nil
	}
	if err := operation.Pace(ctx, w, int64(len(send))); err != nil {
		return nil, err
	}
	if stored, err = o.Streams.SendAgain(ctx, send); err != nil {
		return nil, err
	}
	if w.Type == TypeBackfill {
		// The live fan-out has just sent the others, or this operation has, before it was interrupted.
		step.Skipped += step.Affected - int64(len(stored))
		step.Affected = int64(len(stored))
	}
	return stored, nil
}

// known is what delivery knows of some deliveries.
type known struct {
	deliveries map[string]*deliveryv1.FindDeliveriesResponse_Known
	keptSince  time.Time
}

// find asks delivery. operation.Later when its records are too far behind to tell.
func (o *Operations) find(ctx context.Context, organization string, all []natsbus.Again) (*known, error) {
	deliveries := make([]string, len(all))
	for i, again := range all {
		deliveries[i] = again.Past.Delivery(again.Webhook)
	}
	response, err := o.ask(ctx, organization, deliveries)
	if err != nil {
		return nil, err
	}
	if until := response.GetRecordedUntil(); !until.IsValid() || o.Now().Sub(until.AsTime()) > maxLag {
		return nil, operation.Later(lagWait)
	}
	k := &known{deliveries: make(map[string]*deliveryv1.FindDeliveriesResponse_Known), keptSince: response.GetKeptSince().AsTime()}
	for _, one := range response.GetDeliveries() {
		k.deliveries[one.GetDelivery()] = one
	}
	return k, nil
}

// ask asks delivery what it knows.
func (o *Operations) ask(ctx context.Context, organization string, deliveries []string) (*deliveryv1.FindDeliveriesResponse, error) {
	limited, cancel := context.WithTimeout(ctx, findTime)
	defer cancel()
	response, err := o.Delivery.FindDeliveries(limited, &deliveryv1.FindDeliveriesRequest{Organization: organization, Deliveries: deliveries})
	if err != nil {
		return nil, fmt.Errorf("ask what has been delivered: %w", rpc.FaultFromStatus(err))
	}
	return response, nil
}

func (k *known) of(again natsbus.Again) *outcome {
	one := k.deliveries[again.Past.Delivery(again.Webhook)]
	return &outcome{state: deliveryv1.Delivery_State(one.GetState()), attempts: int(one.GetAttemptCount())}
}

// repeats reports whether a delivery may be a repetition: it was delivered, or nobody knows any more.
func (k *known) repeats(again natsbus.Again, one *outcome) bool {
	return one.state == deliveryv1.Delivery_STATE_SUCCEEDED ||
		one.state == deliveryv1.Delivery_STATE_UNSPECIFIED && again.Past.Stored.Before(k.keptSince)
}

// outcome is what is known of one delivery.
type outcome struct {
	state    deliveryv1.Delivery_State // unspecified: nothing
	attempts int
}

// leave reports whether a delivery is left as it is. What waits is tried by itself, and a dead letter has a replay of its
// own, after which it is none any more. A backfill repeats nothing that was delivered, a replay is there to do so.
func (o *outcome) leave(kind string) bool {
	switch o.state {
	case deliveryv1.Delivery_STATE_PENDING, deliveryv1.Delivery_STATE_DEAD_LETTERED:
		return true
	case deliveryv1.Delivery_STATE_SUCCEEDED:
		return kind == TypeBackfill
	}
	return false
}

// prepare completes what is sent. A backfill sends what nothing is known of under the id of the live fan-out: the one that
// comes second is a duplicate. What was sent before would be one of that.
func (o *outcome) prepare(w *operation.Work, again natsbus.Again) natsbus.Again {
	again.Attempts = o.attempts
	if w.Type == TypeReplay || o.state != deliveryv1.Delivery_STATE_UNSPECIFIED {
		again.MsgID = natsbus.ReplayMsgID(w.ID, again.Past.Delivery(again.Webhook))
	}
	return again
}
