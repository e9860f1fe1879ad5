package core

import (
	"time"

	"github.com/meetwire/meetwire/pkg/fault"
)

// Limits of a failure threshold.
const (
	MaxConsecutiveFailures = 10_000
	MinWithoutSuccess      = time.Minute
	MaxWithoutSuccess      = 30 * 24 * time.Hour
)

// FailureThreshold says when Meetwire disables a webhook: as soon as one of the conditions that are set holds. The zero
// value stands for the threshold of the dialect.
type FailureThreshold struct {
	ConsecutiveFailures int32         // so many attempts in a row have failed, 1 to 10,000; 0: no such condition
	WithoutSuccess      time.Duration // no success for so long since the first failure, 1 min to 30 days; 0: no such condition
	Off                 bool          // failures, and an answer 410, never disable it
}

// check returns what is wrong with a threshold. path is that of the message.
func (f FailureThreshold) check(path string) []fault.Field {
	var fields []fault.Field
	if f.ConsecutiveFailures < 0 || f.ConsecutiveFailures > MaxConsecutiveFailures {
		fields = append(fields, field(path+".consecutive_failures", ruleRange,
			"must be from 1 to %d, or 0 for no such condition", MaxConsecutiveFailures)...)
	}
	if f.WithoutSuccess != 0 && (f.WithoutSuccess < MinWithoutSuccess || f.WithoutSuccess > MaxWithoutSuccess) {
		fields = append(fields, field(path+".without_success", ruleRange, "must be from %s to %s", MinWithoutSuccess, MaxWithoutSuccess)...)
	}
	if f.Off && (f.ConsecutiveFailures != 0 || f.WithoutSuccess != 0) {
		fields = append(fields, field(path+".off", ruleExclusive, "must not be true together with consecutive_failures or without_success")...)
	}
	return fields
}
