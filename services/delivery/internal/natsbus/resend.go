package natsbus

import (
	"context"
	"time"

	"github.com/google/uuid"

	"github.com/meetwire/meetwire/pkg/bus"
	"github.com/meetwire/meetwire/pkg/fault"
	"github.com/meetwire/meetwire/services/delivery/internal/core"
)

// Found is a delivery, wherever it is.
type Found struct {
	Task   *core.Task
	timer  *Timer
	letter *DeadLetter
}

// Find looks for a delivery where deliveries wait and end; nil when it is in neither place. Errors: fault.Unavailable.
func (d *DeadLetters) Find(ctx context.Context, organization, delivery string) (*Found, error) {
	timer, err := d.queue.FindTimer(ctx, organization, delivery)
	if err != nil {
		return nil, err
	}
	if timer != nil {
		return &Found{Task: timer.Task, timer: timer}, nil
	}
	letter, err := d.Get(ctx, organization, delivery)
	switch {
	case fault.Is(err, fault.NotFound):
		return nil, nil
	case err != nil:
		return nil, err
	}
	return &Found{Task: letter.Task, letter: letter}, nil
}

// Complete reads the event of a delivery that has it not, and its trace. Errors: fault.FailedPrecondition when there is
// none any more, fault.Unavailable.
func (d *DeadLetters) Complete(ctx context.Context, found *Found) error {
	if len(found.Task.Event) > 0 {
		return nil
	}
	limited, cancel := context.WithTimeout(ctx, attemptTime)
	defer cancel()
	event, err := d.queue.events.read(limited, found.Task.EventSequence)
	switch {
	case fault.Is(err, fault.NotFound):
		return fault.New(fault.FailedPrecondition, "EVENT_GONE", "the event of the delivery has expired or was erased")
	case err != nil:
		return unavailable(err, "the event cannot be read at the moment")
	}
	found.Task.Event = event.document
	if found.Task.TraceParent == "" { // records do not have it
		found.Task.TraceParent, found.Task.TraceState = event.traceParent, event.traceState
	}
	return nil
}

// resendWindow is how long DELIVERIES remembers that a request has sent a delivery.
const resendWindow = 2 * time.Minute

// Resend sends a delivery again, as a new run in the lane of its trigger, in the place of its timer or its dead letter if
// it has one. It is an order: what is under way already, in DELIVERIES or at a worker, is sent by itself as well, and both
// attempts have the same number. The same request sends it once within two minutes, and goes on where it was interrupted; an
// empty one is none. Errors: fault.Unavailable, fault.ResourceExhausted.
func (d *DeadLetters) Resend(ctx context.Context, found *Found, requestID string) error {
	id, lane := resendMsgID(requestID, found.Task.Delivery), bus.Lane(found.Task.Trigger)
	task := *found.Task
	task.ConfigRevision, task.Recorded = d.config.Revision(), true // as being sent again
	record := &core.Record{ID: d.newID(), Time: d.now(), Task: &task, AttemptCount: task.Attempts, State: core.StatePending}
	ack, err := bus.Publish(ctx, d.js, again(&task, lane, record.Time), id)
	if err != nil {
		return err
	}
	if ack.Duplicate {
		if d.now().Sub(found.Task.RunAt) < resendWindow {
			return nil // what is there now has come of the earlier call
		}
		return d.replace(ctx, found) // that has got no further
	}
	wait := d.queue.Record(ctx, record)
	if err := d.replace(ctx, found); err != nil {
		return err
	}
	return wait()
}

// replace removes what was sent anew. What has come in its place meanwhile stays.
func (d *DeadLetters) replace(ctx context.Context, found *Found) error {
	limited, cancel := context.WithTimeout(ctx, attemptTime)
	defer cancel()
	var err error
	switch {
	case found.timer != nil:
		_, err = d.queue.removeTimer(limited, found.timer.Sequence)
	case found.letter != nil:
		_, err = d.remove(limited, found.letter.Sequence)
	}
	if err != nil {
		return unavailable(err, "the delivery was sent, but still waits where it was, too")
	}
	return nil
}

// resendMsgID is the id under which a delivery is sent again for a request; without one, a new id.
func resendMsgID(requestID, delivery string) string {
	if requestID == "" {
		requestID = uuid.NewString()
	}
	return "resend:" + requestID + ":" + delivery
}

// NewFound makes a delivery that is only known from records.
func NewFound(task *core.Task) *Found {
	task.SlotAt = time.Time{}
	return &Found{Task: task}
}
