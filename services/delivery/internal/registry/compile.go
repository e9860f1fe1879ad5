package registry

import (
	"time"

	"google.golang.org/protobuf/types/known/durationpb"

	wire "github.com/meetwire/meetwire/pkg/dialect"
	configv1 "github.com/meetwire/meetwire/proto/gen/meetwire/config/v1"
	"github.com/meetwire/meetwire/services/delivery/internal/core"
	"github.com/meetwire/meetwire/services/delivery/internal/dialect"
)

// source is what of a webhook depends on its organization.
type source struct {
	settings            dialect.Settings // with its own secrets and client id
	organizationSecrets bool
	httpAllowed         bool // by the dialect,
	httpsOnly           bool // which may also forbid what the organization allows
	hasClientID         bool // the dialect sends one
}

// defaults is what a dialect lays down for webhooks that say nothing else.
type defaults struct {
	policy      core.Policy
	httpAllowed bool
	httpsOnly   bool
	hasClientID bool
}

// of returns the defaults of a dialect. One that is unknown, which can only be newer than this process, has those of
// the standard one; its deliveries cannot be rendered.
func (r *Registry) of(name string) defaults {
	if d, ok := r.defaults[name]; ok {
		return d
	}
	known, ok := wire.Lookup(name)
	if !ok {
		known, _ = wire.Lookup(wire.Standard)
	}
	traits := known.Traits()
	d := defaults{
		policy:      core.Policy{Delays: traits.Retry.Delays, Jitter: traits.Retry.Jitter},
		httpAllowed: ok && traits.HTTPAllowed,
		httpsOnly:   ok && traits.HTTPSOnly,
		hasClientID: ok && traits.HasClientID,
	}
	r.defaults[name] = d
	return d
}

// compile makes a webhook. Nothing is opened yet: a hundred thousand of them are made at the start.
func (r *Registry) compile(w *configv1.Webhook, o *organization) *entry {
	name := w.GetDialect()
	if name == "" {
		name = wire.Standard
	}
	standard := r.of(name)
	e := &entry{
		webhook: &core.Webhook{
			ID:           w.GetId(),
			Organization: w.GetOrganization(),
			TargetURL:    w.GetTargetUrl(),
			Status:       status(w.GetStatus()),
			Generation:   w.GetGeneration(),
			Policy:       policy(w.GetRetryPolicy(), standard.policy),
			Timeout:      w.GetTimeout().AsDuration(),
			Limits:       core.Limits{Concurrency: int(w.GetMaxConcurrency()), Rate: w.GetRateLimit()},
			Threshold: core.Threshold{
				Consecutive:    int(w.GetFailureThreshold().GetConsecutiveFailures()),
				WithoutSuccess: w.GetFailureThreshold().GetWithoutSuccess().AsDuration(),
				Gone:           w.GetGoneDisables(),
			},
		},
		source: source{
			settings: dialect.Settings{
				Webhook:     w.GetId(),
				Dialect:     name,
				Options:     wire.Options{SignatureEncoding: w.GetSignatureEncoding(), ClientID: w.GetClientId()},
				Secrets:     w.GetSecrets(),
				SecretOwner: w.GetId(),
				Headers:     w.GetHeaders(),
			},
			organizationSecrets: w.GetOrganizationSecret(),
			httpAllowed:         standard.httpAllowed,
			httpsOnly:           standard.httpsOnly,
			hasClientID:         standard.hasClientID,
		},
	}
	e.webhook = r.with(e, o)
	return e
}

// with returns the webhook with what its organization adds.
func (r *Registry) with(e *entry, o *organization) *core.Webhook {
	w := *e.webhook
	w.AllowHTTP = (e.source.httpAllowed || o.allowHTTP) && !e.source.httpsOnly
	settings := e.source.settings
	if e.source.organizationSecrets {
		settings.Secrets, settings.SecretOwner = o.secrets, dialect.OrganizationSecrets(w.Organization)
	}
	if e.source.hasClientID && settings.Options.ClientID == 0 {
		settings.Options.ClientID = o.clientID
	}
	w.Form = r.maker.Form(settings)
	return &w
}

func status(s configv1.WebhookStatus) core.Status {
	switch s {
	case configv1.WebhookStatus_WEBHOOK_STATUS_ACTIVE:
		return core.StatusActive
	case configv1.WebhookStatus_WEBHOOK_STATUS_DISABLED:
		return core.StatusDisabled
	default:
		return core.StatusPaused // whatever else it is, nothing is sent, and nothing is given up
	}
}

// policy returns when failed attempts are repeated: as the webhook says, or else as its dialect does.
func policy(p *configv1.RetryPolicy, standard core.Policy) core.Policy {
	if p == nil {
		return standard
	}
	return core.Policy{
		Delays:     delays(p.GetDelays()),
		MaxRetries: int(p.GetMaxRetries()),
		FirstDelay: p.GetFirstDelay().AsDuration(),
		Factor:     p.GetFactor(),
		MaxDelay:   p.GetMaxDelay().AsDuration(),
		Jitter:     p.GetJitter(),
		GiveUpAge:  p.GetGiveUpAge().AsDuration(),
	}
}

func delays(all []*durationpb.Duration) []time.Duration {
	if len(all) == 0 {
		return nil
	}
	out := make([]time.Duration, len(all))
	for i, d := range all {
		out[i] = d.AsDuration()
	}
	return out
}
