package grpcapi

import (
	"time"

	"google.golang.org/protobuf/types/known/durationpb"

	subscriptionv1 "github.com/meetwire/meetwire/proto/gen/meetwire/subscription/v1"
	"github.com/meetwire/meetwire/services/subscription/internal/core"
)

// retryPolicy returns the policy of a message, with zero values for what it lacks.
func retryPolicy(p *subscriptionv1.RetryPolicy) core.RetryPolicy {
	return core.RetryPolicy{
		Preset: preset(p.GetPreset()), MaxRetries: p.GetMaxRetries(), FirstDelay: duration(p.GetFirstDelay()),
		Factor: p.GetFactor(), MaxDelay: duration(p.GetMaxDelay()), Jitter: p.GetJitter(), GiveUpAge: duration(p.GetGiveUpAge()),
	}
}

// retryPolicyMessage returns the message of a policy.
func retryPolicyMessage(p core.RetryPolicy) *subscriptionv1.RetryPolicy {
	message := &subscriptionv1.RetryPolicy{Preset: presetOf(p.Preset), GiveUpAge: durationOrNil(p.GiveUpAge)}
	if p.Preset == "" {
		message.MaxRetries, message.Factor, message.Jitter = p.MaxRetries, p.Factor, p.Jitter
		message.FirstDelay, message.MaxDelay = durationpb.New(p.FirstDelay), durationpb.New(p.MaxDelay)
	}
	return message
}

func preset(p subscriptionv1.RetryPolicy_Preset) core.Preset {
	switch p {
	case subscriptionv1.RetryPolicy_PRESET_STANDARD:
		return core.PresetStandard
	case subscriptionv1.RetryPolicy_PRESET_EXPONENTIAL:
		return core.PresetExponential
	case subscriptionv1.RetryPolicy_PRESET_NONE:
		return core.PresetNone
	default:
		return ""
	}
}

func presetOf(p core.Preset) subscriptionv1.RetryPolicy_Preset {
	switch p {
	case core.PresetStandard:
		return subscriptionv1.RetryPolicy_PRESET_STANDARD
	case core.PresetExponential:
		return subscriptionv1.RetryPolicy_PRESET_EXPONENTIAL
	case core.PresetNone:
		return subscriptionv1.RetryPolicy_PRESET_NONE
	default:
		return subscriptionv1.RetryPolicy_PRESET_UNSPECIFIED
	}
}

// failureThreshold returns the threshold of a message.
func failureThreshold(f *subscriptionv1.FailureThreshold) core.FailureThreshold {
	return core.FailureThreshold{
		ConsecutiveFailures: f.GetConsecutiveFailures(), WithoutSuccess: duration(f.GetWithoutSuccess()), Off: f.GetOff(),
	}
}

// failureThresholdMessage returns the message of a threshold.
func failureThresholdMessage(f core.FailureThreshold) *subscriptionv1.FailureThreshold {
	return &subscriptionv1.FailureThreshold{
		ConsecutiveFailures: f.ConsecutiveFailures, WithoutSuccess: durationOrNil(f.WithoutSuccess), Off: f.Off,
	}
}

// durationOrNil is unset for 0.
func durationOrNil(d time.Duration) *durationpb.Duration {
	if d == 0 {
		return nil
	}
	return durationpb.New(d)
}

// policyEdits are what a mask wants of a retry policy, in whatever order it names the fields.
type policyEdits struct {
	parts   []core.Edit[core.RetryPolicy]
	backoff bool // some of the parts are of a backoff
	preset  *core.Preset
}

func (e policyEdits) edit() core.Edit[core.RetryPolicy] {
	switch {
	case e.preset == nil:
	case e.backoff: // both are given; the rules say whether that can be
		e.parts = append(e.parts, core.EditParts(func(to *core.RetryPolicy) { to.Preset = *e.preset }))
	default:
		e.parts = append(e.parts, core.EditPreset(*e.preset))
	}
	return core.InOrder(e.parts...)
}

// addPolicy takes the retry policy over, or one field of it.
func (b *changeBuilder) addPolicy(path string) bool {
	message := b.webhook.GetRetryPolicy()
	p, edits := retryPolicy(message), &b.policy
	part := func(edit core.Edit[core.RetryPolicy]) { edits.parts = append(edits.parts, edit) }
	backoff := func(edit func(*core.RetryPolicy)) {
		edits.backoff = true
		part(core.EditBackoff(edit))
	}
	switch path {
	case "retry_policy":
		if message == nil {
			part(core.UseDefault[core.RetryPolicy]())
		} else {
			part(core.Replace(p))
		}
	case "retry_policy.max_retries":
		backoff(func(to *core.RetryPolicy) { to.MaxRetries = p.MaxRetries })
	case "retry_policy.first_delay":
		backoff(func(to *core.RetryPolicy) { to.FirstDelay = p.FirstDelay })
	case "retry_policy.factor":
		backoff(func(to *core.RetryPolicy) { to.Factor = p.Factor })
	case "retry_policy.max_delay":
		backoff(func(to *core.RetryPolicy) { to.MaxDelay = p.MaxDelay })
	case "retry_policy.jitter":
		backoff(func(to *core.RetryPolicy) { to.Jitter = p.Jitter })
	case "retry_policy.give_up_age":
		part(core.EditParts(func(to *core.RetryPolicy) { to.GiveUpAge = p.GiveUpAge }))
	case "retry_policy.preset":
		edits.preset = &p.Preset
	default:
		return false
	}
	return true
}

// addThreshold takes the failure threshold over, or one field of it.
func (b *changeBuilder) addThreshold(path string) bool {
	f := failureThreshold(b.webhook.GetFailureThreshold())
	var edit core.Edit[core.FailureThreshold]
	switch path {
	case "failure_threshold":
		edit = core.Replace(f) // what sets nothing is the default
	case "failure_threshold.consecutive_failures":
		edit = core.EditParts(func(to *core.FailureThreshold) { to.ConsecutiveFailures = f.ConsecutiveFailures })
	case "failure_threshold.without_success":
		edit = core.EditParts(func(to *core.FailureThreshold) { to.WithoutSuccess = f.WithoutSuccess })
	case "failure_threshold.off":
		edit = core.EditParts(func(to *core.FailureThreshold) { to.Off = f.Off })
	default:
		return false
	}
	b.threshold = append(b.threshold, edit)
	return true
}
