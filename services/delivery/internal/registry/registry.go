// Package registry owns delivery's copy of the webhooks: what the configuration feed tells, in the form that the
// engine needs, with secrets opened and signers made. It decides nothing about deliveries.
package registry

import (
	"context"
	"log/slog"
	"sync"

	"github.com/meetwire/meetwire/pkg/seal"
	"github.com/meetwire/meetwire/pkg/webhook"
	configv1 "github.com/meetwire/meetwire/proto/gen/meetwire/config/v1"
	"github.com/meetwire/meetwire/services/delivery/internal/core"
)

// Registry is a configfeed.Sink, and most of core.Webhooks.
type Registry struct {
	box    *seal.Box
	logger *slog.Logger
	// resumed is told of webhooks that are no longer paused.
	resumed func(organization, webhook string)

	mu       sync.RWMutex
	webhooks map[string]*core.Webhook
}

// New makes an empty registry. resumed must not block.
func New(box *seal.Box, logger *slog.Logger, resumed func(organization, webhook string)) *Registry {
	return &Registry{box: box, logger: logger, resumed: resumed, webhooks: make(map[string]*core.Webhook)}
}

// Webhook returns a webhook, or false when none has this id.
func (r *Registry) Webhook(id string) (*core.Webhook, bool) {
	r.mu.RLock()
	defer r.mu.RUnlock()
	w, ok := r.webhooks[id]
	return w, ok
}

// Reset implements configfeed.Sink.
func (r *Registry) Reset(snapshot []*configv1.Resource, _ int64) {
	fresh := make(map[string]*core.Webhook)
	for _, resource := range snapshot {
		if w := resource.GetWebhook(); w != nil {
			fresh[w.GetId()] = r.compile(w)
		}
	}
	r.mu.Lock()
	before := r.webhooks
	r.webhooks = fresh
	r.mu.Unlock()
	for id, w := range fresh {
		if was := before[id]; was == nil || was.Paused {
			// After a start nobody knows what was paused before: looking for parked deliveries is cheap.
			r.announce(w)
		}
	}
}

// Apply implements configfeed.Sink.
func (r *Registry) Apply(change *configv1.Change) {
	for _, resource := range change.GetResources() {
		switch v := resource.GetResource().(type) {
		case *configv1.Resource_Webhook:
			w := r.compile(v.Webhook)
			r.mu.Lock()
			was := r.webhooks[w.ID]
			r.webhooks[w.ID] = w
			r.mu.Unlock()
			if was != nil && was.Paused {
				r.announce(w)
			}
		case *configv1.Resource_DeletedWebhook:
			r.mu.Lock()
			delete(r.webhooks, v.DeletedWebhook)
			r.mu.Unlock()
		}
	}
}

func (r *Registry) announce(w *core.Webhook) {
	if !w.Paused {
		r.resumed(w.Organization, w.ID)
	}
}

// compile opens the secrets. A webhook whose secrets cannot be opened is kept without a signer: its deliveries
// fail visibly instead of vanishing.
func (r *Registry) compile(w *configv1.Webhook) *core.Webhook {
	compiled := &core.Webhook{
		ID:           w.GetId(),
		Organization: w.GetOrganization(),
		TargetURL:    w.GetTargetUrl(),
		Paused:       w.GetPaused(),
		Timeout:      w.GetTimeout().AsDuration(),
		Policy:       policy(w.GetRetryPolicy()),
	}
	signer, err := r.signer(w)
	if err != nil {
		r.logger.ErrorContext(context.Background(), "secrets of a webhook cannot be opened", "webhook", w.GetId(), "error", err)
		return compiled
	}
	compiled.Signer = signer
	return compiled
}

func (r *Registry) signer(w *configv1.Webhook) (core.Signer, error) {
	secrets := make([]webhook.Secret, len(w.GetSealedSecrets()))
	for i, sealed := range w.GetSealedSecrets() {
		opened, err := r.box.Open(sealed, w.GetId())
		if err != nil {
			return nil, err
		}
		if secrets[i], err = webhook.ParseSecret(string(opened)); err != nil {
			return nil, err
		}
	}
	return webhook.NewSigner(secrets...)
}

func policy(p *configv1.RetryPolicy) core.Policy {
	if p == nil {
		return core.StandardPolicy()
	}
	return core.Policy{
		MaxRetries: int(p.GetMaxRetries()),
		FirstDelay: p.GetFirstDelay().AsDuration(),
		Factor:     p.GetFactor(),
		MaxDelay:   p.GetMaxDelay().AsDuration(),
		Jitter:     p.GetJitter(),
	}
}
