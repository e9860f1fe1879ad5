package grpcapi

import (
	"fmt"
	"strings"
	"time"
	"unicode"

	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/meetwire/meetwire/pkg/aip"
	"github.com/meetwire/meetwire/pkg/fault"
	subscriptionv1 "github.com/meetwire/meetwire/proto/gen/meetwire/subscription/v1"
	"github.com/meetwire/meetwire/services/subscription/internal/core"
)

// maskAll, alone in an update mask, names every field that can be changed.
const maskAll = "*"

// secretPath is the field that an update of all fields leaves alone unless it is given: answers never carry the secret,
// so one who sends back what was read must not lose it.
const secretPath = "secret"

// webhookPaths are the fields of a webhook that callers can change.
func webhookPaths() []string {
	return []string{
		"display_name", "target_url", "triggers", secretPath, "status", "retry_policy", "timeout", "description", "event_types",
		"teams", "filter", "dialect", "dialect_options", "secret_source", "headers", "failure_threshold", "max_concurrency",
		"rate_limit", "alert_emails", "metadata",
	}
}

// webhookChange returns what a request wants to be changed of a webhook of an organization: the fields that the paths of
// its update mask name, or without paths those that it sets.
func webhookChange(organization string, w *subscriptionv1.Webhook, paths []string) (core.WebhookChange, error) {
	switch {
	case len(paths) == 0:
		paths = populated(w)
	case len(paths) == 1 && paths[0] == maskAll:
		paths = nil
		for _, path := range webhookPaths() {
			if path != secretPath || w.GetSecret() != "" {
				paths = append(paths, path)
			}
		}
	}
	b := changeBuilder{organization: organization, webhook: w}
	for _, path := range paths {
		known, err := b.add(protoPath(path))
		if err != nil {
			return core.WebhookChange{}, err
		}
		if !known {
			return core.WebhookChange{}, fault.Invalid(fault.Field{
				Path: "update_mask", Rule: "known_path",
				Message: fmt.Sprintf("must name %s, or a field within retry_policy, dialect_options or failure_threshold, or be %q "+
					"alone; %.64q is none of them", strings.Join(webhookPaths(), ", "), maskAll, path),
			})
		}
	}
	return b.finish(), nil
}

// populated returns the paths of the fields that a webhook sets.
func populated(w *subscriptionv1.Webhook) []string {
	message := w.ProtoReflect()
	var paths []string
	for _, path := range webhookPaths() {
		if message.Has(message.Descriptor().Fields().ByName(protoreflect.Name(path))) {
			paths = append(paths, path)
		}
	}
	return paths
}

// changeBuilder puts a change together, path by path.
type changeBuilder struct {
	organization string
	webhook      *subscriptionv1.Webhook
	change       core.WebhookChange
	policy       policyEdits
	threshold    []core.Edit[core.FailureThreshold]
	options      []core.Edit[core.DialectOptions]
}

// add takes one field over. It reports whether there is such a field. The ones that callers cannot change are
// passed over, so that a webhook can be sent back as it was read.
func (b *changeBuilder) add(path string) (known bool, err error) {
	w := b.webhook
	switch path {
	case "name", "etag", "create_time", "update_time", "status_reason", "status_time", "generation", "secret_versions":
	case "display_name":
		b.change.DisplayName = &w.DisplayName
	case "description":
		b.change.Description = &w.Description
	case "target_url":
		b.change.TargetURL = &w.TargetUrl
	case "triggers":
		b.change.Triggers = &w.Triggers
	case "event_types":
		b.change.EventTypes = &w.EventTypes
	case "teams":
		return true, b.addTeams()
	case "filter":
		b.change.Filter = &w.Filter
	case "status":
		b.change.Status = new(webhookStatus(w.GetStatus()))
	case "metadata":
		b.change.Metadata = &w.Metadata
	default:
		return b.addSecret(path) || b.addPace(path) || b.addPolicy(path) || b.addThreshold(path) || b.addOptions(path), nil
	}
	return true, nil
}

// addTeams takes over the teams, which the API names in full.
func (b *changeBuilder) addTeams() error {
	ids := make([]string, len(b.webhook.GetTeams()))
	for i, name := range b.webhook.GetTeams() {
		path := fmt.Sprintf("webhook.teams[%d]", i)
		parts, err := aip.ParseNameField(path, name, "organizations/{organization}/teams/{team}")
		if err != nil {
			return err
		}
		if parts[0] != b.organization {
			return fault.Invalid(fault.Field{
				Path: path, Rule: "organization", Message: "must be a team of organizations/" + b.organization,
			})
		}
		ids[i] = parts[1]
	}
	b.change.Teams = &ids
	return nil
}

// addSecret takes over what signs, and the headers.
func (b *changeBuilder) addSecret(path string) bool {
	w := b.webhook
	switch path {
	case secretPath:
		b.change.Secret = &w.Secret
	case "secret_source":
		b.change.SecretSource = new(secretSource(w.GetSecretSource()))
	case "headers":
		headers := make([]core.Header, len(w.GetHeaders()))
		for i, h := range w.GetHeaders() {
			headers[i] = core.Header{Name: h.GetName(), Value: h.GetValue()}
		}
		b.change.Headers = &headers
	case "dialect":
		b.change.Dialect = &w.Dialect
	default:
		return false
	}
	return true
}

// addPace takes over how fast requests are made, and who is told of failures.
func (b *changeBuilder) addPace(path string) bool {
	w := b.webhook
	switch path {
	case "timeout":
		b.change.Timeout = new(duration(w.GetTimeout()))
	case "max_concurrency":
		b.change.MaxConcurrency = &w.MaxConcurrency
	case "rate_limit":
		b.change.RateLimit = &w.RateLimit
	case "alert_emails":
		b.change.AlertEmails = &w.AlertEmails
	default:
		return false
	}
	return true
}

// addOptions takes over the options of the dialect, or one of them.
func (b *changeBuilder) addOptions(path string) bool {
	o := b.webhook.GetDialectOptions()
	var edit core.Edit[core.DialectOptions]
	switch path {
	case "dialect_options":
		edit = core.Replace(core.DialectOptions{SignatureEncoding: o.GetSignatureEncoding(), ClientID: o.GetClientId()})
	case "dialect_options.signature_encoding":
		edit = core.EditParts(func(to *core.DialectOptions) { to.SignatureEncoding = o.GetSignatureEncoding() })
	case "dialect_options.client_id":
		edit = core.EditParts(func(to *core.DialectOptions) { to.ClientID = o.GetClientId() })
	default:
		return false
	}
	b.options = append(b.options, edit)
	return true
}

// finish returns the change.
func (b *changeBuilder) finish() core.WebhookChange {
	b.change.RetryPolicy = b.policy.edit()
	b.change.FailureThreshold = core.InOrder(b.threshold...)
	b.change.DialectOptions = core.InOrder(b.options...)
	return b.change
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
