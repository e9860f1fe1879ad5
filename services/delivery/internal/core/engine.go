package core

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"runtime/debug"
	"time"

	"github.com/meetwire/meetwire/pkg/fault"
)

// Bounds of giving a message back instead of scheduling it anew: a message that waits for its redelivery
// occupies the consumer.
const (
	maxLater           = 5 * time.Second
	maxLaterPerMessage = 3
)

// maxDeliveries is how many times a message is given out without a result before its delivery is given up.
const maxDeliveries = 10

// parkTime is when a delivery for a paused webhook looks again, unless the webhook is resumed before.
const parkTime = time.Hour

// configWait is how long a task waits for the configuration that it was made with before it is deferred, and then
// for how long.
const configWait = 30 * time.Second

// Engine decides what happens to tasks.
type Engine struct {
	Webhooks Webhooks
	Queue    Queue
	Events   Events
	Renderer Renderer
	Sender   Sender
	Slots    *Slots
	Logger   *slog.Logger
	Now      func() time.Time
	// NewID returns a UUIDv7: ids that are made later sort later.
	NewID func() string
	// Resumed has what is parked for a webhook made due. It does not block.
	Resumed func(organization, webhook string)
	// Observe is told about every attempt.
	Observe func(task *Task, attempt *Attempt)
}

// Handle takes over a task. It returns before the attempt has been made; the context is that of the attempt.
func (e *Engine) Handle(ctx context.Context, task *Task, ticket Ticket) {
	// The revision first: a change shows in the webhooks before it shows in the revision.
	revision := e.Webhooks.Revision()
	webhook, ok := e.Webhooks.Webhook(task.Webhook)
	switch {
	case ticket.Deliveries() > maxDeliveries:
		e.settle(ctx, ticket, func() error { return e.bury(ctx, task, ticket, ReasonPoison, nil) })
	case !ok && revision < task.ConfigRevision:
		e.start(ctx, ticket, func() { e.await(ctx, task, ticket) })
	case !ok:
		e.settle(ctx, ticket, func() error { return e.drop(ctx, task) })
	case webhook.Paused:
		e.settle(ctx, ticket, func() error { return e.park(ctx, task, ticket) })
	default:
		e.Slots.Take(webhook.ID,
			func() { e.guard(ctx, ticket, func() { e.try(ctx, task, ticket) }) },
			func(at time.Time) { e.guard(ctx, ticket, func() { e.put(ctx, task, ticket, at) }) },
		)
	}
}

// start runs a part of a task in a goroutine of its own, which Slots.Wait waits for.
func (e *Engine) start(ctx context.Context, ticket Ticket, part func()) {
	e.Slots.Go(func() { e.guard(ctx, ticket, part) })
}

// guard keeps one task that panics from ending the process with all others. It comes again, and after a few times
// it is poison.
func (e *Engine) guard(ctx context.Context, ticket Ticket, part func()) {
	defer func() {
		if r := recover(); r != nil {
			e.Logger.ErrorContext(ctx, "delivery panicked", "message", ticket.ID(), "panic", fmt.Sprint(r), "stack", string(debug.Stack()))
			ticket.Later(maxLater)
		}
	}()
	part()
}

// park lets a task wait until its webhook is resumed.
func (e *Engine) park(ctx context.Context, task *Task, ticket Ticket) error {
	if err := e.Queue.Schedule(ctx, task, e.Now().Add(parkTime), true, ticket.ID()); err != nil {
		return err
	}
	if webhook, ok := e.Webhooks.Webhook(task.Webhook); ok && !webhook.Paused {
		// It was resumed while the timer was on its way, and whoever woke what was parked may not have seen it.
		e.Resumed(webhook.Organization, webhook.ID)
	}
	return nil
}

// await handles a task again when the configuration has caught up with it.
func (e *Engine) await(ctx context.Context, task *Task, ticket Ticket) {
	wait, cancel := context.WithTimeout(ctx, configWait)
	defer cancel()
	if e.Webhooks.WaitFor(wait, task.ConfigRevision) == nil {
		e.Handle(ctx, task, ticket)
		return
	}
	if ctx.Err() != nil {
		ticket.Return()
		return
	}
	// Given back again and again it would become poison, though nothing is wrong with it.
	e.settle(ctx, ticket, func() error {
		return e.Queue.Schedule(ctx, task, e.Now().Add(configWait), false, ticket.ID())
	})
}

// put defers a task for which there is no slot before a time. That is no attempt.
func (e *Engine) put(ctx context.Context, task *Task, ticket Ticket, at time.Time) {
	if delay := at.Sub(e.Now()); delay <= maxLater && ticket.Deliveries() <= maxLaterPerMessage {
		ticket.Later(max(delay, 0))
		return
	}
	e.settle(ctx, ticket, func() error { return e.Queue.Schedule(ctx, task, at, false, ticket.ID()) })
}

