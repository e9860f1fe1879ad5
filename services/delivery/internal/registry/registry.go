// Package registry owns delivery's copy of the configuration: what the feed tells of webhooks, organizations and
// triggers, in the form that the engine needs. It decides nothing about deliveries.
package registry

import (
	"sync"
	"time"

	configv1 "github.com/meetwire/meetwire/proto/gen/meetwire/config/v1"
	"github.com/meetwire/meetwire/services/delivery/internal/core"
	"github.com/meetwire/meetwire/services/delivery/internal/dialect"
)

// Registry is a configfeed.Sink, and most of core.Webhooks.
type Registry struct {
	maker *dialect.Maker
	// tend is told of webhooks for which something may wait that must not wait any longer.
	tend     func(organization, webhook string)
	defaults map[string]defaults // by dialect; only for the one goroutine that feeds

	mu            sync.RWMutex
	webhooks      map[string]*entry
	organizations map[string]*organization
	deleted       map[string]struct{} // organizations; a slug is never used again
	operational   map[string]struct{} // triggers
}

// entry is a webhook, and what it is made from.
type entry struct {
	webhook *core.Webhook
	source  source
}

// organization is what its webhooks need of it. Its webhooks may be known before it is.
type organization struct {
	allowHTTP bool
	retention time.Duration // 0: as the installation
	secrets   []*configv1.SealedSecret
	clientID  int64
	webhooks  map[string]struct{}
}

// New makes an empty registry. tend must not block.
func New(maker *dialect.Maker, tend func(organization, webhook string)) *Registry {
	r := &Registry{maker: maker, tend: tend, defaults: make(map[string]defaults), deleted: make(map[string]struct{})}
	r.clear()
	return r
}

func (r *Registry) clear() {
	r.webhooks = make(map[string]*entry)
	r.organizations = make(map[string]*organization)
	r.operational = make(map[string]struct{})
}

// Webhook returns a webhook, or false when none has this id.
func (r *Registry) Webhook(id string) (*core.Webhook, bool) {
	r.mu.RLock()
	defer r.mu.RUnlock()
	e, ok := r.webhooks[id]
	if !ok {
		return nil, false
	}
	return e.webhook, true
}

// OrganizationDeleted reports whether an organization was deleted while this process has followed the feed.
func (r *Registry) OrganizationDeleted(id string) bool {
	r.mu.RLock()
	defer r.mu.RUnlock()
	_, ok := r.deleted[id]
	return ok
}

// Operational reports whether the events of a trigger are Meetwire's own.
func (r *Registry) Operational(trigger string) bool {
	r.mu.RLock()
	defer r.mu.RUnlock()
	_, ok := r.operational[trigger]
	return ok
}

// Retentions returns how long records of deliveries are kept, for the organizations for which that is their own.
func (r *Registry) Retentions() map[string]time.Duration {
	r.mu.RLock()
	defer r.mu.RUnlock()
	all := make(map[string]time.Duration)
	for id, o := range r.organizations {
		if o.retention > 0 {
			all[id] = o.retention
		}
	}
	return all
}

// Reset implements configfeed.Sink.
func (r *Registry) Reset(snapshot []*configv1.Resource, _ int64) {
	r.mu.Lock()
	before, organizations := r.webhooks, r.organizations
	r.clear()
	// Organizations first, so that each webhook is made once.
	for _, resource := range snapshot {
		if o := resource.GetOrganization(); o != nil {
			r.putOrganization(o)
		}
	}
	for _, resource := range snapshot {
		r.put(resource)
	}
	for id := range organizations {
		if r.organizations[id] == nil {
			r.deleted[id] = struct{}{}
		}
	}
	after := r.webhooks
	r.mu.Unlock()

	for id, e := range after {
		// After a start nobody knows what a webhook was before: looking for what waits is cheap.
		if was := before[id]; was == nil || changed(was.webhook, e.webhook) {
			r.announce(e.webhook)
		}
	}
	for id, e := range before {
		if after[id] == nil {
			r.tend(e.webhook.Organization, id)
		}
	}
}

