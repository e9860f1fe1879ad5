package core

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/meetwire/meetwire/pkg/fault"
)

// MaxPreviewEvent is the greatest size of an event that is rendered, in bytes.
const MaxPreviewEvent = 256 << 10

// Preview is what is to be rendered: a webhook, saved or not, and an event.
type Preview struct {
	Organization string
	ID           string        // of a saved webhook; empty: it is not saved
	Webhook      WebhookChange // what one that is not saved would be
	Trigger      string        // whose sample is rendered; empty: the first that the webhook asks for
	Event        string        // a CloudEvent as JSON, to render instead; empty: none
}

// Previewed is a request as it would be sent.
type Previewed struct {
	Method   string
	URL      string
	Headers  []Header // the values of the webhook's own are masked
	Body     string
	Mismatch string // the first rule by which the webhook would not be sent the event; empty: it would
}

// The rules of matching, in the order in which they are looked at.
const (
	mismatchStatus     = "status"
	mismatchTrigger    = "trigger"
	mismatchTeams      = "teams"
	mismatchEventTypes = "event_types"
	mismatchFilter     = "filter"
)

// RenderInput is what a request is rendered from.
type RenderInput struct {
	Webhook  Webhook
	Options  DialectOptions // with what the organization has for those that say nothing
	Secrets  []string       // in the order in which the dialect signs with them
	Trigger  string
	Source   string
	EventID  string
	Document []byte // the CloudEvent
	Sample   bool   // it is the sample of its trigger
	Time     time.Time
}

// Renderer renders requests.
type Renderer interface {
	// Sample returns the event of which data is the sample. Its error says that data is not JSON.
	Sample(organization, trigger, data string, now time.Time) ([]byte, error)
	// Render returns a request without its URL and the webhook's own headers. problem says why the event has no form in
	// the dialect.
	Render(in RenderInput) (rendered Previewed, problem string, err error)
}

// Samples has the samples of triggers.
type Samples interface {
	// TriggerSample returns the sample data of a trigger that an organization can use, or fault.NotFound.
	// fault.Unavailable while the store is away.
	TriggerSample(ctx context.Context, organization, trigger string) (string, error)
}

// Previews renders what webhooks would send.
type Previews struct {
	webhooks *Webhooks
	samples  Samples
	renderer Renderer
}

// NewPreviews returns the steps over those of webhooks.
func NewPreviews(webhooks *Webhooks, samples Samples, renderer Renderer) *Previews {
	return &Previews{webhooks: webhooks, samples: samples, renderer: renderer}
}

// Preview renders a request without sending it, and tells whether the webhook would be sent the event.
func (s *Previews) Preview(ctx context.Context, p Preview) (Previewed, error) {
	view := previewed{Preview: p}
	if err := s.look(ctx, &view); err != nil {
		return Previewed{}, err
	}
	event, err := s.event(ctx, view)
	if err != nil {
		return Previewed{}, err
	}
	w, now := view.webhook, Stored(s.webhooks.Now())
	in := RenderInput{
		Webhook: w, Options: w.DialectOptions, Secrets: view.secrets, Trigger: event.Type, Source: event.Source,
		EventID: event.ID, Document: event.document, Sample: p.Event == "", Time: now,
	}
	if dialect, _ := s.webhooks.Dialects.Dialect(w.Dialect); dialect.HasClientID && in.Options.ClientID == 0 {
		in.Options.ClientID = view.clientID
	}
	rendered, problem, err := s.renderer.Render(in)
	if err != nil {
		return Previewed{}, fmt.Errorf("render a preview: %w", err)
	}
	if problem != "" {
		return Previewed{}, invalid(field("event", ruleFormat, "%s", problem))
	}
	rendered.URL = w.TargetURL
	for _, h := range w.Headers {
		rendered.Headers = append(rendered.Headers, Header{Name: h.Name, Value: Masked})
	}
	rendered.Mismatch = s.mismatch(ctx, w, event)
	return rendered, nil
}

// previewed is what a preview found.
type previewed struct {
	Preview

	webhook  Webhook
	secrets  []string
	clientID int64 // the organization's
	triggers []TriggerFacts
}

// look finds the webhook, or makes it as it would be made, and its secrets in clear text.
func (s *Previews) look(ctx context.Context, p *previewed) error {
	finish := func(ctx context.Context, view WebhookView, w Webhook, secret string) error {
		var err error
		p.webhook, p.clientID = w, view.Organization().ClientID
		if p.triggers, err = view.Triggers(ctx, nil); err != nil {
			return err
		}
		p.secrets, err = s.secrets(view.Organization(), w, secret)
		return err
	}
	if p.ID != "" {
		_, _, err := s.webhooks.Store.UpdateWebhook(ctx, p.Organization, p.ID, false,
			func(ctx context.Context, view WebhookView, current Webhook) (WebhookStep, error) {
				return WebhookStep{Webhook: current}, finish(ctx, view, current, "")
			})
		return err
	}
	change, id := p.Webhook, s.webhooks.NewID()
	change.require()
	change.filterFaults = s.webhooks.checkFilter(change)
	_, err := s.webhooks.Store.InsertWebhook(ctx, p.Organization, id, Request{},
		func(ctx context.Context, view WebhookView) (WebhookStep, error) {
			// One more than the plan has room for may be looked at.
			w, secret, err := s.webhooks.compose(ctx, view, id, change)
			if err != nil {
				return WebhookStep{}, err
			}
			return WebhookStep{Webhook: w}, finish(ctx, view, w, secret)
		})
	return err
}

