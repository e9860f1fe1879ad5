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

// longDeferral is from when on a deferral is recorded, for people to see when the delivery comes again.
const longDeferral = time.Minute

// parkTime is when a delivery for a paused webhook looks again, unless the webhook is resumed before.
const parkTime = time.Hour

// lateRetry is how late a retry may be and still be made, though its event has become too old since it was due.
const lateRetry = time.Minute

// configWait is how long a task waits for the configuration that it was made with before it is deferred, and then
// for how long.
const configWait = 30 * time.Second

// formPatience is how old the event of a task may become while it waits for a process that can render it, and formWait
// how long it waits at a time.
const (
	formPatience = 72 * time.Hour
	formWait     = 30 * time.Second
)

// Engine decides what happens to tasks.
type Engine struct {
	Webhooks Webhooks
	Queue    Queue
	Events   Events
	Sender   Sender
	Slots    *Slots
	Logger   *slog.Logger
	Now      func() time.Time
	// EventsMaxAge is how long EVENTS keeps events: one that is missing before has been erased.
	EventsMaxAge time.Duration
	// NewID returns a UUIDv7: ids that are made later sort later.
	NewID func() string
	// Tend has what waits for a webhook looked after, as its status demands. It does not block.
	Tend func(organization, webhook string)
	// Observe is told about every attempt.
	Observe func(task *Task, attempt *Attempt)
	// Deferred, when set, is told about every task that found no slot: whether a timer was set for it, or its message
	// given back to come again soon.
	Deferred func(timer bool)
	// Buried, when set, is told the reason of every dead letter.
	Buried func(reason string)
}

// Handle takes over a task. It returns before the attempt has been made; the context is that of the attempt.
func (e *Engine) Handle(ctx context.Context, task *Task, ticket Ticket) {
	// The revision first: a change shows in the webhooks before it shows in the revision.
	revision := e.Webhooks.Revision()
	webhook, ok := e.Webhooks.Webhook(task.Webhook)
	switch {
	case !ok && revision < task.ConfigRevision:
		e.start(ctx, ticket, func() { e.await(ctx, task, ticket) })
	case !ok:
		e.settle(ctx, ticket, func() error { return e.drop(ctx, task, nil) })
	case ticket.Deliveries() > maxDeliveries:
		e.settle(ctx, ticket, func() error { return e.bury(ctx, task, ticket, webhook, ReasonPoison, nil) })
	case webhook.Status == StatusDisabled:
		e.settle(ctx, ticket, func() error { return e.bury(ctx, task, ticket, webhook, ReasonWebhookDisabled, nil) })
	case webhook.Status == StatusPaused:
		e.settle(ctx, ticket, func() error { return e.park(ctx, task, ticket, webhook) })
	default:
		e.Slots.Take(webhook.ID, webhook.Limits, e.turn(ctx, task, ticket, webhook))
	}
}

// turn is a task that asks for a slot. One that was told when to come again has a reservation, whoever made it.
func (e *Engine) turn(ctx context.Context, task *Task, ticket Ticket, webhook *Webhook) Turn {
	return Turn{
		Delivery: task.Delivery, Endpoint: webhook.TargetURL, Generation: webhook.Generation,
		Reserved: !task.SlotAt.IsZero() || ticket.Deliveries() > 1,
		Bulk:     task.bulk(),
		Run: func() (verdict Verdict) {
			e.guard(ctx, ticket, func() { verdict = e.try(ctx, task, ticket) })
			return verdict
		},
		Away: func(at time.Time) { e.guard(ctx, ticket, func() { e.put(ctx, task, ticket, at) }) },
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

// park lets a task wait until its webhook is resumed. One of which nothing is known yet is recorded, once.
func (e *Engine) park(ctx context.Context, task *Task, ticket Ticket, webhook *Webhook) error {
	wait := func() error { return nil }
	if task.Attempts == 0 && !task.Parked {
		wait = e.tell(ctx, e.record(task, webhook, StatePending, "", time.Time{}, nil))
	}
	task.SlotAt = time.Time{}
	if err := e.schedule(ctx, task, ticket, e.Now().Add(parkTime), true); err != nil {
		return err
	}
	return wait()
}

// schedule sets a timer for a task whose webhook was known a moment ago. When too much waits for the webhook already,
// the task is a dead letter instead.
func (e *Engine) schedule(ctx context.Context, task *Task, ticket Ticket, at time.Time, parked bool) error {
	err := e.Queue.Schedule(ctx, task, at, parked, ticket.ID())
	webhook, ok := e.Webhooks.Webhook(task.Webhook)
	if errors.Is(err, ErrBacklogFull) {
		return e.bury(ctx, task, ticket, webhook, ReasonBacklogFull, nil)
	}
	if err != nil {
		return err
	}
	e.Slots.Waits(task.Webhook, task.Delivery, at)
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
		err := e.Queue.Schedule(ctx, task, e.Now().Add(configWait), false, ticket.ID())
		if errors.Is(err, ErrBacklogFull) {
			return e.bury(ctx, task, ticket, nil, ReasonBacklogFull, nil)
		}
		return err
	})
}

