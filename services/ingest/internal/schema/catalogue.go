// Package schema owns ingest's copy of the triggers and their JSON Schemas, compiled once, and of the webhooks:
// it turns what the configuration feed tells into what core asks for.
package schema

import (
	"log/slog"
	"maps"
	"sync"

	"github.com/meetwire/meetwire/pkg/filter"
	configv1 "github.com/meetwire/meetwire/proto/gen/meetwire/config/v1"
	"github.com/meetwire/meetwire/services/ingest/internal/core"
)

// Catalogue implements configfeed.Sink and, with the watcher's organizations, core.Catalogue.
type Catalogue struct {
	index   *core.Index
	logger  *slog.Logger
	filters filter.Cache

	mu       sync.RWMutex
	triggers map[key]core.Trigger
}

// key identifies a trigger: two organizations may have one with the same id.
type key struct{ organization, id string }

// New makes an empty catalogue that keeps the index up to date.
func New(index *core.Index, logger *slog.Logger) *Catalogue {
	return &Catalogue{index: index, logger: logger, triggers: make(map[key]core.Trigger)}
}

// difference is what resources of the feed change here.
type difference struct {
	core.Change

	triggers map[key]core.Trigger
	deleted  []key
}

// read finds in resources what matters here.
func (c *Catalogue) read(resources []*configv1.Resource) difference {
	d := difference{triggers: make(map[key]core.Trigger)}
	for _, resource := range resources {
		switch r := resource.GetResource().(type) {
		case *configv1.Resource_Organization:
			d.Organizations = append(d.Organizations, core.Organization{
				ID: r.Organization.GetId(), WebhooksAvailable: r.Organization.GetWebhooksAvailable(),
			})
		case *configv1.Resource_DeletedOrganization:
			d.DeletedOrganizations = append(d.DeletedOrganizations, r.DeletedOrganization)
		case *configv1.Resource_Webhook:
			d.Webhooks = append(d.Webhooks, c.webhook(r.Webhook))
		case *configv1.Resource_DeletedWebhook:
			d.DeletedWebhooks = append(d.DeletedWebhooks, r.DeletedWebhook)
		case *configv1.Resource_Trigger:
			d.triggers[key{r.Trigger.GetOrganization(), r.Trigger.GetId()}] = c.trigger(r.Trigger)
		case *configv1.Resource_DeletedTrigger:
			d.deleted = append(d.deleted, key{r.DeletedTrigger.GetOrganization(), r.DeletedTrigger.GetId()})
		}
	}
	return d
}

// Reset implements configfeed.Sink.
func (c *Catalogue) Reset(snapshot []*configv1.Resource, revision int64) {
	d := c.read(snapshot)
	// The index first: an event of a trigger that is known must find the webhooks that came with it.
	c.index.Reset(d.Change, revision)
	c.mu.Lock()
	defer c.mu.Unlock()
	c.triggers = d.triggers
}

// Apply implements configfeed.Sink.
func (c *Catalogue) Apply(change *configv1.Change) {
	d := c.read(change.GetResources())
	c.index.Apply(d.Change, change.GetRevision())
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, k := range d.deleted {
		delete(c.triggers, k)
	}
	maps.Copy(c.triggers, d.triggers)
	for _, organization := range d.DeletedOrganizations {
		maps.DeleteFunc(c.triggers, func(k key, _ core.Trigger) bool { return organization != "" && k.organization == organization })
	}
}

func (c *Catalogue) webhook(w *configv1.Webhook) core.Webhook {
	webhook := core.Webhook{
		ID:           w.GetId(),
		Organization: w.GetOrganization(),
		Triggers:     w.GetTriggers(),
		EventTypes:   w.GetEventTypes(),
		Teams:        w.GetTeams(),
		// What is for one that is disabled becomes a dead letter, which is delivery's to decide.
		Paused:     w.GetStatus() == configv1.WebhookStatus_WEBHOOK_STATUS_PAUSED,
		Disabled:   w.GetStatus() == configv1.WebhookStatus_WEBHOOK_STATUS_DISABLED,
		Generation: w.GetGeneration(),
	}
	if source := w.GetFilter(); source != "" {
		webhook.Filter = condition{c.filters.Get(source)}
	}
	return webhook
}

// trigger compiles a trigger's schema. One that cannot be compiled accepts everything: subscription has checked it,
// so this is a defect of ours, for which no event may be refused.
func (c *Catalogue) trigger(t *configv1.Trigger) core.Trigger {
	trigger := core.Trigger{Operational: t.GetOperational(), WarnOnly: t.GetSchemaWarnOnly()}
	if created := t.GetCreateTime(); created.IsValid() && t.GetOrganization() == "" {
		trigger.Start = core.TriggerStart(created.AsTime())
	}
	schema, err := compile(t.GetSchema())
	if err != nil {
		c.logger.Error("schema of a trigger cannot be compiled and is not applied",
			"trigger", t.GetId(), "organization", t.GetOrganization(), "error", err)
		return trigger
	}
	trigger.Schema = compiled{schema, costsOf(schema)}
	return trigger
}

// Trigger returns an organization's own trigger, or one of the platform.
func (c *Catalogue) Trigger(organization, id string) (core.Trigger, bool) {
	c.mu.RLock()
	defer c.mu.RUnlock()
	if trigger, ok := c.triggers[key{organization, id}]; ok {
		return trigger, true
	}
	trigger, ok := c.triggers[key{id: id}]
	return trigger, ok
}
