package dialect

import (
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"time"

	"github.com/meetwire/meetwire/pkg/webhook"
)

var (
	// ErrUnknown is returned for a dialect that does not exist.
	ErrUnknown = errors.New("unknown dialect")
	// ErrNoSecret is returned for a webhook without a secret in a dialect that cannot do without.
	ErrNoSecret = errors.New("the webhook has no usable signing secret")
	// ErrOptions is returned for options that CheckOptions finds fault with.
	ErrOptions = errors.New("invalid options of the dialect")
)

// Config is what a webhook's deliveries are rendered with.
type Config struct {
	// Name is the dialect.
	Name Name
	// Options are those of the dialect.
	Options Options
	// Secrets are those to sign with, as they are shown to people. Standard and CloudEvents sign with each, in this
	// order. The other dialects have one signature, made with the first: who knows when a secret was replaced puts the
	// one in force there. None where the dialect does not need one: unsigned.
	Secrets []string
	// UserAgent is sent unless the dialect has its own: `Meetwire/<version>`.
	UserAgent string
}

// Format prints everything but the secrets, of which it tells the number.
func (c Config) Format(f fmt.State, _ rune) {
	_, _ = fmt.Fprintf(f, "{%s %+v %d secrets %s}", c.Name, c.Options, len(c.Secrets), c.UserAgent) // fmt keeps no error
}

// Header is a header of a request.
type Header struct {
	// Name is spelled as the dialect is documented; in HTTP the case does not matter.
	Name string
	// Value is free of line breaks; empty for Ax-Signature without a secret.
	Value string
}

// Rendered is a request without its URL and without the webhook's own headers.
type Rendered struct {
	// Method is that of the request.
	Method string
	// Headers are in an order that is always the same.
	Headers []Header
	// Body may share memory with the document of the event. It must not be changed.
	Body []byte
}

// Renderer renders the deliveries of a webhook. It is made from what does not change between them, is safe for
// concurrent use and meant to be kept.
type Renderer struct {
	dialect     Dialect
	options     Options
	signer      signer
	contentType Header
	userAgent   Header
}

// New makes a Renderer. Errors: ErrUnknown, ErrOptions, ErrNoSecret, webhook.ErrInvalidSecret, webhook.ErrPublicKey.
// None contains a secret.
func New(c Config) (*Renderer, error) {
	d, ok := Lookup(c.Name)
	if !ok {
		return nil, fmt.Errorf("make a renderer: %w %q", ErrUnknown, c.Name)
	}
	if faults := CheckOptions(c.Name, c.Options); len(faults) > 0 {
		return nil, fmt.Errorf("make a renderer: %w: %s %s", ErrOptions, faults[0].Path, faults[0].Message)
	}
	traits := d.Traits()
	s, err := newSigner(c, traits)
	if err != nil {
		return nil, fmt.Errorf("make a renderer: %w", err)
	}
	agent := c.UserAgent
	if traits.UserAgent != "" {
		agent = traits.UserAgent
	}
	return &Renderer{
		dialect: d, options: c.Options, signer: s,
		contentType: Header{Name: "Content-Type", Value: traits.ContentType},
		userAgent:   Header{Name: "User-Agent", Value: agent},
	}, nil
}

// Render returns the request of an attempt that is made at a certain time. The body is the same at any time. The error
// is ErrUnrenderable.
func (r *Renderer) Render(e *Event, at time.Time) (Rendered, error) {
	doc, err := split(e.Document)
	if err != nil {
		return Rendered{}, err
	}
	body, err := r.dialect.body(&delivery{Event: e, document: doc, options: r.options})
	if err != nil {
		return Rendered{}, err
	}
	const most = 9
	headers := make([]Header, 0, most)
	headers = append(headers, r.contentType, r.userAgent,
		Header{Name: webhook.HeaderID, Value: e.Delivery},
		Header{Name: webhook.HeaderTimestamp, Value: strconv.FormatInt(at.Unix(), 10)})
	headers = r.signer.sign(headers, e.Delivery, at, body)
	headers = append(headers, Header{Name: webhook.HeaderEventSequence, Value: strconv.FormatUint(e.Sequence, 10)})
	if isHeaderText(e.TraceParent) {
		headers = append(headers, Header{Name: "traceparent", Value: e.TraceParent})
		if isHeaderText(e.TraceState) {
			headers = append(headers, Header{Name: "tracestate", Value: e.TraceState})
		}
	}
	return Rendered{Method: http.MethodPost, Headers: headers, Body: body}, nil
}

// isHeaderText reports whether a value, which comes from outside, can be sent as a header.
func isHeaderText(value string) bool {
	for i := range len(value) {
		if c := value[i]; c < ' ' && c != '\t' || c > '~' {
			return false
		}
	}
	return value != ""
}
