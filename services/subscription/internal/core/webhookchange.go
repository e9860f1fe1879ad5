package core

import (
	"fmt"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/meetwire/meetwire/pkg/fault"
)

// Limits of what a webhook says and filters.
const (
	MaxDescriptionLength = 2000 // characters
	MaxFilterLength      = 1024 // bytes
	MaxTeams             = 100
)

// WebhookChange is what a caller wants of a webhook, new or existing. What is nil stays as it is, or takes its
// default in a new one. The zero value within a pointer stands for the default where there is one.
type WebhookChange struct {
	DisplayName      *string
	Description      *string
	TargetURL        *string
	Triggers         *[]string
	EventTypes       *[]string
	Teams            *[]string // ids
	Filter           *string
	Dialect          *string
	DialectOptions   Edit[DialectOptions]
	SecretSource     *SecretSource
	Secret           *string
	Headers          *[]Header
	RetryPolicy      Edit[RetryPolicy]
	FailureThreshold Edit[FailureThreshold]
	MaxConcurrency   *int32
	RateLimit        *float64
	Timeout          *time.Duration
	AlertEmails      *[]string
	Metadata         *map[string]string
	Status           *WebhookStatus

	filterFaults []fault.Field // what is wrong with the filter, which takes a while to find out
}

// Header is a header that is sent with every attempt, in clear text.
type Header struct {
	Name  string
	Value string // empty in a change: the value stays as it is
}

// require makes the fields that a new webhook needs be checked also when they are not given.
func (c *WebhookChange) require() {
	empty, none := "", []string(nil)
	if c.DisplayName == nil {
		c.DisplayName = &empty
	}
	if c.TargetURL == nil {
		c.TargetURL = &empty
	}
	if c.Triggers == nil {
		c.Triggers = &none
	}
	if c.Dialect == nil {
		c.Dialect = &empty
	}
	if c.RetryPolicy == nil {
		c.RetryPolicy = UseDefault[RetryPolicy]()
	}
	if c.FailureThreshold == nil {
		c.FailureThreshold = UseDefault[FailureThreshold]()
	}
	if c.MaxConcurrency == nil {
		c.MaxConcurrency = new(int32)
	}
	if c.Timeout == nil {
		c.Timeout = new(time.Duration)
	}
}

// inherit gives a new webhook what the organization has for those that say nothing, where nothing cannot be said of
// an existing one.
func (c *WebhookChange) inherit(defaults WebhookDefaults) {
	if c.RateLimit == nil || *c.RateLimit == 0 {
		c.RateLimit = &defaults.RateLimit
	}
	if c.AlertEmails == nil || len(*c.AlertEmails) == 0 {
		c.AlertEmails = &defaults.AlertEmails
	}
}

// application is a change that is being put into a webhook.
type application struct {
	WebhookChange

	webhook  Webhook
	tenant   Organization
	dialects Dialects
	dialect  Dialect // of the webhook as it will be
	fields   []fault.Field
}

// apply returns the webhook with the change, its dialect, and everything that is wrong with what it changes. What is
// secret is not put in, and whether triggers and teams exist is not known here.
func (c WebhookChange) apply(w Webhook, tenant Organization, dialects Dialects) (Webhook, Dialect, []fault.Field) {
	a := &application{WebhookChange: c, webhook: w, tenant: tenant, dialects: dialects}
	if !a.takeDialect() {
		return w, Dialect{}, a.fields
	}
	a.takeTexts()
	a.takeTarget()
	a.takeMatch()
	a.takePolicies()
	a.takePace()
	return a.webhook, a.dialect, a.fields
}

func (a *application) wrong(fields []fault.Field) { a.fields = append(a.fields, fields...) }

// takeDialect comes first, since most of the rest depends on it. It reports whether there is such a dialect.
func (a *application) takeDialect() bool {
	w := &a.webhook
	if a.Dialect != nil {
		w.Dialect = firstOf(*a.Dialect, a.tenant.WebhookDefaults.Dialect, DefaultDialect)
	}
	dialect, wrong := findDialect("webhook.dialect", w.Dialect, a.dialects)
	if wrong != nil {
		a.wrong(wrong)
		return false
	}
	a.dialect = dialect
	if a.DialectOptions != nil {
		w.DialectOptions = a.DialectOptions(w.DialectOptions, DialectOptions{})
	}
	if a.Dialect != nil || a.DialectOptions != nil {
		for _, f := range a.dialects.CheckOptions(w.Dialect, w.DialectOptions) {
			f.Path = "webhook.dialect_options." + f.Path
			a.fields = append(a.fields, f)
		}
	}
	return true
}

func (a *application) takeTexts() {
	w := &a.webhook
	if a.DisplayName != nil {
		a.wrong(checkDisplayName("webhook.display_name", *a.DisplayName))
		w.DisplayName = *a.DisplayName
	}
	if a.Description != nil {
		a.wrong(checkDescription("webhook.description", *a.Description))
		w.Description = *a.Description
	}
	if a.AlertEmails != nil {
		a.wrong(checkEmails("webhook.alert_emails", *a.AlertEmails))
		w.AlertEmails = listOrNil(*a.AlertEmails)
	}
	if a.Metadata != nil {
		a.wrong(checkMetadata("webhook.metadata", *a.Metadata))
		w.Metadata = *a.Metadata
		if len(w.Metadata) == 0 {
			w.Metadata = nil
		}
	}
}