// secrets returns what signs, in the order in which the dialect signs with it.
func (s *Previews) secrets(tenant Organization, w Webhook, secret string) ([]string, error) {
	if secret != "" {
		return []string{secret}, nil
	}
	sealed, associated := w.Secrets, w.ID
	switch w.SecretSource {
	case SecretNone:
		return nil, nil
	case SecretOrganization:
		sealed, associated = tenant.Secrets, tenant.Name()
	}
	dialect, _ := s.webhooks.Dialects.Dialect(w.Dialect)
	secrets, err := s.webhooks.open(SigningOrder(sealed, dialect.ManySignatures, s.webhooks.Now()), associated)
	if err != nil {
		return nil, fmt.Errorf("open the secrets of %s: %w", w.Name(), err)
	}
	return secrets, nil
}

// previewEvent is what a preview looks at in an event.
type previewEvent struct {
	Version   string `json:"specversion"`
	ID        string `json:"id"`
	Source    string `json:"source"`
	Type      string `json:"type"`
	Teams     string `json:"mwteams"`
	EventType string `json:"mweventtype"`

	document []byte
}

// event returns the event that was given, or makes the sample of a trigger.
func (s *Previews) event(ctx context.Context, p previewed) (previewEvent, error) {
	if p.Event != "" {
		if p.Trigger != "" {
			return previewEvent{}, invalid(field("trigger", ruleExclusive, "must not be given together with event"))
		}
		return parseEvent(p.Event)
	}
	trigger := p.Trigger
	if trigger == "" {
		if trigger = p.first(); trigger == "" {
			return previewEvent{}, fault.New(fault.FailedPrecondition, "NO_TRIGGER",
				"the webhook asks for no trigger that exists: name one, or give an event")
		}
	}
	unknown := invalid(field("trigger", ruleExists, "%.128q is not a trigger: see the list of triggers", trigger))
	if !IsTrigger(trigger) {
		return previewEvent{}, unknown
	}
	data, err := s.samples.TriggerSample(ctx, p.Organization, trigger)
	if fault.Is(err, fault.NotFound) {
		return previewEvent{}, unknown
	}
	if err != nil {
		return previewEvent{}, err
	}
	document, err := s.renderer.Sample(p.Organization, trigger, data, s.webhooks.Now())
	if err != nil {
		return previewEvent{}, fmt.Errorf("make the sample of %s: %w", trigger, err)
	}
	return parseEvent(string(document))
}

// first returns the first trigger that the webhook asks for: of a group, the first one that it covers.
func (p previewed) first() string {
	for _, pattern := range p.webhook.Triggers {
		for _, t := range p.triggers {
			if covers(pattern, t.ID) {
				return t.ID
			}
		}
	}
	return ""
}

// parseEvent reads a CloudEvent, or says what is wrong with it.
func parseEvent(text string) (previewEvent, error) {
	const path = "event"
	if len(text) > MaxPreviewEvent {
		return previewEvent{}, invalid(field(path, ruleMaxLength, "must have at most %d bytes", MaxPreviewEvent))
	}
	event := previewEvent{document: []byte(text)}
	if err := json.Unmarshal(event.document, &event); err != nil {
		return previewEvent{}, invalid(field(path, ruleFormat, "must be a CloudEvent as a JSON object, whose specversion, id, source, "+
			"type, mwteams and mweventtype are texts"))
	}
	var fields []fault.Field
	if event.Version != "1.0" {
		fields = append(fields, field(path+".specversion", ruleFormat, `must be "1.0"`)...)
	}
	for _, attribute := range []struct{ name, value string }{{"id", event.ID}, {"source", event.Source}, {"type", event.Type}} {
		if attribute.value == "" {
			fields = append(fields, field(path+"."+attribute.name, ruleRequired, "is required: a text that is not empty")...)
		}
	}
	return event, invalid(fields)
}

// mismatch returns the first rule by which a webhook would not be sent an event, empty when it would.
func (s *Previews) mismatch(ctx context.Context, w Webhook, event previewEvent) string {
	switch {
	case w.Status != StatusActive:
		return mismatchStatus
	case !coveredByAny(w.Triggers, event.Type):
		return mismatchTrigger
	case len(w.Teams) > 0 && !slices.ContainsFunc(listOf(event.Teams), func(id string) bool { return slices.Contains(w.Teams, id) }):
		return mismatchTeams
	case len(w.EventTypes) > 0 && !slices.Contains(w.EventTypes, event.EventType):
		return mismatchEventTypes
	case w.Filter == "":
		return ""
	}
	if matches, err := s.webhooks.Filters.Matches(ctx, w.Filter, event.document); err != nil || !matches {
		return mismatchFilter // what cannot be told counts as no
	}
	return ""
}

// listOf splits an attribute that is a list.
func listOf(text string) []string {
	parts := strings.Split(text, ",")
	for i, part := range parts {
		parts[i] = strings.TrimSpace(part)
	}
	return parts
}
