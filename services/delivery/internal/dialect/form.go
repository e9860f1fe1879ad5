// Package dialect makes the requests of a webhook from its configuration: it opens what is sealed, picks the secrets
// that sign at a time, has the body rendered in the webhook's dialect, and adds the webhook's own headers. It makes no
// decision about when or whether to send, and knows no dialect itself: pkg/dialect does.
package dialect

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/meetwire/meetwire/pkg/dialect"
	"github.com/meetwire/meetwire/pkg/fault"
	"github.com/meetwire/meetwire/pkg/seal"
	"github.com/meetwire/meetwire/pkg/secret"
	configv1 "github.com/meetwire/meetwire/proto/gen/meetwire/config/v1"
	"github.com/meetwire/meetwire/services/delivery/internal/core"
)

// Maker is what all forms have in common.
type Maker struct {
	Box *seal.Box
	// UserAgent is sent unless a dialect has its own.
	UserAgent string
	Logger    *slog.Logger
}

// Settings is what the requests of a webhook are made from. What is sealed stays so until it is needed.
type Settings struct {
	Webhook string // its id
	Dialect string
	Options dialect.Options
	Secrets []*configv1.SealedSecret // the newest first
	// SecretOwner is the associated data of the secrets: the webhook's id, or the organization's name.
	SecretOwner string
	Headers     []*configv1.SealedHeader
}

// OrganizationSecrets returns the associated data of an organization's secrets.
func OrganizationSecrets(organization string) string { return "organizations/" + organization }

// Form implements core.Form.
type Form struct {
	maker    *Maker
	settings Settings

	mu       sync.Mutex
	opened   *opened           // nil before the first use
	renderer *dialect.Renderer // for the secrets that are valid until then
	until    time.Time         // zero: for ever
	failed   bool              // that something cannot be opened has been logged
}

// opened is what was sealed.
type opened struct {
	secrets []liveSecret // the newest first
	headers []core.Header
}

// liveSecret is a secret and when it stops being used; zero: never.
type liveSecret struct {
	text   secret.String
	expire time.Time
}

// errNoSecret is returned when there are secrets, but none that may be used any more.
var errNoSecret = errors.New("every signing secret of the webhook has expired")

// Form makes the form of a webhook. That is cheap: nothing is opened before the first request.
func (m *Maker) Form(settings Settings) *Form { return &Form{maker: m, settings: settings} }

// Render implements core.Form.
func (f *Form) Render(task *core.Task, at time.Time) (core.Request, error) {
	renderer, own, err := f.ready(at)
	if err != nil {
		return core.Request{}, err
	}
	rendered, err := renderer.Render(&dialect.Event{
		Delivery: task.Delivery, Webhook: task.Webhook, Organization: task.Organization, Trigger: task.Trigger,
		Source: task.EventSource, ID: task.EventID, Sequence: task.EventSequence, AcceptedAt: task.AcceptedAt,
		Document: task.Event, TraceParent: task.TraceParent, TraceState: task.TraceState,
	}, at)
	if err != nil {
		return core.Request{}, err
	}
	headers := make([]core.Header, 0, len(rendered.Headers)+len(own))
	for _, header := range rendered.Headers {
		headers = append(headers, core.Header{Name: header.Name, Value: header.Value})
	}
	for _, header := range own {
		// Configuration refuses such names, but a dialect may have learned to send one since.
		if !slices.ContainsFunc(rendered.Headers, func(h dialect.Header) bool { return strings.EqualFold(h.Name, header.Name) }) {
			headers = append(headers, header)
		}
	}
	return core.Request{Headers: headers, Body: rendered.Body}, nil
}

// ready returns what to render with at a time.
func (f *Form) ready(at time.Time) (*dialect.Renderer, []core.Header, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.opened == nil {
		opened, err := f.open()
		if err != nil {
			if !f.failed {
				f.failed = true
				f.maker.Logger.ErrorContext(context.Background(), "secrets of a webhook cannot be opened", "webhook", f.settings.Webhook, "error", err)
			}
			// A process that was given another keyset, or is of another version, may be able to.
			return nil, nil, fault.Wrap(fault.Unavailable, "SECRETS_SEALED", err, "the secrets of the webhook cannot be opened here")
		}
		f.opened = opened
	}
	if f.renderer == nil || !f.until.IsZero() && !at.Before(f.until) {
		secrets, until, err := f.signing(at)
		if err != nil {
			return nil, nil, err
		}
		f.renderer, err = dialect.New(dialect.Config{
			Name: f.settings.Dialect, Options: f.settings.Options, Secrets: secrets, UserAgent: f.maker.UserAgent,
		})
		if errors.Is(err, dialect.ErrUnknown) {
			return nil, nil, fault.Wrap(fault.Unavailable, "DIALECT_UNKNOWN", err, "the dialect of the webhook is not known here")
		}
		if err != nil {
			return nil, nil, err
		}
		f.until = until
	}
	return f.renderer, f.opened.headers, nil
}

// signing returns the secrets to sign with at a time, and until when that is so. A dialect with one signature goes on
// signing with the previous secret until that expires: receivers are given the new one meanwhile.
func (f *Form) signing(at time.Time) (secrets []string, until time.Time, err error) {
	for _, s := range f.opened.secrets {
		if !s.expire.IsZero() && !at.Before(s.expire) {
			continue
		}
		secrets = append(secrets, s.text.Reveal())
		if !s.expire.IsZero() && (until.IsZero() || s.expire.Before(until)) {
			until = s.expire
		}
	}
	if len(secrets) == 0 && len(f.opened.secrets) > 0 {
		return nil, until, errNoSecret
	}
	if d, ok := dialect.Lookup(f.settings.Dialect); ok && !d.Traits().Secret.Keyed && len(secrets) > 1 {
		secrets = secrets[len(secrets)-1:]
	}
	return secrets, until, nil
}

// open opens everything. One secret that cannot be opened is an error: with the others alone a receiver that does not
// have them yet would refuse what it gets.
func (f *Form) open() (*opened, error) {
	o := new(opened)
	for _, sealed := range f.settings.Secrets {
		text, err := f.maker.Box.Open(sealed.GetSealed(), f.settings.SecretOwner)
		if err != nil {
			return nil, fmt.Errorf("open a signing secret: %w", err)
		}
		live := liveSecret{text: secret.New(string(text))}
		if sealed.GetExpireTime() != nil {
			live.expire = sealed.GetExpireTime().AsTime()
		}
		o.secrets = append(o.secrets, live)
	}
	for _, sealed := range f.settings.Headers {
		name := strings.ToLower(sealed.GetName())
		value, err := f.maker.Box.Open(sealed.GetSealedValue(), f.settings.Webhook+"/headers/"+name)
		if err != nil {
			return nil, fmt.Errorf("open the value of a header: %w", err)
		}
		if !dialect.IsReservedHeader(name) {
			o.headers = append(o.headers, core.Header{Name: sealed.GetName(), Value: string(value), Secret: true})
		}
	}
	return o, nil
}
