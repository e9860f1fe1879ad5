// Package fault owns the vocabulary of failures that Meetwire tells its callers: a kind, a machine-readable
// reason, a message that is safe to show, and the fields at fault. It knows no transport: pkg/rpc maps a fault
// to a gRPC status and pkg/bus to the answer that a message gets.
package fault

import (
	"errors"
	"fmt"
	"time"
)

// Kind is the class of a failure; it decides the gRPC code, the HTTP status and what happens to a message.
type Kind uint8

// The kinds. The zero value is Internal, so that a failure nobody classified shows nothing of its text.
const (
	Internal           Kind = iota // a defect or an unexpected failure of ours
	InvalidArgument                // the input itself is wrong; the same call will never succeed
	Unauthenticated                // no credential, or one that is not valid
	PermissionDenied               // a valid credential that may not do this
	NotFound                       // it does not exist, or the caller may not know that it does
	AlreadyExists                  // a resource with this name exists
	FailedPrecondition             // the state of the system forbids it; changing that state first helps
	Aborted                        // somebody else changed it in between; read again and repeat
	ResourceExhausted              // a quota or a buffer is full; repeat later
	Unavailable                    // something we depend on is away; repeat later
)

// Field is one field at fault.
type Field struct {
	// Path names the field as the API does: `webhook.target_url`, `event.data`.
	Path string
	// Rule is the machine-readable rule that the field breaks: `required`, `max_length`.
	Rule string
	// Message says what is wrong, with the limit, for people.
	Message string
}

// Error is a failure that a caller may see. Its cause is for logs only.
type Error struct {
	Kind       Kind
	Reason     string // UPPER_SNAKE_CASE, stable; the reason of a google.rpc.ErrorInfo
	Message    string
	Fields     []Field
	RetryAfter time.Duration // when the caller should try again; 0: not said
	cause      error
}

// Error returns the message, and the cause behind it.
func (e *Error) Error() string {
	if e.cause != nil {
		return e.Message + ": " + e.cause.Error()
	}
	return e.Message
}

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.cause }

// New makes a fault without a cause.
func New(kind Kind, reason, format string, args ...any) *Error {
	return &Error{Kind: kind, Reason: reason, Message: fmt.Sprintf(format, args...)}
}

// Wrap makes a fault from a cause. The cause is logged but never shown.
func Wrap(kind Kind, reason string, cause error, format string, args ...any) *Error {
	e := New(kind, reason, format, args...)
	e.cause = cause
	return e
}

// Invalid makes an InvalidArgument with the reason INVALID_FIELD for the given fields. Its message names the
// first of them.
func Invalid(fields ...Field) *Error {
	e := &Error{Kind: InvalidArgument, Reason: "INVALID_FIELD", Message: "invalid request", Fields: fields}
	if len(fields) > 0 {
		e.Message = fields[0].Path + ": " + fields[0].Message
	}
	return e
}

// From returns the fault in an error's chain, or an Internal one with a fixed text around it.
func From(err error) *Error {
	var e *Error
	if errors.As(err, &e) {
		return e
	}
	return Wrap(Internal, "INTERNAL", err, "internal error")
}

// KindOf returns the kind of the fault in an error's chain, Internal when there is none.
func KindOf(err error) Kind { return From(err).Kind }

// Is reports whether an error carries a fault of this kind.
func Is(err error, kind Kind) bool {
	var e *Error
	return errors.As(err, &e) && e.Kind == kind
}