// takeTarget checks the URL again when the dialect changes: another one may not allow http.
func (a *application) takeTarget() {
	w := &a.webhook
	if a.TargetURL == nil && a.Dialect == nil {
		return
	}
	target := w.TargetURL
	if a.TargetURL != nil {
		target = *a.TargetURL
	}
	allowHTTP := (a.tenant.AllowHTTP || a.dialect.HTTPAllowed) && !a.dialect.HTTPSOnly
	target, wrong := ParseTargetURL(target, allowHTTP)
	a.wrong(wrong)
	w.TargetURL = target
}

func (a *application) takeMatch() {
	w := &a.webhook
	if a.Triggers != nil {
		a.wrong(checkPatterns(triggersPath, *a.Triggers))
		w.Triggers = *a.Triggers
	}
	if a.EventTypes != nil {
		a.wrong(checkEventTypes("webhook.event_types", *a.EventTypes))
		w.EventTypes = listOrNil(*a.EventTypes)
	}
	if a.Teams != nil {
		a.wrong(checkTeamList(*a.Teams))
		w.Teams = listOrNil(*a.Teams)
	}
	if a.Filter != nil {
		a.wrong(a.filterFaults)
		w.Filter = *a.Filter
	}
}

func (a *application) takePolicies() {
	w, defaults := &a.webhook, a.tenant.WebhookDefaults
	if a.RetryPolicy != nil {
		byDefault := Webhook{RetryPolicy: defaults.RetryPolicy}.Retries(a.dialect)
		policy := a.RetryPolicy(w.Retries(a.dialect), byDefault).withDefaults()
		a.wrong(policy.check("webhook.retry_policy"))
		w.RetryPolicy = &policy
		if policy == (RetryPolicy{Preset: a.dialect.Retry}) {
			w.RetryPolicy = nil
		}
	}
	if a.FailureThreshold != nil {
		byDefault := Webhook{FailureThreshold: defaults.FailureThreshold}.Failures(a.dialect)
		threshold := a.FailureThreshold(w.Failures(a.dialect), byDefault)
		if threshold == (FailureThreshold{}) {
			threshold = byDefault
		}
		a.wrong(threshold.check("webhook.failure_threshold"))
		w.FailureThreshold = &threshold
		if threshold == a.dialect.Failures {
			w.FailureThreshold = nil
		}
	}
}

func (a *application) takePace() {
	w, defaults := &a.webhook, a.tenant.WebhookDefaults
	if a.Timeout != nil {
		w.Timeout = firstOf(*a.Timeout, defaults.Timeout, DefaultTimeout)
		a.wrong(checkTimeout("webhook.timeout", w.Timeout))
	}
	if a.MaxConcurrency != nil {
		w.MaxConcurrency = firstOf(*a.MaxConcurrency, defaults.MaxConcurrency, DefaultMaxConcurrency)
		a.wrong(checkConcurrency("webhook.max_concurrency", w.MaxConcurrency))
	}
	if a.RateLimit != nil {
		w.RateLimit = *a.RateLimit
		a.wrong(checkRateLimit("webhook.rate_limit", w.RateLimit))
	}
}

func checkDescription(path, text string) []fault.Field {
	switch {
	case utf8.RuneCountInString(text) > MaxDescriptionLength:
		return field(path, ruleMaxLength, "must have at most %d characters", MaxDescriptionLength)
	case !utf8.ValidString(text) || strings.ContainsFunc(text, isControlButSpace):
		return field(path, ruleFormat, "must be UTF-8 without control characters other than line breaks and tabs")
	}
	return nil
}

func isControlButSpace(r rune) bool {
	return unicode.IsControl(r) && r != '\n' && r != '\r' && r != '\t'
}

func checkTeamList(ids []string) []fault.Field {
	if len(ids) > MaxTeams {
		return field("webhook.teams", ruleMaxItems, "must have at most %d teams", MaxTeams)
	}
	var fields []fault.Field
	seen := make(map[string]int, len(ids))
	for i, id := range ids {
		if first, ok := seen[id]; ok {
			fields = append(fields, field(teamPath(i), ruleUnique, "%s is there already, at %d", id, first)...)
			continue
		}
		seen[id] = i
	}
	return fields
}

func teamPath(i int) string { return fmt.Sprintf("webhook.teams[%d]", i) }

// firstOf returns the first value that is not zero.
func firstOf[T comparable](values ...T) T {
	var zero T
	for _, value := range values {
		if value != zero {
			return value
		}
	}
	return zero
}

// listOrNil makes no difference between an empty list and none.
func listOrNil[T any](list []T) []T {
	if len(list) == 0 {
		return nil
	}
	return list
}
