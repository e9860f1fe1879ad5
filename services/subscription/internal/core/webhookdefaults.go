package core

import (
	"time"

	"github.com/meetwire/meetwire/pkg/fault"
)

// Limits and defaults of how webhooks are called.
const (
	MinTimeout            = time.Second
	MaxTimeout            = 30 * time.Second
	DefaultTimeout        = 15 * time.Second
	MaxMaxConcurrency     = 1000
	DefaultMaxConcurrency = 8
	MinRateLimit          = 0.01
	MaxRateLimit          = 10_000.0
	DefaultDialect        = "standard"
)

// WebhookDefaults is what new webhooks of an organization get that do not say otherwise. The zero value of a field
// leaves it to the dialect, or to the installation.
type WebhookDefaults struct {
	Dialect          string
	RetryPolicy      *RetryPolicy      // nil: the dialect's schedule
	FailureThreshold *FailureThreshold // nil: the dialect's
	Timeout          time.Duration
	MaxConcurrency   int32
	RateLimit        float64 // attempts per second; 0: no limit
	AlertEmails      []string
}

// Check returns the defaults with what a retry policy leaves out filled in, and everything that is wrong with them.
// path is that of the message, such as `organization.webhook_defaults`.
func (d WebhookDefaults) Check(path string, dialects Dialects) (WebhookDefaults, []fault.Field) {
	var fields []fault.Field
	if d.Dialect != "" {
		if _, wrong := findDialect(path+".dialect", d.Dialect, dialects); wrong != nil {
			fields = append(fields, wrong...)
		}
	}
	if d.RetryPolicy != nil {
		policy := d.RetryPolicy.withDefaults()
		fields = append(fields, policy.check(path+".retry_policy")...)
		d.RetryPolicy = &policy
	}
	if d.FailureThreshold != nil {
		fields = append(fields, d.FailureThreshold.check(path+".failure_threshold")...)
		if *d.FailureThreshold == (FailureThreshold{}) {
			d.FailureThreshold = nil
		}
	}
	if d.Timeout != 0 {
		fields = append(fields, checkTimeout(path+".timeout", d.Timeout)...)
	}
	if d.MaxConcurrency != 0 {
		fields = append(fields, checkConcurrency(path+".max_concurrency", d.MaxConcurrency)...)
	}
	fields = append(fields, checkRateLimit(path+".rate_limit", d.RateLimit)...)
	fields = append(fields, checkEmails(path+".alert_emails", d.AlertEmails)...)
	return d, fields
}

func checkTimeout(path string, timeout time.Duration) []fault.Field {
	if timeout < MinTimeout || timeout > MaxTimeout {
		return field(path, ruleRange, "must be from %s to %s", MinTimeout, MaxTimeout)
	}
	return nil
}

func checkConcurrency(path string, concurrency int32) []fault.Field {
	if concurrency < 1 || concurrency > MaxMaxConcurrency {
		return field(path, ruleRange, "must be from 1 to %d, or 0 for the default", MaxMaxConcurrency)
	}
	return nil
}

func checkRateLimit(path string, limit float64) []fault.Field {
	// Written so that NaN, which is neither less nor greater than anything, is refused.
	if limit == 0 || (limit >= MinRateLimit && limit <= MaxRateLimit) {
		return nil
	}
	return field(path, ruleRange, "must be 0 (no limit) or from %g to %g attempts per second", MinRateLimit, MaxRateLimit)
}
