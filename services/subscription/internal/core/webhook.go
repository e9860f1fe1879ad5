package core

import (
	"crypto/sha256"
	"encoding/hex"
	"reflect"
	"strconv"
	"strings"
	"time"

	"github.com/meetwire/meetwire/pkg/fault"
)

// WebhookStatus says whether events are sent.
type WebhookStatus string

// The statuses of webhooks, as they are stored.
const (
	StatusActive   WebhookStatus = "active"
	StatusPaused   WebhookStatus = "paused"   // by people: what waits is kept
	StatusDisabled WebhookStatus = "disabled" // by Meetwire: what waits becomes dead letters
)

// SecretSource says whose secret signs.
type SecretSource string

// The sources of secrets, as they are stored.
const (
	SecretOwn          SecretSource = "own"
	SecretOrganization SecretSource = "organization"
	SecretNone         SecretSource = "none"
)

// Webhook is an endpoint and what it subscribes to.
type Webhook struct {
	ID               string // UUIDv4
	Organization     string // slug
	DisplayName      string
	Description      string
	TargetURL        string
	Triggers         []string // trigger ids, and groups of them such as `meeting.*`
	EventTypes       []string // slugs; none: all
	Teams            []string // ids; none: the events of all members
	Filter           string   // CEL expression; empty: none
	Dialect          string
	DialectOptions   DialectOptions
	SecretSource     SecretSource
	Secrets          []SealedSecret // its own, the newest first; the associated data is its id
	Headers          []SealedHeader
	RetryPolicy      *RetryPolicy      // nil: the dialect's schedule
	FailureThreshold *FailureThreshold // nil: the dialect's
	MaxConcurrency   int32
	RateLimit        float64 // attempts per second; 0: no limit
	Timeout          time.Duration
	AlertEmails      []string
	Metadata         map[string]string
	Status           WebhookStatus
	StatusReason     string // why Meetwire has disabled it
	StatusTime       time.Time
	Generation       int64 // how often it was enabled, 1 for a new one
	Revision         int64 // of its last change
	CreateTime       time.Time
	UpdateTime       time.Time
}

// SealedHeader is a header that is sent with every attempt.
type SealedHeader struct {
	Name   string
	Sealed []byte // its value, encrypted; the associated data is HeaderPurpose
}

// HeaderPurpose is what the value of a webhook's header is encrypted for.
func HeaderPurpose(webhook, name string) string { return webhook + "/headers/" + strings.ToLower(name) }

// Name returns the resource name of the webhook.
func (w Webhook) Name() string { return webhookName(w.Organization, w.ID) }

func webhookName(organization, id string) string {
	return "organizations/" + organization + "/webhooks/" + id
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
	return fault.New(fault.Aborted, "ETAG_MISMATCH", "%s was changed since it was read: read it again, and repeat", w.Name())
}

// NoWebhook is the fault of a webhook that is not there, or is another organization's.
func NoWebhook(organization, id string) error {
	return fault.New(fault.NotFound, "WEBHOOK_NOT_FOUND", "%s does not exist", webhookName(organization, id))
}

// Retries returns the policy that is in force: the webhook's, or else the preset of its dialect.
func (w Webhook) Retries(dialect Dialect) RetryPolicy {
	if w.RetryPolicy != nil {
		return *w.RetryPolicy
	}
	return RetryPolicy{Preset: dialect.Retry}
}

// Failures returns the threshold that is in force: the webhook's, or else that of its dialect.
func (w Webhook) Failures(dialect Dialect) FailureThreshold {
	if w.FailureThreshold != nil {
		return *w.FailureThreshold
	}
	return dialect.Failures
}

// WithStatus returns the webhook with another status since a time. Becoming active begins a new generation, in which
// what has failed before counts no more: while it was paused or disabled nothing could succeed.
func (w Webhook) WithStatus(status WebhookStatus, reason string, now time.Time) Webhook {
	if w.Status != StatusActive && status == StatusActive {
		w.Generation++
	}
	now = Stored(now)
	w.Status, w.StatusReason, w.StatusTime, w.UpdateTime = status, reason, now, now
	return w
}

// same reports whether two states of a webhook differ in nothing.
func (w Webhook) same(other Webhook) bool { return reflect.DeepEqual(w, other) }