// try makes an attempt, in a slot, with the webhook as it is at this moment, and leaves the rest to a goroutine
// of its own so that the slot is free.
func (e *Engine) try(ctx context.Context, task *Task, ticket Ticket) {
	webhook, ok := e.Webhooks.Webhook(task.Webhook)
	if !ok || webhook.Paused {
		// It was deleted or paused while the task waited for its slot.
		e.Handle(ctx, task, ticket)
		return
	}
	if task.Event == nil {
		event, err := e.Events.Event(ctx, task.EventSequence)
		if err != nil {
			e.settle(ctx, ticket, func() error { return e.withoutEvent(ctx, task, ticket, err) })
			return
		}
		task.Event = event
	}
	request, err := e.Renderer.Render(task, webhook, e.Now())
	if err != nil {
		attempt := e.failed(task, err)
		e.settle(ctx, ticket, func() error { return e.bury(ctx, task, ticket, ReasonUndeliverable, attempt) })
		return
	}
	attempt, err := e.Sender.Send(ctx, request)
	if err != nil {
		// We are being stopped. Nobody knows whether the receiver has it; it is not counted, and tried again.
		ticket.Return()
		return
	}
	task.Attempts++
	attempt.Number = task.Attempts
	e.Observe(task, &attempt)
	e.settle(ctx, ticket, func() error { return e.conclude(ctx, task, ticket, webhook, &attempt) })
}

// conclude records an attempt and does what follows from it.
func (e *Engine) conclude(ctx context.Context, task *Task, ticket Ticket, webhook *Webhook, attempt *Attempt) error {
	if attempt.Succeeded() {
		wait := e.Queue.Record(ctx, e.record(task, StateSucceeded, "", time.Time{}, attempt))
		if ticket.Deliveries() > 1 {
			// An earlier try may have failed, set a timer, and died before it could say so.
			if err := e.Queue.Unschedule(ctx, task); err != nil {
				return err
			}
		}
		return wait()
	}
	delay, again := webhook.Policy.Next(task.Run())
	if !again {
		return e.bury(ctx, task, ticket, ReasonAttemptsExhausted, attempt)
	}
	at := attempt.StartedAt.Add(attempt.Duration + delay)
	wait := e.Queue.Record(ctx, e.record(task, StatePending, "", at, attempt))
	if err := e.Queue.Schedule(ctx, task, at, false, ticket.ID()); err != nil {
		return err
	}
	return wait()
}

// bury makes a dead letter, after the attempt that led to it, if one did.
func (e *Engine) bury(ctx context.Context, task *Task, ticket Ticket, reason string, attempt *Attempt) error {
	if task.Event == nil {
		event, err := e.Events.Event(ctx, task.EventSequence)
		if err != nil && !fault.Is(err, fault.NotFound) {
			return err
		}
		task.Event = event // a dead letter without its event still tells which one it was
	}
	wait := e.Queue.Record(ctx, e.record(task, StateDeadLettered, reason, time.Time{}, attempt))
	if err := e.Queue.DeadLetter(ctx, task, reason, e.Now(), ticket.ID()); err != nil {
		return err
	}
	if ticket.Deliveries() > 1 {
		if err := e.Queue.Unschedule(ctx, task); err != nil {
			return err
		}
	}
	return wait()
}

// drop ends a delivery whose webhook is gone.
func (e *Engine) drop(ctx context.Context, task *Task) error {
	wait := e.Queue.Record(ctx, e.record(task, StateDropped, ReasonWebhookDeleted, time.Time{}, nil))
	if err := e.Queue.Unschedule(ctx, task); err != nil {
		return err
	}
	return wait()
}

// withoutEvent deals with a task whose event could not be read.
func (e *Engine) withoutEvent(ctx context.Context, task *Task, ticket Ticket, err error) error {
	if !fault.Is(err, fault.NotFound) {
		return err
	}
	return e.bury(ctx, task, ticket, ReasonUndeliverable, e.failed(task, err))
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

func (e *Engine) record(task *Task, state State, reason string, next time.Time, attempt *Attempt) *Record {
	record := &Record{
		Time:          e.Now(),
		Task:          task,
		AttemptCount:  task.Attempts,
		State:         state,
		Reason:        reason,
		NextAttemptAt: next,
		Attempt:       attempt,
	}
	if attempt != nil {
		record.ID = attempt.ID
	} else {
		record.ID = e.NewID()
	}
	return record
}
