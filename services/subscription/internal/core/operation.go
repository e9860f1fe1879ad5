package core

import (
	"errors"
	"time"

	"github.com/meetwire/meetwire/pkg/fault"
)

// OperationType says what an operation does.
type OperationType string

// The types of operations.
const (
	OperationDeleteOrganization OperationType = "delete_organization"
	OperationResumeWebhook      OperationType = "resume_webhook"
	OperationReencryptSecrets   OperationType = "reencrypt_secrets" //nolint:gosec // G101: the name of a type, no credential
)

// OperationState says how far an operation is.
type OperationState string

// The states of operations, as they are stored.
const (
	OperationRunning   OperationState = "running"
	OperationSucceeded OperationState = "succeeded"
	OperationFailed    OperationState = "failed"
	OperationCanceled  OperationState = "canceled"
)

// Operation is work that takes longer than a request.
type Operation struct {
	ID             string // UUIDv4
	Organization   string // slug; empty: of the installation
	Type           OperationType
	Target         string // resource name of what it works on; empty: the whole installation
	State          OperationState
	Parameters     OperationParameters
	ProcessedCount int64 // things that it has looked at
	AffectedCount  int64 // those of them that it has changed, sent or removed
	ErrorReason    string
	ErrorMessage   string
	CreateTime     time.Time
	UpdateTime     time.Time
	EndTime        time.Time // zero: it has not ended
}

// OperationParameters is what an operation was asked for; which fields there are depends on its type.
type OperationParameters struct {
	Organization string    `json:"organization,omitempty"` // slug
	Webhook      string    `json:"webhook,omitempty"`      // id
	StartTime    time.Time `json:"start_time,omitzero"`
	EndTime      time.Time `json:"end_time,omitzero"`
	// Revision is the configuration that the other services must have heard of first. 0 in a new operation: that of
	// the change that begins it.
	Revision int64 `json:"revision,omitempty"`
}

// resumeMargin is by how much more than the pause is looked at when a webhook is sent what it has missed: clocks differ,
// ingest hears of a pause and of its end a moment later, and works on events that were stored a moment before. What has
// been sent already is recognized by its id, or sent again, which is better than lost.
const resumeMargin = 5 * time.Second

// NewResumeOperation returns the work of sending to a webhook what it has missed from start until end.
func NewResumeOperation(organization, webhook string, start, end time.Time) Operation {
	return Operation{
		Organization: organization, Type: OperationResumeWebhook,
		Target:     "organizations/" + organization + "/webhooks/" + webhook,
		Parameters: OperationParameters{Organization: organization, Webhook: webhook, StartTime: start.Add(-resumeMargin), EndTime: end.Add(resumeMargin)},
	}
}

// NewDeleteOperation returns the work of removing what is left of an organization that was deleted.
func NewDeleteOperation(organization string) Operation {
	return Operation{
		Organization: organization, Type: OperationDeleteOrganization, Target: "organizations/" + organization,
		Parameters: OperationParameters{Organization: organization},
	}
}

// NewReencryptOperation returns the work of encrypting all secrets with the primary key.
func NewReencryptOperation() Operation { return Operation{Type: OperationReencryptSecrets} }

// Done reports whether the operation has ended, one way or the other.
func (o Operation) Done() bool { return o.State != OperationRunning }

// Name returns the resource name of the operation.
func (o Operation) Name() string {
	organization := o.Organization
	if organization == "" {
		organization = AnyOrganization
	}
	return "organizations/" + organization + "/operations/" + o.ID
}

// Document returns the operation as the audit log shows it.
func (o Operation) Document() Document {
	return Document{"name": o.Name(), "type": string(o.Type), "target": o.Target, "state": string(o.State)}
}

// CheckCancel returns fault.FailedPrecondition when the operation cannot be canceled.
func (o Operation) CheckCancel() error {
	if o.Done() {
		return fault.New(fault.FailedPrecondition, "OPERATION_ENDED", "%s has ended: it is %s", o.Name(), o.State)
	}
	if o.Type == OperationDeleteOrganization {
		return fault.New(fault.FailedPrecondition, "OPERATION_NOT_CANCELABLE",
			"%s removes what is left of an organization, which cannot be stopped half-way", o.Name())
	}
	return nil
}

// CheckResume returns fault.FailedPrecondition when there is nothing to go on with.
func (o Operation) CheckResume() error {
	if o.State == OperationCanceled || o.State == OperationFailed {
		return nil
	}
	return fault.New(fault.FailedPrecondition, "OPERATION_NOT_STOPPED",
		"%s is %s: only what was canceled or has failed can be resumed", o.Name(), o.State)
}

// NoOperation is the fault of an operation that is not there, or is another organization's.
func NoOperation(organization, id string) error {
	if organization == "" {
		organization = AnyOrganization
	}
	return fault.New(fault.NotFound, "OPERATION_NOT_FOUND", "organizations/%s/operations/%s does not exist", organization, id)
}

// ErrTaken says that an operation is not this instance's to work on any more: another one has taken it over, or
// somebody has stopped it.
var ErrTaken = errors.New("the operation was taken over or stopped")

// Work is an operation that this instance has taken over.
type Work struct {
	Operation

	Take     int64  // tells this turn at the operation from others
	Failures int    // failed tries in a row
	Progress []byte // JSON; where it goes on, as its steps have written it
}

// Step is what one step of an operation has done.
type Step struct {
	Progress  []byte // JSON; where the next one begins
	Processed int64  // things that it has looked at
	Affected  int64  // those of them that it has changed, sent or removed
}

// Reseal encrypts a secret with the primary key; purpose is its associated data.
type Reseal func(sealed []byte, purpose string) ([]byte, error)

// OrganizationNotDeleted is the fault of removing what is left of an organization that exists.
func OrganizationNotDeleted(id string) error {
	return fault.New(fault.FailedPrecondition, "ORGANIZATION_NOT_DELETED", "organizations/%s was not deleted", id)
}
