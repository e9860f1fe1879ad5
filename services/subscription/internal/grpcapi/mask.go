package grpcapi

import (
	"fmt"
	"strings"
	"time"
	"unicode"

	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/meetwire/meetwire/pkg/fault"
	subscriptionv1 "github.com/meetwire/meetwire/proto/gen/meetwire/subscription/v1"
	"github.com/meetwire/meetwire/services/subscription/internal/core"
)

// maskAll, alone in an update mask, names every field that can be changed.
const maskAll = "*"

// webhookChange returns what a request wants to be changed: the fields that the paths of its update mask name, or
// without paths those that it sets.
func webhookChange(w *subscriptionv1.Webhook, paths []string) (core.WebhookChange, error) {
	switch {
	case len(paths) == 0:
		paths = populated(w)
	case len(paths) == 1 && paths[0] == maskAll:
		paths = []string{"display_name", "target_url", "triggers", "status", "retry_policy", "timeout"}
		// Answers never carry the secret, so one who sends back what was read must not lose it.
		if w.GetSecret() != "" {
			paths = append(paths, "secret")
		}
	}
	b := changeBuilder{webhook: w}
	for _, path := range paths {
		if !b.add(protoPath(path)) {
			return core.WebhookChange{}, fault.Invalid(fault.Field{
				Path: "update_mask", Rule: "known_path",
				Message: fmt.Sprintf("must name display_name, target_url, triggers, secret, status, retry_policy or "+
					"timeout, or be %q alone; %.64q is neither", maskAll, path),
			})
		}
	}
	if len(b.policy) > 0 {
		b.change.RetryPolicy = func(current *core.RetryPolicy) *core.RetryPolicy {
			for _, edit := range b.policy {
				current = edit(current)
			}
			return current
		}
	}
	return b.change, nil
}

// populated returns the paths of the fields that a webhook sets.
func populated(w *subscriptionv1.Webhook) []string {
	var paths []string
	for _, field := range []struct {
		path string
		set  bool
	}{
		{"display_name", w.GetDisplayName() != ""},
		{"target_url", w.GetTargetUrl() != ""},
		{"triggers", len(w.GetTriggers()) > 0},
		{"secret", w.GetSecret() != ""},
		{"status", w.GetStatus() != subscriptionv1.Webhook_STATUS_UNSPECIFIED},
		{"retry_policy", w.GetRetryPolicy() != nil},
		{"timeout", w.GetTimeout() != nil},
	} {
		if field.set {
			paths = append(paths, field.path)
		}
	}
	return paths
}

// changeBuilder puts a change together, path by path.
type changeBuilder struct {
	webhook *subscriptionv1.Webhook
	change  core.WebhookChange
	policy  []core.PolicyEdit
}

// add takes one field over. It reports whether there is such a field. The ones that callers cannot change are
// passed over, so that a webhook can be sent back as it was read.
func (b *changeBuilder) add(path string) bool {
	w := b.webhook
	switch path {
	case "name", "etag", "create_time", "update_time":
	case "display_name":
		b.change.DisplayName = &w.DisplayName
	case "target_url":
		b.change.TargetURL = &w.TargetUrl
	case "triggers":
		b.change.Triggers = &w.Triggers
	case "secret":
		b.change.Secret = &w.Secret
	case "status":
		paused := w.GetStatus() == subscriptionv1.Webhook_STATUS_PAUSED
		b.change.Paused = &paused
	case "timeout":
		timeout := duration(w.GetTimeout())
		b.change.Timeout = &timeout
	default:
		return b.addPolicy(path)
	}
	return true
}

// addPolicy takes the retry policy over, or one field of it.
func (b *changeBuilder) addPolicy(path string) bool {
	p := b.webhook.GetRetryPolicy()
	var edit core.PolicyEdit
	switch path {
	case "retry_policy":
		edit = core.DefaultSchedule
		if p != nil {
			edit = core.ReplacePolicy(core.RetryPolicy{
				MaxRetries: p.GetMaxRetries(), FirstDelay: duration(p.GetFirstDelay()), Factor: p.GetFactor(),
				MaxDelay: duration(p.GetMaxDelay()), Jitter: p.GetJitter(),
			})
		}
	case "retry_policy.max_retries":
		edit = core.EditPolicy(func(to *core.RetryPolicy) { to.MaxRetries = p.GetMaxRetries() })
	case "retry_policy.first_delay":
		edit = core.EditPolicy(func(to *core.RetryPolicy) { to.FirstDelay = duration(p.GetFirstDelay()) })
	case "retry_policy.factor":
		edit = core.EditPolicy(func(to *core.RetryPolicy) { to.Factor = p.GetFactor() })
	case "retry_policy.max_delay":
		edit = core.EditPolicy(func(to *core.RetryPolicy) { to.MaxDelay = duration(p.GetMaxDelay()) })
	case "retry_policy.jitter":
		edit = core.EditPolicy(func(to *core.RetryPolicy) { to.Jitter = p.GetJitter() })
	default:
		return false
	}
	b.policy = append(b.policy, edit)
	return true
}

// duration is 0, which stands for the default, for one that is not given.
func duration(d *durationpb.Duration) time.Duration {
	if d == nil {
		return 0
	}
	return d.AsDuration()
}

// protoPath writes a path as the contract does: in a query string of REST, where nothing converts it, it may come
// in the lowerCamelCase of JSON.
func protoPath(path string) string {
	var b strings.Builder
	for _, r := range path {
		if unicode.IsUpper(r) {
			b.WriteByte('_')
			r = unicode.ToLower(r)
		}
		b.WriteRune(r)
	}
	return b.String()
}
