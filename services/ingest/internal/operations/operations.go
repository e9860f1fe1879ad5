// Package operations owns ingest's long work: backfills, replays of many events, and erasures. Every step does a part
// that can be repeated, and stores where the next one begins; who runs the steps, and takes over when an instance dies,
// is pkg/operation's. What it sends travels in the lane `bulk`, at the pace of the operation, never ahead of the live
// fan-out.
package operations

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"github.com/meetwire/meetwire/pkg/fault"
	"github.com/meetwire/meetwire/pkg/operation"
	deliveryv1 "github.com/meetwire/meetwire/proto/gen/meetwire/delivery/v1"
	"github.com/meetwire/meetwire/services/ingest/internal/core"
	"github.com/meetwire/meetwire/services/ingest/internal/natsbus"
	"github.com/meetwire/meetwire/services/ingest/internal/pgstore"
)

// Types of operations.
const (
	TypeBackfill = "backfill_webhook"
	TypeReplay   = "replay_events"
	TypeErase    = "erase_events"
)

// DefaultRate is how many deliveries per second an operation sends that was not told.
const DefaultRate = 100

// Steps keeps what steps have done. Its methods return operation.ErrTaken when the operation is somebody else's by now.
type Steps interface {
	// Advance stores a step.
	Advance(ctx context.Context, w *operation.Work, step operation.Step) error
	// Within stores a step together with what a function writes.
	Within(ctx context.Context, w *operation.Work, f func(ctx context.Context, tx pgx.Tx) (operation.Step, error)) error
}

// Rows is the index of events. Its methods return fault.Unavailable.
type Rows interface {
	// CountEvents counts events of a time range.
	CountEvents(ctx context.Context, organization string, from, before time.Time) (int64, error)
	// FindEvents returns a page of the sequences of selected events.
	FindEvents(ctx context.Context, organization string, selected pgstore.Selection, after, until int64, size int) ([]int64, error)
	// EraseEvents removes what is known of events but ids and times.
	EraseEvents(ctx context.Context, organization string, sequences []int64, at time.Time) (int64, error)
	// ForgetFilterErrors removes why filters could not tell.
	ForgetFilterErrors(ctx context.Context, organization string) error
	// ForgetSubject removes the subject that an erasure was asked for.
	ForgetSubject(ctx context.Context, tx pgx.Tx, operation uuid.UUID) error
}

// Configuration is what this instance has heard of.
type Configuration interface {
	// WaitFor waits until a revision is in force. It returns the context's error.
	WaitFor(ctx context.Context, revision int64) error
	// HasOrganization reports whether an organization exists.
	HasOrganization(id string) bool
}

// Operations makes the steps.
type Operations struct {
	Steps         Steps
	Rows          Rows
	Streams       *natsbus.Worker
	Webhooks      *core.Index
	Delivery      deliveryv1.InternalServiceClient
	Configuration Configuration
	Now           func() time.Time
	// SecondPass is how long after its first pass an erasure makes its second one, for what was being sent then. 0: 40 s.
	SecondPass time.Duration
}

// Handlers returns what makes the steps, by the types of operations.
func (o *Operations) Handlers() map[string]operation.Handler {
	return map[string]operation.Handler{
		TypeBackfill: o.send,
		TypeReplay:   o.send,
		TypeErase:    o.erase,
	}
}

const (
	// revisionWait is how long a step waits for the configuration that its operation was begun with.
	revisionWait = 10 * time.Second
	// behindWait is when an operation looks again that is ahead of others.
	behindWait = time.Second
)

// ready waits for the configuration that an operation was begun with, and looks whether its organization is still there.
func (o *Operations) ready(ctx context.Context, w *operation.Work, revision int64) error {
	waiting, cancel := context.WithTimeout(ctx, revisionWait)
	defer cancel()
	if err := o.Configuration.WaitFor(waiting, revision); err != nil {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		return fault.Wrap(fault.Unavailable, "CONFIGURATION_BEHIND", err, "configuration revision %d has not arrived yet", revision)
	}
	if !o.Configuration.HasOrganization(w.Organization) {
		return fault.New(fault.FailedPrecondition, "ORGANIZATION_DELETED", "organization %s was deleted", w.Organization)
	}
	return nil
}

// read reads what an operation was asked for and how far it is.
func read(w *operation.Work, parameters, progress any) error {
	if err := json.Unmarshal(w.Parameters, parameters); err != nil {
		return fmt.Errorf("read the parameters of an operation: %w", err)
	}
	if len(w.Progress) == 0 {
		return nil
	}
	if err := json.Unmarshal(w.Progress, progress); err != nil {
		return fmt.Errorf("read the progress of an operation: %w", err)
	}
	return nil
}

// Encode writes the parameters of an operation.
func Encode(parameters any) (json.RawMessage, error) {
	encoded, err := json.Marshal(parameters)
	if err != nil {
		return nil, fmt.Errorf("write the parameters of an operation: %w", err)
	}
	return encoded, nil
}
