package core

import (
	"time"

	"github.com/meetwire/meetwire/pkg/fault"
)

// Limits and defaults of a retry policy.
const (
	MaxRetries        = 30
	MinDelay          = 100 * time.Millisecond
	MaxFirstDelay     = 24 * time.Hour
	MaxMaxDelay       = 14 * 24 * time.Hour
	MinFactor         = 1.0
	MaxFactor         = 10.0
	MaxJitter         = 0.5
	DefaultFirstDelay = time.Second
	DefaultFactor     = 2.0
	DefaultMaxDelay   = 24 * time.Hour
)

// RetryPolicy is an exponential backoff: retry n waits min(FirstDelay × Factor^(n-1), MaxDelay), varied by
// ± Jitter.
type RetryPolicy struct {
	MaxRetries int32         // 0 to 30; 0: a failed attempt is not repeated
	FirstDelay time.Duration // 100 ms to 24 h; default 1 s
	Factor     float64       // 1 to 10; default 2
	MaxDelay   time.Duration // FirstDelay to 14 days; default 24 h
	Jitter     float64       // 0 to 0.5 of the wait
}

// withDefaults returns the policy with its zero values filled in.
func (p RetryPolicy) withDefaults() RetryPolicy {
	if p.FirstDelay == 0 {
		p.FirstDelay = DefaultFirstDelay
	}
	if p.Factor == 0 {
		p.Factor = DefaultFactor
	}
	if p.MaxDelay == 0 {
		p.MaxDelay = DefaultMaxDelay
	}
	return p
}

// check returns what is wrong with a policy that has its defaults.
func (p RetryPolicy) check() []fault.Field {
	const path = "webhook.retry_policy."
	var fields []fault.Field
	if p.MaxRetries < 0 || p.MaxRetries > MaxRetries {
		fields = append(fields, field(path+"max_retries", ruleRange, "must be from 0 to %d", MaxRetries)...)
	}
	if p.FirstDelay < MinDelay || p.FirstDelay > MaxFirstDelay {
		fields = append(fields, field(path+"first_delay", ruleRange, "must be from %s to %s", MinDelay, MaxFirstDelay)...)
	}
	// Written so that NaN, which is neither less nor greater than anything, is refused.
	if !(p.Factor >= MinFactor && p.Factor <= MaxFactor) {
		fields = append(fields, field(path+"factor", ruleRange, "must be 0 (the default) or from %g to %g", MinFactor, MaxFactor)...)
	}
	switch {
	case p.MaxDelay < MinDelay || p.MaxDelay > MaxMaxDelay:
		fields = append(fields, field(path+"max_delay", ruleRange, "must be from %s to %s", MinDelay, MaxMaxDelay)...)
	case p.MaxDelay < p.FirstDelay:
		fields = append(fields, field(path+"max_delay", ruleRange, "must be at least first_delay, which is %s", p.FirstDelay)...)
	}
	if !(p.Jitter >= 0 && p.Jitter <= MaxJitter) {
		fields = append(fields, field(path+"jitter", ruleRange, "must be from 0 to %g", MaxJitter)...)
	}
	return fields
}

// PolicyEdit makes the new retry policy of a webhook out of the current one. nil, on either side, is the
// default schedule.
type PolicyEdit func(current *RetryPolicy) *RetryPolicy

// DefaultSchedule takes a webhook's own policy away.
func DefaultSchedule(*RetryPolicy) *RetryPolicy { return nil }

// ReplacePolicy gives a webhook this policy. Its zero values stand for the defaults.
func ReplacePolicy(policy RetryPolicy) PolicyEdit {
	return func(*RetryPolicy) *RetryPolicy { return &policy }
}

// EditPolicy changes parts of a webhook's policy; one that has none gets one with the defaults.
func EditPolicy(edit func(*RetryPolicy)) PolicyEdit {
	return func(current *RetryPolicy) *RetryPolicy {
		var policy RetryPolicy
		if current != nil {
			policy = *current
		}
		edit(&policy)
		return &policy
	}
}
