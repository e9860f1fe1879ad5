package natsbus

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/meetwire/meetwire/pkg/bus"
	"github.com/meetwire/meetwire/services/delivery/internal/core"
)

// Timer is a delivery that waits in RETRIES.
type Timer struct {
	Sequence uint64
	Due      time.Time
	Parked   bool // it waits for its webhook to be resumed
	Task     *core.Task

	subject string
}

// TimerPart is a part of what waits.
type TimerPart struct {
	Timers []*Timer
	Read   int    // messages that were read for it
	Next   uint64 // sequence to go on from; 0: there is nothing behind
}

// ListTimers returns up to size timers of an organization and a webhook, both of which may be bus.AnyToken, in the order
// in which they were set, from a sequence on and up to another; 0: to the end. Errors: fault.Unavailable.
func (q *Queue) ListTimers(ctx context.Context, organization, webhook string, from, until uint64, size int) (TimerPart, error) {
	part := TimerPart{Next: max(from, 1)}
	filter := bus.RetryTimersFilter(organization, webhook)
	for len(part.Timers) < size {
		messages, err := q.retriesReader().Batch(ctx, filter, part.Next, min(size-len(part.Timers), drainBatch))
		if err != nil {
			return part, unavailable(err, "what waits cannot be read at the moment")
		}
		if len(messages) == 0 {
			part.Next = 0
			return part, nil
		}
		for i := range messages {
			if until > 0 && messages[i].Sequence > until {
				part.Next = 0
				return part, nil
			}
			part.Read++
			part.Next = messages[i].Sequence + 1
			if timer := q.timer(ctx, &messages[i]); timer != nil {
				part.Timers = append(part.Timers, timer)
			}
		}
	}
	return part, nil
}

// timer reads a message; nil when it is no timer. Nobody but delivery sets timers, and one that cannot be read must not
// hide the others.
func (q *Queue) timer(ctx context.Context, msg *bus.StoredMsg) *Timer {
	due, target, err := bus.RetrySchedule(msg.Header)
	if err != nil {
		q.unreadable(ctx, msg, err)
		return nil
	}
	work, err := bus.ParseWorkSubject(target)
	if err != nil {
		q.unreadable(ctx, msg, err)
		return nil
	}
	task, err := decode(msg.Header, work.Lane, msg.Data)
	if err != nil {
		q.unreadable(ctx, msg, err)
		return nil
	}
	return &Timer{
		Sequence: msg.Sequence, Due: due, Parked: msg.Header.Get(bus.HeaderParked) != "", Task: task, subject: msg.Subject,
	}
}

func (q *Queue) unreadable(ctx context.Context, msg *bus.StoredMsg, err error) {
	q.logger.ErrorContext(ctx, "timer cannot be read and is passed over", "sequence", msg.Sequence, "subject", msg.Subject, "error", err)
}

// FindTimer returns the timer of a delivery; nil when it has none. Errors: fault.Unavailable.
func (q *Queue) FindTimer(ctx context.Context, organization, delivery string) (*Timer, error) {
	found, err := q.retriesReader().Last(ctx, []string{bus.RetryTimerSubject(organization, bus.AnyToken, delivery)})
	if err != nil {
		return nil, unavailable(err, "what waits cannot be read at the moment")
	}
	if len(found) == 0 {
		return nil, nil
	}
	return q.timer(ctx, &found[0]), nil
}

// LastTimer returns the sequence of the newest message of RETRIES. Errors: fault.Unavailable.
func (q *Queue) LastTimer(ctx context.Context) (uint64, error) {
	return lastOf(ctx, q.js, bus.StreamRetries)
}

// lastOf returns the sequence of the newest message of a stream.
func lastOf(ctx context.Context, js jetstream.JetStream, name string) (uint64, error) {
	ctx, cancel := context.WithTimeout(ctx, attemptTime)
	defer cancel()
	stream, err := js.Stream(ctx, name)
	if err != nil {
		return 0, unavailable(fmt.Errorf("open stream %s: %w", name, err), "the stream cannot be read at the moment")
	}
	return stream.CachedInfo().State.LastSeq, nil
}

