package core

import (
	"context"
	"errors"
	"time"
)

// Form makes the requests of one webhook: its dialect, with its secrets and headers.
type Form interface {
	// Render returns the headers and the body of an attempt that is made at this time. An error means that this event
	// cannot be sent to this webhook; fault.Unavailable: by this process, while another may be able to.
	Render(task *Task, at time.Time) (Request, error)
}

// Ticket is the message behind a task. Exactly one of its methods but ID and Redelivered is called, once.
type Ticket interface {
	// ID identifies the message: what replaces it is published under this id, so that doing it again has no
	// second effect.
	ID() string
	// Deliveries is how many times the message has been given out.
	Deliveries() uint64
	// Done removes the message.
	Done()
	// Later gives it back, to come again after the delay.
	Later(delay time.Duration)
	// Return gives it back, to come again at once, here or elsewhere.
	Return()
}

// Webhooks is the configuration in force.
type Webhooks interface {
	// Webhook returns a webhook, or false when none has this id.
	Webhook(id string) (*Webhook, bool)
	// WaitFor waits until a revision of the configuration is in force. It returns the context's error.
	WaitFor(ctx context.Context, revision int64) error
	// Revision is the one in force.
	Revision() int64
	// HasOrganization reports whether an organization exists.
	HasOrganization(id string) bool
}

// ErrBacklogFull says that no more may wait for a webhook.
var ErrBacklogFull = errors.New("as many deliveries wait for the webhook as may")

// Queue is where deliveries wait and end. Its methods try until they succeed or the context ends, and return
// the context's error, or a fault when the input itself is refused. `replaces` is the Ticket's id.
type Queue interface {
	// Schedule makes the task due at a time. A parked one is due earlier when its webhook is resumed.
	// ErrBacklogFull: as much waits for the webhook as may.
	Schedule(ctx context.Context, task *Task, at time.Time, parked bool, replaces string) error
	// Unschedule cancels what Schedule may have set for this delivery.
	Unschedule(ctx context.Context, task *Task) error
	// DeadLetter keeps the task, with its event, until someone replays it.
	DeadLetter(ctx context.Context, task *Task, reason string, at time.Time, replaces string) error
	// Record publishes a change. It does not wait; the returned function does.
	Record(ctx context.Context, record *Record) (wait func() error)
}

// Events reads the events that were published.
type Events interface {
	// Event returns an event as published. fault.NotFound: it has expired or was erased.
	Event(ctx context.Context, sequence uint64) ([]byte, error)
}

// Sender makes requests.
type Sender interface {
	// Send makes one attempt. The only error is that the context ended before there was a result.
	Send(ctx context.Context, request Request) (Attempt, error)
}
