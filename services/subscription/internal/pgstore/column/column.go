// Package column owns the form in which the columns of type jsonb keep what has parts, apart from the domain, so that
// a new name in the code is no new name in the database.
package column

import (
	"time"

	"github.com/meetwire/meetwire/services/subscription/internal/core"
)

// Secret is an encrypted signing secret.
type Secret struct {
	Sealed     []byte    `json:"sealed"`
	CreateTime time.Time `json:"create_time"`
	ExpireTime time.Time `json:"expire_time,omitzero"`
}

// Secrets makes columns of secrets; never nil, which would be a null.
func Secrets(secrets []core.SealedSecret) []Secret {
	columns := make([]Secret, len(secrets))
	for i, s := range secrets {
		columns[i] = Secret(s)
	}
	return columns
}

// CoreSecrets makes secrets of columns.
func CoreSecrets(columns []Secret) []core.SealedSecret {
	var secrets []core.SealedSecret
	for _, c := range columns {
		c.CreateTime, c.ExpireTime = c.CreateTime.UTC(), c.ExpireTime.UTC()
		secrets = append(secrets, core.SealedSecret(c))
	}
	return secrets
}

// WebhookDefaults is what new webhooks of an organization get.
type WebhookDefaults struct {
	Dialect          string            `json:"dialect,omitempty"`
	RetryPolicy      *RetryPolicy      `json:"retry_policy,omitempty"`
	FailureThreshold *FailureThreshold `json:"failure_threshold,omitempty"`
	Timeout          time.Duration     `json:"timeout_ns,omitempty"`
	MaxConcurrency   int32             `json:"max_concurrency,omitempty"`
	RateLimit        float64           `json:"rate_limit,omitempty"`
	AlertEmails      []string          `json:"alert_emails,omitempty"`
}

// RetryPolicy is a preset, or an exponential backoff.
type RetryPolicy struct {
	Preset     core.Preset   `json:"preset,omitempty"`
	MaxRetries int32         `json:"max_retries,omitempty"`
	FirstDelay time.Duration `json:"first_delay_ns,omitempty"`
	Factor     float64       `json:"factor,omitempty"`
	MaxDelay   time.Duration `json:"max_delay_ns,omitempty"`
	Jitter     float64       `json:"jitter,omitempty"`
	GiveUpAge  time.Duration `json:"give_up_age_ns,omitempty"`
}

// FailureThreshold says when a webhook is disabled.
type FailureThreshold struct {
	ConsecutiveFailures int32         `json:"consecutive_failures,omitempty"`
	WithoutSuccess      time.Duration `json:"without_success_ns,omitempty"`
	Off                 bool          `json:"off,omitempty"`
}

// Defaults makes a column of defaults.
func Defaults(d core.WebhookDefaults) WebhookDefaults {
	return WebhookDefaults{
		Dialect: d.Dialect, RetryPolicy: (*RetryPolicy)(d.RetryPolicy), FailureThreshold: (*FailureThreshold)(d.FailureThreshold),
		Timeout: d.Timeout, MaxConcurrency: d.MaxConcurrency, RateLimit: d.RateLimit, AlertEmails: d.AlertEmails,
	}
}

// CoreDefaults makes defaults of a column.
func CoreDefaults(d WebhookDefaults) core.WebhookDefaults {
	return core.WebhookDefaults{
		Dialect: d.Dialect, RetryPolicy: (*core.RetryPolicy)(d.RetryPolicy), FailureThreshold: (*core.FailureThreshold)(d.FailureThreshold),
		Timeout: d.Timeout, MaxConcurrency: d.MaxConcurrency, RateLimit: d.RateLimit, AlertEmails: d.AlertEmails,
	}
}
