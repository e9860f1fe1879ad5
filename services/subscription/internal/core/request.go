package core

import (
	"errors"

	"github.com/meetwire/meetwire/pkg/fault"
)

// RequestRetention is for how long a request id is remembered, in hours.
const RequestRetention = 24

// Request identifies a call that makes something, so that its repetition makes nothing (aip.dev/155). The zero value
// is a call that cannot be told from another.
type Request struct {
	ID          string // UUID; empty: none
	Method      string // of the API
	Fingerprint [32]byte
}

// RepeatedRequestError says that a request has been made before, and what it has made.
type RepeatedRequestError struct {
	Resource string // the id of it
}

// Error implements error.
func (e *RepeatedRequestError) Error() string { return "the request was made before" }

// repeated returns what a request has made, when an error says that it was made before.
func repeated(err error) (resource string, ok bool) {
	var before *RepeatedRequestError
	if !errors.As(err, &before) {
		return "", false
	}
	return before.Resource, true
}

// OtherRequest is the fault of a request id that another request has used.
func OtherRequest() error {
	return fault.Invalid(field("request_id", ruleUnique,
		"was used by a different request within the last %d hours: take a new one", RequestRetention)...)
}
