// Package operation owns work that takes longer than a request: how it is kept, how instances share it, and how people
// look at it. An instance takes over what nobody works on, for the time of a lease that it renews, and goes on where the
// one before has stopped. Every step may be repeated. It does not know what any operation does: services bring handlers,
// and may bring a store of their own.
package operation

import (
	"encoding/json"
	"errors"
	"time"

	"github.com/meetwire/meetwire/pkg/fault"
)

// State says how far an operation is.
type State string

// The states of operations, as they are stored.
const (
	Running   State = "running"
	Succeeded State = "succeeded"
	Failed    State = "failed"
	Canceled  State = "canceled"
)

// AnyOrganization stands for the installation in names.
const AnyOrganization = "-"

// Operation is work that takes longer than a request.
type Operation struct {
	ID           string // UUIDv4
	Organization string // slug; empty: of the installation
	Type         string
	Target       string // resource name of what it works on; empty: the whole installation
	State        State
	Parameters   json.RawMessage // what it was asked for; what that is depends on its type
	// Request is what is compared when a request id is used again, for parameters that differ each time (a time, a
	// position); nil: the parameters. It is not kept.
	Request      []byte
	DryRun       bool    // it only counts
	Rate         float64 // things that it affects per second at most; 0: no limit
	Total        int64   // things that there are to look at; 0: nobody has counted
	Processed    int64   // things that it has looked at
	Affected     int64   // those of them that it has changed, sent or removed
	Skipped      int64   // those that were left as they are, though asked for
	Repeat       int64   // those affected that may be repetitions
	ErrorReason  string  // why it failed, or what it met with last and tries again; empty: nothing
	ErrorMessage string
	CreateTime   time.Time
	UpdateTime   time.Time
	EndTime      time.Time // zero: it has not ended
}

// Done reports whether the operation has ended, one way or the other.
func (o Operation) Done() bool { return o.State != Running }

// Name returns the resource name of the operation.
func (o Operation) Name() string { return name(o.Organization, o.ID) }

func name(organization, id string) string {
	if organization == "" {
		organization = AnyOrganization
	}
	return "organizations/" + organization + "/operations/" + id
}

// CheckCancel returns fault.FailedPrecondition when the operation has ended.
func (o Operation) CheckCancel() error {
	if o.Done() {
		return fault.New(fault.FailedPrecondition, "OPERATION_ENDED", "%s has ended: it is %s", o.Name(), o.State)
	}
	return nil
}

// CheckResume returns fault.FailedPrecondition when there is nothing to go on with.
func (o Operation) CheckResume() error {
	if o.State == Canceled || o.State == Failed {
		return nil
	}
	return fault.New(fault.FailedPrecondition, "OPERATION_NOT_STOPPED",
		"%s is %s: only what was canceled or has failed can be resumed", o.Name(), o.State)
}

// NotFound is the fault of an operation that is not there, or is another organization's.
func NotFound(organization, id string) error {
	return fault.New(fault.NotFound, "OPERATION_NOT_FOUND", "%s does not exist", name(organization, id))
}

// ErrTaken says that an operation is not this instance's to work on any more: another one has taken it over, or
// somebody has stopped it. A handler returns it as it is.
var ErrTaken = errors.New("the operation was taken over or stopped")

// Work is an operation that this instance has taken over.
type Work struct {
	Operation

	Take     int64  // tells this turn at the operation from others
	Failures int    // failed tries in a row
	Progress []byte // JSON; where it goes on, as its steps have written it; {} at the beginning

	pace pace
}

// Step is what one step of an operation has done.
type Step struct {
	Progress  []byte // JSON; where the next one begins; nil: where this one began
	Processed int64  // how many more it has looked at
	Affected  int64
	Skipped   int64
	Repeat    int64
	Total     *int64 // how many there are in all; nil: as before
}

// apply brings the operation up to a step that was stored.
func (w *Work) apply(step Step) {
	if step.Progress != nil {
		w.Progress = step.Progress
	}
	w.Processed += step.Processed
	w.Affected += step.Affected
	w.Skipped += step.Skipped
	w.Repeat += step.Repeat
	if step.Total != nil {
		w.Total = *step.Total
	}
}
