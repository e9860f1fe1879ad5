package core

import (
	"context"
	"errors"
	"time"

	"github.com/meetwire/meetwire/pkg/fault"
)

// conclude records an attempt and does what follows from it. The webhook is the one that the attempt was made with.
func (e *Engine) conclude(ctx context.Context, task *Task, ticket Ticket, webhook *Webhook, attempt *Attempt) error {
	if attempt.Succeeded() {
		wait := e.tell(ctx, e.record(task, webhook, StateSucceeded, "", time.Time{}, attempt))
		if ticket.Deliveries() > 1 {
			// An earlier try may have failed, set a timer, and died before it could say so.
			if err := e.Queue.Unschedule(ctx, task); err != nil {
				return err
			}
		}
		return wait()
	}
	now, ok := e.Webhooks.Webhook(task.Webhook)
	if !ok {
		return e.drop(ctx, task, attempt)
	}
	if now.Status == StatusDisabled {
		return e.bury(ctx, task, ticket, webhook, ReasonWebhookDisabled, attempt)
	}
	at, reason := now.Policy.repeat(task, attempt)
	if reason != "" {
		return e.bury(ctx, task, ticket, webhook, reason, attempt)
	}
	wait := e.tell(ctx, e.record(task, webhook, StatePending, "", at, attempt))
	if err := e.schedule(ctx, task, ticket, at, false); err != nil {
		return err
	}
	return wait()
}

// bury makes a dead letter, after the attempt that led to it, if one did. The webhook may be nil.
func (e *Engine) bury(ctx context.Context, task *Task, ticket Ticket, webhook *Webhook, reason string, attempt *Attempt) error {
	e.Slots.Waits(task.Webhook, task.Delivery, time.Time{})
	wait, err := e.letter(ctx, task, ticket.ID(), webhook, reason, attempt)
	if err != nil {
		return err
	}
	if ticket.Deliveries() > 1 {
		if err := e.Queue.Unschedule(ctx, task); err != nil {
			return err
		}
	}
	return wait()
}

// BuryWaiting makes a dead letter of what waits in a timer for a webhook that was disabled. The caller removes the
// timer, whose message has the id replaces.
func (e *Engine) BuryWaiting(ctx context.Context, task *Task, replaces string, webhook *Webhook) error {
	wait, err := e.letter(ctx, task, replaces, webhook, ReasonWebhookDisabled, nil)
	if err != nil {
		return err
	}
	return wait()
}

// letter writes a dead letter. The returned function waits until that is recorded.
func (e *Engine) letter(
	ctx context.Context, task *Task, replaces string, webhook *Webhook, reason string, attempt *Attempt,
) (wait func() error, err error) {
	if task.Event == nil {
		event, err := e.Events.Event(ctx, task.EventSequence)
		if err != nil && !fault.Is(err, fault.NotFound) {
			return nil, err
		}
		task.Event = event // a dead letter without its event still tells which one it was
	}
	task.SlotAt = time.Time{}
	wait = e.tell(ctx, e.record(task, webhook, StateDeadLettered, reason, time.Time{}, attempt))
	if err := e.Queue.DeadLetter(ctx, task, reason, e.Now(), replaces); err != nil {
		return nil, err
	}
	if e.Buried != nil {
		e.Buried(reason)
	}
	return wait, nil
}

// drop ends a delivery whose webhook is gone.
func (e *Engine) drop(ctx context.Context, task *Task, attempt *Attempt) error {
	if !e.Webhooks.HasOrganization(task.Organization) {
		return e.Queue.Unschedule(ctx, task) // its records are being removed, or have been
	}
	wait := e.tell(ctx, e.record(task, nil, StateDropped, ReasonWebhookDeleted, time.Time{}, attempt))
	if err := e.Queue.Unschedule(ctx, task); err != nil {
		return err
	}
	return wait()
}

// DropPending records that nothing that still waits for a webhook, which is gone, will be sent. The caller has removed
// it.
func (e *Engine) DropPending(ctx context.Context, organization, webhook string) error {
	if !e.Webhooks.HasOrganization(organization) {
		return nil // its records are being removed, or have been
	}
	all := &Task{Organization: organization, Webhook: webhook}
	return e.tell(ctx, e.record(all, nil, StateDropped, ReasonWebhookDeleted, time.Time{}, nil))()
}

// withoutEvent deals with a task whose event could not be read.
func (e *Engine) withoutEvent(ctx context.Context, task *Task, ticket Ticket, webhook *Webhook, err error) error {
	if !fault.Is(err, fault.NotFound) {
		return err
	}
	if task.AcceptedAt.Add(e.EventsMaxAge).After(e.Now()) {
		return e.dropErased(ctx, task)
	}
	return e.bury(ctx, task, ticket, webhook, ReasonUndeliverable, e.failed(task, err))
}

// dropErased ends a delivery whose event was removed before its time.
func (e *Engine) dropErased(ctx context.Context, task *Task) error {
	wait := e.tell(ctx, e.record(task, nil, StateDropped, ReasonErased, time.Time{}, nil))
	if err := e.Queue.Unschedule(ctx, task); err != nil {
		return err
	}
	return wait()
}

// failed is the attempt that could not be made.
func (e *Engine) failed(task *Task, err error) *Attempt {
	task.Attempts++
	attempt := &Attempt{
		ID:           e.NewID(),
		Number:       task.Attempts,
		StartedAt:    e.Now(),
		ErrorClass:   ErrorRender,
		ErrorMessage: err.Error(),
	}
	e.Observe(task, attempt)
	return attempt
}

// settle finishes a task, with what finish does or by giving the message back. It does not wait for that.
func (e *Engine) settle(ctx context.Context, ticket Ticket, finish func() error) {
	e.start(ctx, ticket, func() { e.answer(ctx, ticket, finish()) })
}

// answer gives a message the answer that follows from what became of its task.
func (e *Engine) answer(ctx context.Context, ticket Ticket, err error) {
	switch {
	case err == nil:
		ticket.Done()
	case errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded):
		ticket.Return()
	default:
		e.Logger.ErrorContext(ctx, "delivery could not be settled", "message", ticket.ID(), "error", err)
		ticket.Later(maxLater)
	}
}

// tell publishes a record of a task. The returned function waits until that is done.
func (e *Engine) tell(ctx context.Context, record *Record) (wait func() error) {
	wait = e.Queue.Record(ctx, record)
	record.Task.Recorded = true
	return wait
}

func (e *Engine) record(task *Task, webhook *Webhook, state State, reason string, next time.Time, attempt *Attempt) *Record {
	record := &Record{
		Time:          e.Now(),
		Task:          task,
		AttemptCount:  task.Attempts,
		State:         state,
		Reason:        reason,
		NextAttemptAt: next,
		Attempt:       attempt,
	}
	if webhook != nil {
		record.Generation = webhook.Generation
	}
	if attempt != nil {
		record.ID = attempt.ID
	} else {
		record.ID = e.NewID()
	}
	return record
}
