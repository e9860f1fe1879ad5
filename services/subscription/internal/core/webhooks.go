package core

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/meetwire/meetwire/pkg/fault"
)

// TriggerFacts is what the rules about webhooks need to know of a trigger.
type TriggerFacts struct {
	ID         string
	Deprecated bool
}

// WebhookView is what the rules about a webhook look at besides it: an organization that nobody can take away before
// the change is done. All methods return fault.Unavailable while the store is away.
type WebhookView interface {
	// Organization returns the organization.
	Organization() Organization
	// Triggers returns the triggers that the organization can use, ordered by id. Nobody can take away those of them that
	// are asked for by their ids before the change is done.
	Triggers(ctx context.Context, asked []string) ([]TriggerFacts, error)
	// Teams returns which of the ids are teams of the organization, which nobody can take away before the change is done.
	Teams(ctx context.Context, ids []string) (map[string]bool, error)
	// TriggersOfOthers returns what the organization's webhooks but one ask for.
	TriggersOfOthers(ctx context.Context, except string) ([][]string, error)
}

// WebhookStep is what becomes of a webhook.
type WebhookStep struct {
	Webhook   Webhook        // as it is from now on; its revision is set by the store
	Write     bool           // false: it stays as it is
	Action    Action         // for the audit log; empty: nothing is noted
	Events    []WebhookEvent // about the change, to be published
	Operation *Operation     // that the change begins
}

// WebhookEvent is an event about a webhook.
type WebhookEvent struct {
	Trigger string
	Data    Document // besides the webhook itself
}

// WebhookStore keeps webhooks. Besides what each method names, all return fault.Unavailable while the store is away,
// and fault.NotFound when there is no such organization; an error of the functions that they are given comes back as it
// is. These functions may be called several times.
type WebhookStore interface {
	// InsertWebhook stores the new webhook that make returns. Nobody else can add to the organization's webhooks
	// meanwhile. *RepeatedRequestError when the request was made before.
	InsertWebhook(ctx context.Context, organization, id string, request Request,
		make func(context.Context, WebhookView) (WebhookStep, error)) (Webhook, error)
	// UpdateWebhook gives the current state, which nobody else can change meanwhile, to change, and stores what comes
	// back. With alone, nobody else can add to the organization's webhooks meanwhile. It returns the webhook and the
	// operation that was begun, if any. fault.NotFound when there is no such webhook in the organization.
	UpdateWebhook(ctx context.Context, organization, id string, alone bool,
		change func(ctx context.Context, view WebhookView, current Webhook) (WebhookStep, error)) (Webhook, *Operation, error)
	// DeleteWebhook removes a webhook for good when check accepts its current state. fault.NotFound when there is
	// no such webhook in the organization.
	DeleteWebhook(ctx context.Context, organization, id string, check func(current Webhook) error) error
	// Webhook returns a webhook of an organization, or fault.NotFound.
	Webhook(ctx context.Context, organization, id string) (Webhook, error)
}

// Filters knows the expressions that webhooks filter events with.
type Filters interface {
	// Check returns what is wrong with an expression; empty: nothing.
	Check(source string) (problem string)
	// Matches reports whether an event, a CloudEvent as JSON, satisfies an expression that Check finds nothing wrong
	// with. The error says why it cannot be told, which events count as no for.
	Matches(ctx context.Context, source string, event []byte) (bool, error)
}

// WebhookRules is what Webhooks is put together from.
type WebhookRules struct {
	Store    WebhookStore
	Sealer   Sealer
	Dialects Dialects
	Filters  Filters
	Plans    Plans
	NewID    func() string // a UUIDv4
	// AllowsHost reports whether webhooks may have a host, a name or an address without brackets, in their URLs.
	AllowsHost func(host string) bool
	// ReservedHeader reports whether a header, in lower case, is not for webhooks to set.
	ReservedHeader func(name string) bool
	Now            func() time.Time
}

// Webhooks makes, changes and deletes webhooks by their rules.
type Webhooks struct {
	WebhookRules
}

// NewWebhooks returns the steps over a store.
func NewWebhooks(rules WebhookRules) *Webhooks { return &Webhooks{WebhookRules: rules} }

// Create makes a webhook, and a signing secret for it when one is needed and none is given. It returns the secret, empty
// when it has none of its own. fault.InvalidArgument names every field at fault; fault.FailedPrecondition when the
// organization's plan has no room. With dryRun nothing is stored, and no secret is returned. A request that was made
// before makes nothing, and returns what it has made.
func (s *Webhooks) Create(ctx context.Context, organization string, change WebhookChange, request Request, dryRun bool) (Webhook, string, error) {
	change.require()
	change.filterFaults = s.checkFilter(change)
	id, secret := s.NewID(), ""
	if dryRun {
		request = Request{}
	}
	w, err := s.Store.InsertWebhook(ctx, organization, id, request, func(ctx context.Context, view WebhookView) (WebhookStep, error) {
		w, own, err := s.compose(ctx, view, id, change)
		if err != nil {
			return WebhookStep{}, err
		}
		secret = own
		return WebhookStep{Webhook: w, Write: !dryRun, Action: ActionCreate}, s.checkRoom(ctx, view, w, nil)
	})
	var made *RepeatedRequestError
	if errors.As(err, &made) {
		return s.madeBefore(ctx, organization, made.Resource)
	}
	if err != nil {
		return Webhook{}, "", err
	}
	if dryRun {
		secret = ""
	}
	return w, secret, nil
}

