package operations

import (
	"context"
	"time"

	"github.com/meetwire/meetwire/pkg/operation"
	deliveryv1 "github.com/meetwire/meetwire/proto/gen/meetwire/delivery/v1"
	"github.com/meetwire/meetwire/services/ingest/internal/natsbus"
)

const (
	// maxSamples is how many deliveries of a part are looked after.
	maxSamples = 16
	// keepUpWait is how long a step waits until what was sent has been tried, and keepUpTick how often it looks.
	keepUpWait = 2 * time.Second
	keepUpTick = 100 * time.Millisecond
)

// samples are some deliveries that were sent, with the number of attempts that had been made before.
type samples map[string]int

// newSamples takes some of what was sent, evenly.
func newSamples(sent []natsbus.Again) samples {
	some := make(samples, maxSamples)
	for i := range min(len(sent), maxSamples) {
		one := sent[i*len(sent)/min(len(sent), maxSamples)]
		some[one.Past.Delivery(one.Webhook)] = one.Attempts
	}
	return some
}

// keepUp waits until most of what was sent before the last part has been tried. A receiver that is slower than the
// operation would otherwise have more and more waiting for it, and live deliveries behind that. It returns operation.Later
// when that takes long, as for a webhook that is paused.
func (o *Operations) keepUp(ctx context.Context, w *operation.Work, before samples) error {
	if len(before) == 0 {
		return nil
	}
	ids := make([]string, 0, len(before))
	for id := range before {
		ids = append(ids, id)
	}
	for began := o.Now(); ; {
		response, err := o.ask(ctx, w.Organization, ids)
		if err != nil {
			return err
		}
		tried := 0
		for _, one := range response.GetDeliveries() {
			if before.tried(one) {
				tried++
			}
		}
		if 2*tried >= len(before) {
			return nil
		}
		if o.Now().Sub(began) >= keepUpWait {
			return operation.Later(behindWait)
		}
		timer := time.NewTimer(keepUpTick)
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			return ctx.Err()
		}
	}
}

// tried reports whether a delivery was tried since it was sent, or has ended without that.
func (s samples) tried(one *deliveryv1.FindDeliveriesResponse_Known) bool {
	switch deliveryv1.Delivery_State(one.GetState()) {
	case deliveryv1.Delivery_STATE_DEAD_LETTERED, deliveryv1.Delivery_STATE_DROPPED:
		return true
	}
	return int(one.GetAttemptCount()) > s[one.GetDelivery()]
}
