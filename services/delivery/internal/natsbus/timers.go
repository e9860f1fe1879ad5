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
	var part TimerPart
	var err error
	part.Read, part.Next, err = readStored(ctx, q.timers, bus.RetryTimersFilter(organization, webhook), max(from, 1), until,
		func(int) int { return size - len(part.Timers) },
		func(msg *bus.StoredMsg) {
			if timer := q.timer(ctx, msg); timer != nil {
				part.Timers = append(part.Timers, timer)
			}
		})
	if err != nil {
		return part, unavailable(err, "what waits cannot be read at the moment")
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
	found, err := q.timers.Last(ctx, []string{bus.RetryTimerSubject(organization, bus.AnyToken, delivery)})
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
	ack, err := q.replace(ctx, timer.subject, timer.Sequence, &task)
	if err != nil {
		return false, bus.PublishFault(errors.Unwrap(err))
	}
	return ack != nil, nil
}

// replace replaces a timer by one that is due now. There is no acknowledgement if it was not there any more.
func (q *Queue) replace(ctx context.Context, subject string, sequence uint64, task *core.Task) (*jetstream.PubAck, error) {
	msg := nats.NewMsg(subject)
	msg.Header = encode(task)
	msg.Data = task.Event
	bus.ScheduleRetry(msg, q.now(), bus.RetryDueSubject(task.Lane, task.Organization, task.Webhook))
	ack, err := q.js.PublishMsg(ctx, msg,
		jetstream.WithMsgID(bus.ReplacementMsgID(bus.StreamRetries, sequence)),
		jetstream.WithExpectLastSequencePerSubject(sequence))
	if isOvertaken(err) {
		return nil, nil //nolint:nilnil // as said above
	}
	if err != nil {
		return nil, fmt.Errorf("make timer %d due: %w", sequence, err)
	}
	return ack, nil
}

// isOvertaken reports whether a message was refused because the one that it should replace is not there any more.
func isOvertaken(err error) bool {
	var api *jetstream.APIError
	return errors.As(err, &api) && api.ErrorCode == jetstream.JSErrCodeStreamWrongLastSequence
}

// claimTime is how long a timer waits at least that is being canceled: longer than that takes.
const claimTime = time.Minute

// Cancel removes a timer, and records the end of the delivery under an id. It reports false when it was too late: the
// timer has fired, or was set anew or canceled. Interrupted, it can be called again: the timer, as it is then, goes last.
// Errors: fault.Unavailable, fault.ResourceExhausted, the context's.
func (q *Queue) Cancel(ctx context.Context, timer *Timer, id string) (bool, error) {
	sequence, err := q.claim(ctx, timer)
	if err != nil || sequence == 0 {
		return false, err
	}
	err = q.Record(ctx, &core.Record{
		ID: id, Time: q.now(), Task: timer.Task, AttemptCount: timer.Task.Attempts, State: core.StateDropped, Reason: core.ReasonCanceled,
	})()
	if err != nil {
		return false, err
	}
	limited, cancel := context.WithTimeout(ctx, attemptTime)
	defer cancel()
	removed, err := q.removeTimer(limited, sequence)
	if err != nil {
		return false, unavailable(fmt.Errorf("remove timer %d: %w", sequence, err), "the timer cannot be removed at the moment")
	}
	return removed, nil
}

// claim makes sure that a timer waits while it is being canceled, and nobody else has it. It returns the sequence that it
// has now; 0: it was too late.
func (q *Queue) claim(ctx context.Context, timer *Timer) (uint64, error) {
	newest, err := q.LastTimer(ctx)
	if err != nil {
		return 0, err
	}
	limited, cancel := context.WithTimeout(ctx, attemptTime)
	defer cancel()
	sequence, err := q.postpone(limited, timer)
	if err != nil || sequence == 0 {
		return 0, err
	}
	// The server may have been firing it at this very moment.
	fired, err := q.isDue(limited, timer.Task, newest+1)
	if err != nil || !fired {
		return sequence, err
	}
	if _, err := q.removeTimer(limited, sequence); err != nil {
		return 0, unavailable(fmt.Errorf("remove timer %d: %w", sequence, err), "the timer cannot be removed at the moment")
	}
	return 0, nil
}

// postpone sets a timer anew for its time, or later if that is too soon to cancel it before, and returns its sequence; 0:
// it is not there any more. Errors: those of bus.Publish.
func (q *Queue) postpone(ctx context.Context, timer *Timer) (uint64, error) {
	at := timer.Due
	if soonest := q.now().Add(claimTime); at.Before(soonest) {
		at = soonest
	}
	msg := timerMessage(timer.Task, at, timer.Parked)
	msg.Data = timer.Task.Event
	ack, err := q.js.PublishMsg(ctx, msg,
		jetstream.WithMsgID(bus.ReplacementMsgID(bus.StreamRetries, timer.Sequence)+":cancel"),
		jetstream.WithExpectLastSequencePerSubject(timer.Sequence))
	if isOvertaken(err) {
		return 0, nil
	}
	if err != nil {
		return 0, bus.PublishFault(err)
	}
	return ack.Sequence, nil
}

// isDue reports whether a retry of a delivery that became due from a sequence on waits for a worker, or is being made.
func (q *Queue) isDue(ctx context.Context, task *core.Task, from uint64) (bool, error) {
	filter := bus.RetryDueSubject(bus.AnyToken, task.Organization, task.Webhook)
	for {
		due, err := q.timers.Batch(ctx, filter, from, drainBatch)
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

// CountMatching returns how much waits for an organization and a webhook, both of which may be bus.AnyToken. Errors:
// fault.Unavailable.
func (q *Queue) CountMatching(ctx context.Context, organization, webhook string) (int64, error) {
	n, err := countMatching(ctx, q.timers, bus.RetryTimersFilter(organization, webhook))
	if err != nil {
		return 0, unavailable(err, "what waits cannot be counted at the moment")
	}
	return int64(n), nil
}