// compose returns a new webhook by all rules but the limits of the plan, and its secret.
func (s *Webhooks) compose(ctx context.Context, view WebhookView, id string, change WebhookChange) (Webhook, string, error) {
	tenant, now := view.Organization(), Stored(s.Now())
	change.inherit(tenant.WebhookDefaults)
	w := Webhook{
		ID: id, Organization: tenant.ID, Status: StatusActive, StatusTime: now, Generation: 1, CreateTime: now, UpdateTime: now,
	}
	w, dialect, fields := change.apply(w, tenant, s.Dialects)
	fields = append(fields, s.checkHost(w, "")...)
	if change.Status != nil && *change.Status != "" {
		if *change.Status == StatusDisabled {
			fields = append(fields, disabledByPeople()...)
		}
		w.Status = *change.Status
	}
	k := secretKeeper{Webhooks: s, tenant: tenant, dialect: dialect, now: now}
	w, secret, wrong, err := k.takeSecret(w, Webhook{}, change)
	if err != nil {
		return Webhook{}, "", err
	}
	fields = append(fields, wrong...)
	if w, wrong, err = k.takeHeaders(w, Webhook{}, change); err != nil {
		return Webhook{}, "", err
	}
	fields = append(fields, wrong...)
	if fields, err = s.checkReferences(ctx, view, change, Webhook{}, fields); err != nil {
		return Webhook{}, "", err
	}
	if err := invalid(fields); err != nil {
		return Webhook{}, "", err
	}
	if err := k.checkSource(w); err != nil {
		return Webhook{}, "", err
	}
	return w, secret, nil
}

// madeBefore returns what an earlier request has made.
func (s *Webhooks) madeBefore(ctx context.Context, organization, id string) (Webhook, string, error) {
	w, err := s.Store.Webhook(ctx, organization, id)
	if err != nil || len(w.Secrets) == 0 {
		return w, "", err
	}
	secret, err := s.Sealer.Open(w.Secrets[0].Sealed, w.ID)
	if err != nil {
		return Webhook{}, "", fmt.Errorf("open the secret of %s: %w", w.Name(), err)
	}
	return w, secret, nil
}

// Update changes a webhook. An etag that is not empty must be the current one, else fault.Aborted. A change
// that changes nothing leaves the webhook, its etag and its update time alone. With dryRun nothing is stored.
func (s *Webhooks) Update(ctx context.Context, organization, id, etag string, change WebhookChange, dryRun bool) (Webhook, error) {
	change.filterFaults = s.checkFilter(change)
	w, _, err := s.Store.UpdateWebhook(ctx, organization, id, change.Triggers != nil,
		func(ctx context.Context, view WebhookView, current Webhook) (WebhookStep, error) {
			if err := current.CheckETag(etag); err != nil {
				return WebhookStep{}, err
			}
			now := Stored(s.Now())
			next, err := s.change(ctx, view, current, change, now)
			if err != nil || next.same(current) {
				return WebhookStep{Webhook: current}, err
			}
			next.UpdateTime = now
			if dryRun {
				return WebhookStep{Webhook: next}, nil
			}
			step := WebhookStep{Webhook: next, Write: true, Action: ActionUpdate}
			if replaced(current.Secrets, next.Secrets) {
				step.Events = append(step.Events, rotated(0, now))
			}
			return step, nil
		})
	return w, err
}

// replaced reports whether the newest of some secrets is another one than before.
func replaced(before, after []SealedSecret) bool {
	return len(before) > 0 && len(after) > 0 && !bytes.Equal(before[0].Sealed, after[0].Sealed)
}

// change returns an existing webhook with a change by all rules.
func (s *Webhooks) change(ctx context.Context, view WebhookView, current Webhook, change WebhookChange, now time.Time) (Webhook, error) {
	tenant := view.Organization()
	w, dialect, fields := change.apply(current, tenant, s.Dialects)
	fields = append(fields, s.checkHost(w, current.TargetURL)...)
	w, wrong, stateErr := takeStatus(w, change, now)
	fields = append(fields, wrong...)
	k := secretKeeper{Webhooks: s, tenant: tenant, dialect: dialect, now: now}
	w, _, wrong, err := k.takeSecret(w, current, change)
	if err != nil {
		return Webhook{}, err
	}
	fields = append(fields, wrong...)
	if w, wrong, err = k.takeHeaders(w, current, change); err != nil {
		return Webhook{}, err
	}
	fields = append(fields, wrong...)
	if fields, err = s.checkReferences(ctx, view, change, current, fields); err != nil {
		return Webhook{}, err
	}
	if err := invalid(fields); err != nil {
		return Webhook{}, err
	}
	if stateErr != nil {
		return Webhook{}, stateErr
	}
	if w.SecretSource != current.SecretSource {
		if err := k.checkSource(w); err != nil {
			return Webhook{}, err
		}
	}
	if slices.Equal(w.Triggers, current.Triggers) {
		return w, nil // what there is stays, whatever has become of the plan
	}
	return w, s.checkRoom(ctx, view, w, current.Triggers)
}