// Hasten makes a timer due now. It reports false when it was too late: the timer has fired, or was set anew or canceled.
// Errors: fault.Unavailable, fault.ResourceExhausted.
func (q *Queue) Hasten(ctx context.Context, timer *Timer) (bool, error) {
	task := *timer.Task
	task.SlotAt = time.Time{} // what was reserved for it is for later
	ctx, cancel := context.WithTimeout(ctx, attemptTime)
	defer cancel()
	done, err := q.replace(ctx, timer.subject, timer.Sequence, &task)
	if err != nil {
		return false, bus.PublishFault(errors.Unwrap(err))
	}
	return done, nil
}

// replace replaces a timer by one that is due now. It reports whether it was still there.
func (q *Queue) replace(ctx context.Context, subject string, sequence uint64, task *core.Task) (bool, error) {
	msg := nats.NewMsg(subject)
	msg.Header = encode(task)
	msg.Data = task.Event
	bus.ScheduleRetry(msg, q.now(), bus.RetryDueSubject(task.Lane, task.Organization, task.Webhook))
	_, err := q.js.PublishMsg(ctx, msg,
		jetstream.WithMsgID(bus.ReplacementMsgID(bus.StreamRetries, sequence)),
		jetstream.WithExpectLastSequencePerSubject(sequence))
	var api *jetstream.APIError
	if errors.As(err, &api) && api.ErrorCode == jetstream.JSErrCodeStreamWrongLastSequence {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("make timer %d due: %w", sequence, err)
	}
	return true, nil
}

// CancelTimer removes a timer, by its sequence. It reports false when it was too late: the timer has fired, or was set
// anew or canceled. Errors: fault.Unavailable.
func (q *Queue) CancelTimer(ctx context.Context, timer *Timer) (bool, error) {
	limited, cancel := context.WithTimeout(ctx, attemptTime)
	defer cancel()
	err := q.retries.DeleteMsg(limited, timer.Sequence)
	if errors.Is(err, jetstream.ErrMsgDeleteUnsuccessful) {
		if _, missing := q.retries.GetMsg(limited, timer.Sequence); errors.Is(missing, jetstream.ErrMsgNotFound) {
			return false, nil
		}
	}
	if err != nil {
		return false, unavailable(fmt.Errorf("remove timer %d: %w", timer.Sequence, err), "the timer cannot be removed at the moment")
	}
	// The server may have been firing it at this very moment.
	fired, err := q.isDue(limited, timer.Task)
	if err != nil {
		q.logger.WarnContext(ctx, "it is not known whether a canceled timer has fired", "delivery", timer.Task.Delivery, "error", err)
	}
	return !fired, nil
}

// isDue reports whether a retry of a delivery is due and waits for a worker, or is being made.
func (q *Queue) isDue(ctx context.Context, task *core.Task) (bool, error) {
	filter := bus.RetryDueSubject(bus.AnyToken, task.Organization, task.Webhook)
	for from := uint64(1); ; {
		due, err := q.retriesReader().Batch(ctx, filter, from, drainBatch)
		if err != nil {
			return false, unavailable(err, "due retries cannot be read at the moment")
		}
		if len(due) == 0 {
			return false, nil
		}
		for i := range due {
			if due[i].Header.Get(bus.HeaderDeliveryID) == task.Delivery {
				return true, nil
			}
		}
		from = due[len(due)-1].Sequence + 1
	}
}

// Cancel is CancelTimer, and records the end of the delivery under an id. Errors: fault.Unavailable, the context's.
func (q *Queue) Cancel(ctx context.Context, timer *Timer, id string) (bool, error) {
	done, err := q.CancelTimer(ctx, timer)
	if err != nil || !done {
		return false, err
	}
	return true, q.Record(ctx, &core.Record{
		ID: id, Time: q.now(), Task: timer.Task, AttemptCount: timer.Task.Attempts, State: core.StateDropped, Reason: core.ReasonCanceled,
	})()
}

// CountMatching returns how much waits for an organization and a webhook, both of which may be bus.AnyToken. Errors:
// fault.Unavailable.
func (q *Queue) CountMatching(ctx context.Context, organization, webhook string) (int64, error) {
	n, err := countMatching(ctx, q.retriesReader(), bus.RetryTimersFilter(organization, webhook))
	if err != nil {
		return 0, unavailable(err, "what waits cannot be counted at the moment")
	}
	return int64(n), nil
}