// put defers a task for which there is no slot before a time. That is no attempt. A message that is given back occupies
// the consumer, so few are, for a short time.
func (e *Engine) put(ctx context.Context, task *Task, ticket Ticket, at time.Time) {
	delay := at.Sub(e.Now())
	if delay <= maxLater && ticket.Deliveries() <= maxLaterPerMessage && e.Slots.Lend(task.Webhook, task.bulk(), at) {
		e.deferred(false)
		ticket.Later(max(delay, 0))
		return
	}
	if webhook, ok := e.Webhooks.Webhook(task.Webhook); ok && task.Run() > 0 && webhook.Policy.TooOld(task.began(), at) {
		e.settle(ctx, ticket, func() error { return e.bury(ctx, task, ticket, webhook, ReasonGaveUpAge, nil) })
		return
	}
	e.deferred(true)
	task.SlotAt = at
	e.settle(ctx, ticket, func() error {
		if delay < longDeferral {
			return e.schedule(ctx, task, ticket, at, false)
		}
		webhook, _ := e.Webhooks.Webhook(task.Webhook)
		wait := e.tell(ctx, e.record(task, webhook, StatePending, "", at, nil))
		if err := e.schedule(ctx, task, ticket, at, false); err != nil {
			return err
		}
		return wait()
	})
}

func (e *Engine) deferred(timer bool) {
	if e.Deferred != nil {
		e.Deferred(timer)
	}
}

// try makes an attempt, in a slot, with the webhook as it is at this moment, and leaves the rest to a goroutine
// of its own so that the slot is free. It returns what the attempt says about the webhook.
func (e *Engine) try(ctx context.Context, task *Task, ticket Ticket) Verdict {
	task.SlotAt = time.Time{} // it has been used
	webhook, ok := e.Webhooks.Webhook(task.Webhook)
	if !ok || webhook.Status != StatusActive {
		// That changed while the task waited for its slot.
		e.Handle(ctx, task, ticket)
		return VerdictNone
	}
	if task.Run() > 0 && webhook.Policy.TooOld(task.began(), e.Now().Add(-lateRetry)) {
		// It has waited for longer than its timer was to: for a paused webhook, or for a worker.
		e.settle(ctx, ticket, func() error { return e.bury(ctx, task, ticket, webhook, ReasonGaveUpAge, nil) })
		return VerdictNone
	}
	request, ok := e.prepare(ctx, task, ticket, webhook)
	if !ok {
		return VerdictNone
	}
	attempt, err := e.send(ctx, webhook, request)
	if err != nil {
		// We are being stopped. Nobody knows whether the receiver has it; it is not counted, and tried again.
		ticket.Return()
		return VerdictNone
	}
	task.Attempts++
	attempt.Number = task.Attempts
	e.Observe(task, &attempt)
	e.settle(ctx, ticket, func() error { return e.conclude(ctx, task, ticket, webhook, &attempt) })
	return attempt.verdict()
}

// prepare makes the request of a task. When there is none it settles the task and reports false.
func (e *Engine) prepare(ctx context.Context, task *Task, ticket Ticket, webhook *Webhook) (Request, bool) {
	if task.Event == nil {
		event, err := e.Events.Event(ctx, task.EventSequence)
		if err != nil {
			e.settle(ctx, ticket, func() error { return e.withoutEvent(ctx, task, ticket, webhook, err) })
			return Request{}, false
		}
		task.Event = event
	}
	request, err := webhook.Form.Render(task, e.Now())
	switch {
	case fault.Is(err, fault.Unavailable) && e.Now().Sub(task.AcceptedAt) < formPatience:
		// Not with what this process knows: it runs an older version, or was not given a new key yet. Another may.
		wait := maxLater
		if ticket.Deliveries() > maxLaterPerMessage {
			wait = formWait
		}
		e.put(ctx, task, ticket, e.Now().Add(wait))
		return Request{}, false
	case err != nil:
		attempt := e.failed(task, err)
		e.settle(ctx, ticket, func() error { return e.bury(ctx, task, ticket, webhook, ReasonUndeliverable, attempt) })
		return Request{}, false
	}
	request.URL, request.Timeout = webhook.TargetURL, webhook.Timeout
	return request, true
}

// send makes the attempt, unless it would send what is secret over a line that everybody on the way can read.
func (e *Engine) send(ctx context.Context, webhook *Webhook, request Request) (Attempt, error) {
	if webhook.Insecure() {
		return InsecureAttempt(e.NewID(), e.Now(), request), nil
	}
	return e.Sender.Send(ctx, request)
}