// takeStatus returns the webhook with the status that people want. Those that Meetwire has disabled have to be enabled.
func takeStatus(w Webhook, change WebhookChange, now time.Time) (Webhook, []fault.Field, error) {
	if change.Status == nil || *change.Status == w.Status {
		return w, nil, nil
	}
	wanted := *change.Status
	switch {
	case wanted == StatusDisabled:
		return w, disabledByPeople(), nil
	case wanted == "" && w.Status != StatusPaused:
		return w, nil, nil // the default changes nothing about a decision of Meetwire
	case w.Status == StatusDisabled:
		return w, nil, disabledFault(w)
	case wanted == "":
		wanted = StatusActive
	}
	return w.WithStatus(wanted, "", now), nil, nil
}

func disabledByPeople() []fault.Field {
	return field("webhook.status", ruleOneOf, "must be STATUS_ACTIVE or STATUS_PAUSED: only Meetwire itself disables webhooks")
}

func disabledFault(w Webhook) error {
	return fault.New(fault.FailedPrecondition, "WEBHOOK_DISABLED", "%s is disabled: enable it", w.Name())
}

// Delete removes a webhook for good. An etag that is not empty must be the current one, else fault.Aborted.
func (s *Webhooks) Delete(ctx context.Context, organization, id, etag string) error {
	return s.Store.DeleteWebhook(ctx, organization, id, func(current Webhook) error {
		return current.CheckETag(etag)
	})
}

// checkHost returns what is wrong with the host of a new URL. The URL is empty when something else is wrong with it.
func (s *Webhooks) checkHost(w Webhook, before string) []fault.Field {
	if w.TargetURL == before || w.TargetURL == "" {
		return nil
	}
	if parsed, err := url.Parse(w.TargetURL); err == nil && s.AllowsHost(parsed.Hostname()) {
		return nil
	}
	return field(targetURLPath, ruleReserved, "must not have an internal name or address as its host")
}

// checkFilter returns what is wrong with the filter of a change.
func (s *Webhooks) checkFilter(change WebhookChange) []fault.Field {
	if change.Filter == nil || *change.Filter == "" {
		return nil
	}
	const path = "webhook.filter"
	if len(*change.Filter) > MaxFilterLength {
		return field(path, ruleMaxLength, "must have at most %d bytes", MaxFilterLength)
	}
	if !utf8.ValidString(*change.Filter) || strings.ContainsFunc(*change.Filter, isControlButSpace) {
		return field(path, ruleFormat, "must be UTF-8 without control characters other than line breaks and tabs")
	}
	if problem := s.Filters.Check(*change.Filter); problem != "" {
		return field(path, ruleFormat, "%s", problem)
	}
	return nil
}

// checkReferences adds the triggers and teams that do not exist to the fields at fault. What the webhook had already is
// not looked at again.
func (s *Webhooks) checkReferences(ctx context.Context, view WebhookView, change WebhookChange, current Webhook, fields []fault.Field) ([]fault.Field, error) {
	if change.Triggers != nil && len(checkPatterns(triggersPath, *change.Triggers)) == 0 {
		known, err := view.Triggers(ctx, *change.Triggers)
		if err != nil {
			return nil, err
		}
		fields = append(fields, checkPatternsKnown(*change.Triggers, current.Triggers, known)...)
	}
	if change.Teams != nil && len(*change.Teams) > 0 {
		known, err := view.Teams(ctx, *change.Teams)
		if err != nil {
			return nil, err
		}
		for i, id := range *change.Teams {
			if !known[id] {
				fields = append(fields, field(teamPath(i), ruleExists, "%.80s is not a team of the organization", id)...)
			}
		}
	}
	return fields, nil
}

// checkRoom returns fault.FailedPrecondition when the plan has no room for the webhook. before is what it asked for
// until now, nil for a new one.
func (s *Webhooks) checkRoom(ctx context.Context, view WebhookView, w Webhook, before []string) error {
	plan, err := s.Plans.Of(view.Organization())
	if err != nil {
		return err
	}
	if !plan.Limited() {
		return nil
	}
	triggers, err := view.Triggers(ctx, nil)
	if err != nil {
		return err
	}
	others, err := view.TriggersOfOthers(ctx, w.ID)
	if err != nil {
		return err
	}
	return plan.checkRoom(w.Triggers, before, others, triggers)
}
