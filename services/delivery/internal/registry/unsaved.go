package registry

import (
	configv1 "github.com/meetwire/meetwire/proto/gen/meetwire/config/v1"
	"github.com/meetwire/meetwire/services/delivery/internal/core"
)

// Unsaved makes a webhook as it would be if the feed told of it, without taking it in. It returns false when its
// organization is not known.
func (r *Registry) Unsaved(w *configv1.Webhook) (*core.Webhook, bool) {
	r.mu.RLock()
	o, ok := r.organizations[w.GetOrganization()]
	if !ok {
		r.mu.RUnlock()
		return nil, false
	}
	tenant := *o
	r.mu.RUnlock()
	// One of its own, whose defaults nobody else uses.
	maker := &Registry{maker: r.maker, defaults: make(map[string]defaults)}
	return maker.compile(w, &tenant).webhook, true
}