// Apply implements configfeed.Sink.
func (r *Registry) Apply(change *configv1.Change) {
	for _, resource := range change.GetResources() {
		r.apply(resource)
	}
}

func (r *Registry) apply(resource *configv1.Resource) {
	switch v := resource.GetResource().(type) {
	case *configv1.Resource_Webhook:
		was, _ := r.Webhook(v.Webhook.GetId())
		r.locked(func() { r.put(resource) })
		now, _ := r.Webhook(v.Webhook.GetId())
		if was != nil && changed(was, now) || was == nil && now.Status == core.StatusDisabled {
			r.announce(now)
		}
	case *configv1.Resource_DeletedWebhook:
		r.remove(v.DeletedWebhook)
	case *configv1.Resource_Organization:
		r.locked(func() { r.putOrganization(v.Organization) })
	case *configv1.Resource_DeletedOrganization:
		r.removeOrganization(v.DeletedOrganization)
	case *configv1.Resource_DeletedTrigger:
		if v.DeletedTrigger.GetOrganization() == "" {
			r.locked(func() { delete(r.operational, v.DeletedTrigger.GetId()) })
		}
	default:
		r.locked(func() { r.put(resource) })
	}
}

func (r *Registry) locked(f func()) {
	r.mu.Lock()
	defer r.mu.Unlock()
	f()
}

// put takes in a webhook or a trigger.
func (r *Registry) put(resource *configv1.Resource) {
	if w := resource.GetWebhook(); w != nil {
		o := r.organization(w.GetOrganization())
		o.webhooks[w.GetId()] = struct{}{}
		r.webhooks[w.GetId()] = r.compile(w, o)
	}
	if t := resource.GetTrigger(); t != nil && t.GetOrganization() == "" {
		if t.GetOperational() {
			r.operational[t.GetId()] = struct{}{}
		} else {
			delete(r.operational, t.GetId())
		}
	}
}

// organization returns the one with this id, or a new one.
func (r *Registry) organization(id string) *organization {
	o := r.organizations[id]
	if o == nil {
		o = &organization{webhooks: make(map[string]struct{})}
		r.organizations[id] = o
	}
	return o
}

// putOrganization takes in an organization, and makes its webhooks anew.
func (r *Registry) putOrganization(v *configv1.Organization) {
	o := r.organization(v.GetId())
	o.allowHTTP, o.clientID, o.secrets = v.GetAllowHttp(), v.GetClientId(), v.GetSecrets()
	o.retention = v.GetRecordRetention().AsDuration()
	for id := range o.webhooks {
		e := r.webhooks[id]
		r.webhooks[id] = &entry{webhook: r.with(e, o), source: e.source}
	}
}

func (r *Registry) remove(webhook string) {
	r.mu.Lock()
	e := r.webhooks[webhook]
	if e != nil {
		delete(r.webhooks, webhook)
		if o := r.organizations[e.webhook.Organization]; o != nil {
			delete(o.webhooks, webhook)
		}
	}
	r.mu.Unlock()
	if e != nil {
		r.tend(e.webhook.Organization, webhook)
	}
}

// removeOrganization removes an organization, with the webhooks of it whose own deletion was not told.
func (r *Registry) removeOrganization(id string) {
	r.mu.Lock()
	var webhooks []string
	if o := r.organizations[id]; o != nil {
		for webhook := range o.webhooks {
			webhooks = append(webhooks, webhook)
		}
	}
	r.deleted[id] = struct{}{}
	r.mu.Unlock()
	for _, webhook := range webhooks {
		r.remove(webhook)
	}
	r.locked(func() { delete(r.organizations, id) })
}

// changed reports whether what waits for a webhook must be looked after.
func changed(was, now *core.Webhook) bool {
	return was.Status != now.Status || was.Generation != now.Generation
}

// announce tells of a webhook for which nothing may wait as it does while the webhook is paused.
func (r *Registry) announce(w *core.Webhook) {
	if w.Status != core.StatusPaused {
		r.tend(w.Organization, w.ID)
	}
}
