package webhook

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"time"
)

// DefaultMaxBytes is the largest body that a Handler reads unless told otherwise: 1 MiB. Meetwire's events have
// at most 256 KiB, and the body of a webhook is an event with little around it.
const DefaultMaxBytes = 1 << 20

// ErrTooLarge is returned for a body with more bytes than the Handler reads.
var ErrTooLarge = errors.New("webhook body is too large")

var errUnreadable = errors.New("the body of the webhook cannot be read")

// StatusError lets the function behind a Handler choose the answer, such as 422 for a message that it
// cannot use or 503 when it is too busy. Every one of them is a failure to the sender, and is tried again.
type StatusError struct {
	// Status is an HTTP status from 400 to 599. Anything else is answered as 500.
	Status int
	// RetryAfter, when positive, is sent as Retry-After, rounded up to seconds.
	RetryAfter time.Duration
	// Err is the reason. The sender does not see it.
	Err error
}

// Error returns the status and the reason.
func (e *StatusError) Error() string {
	text := "answer " + strconv.Itoa(e.Status)
	if e.Err != nil {
		text += ": " + e.Err.Error()
	}
	return text
}

// Unwrap returns the reason.
func (e *StatusError) Unwrap() error { return e.Err }

// HandlerOption changes a Handler.
type HandlerOption func(*handler)

// OnError has a function called with every request that is not answered with 2xx, before the answer, and the
// reason: for logs and metrics. What the sender sent is not to be trusted there.
func OnError(f func(r *http.Request, err error)) HandlerOption {
	return func(h *handler) {
		if f != nil {
			h.onError = f
		}
	}
}

type handler struct {
	verifier *Verifier
	maxBytes int64
	next     func(context.Context, Message) error
	onError  func(*http.Request, error)
}

// Handler returns a handler that reads at most maxBytes of a POST's body (0: DefaultMaxBytes), verifies the
// message, parses it and calls next. It answers
//
//   - 204 No Content when next returned nil: the sender regards the message as delivered;
//   - 400 Bad Request when the body cannot be read, or the message was signed but cannot be parsed;
//   - 401 Unauthorized when a header is missing, the timestamp is outside the tolerance or no signature matches;
//   - 405 Method Not Allowed for anything but POST;
//   - 413 Content Too Large when the body is larger than maxBytes;
//   - the Status of a *StatusError that next returned, 500 Internal Server Error for any other error: the sender
//     will try again.
//
// The body of a refusal says which check failed, so that the sender's list of attempts shows it; it never says
// what next returned. The context that next gets is the request's: it ends when the sender hangs up. Handler
// panics when the verifier or next is nil or maxBytes is negative.
func Handler(verifier *Verifier, maxBytes int64, next func(context.Context, Message) error, options ...HandlerOption) http.Handler {
	if verifier == nil || next == nil || maxBytes < 0 {
		panic("webhook: Handler needs a verifier, a function and a limit that is not negative")
	}
	if maxBytes == 0 {
		maxBytes = DefaultMaxBytes
	}
	h := &handler{verifier: verifier, maxBytes: maxBytes, next: next, onError: func(*http.Request, error) {}}
	for _, option := range options {
		option(h)
	}
	return h
}

// ServeHTTP answers one request.
func (h *handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.Method != http.MethodPost {
		w.Header().Set("Allow", http.MethodPost)
		h.refuse(w, r, http.StatusMethodNotAllowed, errors.New("a webhook is a POST"))
		return
	}
	message, err := h.receive(w, r)
	if err != nil {
		h.refuse(w, r, refusalStatus(err), err)
		return
	}
	if err := h.next(r.Context(), message); err != nil {
		h.fail(w, r, err)
		return
	}
	w.WriteHeader(http.StatusNoContent)
}

// receive reads a message and verifies it, the headers before the body: who has no credible headers has
// nothing read.
func (h *handler) receive(w http.ResponseWriter, r *http.Request) (Message, error) {
	e, err := h.verifier.envelope(r.Header)
	if err != nil {
		return Message{}, err
	}
	if r.ContentLength > h.maxBytes {
		return Message{}, h.tooLarge()
	}
	var body bytes.Buffer
	if r.ContentLength > 0 {
		// With room to see the end without growing, but no more than a default's worth on a mere claim.
		body.Grow(int(min(r.ContentLength, DefaultMaxBytes)) + bytes.MinRead)
	}
	if _, err := body.ReadFrom(http.MaxBytesReader(w, r.Body, h.maxBytes)); err != nil {
		var large *http.MaxBytesError
		if errors.As(err, &large) {
			return Message{}, h.tooLarge()
		}
		return Message{}, fmt.Errorf("%w: %w", errUnreadable, err)
	}
	return h.verifier.open(e, r.Header, body.Bytes())
}

func (h *handler) tooLarge() error {
	return fmt.Errorf("%w: at most %d bytes are read", ErrTooLarge, h.maxBytes)
}

func refusalStatus(err error) int {
	switch {
	case errors.Is(err, ErrTooLarge):
		return http.StatusRequestEntityTooLarge
	case errors.Is(err, ErrMalformedMessage), errors.Is(err, errUnreadable):
		return http.StatusBadRequest
	default:
		return http.StatusUnauthorized
	}
}

func (h *handler) refuse(w http.ResponseWriter, r *http.Request, status int, err error) {
	h.onError(r, err)
	text := err.Error()
	if errors.Is(err, errUnreadable) {
		text = errUnreadable.Error() // an error of the network names addresses
	}
	http.Error(w, text, status)
}

// fail answers for a next that failed, without its words.
func (h *handler) fail(w http.ResponseWriter, r *http.Request, err error) {
	h.onError(r, err)
	status := http.StatusInternalServerError
	var chosen *StatusError
	if errors.As(err, &chosen) {
		if chosen.Status >= 400 && chosen.Status <= 599 {
			status = chosen.Status
		}
		if chosen.RetryAfter > 0 {
			seconds := int64((chosen.RetryAfter + time.Second - 1) / time.Second)
			w.Header().Set("Retry-After", strconv.FormatInt(seconds, 10))
		}
	}
	http.Error(w, http.StatusText(status), status)
}
