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
	MinGiveUpAge      = time.Minute
	MaxGiveUpAge      = 30 * 24 * time.Hour
)

// Preset is a retry policy that has a name.
type Preset string

// The presets.
const (
	PresetStandard    Preset = "standard"    // as the Standard Webhooks specification suggests
	PresetExponential Preset = "exponential" // 20 retries, after 1 s, 2 s, 4 s and so on
	PresetNone        Preset = "none"        // no retries
)

// RetryPolicy is a preset, or an exponential backoff: retry n waits min(FirstDelay × Factor^(n-1), MaxDelay), varied by
// ± Jitter.
type RetryPolicy struct {
	Preset     Preset        // with one, only GiveUpAge is set besides
	MaxRetries int32         // 0 to 30; 0: a failed attempt is not repeated
	FirstDelay time.Duration // 100 ms to 24 h; default 1 s
	Factor     float64       // 1 to 10; default 2
	MaxDelay   time.Duration // FirstDelay to 14 days; default 24 h
	Jitter     float64       // 0 to 0.5 of the wait
	GiveUpAge  time.Duration // age of an event after which it is not tried again, 1 min to 30 days; 0: no such limit
}

// withDefaults returns the policy with the zero values of a backoff filled in.
func (p RetryPolicy) withDefaults() RetryPolicy {
	if p.Preset != "" {
		return p
	}
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

// check returns what is wrong with a policy that has its defaults. path is that of the message.
func (p RetryPolicy) check(path string) []fault.Field {
	var fields []fault.Field
	if p.GiveUpAge != 0 && (p.GiveUpAge < MinGiveUpAge || p.GiveUpAge > MaxGiveUpAge) {
		fields = append(fields, field(path+".give_up_age", ruleRange, "must be from %s to %s", MinGiveUpAge, MaxGiveUpAge)...)
	}
	if p.Preset == "" {
		return append(fields, p.checkBackoff(path)...)
	}
	if p.Preset != PresetStandard && p.Preset != PresetExponential && p.Preset != PresetNone {
		fields = append(fields, field(path+".preset", ruleOneOf, "must be PRESET_STANDARD, PRESET_EXPONENTIAL or PRESET_NONE")...)
	}
	if p != (RetryPolicy{Preset: p.Preset, GiveUpAge: p.GiveUpAge}) {
		fields = append(fields, field(path+".preset", ruleExclusive, "with a preset, only give_up_age may be set besides")...)
	}
	return fields
}

// checkBackoff returns what is wrong with a policy that has no preset.
func (p RetryPolicy) checkBackoff(path string) []fault.Field {
	var fields []fault.Field
	if p.MaxRetries < 0 || p.MaxRetries > MaxRetries {
		fields = append(fields, field(path+".max_retries", ruleRange, "must be from 0 to %d", MaxRetries)...)
	}
	if p.FirstDelay < MinDelay || p.FirstDelay > MaxFirstDelay {
		fields = append(fields, field(path+".first_delay", ruleRange, "must be from %s to %s", MinDelay, MaxFirstDelay)...)
	}
	// Written so that NaN, which is neither less nor greater than anything, is refused.
	if !(p.Factor >= MinFactor && p.Factor <= MaxFactor) {
		fields = append(fields, field(path+".factor", ruleRange, "must be 0 (the default) or from %g to %g", MinFactor, MaxFactor)...)
	}
	switch {
	case p.MaxDelay < MinDelay || p.MaxDelay > MaxMaxDelay:
		fields = append(fields, field(path+".max_delay", ruleRange, "must be from %s to %s", MinDelay, MaxMaxDelay)...)
	case p.MaxDelay < p.FirstDelay:
		fields = append(fields, field(path+".max_delay", ruleRange, "must be at least first_delay, which is %s", p.FirstDelay)...)
	}
	if !(p.Jitter >= 0 && p.Jitter <= MaxJitter) {
		fields = append(fields, field(path+".jitter", ruleRange, "must be from 0 to %g", MaxJitter)...)
	}
	return fields
}

// EditBackoff changes parts of a backoff; what was a preset becomes one with the defaults.
func EditBackoff(edit func(*RetryPolicy)) Edit[RetryPolicy] {
	return func(current, _ RetryPolicy) RetryPolicy {
		if current.Preset != "" {
			current = RetryPolicy{GiveUpAge: current.GiveUpAge}
		}
		edit(&current)
		return current
	}
}

// EditPreset makes a preset of a policy; none makes a backoff with the defaults of what was one.
func EditPreset(preset Preset) Edit[RetryPolicy] {
	return func(current, _ RetryPolicy) RetryPolicy {
		if current.Preset == preset {
			return current
		}
		return RetryPolicy{Preset: preset, GiveUpAge: current.GiveUpAge}
	}
}
