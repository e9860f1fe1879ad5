package core

import (
	"crypto/sha256"
	"encoding/hex"
	"reflect"
	"strconv"
	"time"

	"github.com/meetwire/meetwire/pkg/fault"
)

// Limits and default of the time that one attempt may take.
const (
	MinTimeout     = time.Second
	MaxTimeout     = 30 * time.Second
	DefaultTimeout = 15 * time.Second
)

// Webhook is an endpoint and what it subscribes to.
type Webhook struct {
	ID            string // UUIDv4
	Organization  string // slug
	DisplayName   string
	TargetURL     string
	Triggers      []string
	SealedSecrets [][]byte // encrypted with the webhook's id as associated data, the newest first
	Paused        bool
	RetryPolicy   *RetryPolicy // nil: the default schedule
	Timeout       time.Duration
	Revision      int64 // of its last change
	CreateTime    time.Time
	UpdateTime    time.Time
}

// ETag returns a text that changes with every change of the webhook. It says nothing by itself.
func (w Webhook) ETag() string {
	sum := sha256.Sum256([]byte(w.ID + "@" + strconv.FormatInt(w.Revision, 10)))
	return hex.EncodeToString(sum[:8])
}

// CheckETag returns fault.Aborted when an etag is given and is not the current one.
func (w Webhook) CheckETag(etag string) error {
	if etag == "" || etag == w.ETag() {
		return nil
	}
	return fault.New(fault.Aborted, "ETAG_MISMATCH",
		"organizations/%s/webhooks/%s was changed since it was read: read it again, and repeat", w.Organization, w.ID)
}

// NoWebhook is the fault of a webhook that is not there, or is another organization's.
func NoWebhook(organization, id string) error {
	return fault.New(fault.NotFound, "WEBHOOK_NOT_FOUND", "organizations/%s/webhooks/%s does not exist", organization, id)
}

// WebhookChange is what a caller wants of a webhook, new or existing. What is nil stays as it is, or takes its
// default in a new one.
type WebhookChange struct {
	DisplayName *string
	TargetURL   *string
	Triggers    *[]string
	Secret      *string // whsec_…
	Paused      *bool
	RetryPolicy PolicyEdit
	Timeout     *time.Duration // 0: the default
}

// apply returns the webhook with the change, and everything that is wrong with what it changes. The secret is
// checked but not put in, and whether the triggers exist is not known here.
func (c WebhookChange) apply(w Webhook, allowHTTP bool) (Webhook, []fault.Field) {
	var fields []fault.Field
	if c.DisplayName != nil {
		fields = append(fields, checkDisplayName("webhook.display_name", *c.DisplayName)...)
		w.DisplayName = *c.DisplayName
	}
	if c.TargetURL != nil {
		target, wrong := ParseTargetURL(*c.TargetURL, allowHTTP)
		fields = append(fields, wrong...)
		w.TargetURL = target
	}
	if c.Triggers != nil {
		fields = append(fields, checkTriggers(*c.Triggers)...)
		w.Triggers = *c.Triggers
	}
	if c.Secret != nil {
		fields = append(fields, checkSecret(*c.Secret)...)
	}
	if c.Paused != nil {
		w.Paused = *c.Paused
	}
	if c.RetryPolicy != nil {
		policy := c.RetryPolicy(w.RetryPolicy)
		w.RetryPolicy = nil
		if policy != nil {
			full := policy.withDefaults()
			fields = append(fields, full.check()...)
			w.RetryPolicy = &full
		}
	}
	if c.Timeout != nil {
		w.Timeout = *c.Timeout
	}
	if w.Timeout == 0 {
		w.Timeout = DefaultTimeout
	}
	if w.Timeout < MinTimeout || w.Timeout > MaxTimeout {
		fields = append(fields, field("webhook.timeout", ruleRange, "must be from %s to %s", MinTimeout, MaxTimeout)...)
	}
	return w, fields
}

// same reports whether two states of a webhook differ in nothing.
func (w Webhook) same(other Webhook) bool { return reflect.DeepEqual(w, other) }
