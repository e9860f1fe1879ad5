// Package operations owns delivery's long work: trying at once what waits, and replays and purges of many dead letters.
// Every step does a part that can be repeated, and stores where the next one begins; who runs the steps, and takes over
// when an instance dies, is pkg/operation's. What it sends travels in the lane `bulk`, at the pace of the operation.
package operations

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"github.com/meetwire/meetwire/pkg/fault"
	"github.com/meetwire/meetwire/pkg/operation"
	"github.com/meetwire/meetwire/services/delivery/internal/core"
	"github.com/meetwire/meetwire/services/delivery/internal/natsbus"
	"github.com/meetwire/meetwire/services/delivery/internal/pgstore"
)

// Types of operations.
const (
	TypeRetry  = "retry_deliveries"
	TypeReplay = "replay_dead_letters"
	TypePurge  = "purge_dead_letters"
)

// How many deliveries per second an operation sends that was not told.
const (
	DefaultRetryRate  = 1000
	DefaultReplayRate = 100
)

// Steps keeps what steps have done.
type Steps interface {
	// Advance stores a step: operation.ErrTaken when the operation is somebody else's by now, fault.Unavailable.
	Advance(ctx context.Context, w *operation.Work, step operation.Step) error
}

// Timers is what waits. Its methods return fault.Unavailable.
type Timers interface {
	// ListTimers returns a part of what waits.
	ListTimers(ctx context.Context, organization, webhook string, from, until uint64, size int) (natsbus.TimerPart, error)
	// CountMatching returns how much waits.
	CountMatching(ctx context.Context, organization, webhook string) (int64, error)
	// HastenAll makes timers due, and returns how many still were there: fault.ResourceExhausted.
	HastenAll(ctx context.Context, timers []*natsbus.Timer) (int, error)
}

// Letters is the dead letters. Its methods return fault.Unavailable.
type Letters interface {
	// List returns a part of those that are selected.
	List(ctx context.Context, selected natsbus.Selection, from, until uint64, size int) (natsbus.LetterPart, error)
	// Count returns how many there are to look at.
	Count(ctx context.Context, selected natsbus.Selection) (int64, error)
	// ReplayAll sends some again and removes them. It returns how many, also when it fails: fault.ResourceExhausted.
	ReplayAll(ctx context.Context, letters []*natsbus.DeadLetter) (int, error)
	// RemoveAll removes those that were sent.
	RemoveAll(ctx context.Context, letters []*natsbus.DeadLetter) error
	// PurgeAll removes those that are still there for good. It returns how many, also when it fails.
	PurgeAll(ctx context.Context, letters []*natsbus.DeadLetter) (int, error)
}

// Ledger is what records have told.
type Ledger interface {
	// SentSince returns what was sent after a time: fault.Unavailable.
	SentSince(ctx context.Context, deliveries []pgstore.Since) (map[string]bool, error)
}

// Operations makes the steps.
type Operations struct {
	Steps         Steps
	Timers        Timers
	Letters       Letters
	Ledger        Ledger
	Configuration natsbus.Configuration
	Now           func() time.Time
}

// Handlers returns what makes the steps, by the types of operations.
func (o *Operations) Handlers() map[string]operation.Handler {
	return map[string]operation.Handler{TypeRetry: o.retry, TypeReplay: o.replay, TypePurge: o.purge}
}

// maxPart is how many things a step looks at, at most.
const maxPart = 500

// place is how far an operation is.
type place struct {
	Counted bool   `json:"counted,omitempty"` // how much there is to look at
	Next    uint64 `json:"next,omitempty"`    // sequence of the stream to go on from
}

// revisionWait is how long a step waits for the configuration that its operation was begun with.
const revisionWait = 10 * time.Second

// begin reads what an operation was asked for and how far it is, and waits for the configuration that it was begun with.
func (o *Operations) begin(ctx context.Context, w *operation.Work, asked any, revision *int64) (at place, err error) {
	if err := json.Unmarshal(w.Parameters, asked); err != nil {
		return at, fmt.Errorf("read the parameters of an operation: %w", err)
	}
	if len(w.Progress) > 0 {
		if err := json.Unmarshal(w.Progress, &at); err != nil {
			return at, fmt.Errorf("read the progress of an operation: %w", err)
		}
	}
	waiting, cancel := context.WithTimeout(ctx, revisionWait)
	defer cancel()
	if err := o.Configuration.WaitFor(waiting, *revision); err != nil {
		if ctx.Err() != nil {
			return at, ctx.Err()
		}
		return at, fault.Wrap(fault.Unavailable, "CONFIGURATION_BEHIND", err, "configuration revision %d has not arrived yet", *revision)
	}
	if w.Organization != "" && !o.Configuration.HasOrganization(w.Organization) {
		return at, fault.New(fault.FailedPrecondition, "ORGANIZATION_DELETED", "organization %s was deleted", w.Organization)
	}
	return at, nil
}

// counted stores how much there is to look at.
func (o *Operations) counted(ctx context.Context, w *operation.Work, total int64) error {
	progress, err := json.Marshal(place{Counted: true})
	if err != nil {
		return fmt.Errorf("write the progress of an operation: %w", err)
	}
	return o.Steps.Advance(ctx, w, operation.Step{Progress: progress, Total: &total})
}

// advance stores a step after which the operation goes on at a sequence; 0: it was the last.
func (o *Operations) advance(ctx context.Context, w *operation.Work, step operation.Step, next uint64) (done bool, err error) {
	ctx, cancel := ending(ctx)
	defer cancel()
	if done = next == 0; done {
		if seen := w.Processed + step.Processed; seen != w.Total {
			step.Total = &seen // what was counted has gone, or more has come, since
		}
	}
	if step.Progress, err = json.Marshal(place{Counted: true, Next: next}); err != nil {
		return false, fmt.Errorf("write the progress of an operation: %w", err)
	}
	return done, o.Steps.Advance(ctx, w, step)
}

// endTime bounds how long it takes to store what was done.
const endTime = 5 * time.Second

// ending is a context in which what was done is stored also when the service stops by now: it cannot be counted later.
func ending(ctx context.Context) (context.Context, context.CancelFunc) {
	return context.WithTimeout(context.WithoutCancel(ctx), endTime)
}

// active reports whether something can be sent to a webhook now.
func (o *Operations) active(task *core.Task) bool {
	webhook, ok := o.Configuration.Webhook(task.Webhook)
	return ok && webhook.Organization == task.Organization && webhook.Status == core.StatusActive
}

// pace waits for the operation's rate.
func pace(ctx context.Context, w *operation.Work, n int) error {
	return operation.Pace(ctx, w, int64(n))
}
