package core

import (
	"context"
	"errors"
	"log/slog"
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
	// Observe is told about every attempt.
	Observe func(task *Task, attempt *Attempt)
}

// Handle takes over a task. It returns before the attempt has been made; the context is that of the attempt.
func (e *Engine) Handle(ctx context.Context, task *Task, ticket Ticket) {
	webhook, ok := e.Webhooks.Webhook(task.Webhook)
	switch {
	case ticket.Deliveries() > maxDeliveries:
		go e.settle(ctx, ticket, func() error { return e.bury(ctx, task, ticket, ReasonPoison, nil) })
	case !ok && e.Webhooks.Revision() < task.ConfigRevision:
		go e.await(ctx, task, ticket)
	case !ok:
		go e.settle(ctx, ticket, func() error { return e.drop(ctx, task) })
	case webhook.Paused:
		go e.settle(ctx, ticket, func() error {
			return e.Queue.Schedule(ctx, task, e.Now().Add(parkTime), true, ticket.ID())
		})
	default:
		e.Slots.Take(webhook.ID,
			func() { e.try(ctx, task, ticket) },
			func(at time.Time) { e.put(ctx, task, ticket, at) },
		)
	}
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
		go e.Handle(ctx, task, ticket)
		return
	}
	if task.Event == nil {
		event, err := e.Events.Event(ctx, task.EventSequence)
		if err != nil {
			go e.settle(ctx, ticket, func() error { return e.withoutEvent(ctx, task, ticket, err) })
			return
		}
		task.Event = event
	}
	request, err := e.Renderer.Render(task, webhook, e.Now())
	if err != nil {
		attempt := e.failed(task, err)
		go e.settle(ctx, ticket, func() error { return e.bury(ctx, task, ticket, ReasonUndeliverable, attempt) })
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
	go e.settle(ctx, ticket, func() error { return e.conclude(ctx, task, ticket, webhook, &attempt) })
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

// settle finishes a task: with what finish does, or by giving the message back.
func (e *Engine) settle(ctx context.Context, ticket Ticket, finish func() error) {
	err := finish()
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
