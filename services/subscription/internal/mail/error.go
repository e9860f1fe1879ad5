package mail

import (
	"context"
	"errors"
	"fmt"
	"net/textproto"
	"strings"

	"github.com/meetwire/meetwire/pkg/fault"
)

// Reasons of the faults that Send returns.
const (
	ReasonRefused     = "MAIL_REFUSED"     // never to be tried again
	ReasonUnavailable = "MAIL_UNAVAILABLE" // to be tried again
)

// Error says what has become of an e-mail that the server did not take for everybody it was for. Around it is a
// fault: Unavailable when Again has somebody, FailedPrecondition when sending it again is of no use.
type Error struct {
	// Delivered are the recipients that the server took it for.
	Delivered []string
	// Refused are those whom it will not reach, however often it is sent.
	Refused []string
	// Again are those to whom it is to be sent again later, and only to them.
	Again []string

	fault *fault.Error
}

// Error implements error. It has what the server said; it has no secret.
func (e *Error) Error() string {
	return fmt.Sprintf("%s (delivered %d, refused %d, again %d)", e.fault.Error(), len(e.Delivered), len(e.Refused), len(e.Again))
}

// Unwrap returns the fault, whose cause is the first failure that counts.
func (e *Error) Unwrap() error { return e.fault }

// outcome collects what becomes of the recipients of one e-mail.
type outcome struct {
	delivered, refused, again []string
	forever, later            error // the first failure of each sort
}

func (o *outcome) refuse(err error, recipients ...string) {
	o.refused = append(o.refused, recipients...)
	if o.forever == nil {
		o.forever = err
	}
}

func (o *outcome) postpone(err error, recipients ...string) {
	o.again = append(o.again, recipients...)
	if o.later == nil {
		o.later = err
	}
}

// fail notes a failure for recipients. An answer 5xx is for ever, everything else may pass.
func (o *outcome) fail(err error, recipients ...string) {
	if len(recipients) == 0 {
		return
	}
	var answer *textproto.Error
	if errors.As(err, &answer) && answer.Code >= 500 {
		o.refuse(err, recipients...)
		return
	}
	o.postpone(err, recipients...)
}

// err returns nil when everybody has it.
func (o *outcome) err() error {
	e := &Error{Delivered: o.delivered, Refused: o.refused, Again: o.again}
	switch {
	case len(o.again) > 0:
		e.fault = fault.Wrap(fault.Unavailable, ReasonUnavailable, o.later, "the e-mail could not be sent now")
	case len(o.refused) > 0:
		e.fault = fault.Wrap(fault.FailedPrecondition, ReasonRefused, o.forever, "the e-mail was refused")
	default:
		return nil
	}
	return e
}

// stepError wraps the failure of a step of the conversation. When the time is up or the caller has given up, the
// connection was closed under it, and that is what is told; an answer of the server is told always.
func (s *Sender) stepError(ctx context.Context, step string, err error) error {
	var answer *textproto.Error
	if errors.As(err, &answer) {
		return fmt.Errorf("%s: %w", step, &textproto.Error{Code: answer.Code, Msg: s.harmless(answer.Msg)})
	}
	if cause := context.Cause(ctx); cause != nil {
		return fmt.Errorf("%s: %w", step, cause)
	}
	return fmt.Errorf("%s: %w", step, err)
}

// maxAnswer is how much of a server's answer an error has.
const maxAnswer = 500

// harmless returns what a server said as one line of bounded length, and without the password in case that the
// server repeats it.
func (s *Sender) harmless(said string) string {
	if password := s.config.Password.Reveal(); password != "" {
		said = strings.ReplaceAll(said, password, s.config.Password.String())
	}
	return truncate(clean(said), maxAnswer)
}
