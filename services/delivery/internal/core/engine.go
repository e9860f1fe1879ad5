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

// lateRetry is how late a retry may be and still be made, though its event has become too old since it was due.
const lateRetry = time.Minute

// configWait is how long a task waits for the configuration that it was made with before it is deferred, and then
// for how long.
const configWait = 30 * time.Second

// Engine decides what happens to tasks.
type Engine struct {
	Webhooks Webhooks
	Queue    Queue
	Events   Events
	Sender   Sender
	Slots    *Slots
	Logger   *slog.Logger
	Now      func() time.Time
	// NewID returns a UUIDv7: ids that are made later sort later.
	NewID func() string
	// Tend has what waits for a webhook looked after, as its status demands. It does not block.
	Tend func(organization, webhook string)
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
		e.settle(ctx, ticket, func() error { return e.bury(ctx, task, ticket, webhook, ReasonPoison, nil) })
	case !ok && revision < task.ConfigRevision:
		e.start(ctx, ticket, func() { e.await(ctx, task, ticket) })
	case !ok:
		e.settle(ctx, ticket, func() error { return e.drop(ctx, task, nil) })
	case webhook.Status == StatusDisabled:
		e.settle(ctx, ticket, func() error { return e.bury(ctx, task, ticket, webhook, ReasonWebhookDisabled, nil) })
	case webhook.Status == StatusPaused:
		e.settle(ctx, ticket, func() error { return e.park(ctx, task, ticket) })
	default:
		e.Slots.Take(webhook.ID, webhook.Limits,
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
	return e.schedule(ctx, task, ticket, e.Now().Add(parkTime), true)
}

// schedule sets a timer for a task whose webhook was known a moment ago.
func (e *Engine) schedule(ctx context.Context, task *Task, ticket Ticket, at time.Time, parked bool) error {
	if err := e.Queue.Schedule(ctx, task, at, parked, ticket.ID()); err != nil {
		return err
	}
	webhook, ok := e.Webhooks.Webhook(task.Webhook)
	if !ok || webhook.Status == StatusDisabled || parked && webhook.Status == StatusActive {
		// That changed while the timer was on its way, and whoever tended to what waited may not have seen it.
		e.Tend(task.Organization, task.Webhook)
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
	if webhook, ok := e.Webhooks.Webhook(task.Webhook); ok && task.Run() > 0 && webhook.Policy.TooOld(task.AcceptedAt, at) {
		e.settle(ctx, ticket, func() error { return e.bury(ctx, task, ticket, webhook, ReasonGaveUpAge, nil) })
		return
	}
	e.settle(ctx, ticket, func() error { return e.schedule(ctx, task, ticket, at, false) })
}

// try makes an attempt, in a slot, with the webhook as it is at this moment, and leaves the rest to a goroutine
// of its own so that the slot is free.
func (e *Engine) try(ctx context.Context, task *Task, ticket Ticket) {
	webhook, ok := e.Webhooks.Webhook(task.Webhook)
	if !ok || webhook.Status != StatusActive {
		// That changed while the task waited for its slot.
		e.Handle(ctx, task, ticket)
		return
	}
	if task.Run() > 0 && webhook.Policy.TooOld(task.AcceptedAt, e.Now().Add(-lateRetry)) {
		// It has waited for longer than its timer was to: for a paused webhook, or for a worker.
		e.settle(ctx, ticket, func() error { return e.bury(ctx, task, ticket, webhook, ReasonGaveUpAge, nil) })
		return
	}
	if task.Event == nil {
		event, err := e.Events.Event(ctx, task.EventSequence)
		if err != nil {
			e.settle(ctx, ticket, func() error { return e.withoutEvent(ctx, task, ticket, webhook, err) })
			return
		}
		task.Event = event
	}
	request, err := webhook.Form.Render(task, e.Now())
	if err != nil {
		attempt := e.failed(task, err)
		e.settle(ctx, ticket, func() error { return e.bury(ctx, task, ticket, webhook, ReasonUndeliverable, attempt) })
		return
	}
	request.URL, request.Timeout = webhook.TargetURL, webhook.Timeout
	attempt, err := e.send(ctx, webhook, request)
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

// send makes the attempt, unless it would send what is secret over a line that everybody on the way can read.
func (e *Engine) send(ctx context.Context, webhook *Webhook, request Request) (Attempt, error) {
	if webhook.Insecure() {
		return Attempt{
			ID: e.NewID(), StartedAt: e.Now(), Request: request, ErrorClass: ErrorInsecure,
			ErrorMessage: "the URL begins with http:, which neither the organization nor the dialect allows",
		}, nil
	}
	return e.Sender.Send(ctx, request)
}

// conclude records an attempt and does what follows from it. The webhook is the one that the attempt was made with.
func (e *Engine) conclude(ctx context.Context, task *Task, ticket Ticket, webhook *Webhook, attempt *Attempt) error {
	if attempt.Succeeded() {
		wait := e.Queue.Record(ctx, e.record(task, webhook, StateSucceeded, "", time.Time{}, attempt))
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
	delay, again := now.Policy.Next(task.Run())
	if !again {
		return e.bury(ctx, task, ticket, webhook, ReasonAttemptsExhausted, attempt)
	}
	ended := attempt.StartedAt.Add(attempt.Duration)
	at := ended.Add(max(delay, attempt.RetryDelay(ended)))
	if now.Policy.TooOld(task.AcceptedAt, at) {
		return e.bury(ctx, task, ticket, webhook, ReasonGaveUpAge, attempt)
	}
	wait := e.Queue.Record(ctx, e.record(task, webhook, StatePending, "", at, attempt))
	if err := e.schedule(ctx, task, ticket, at, false); err != nil {
		return err
	}
	return wait()
}

// bury makes a dead letter, after the attempt that led to it, if one did. The webhook may be nil.
func (e *Engine) bury(ctx context.Context, task *Task, ticket Ticket, webhook *Webhook, reason string, attempt *Attempt) error {
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
	wait = e.Queue.Record(ctx, e.record(task, webhook, StateDeadLettered, reason, time.Time{}, attempt))
	if err := e.Queue.DeadLetter(ctx, task, reason, e.Now(), replaces); err != nil {
		return nil, err
	}
	return wait, nil
}

// drop ends a delivery whose webhook is gone.
func (e *Engine) drop(ctx context.Context, task *Task, attempt *Attempt) error {
	if !e.Webhooks.HasOrganization(task.Organization) {
		return e.Queue.Unschedule(ctx, task) // its records are being removed, or have been
	}
	wait := e.Queue.Record(ctx, e.record(task, nil, StateDropped, ReasonWebhookDeleted, time.Time{}, attempt))
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
	return e.Queue.Record(ctx, e.record(all, nil, StateDropped, ReasonWebhookDeleted, time.Time{}, nil))()
}

// withoutEvent deals with a task whose event could not be read.
func (e *Engine) withoutEvent(ctx context.Context, task *Task, ticket Ticket, webhook *Webhook, err error) error {
	if !fault.Is(err, fault.NotFound) {
		return err
	}
	return e.bury(ctx, task, ticket, webhook, ReasonUndeliverable, e.failed(task, err))
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
