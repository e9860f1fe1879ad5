package core

import "time"

// Reject is what was published and could not be accepted, as REJECTS keeps it.
type Reject struct {
	Sequence      uint64 // in REJECTS
	Organization  string
	Subject       string    // that it was published to
	EventSequence uint64    // in EVENTS
	Accepted      time.Time // by EVENTS
	Rejected      time.Time
	Rule          string
	Pointer       string // to what is at fault; empty: the whole
	Detail        string // for people
	// Header has what a body in binary mode needs to be an event; empty for a document.
	Header map[string][]string
	Body   []byte
}

// Document returns the event as a document. Errors: fault.InvalidArgument.
func (r *Reject) Document() ([]byte, error) { return FromMessage(r.Header, r.Body) }
