package configfeed

import (
	"context"
	"maps"
	"slices"
	"sync"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/meetwire/meetwire/pkg/bus"
	"github.com/meetwire/meetwire/pkg/fault"
	"github.com/meetwire/meetwire/pkg/rpc"
	configv1 "github.com/meetwire/meetwire/proto/gen/meetwire/config/v1"
)

// directory is the sink of what every service asks for.
type directory struct {
	mu            sync.RWMutex
	organizations map[string]*configv1.Organization
	keys          map[string]apiKey
	triggers      map[triggerKey]time.Time // when they were registered; zero: not told
	changed       chan struct{}            // closed, and replaced, when a trigger is added
}

// apiKey is a key and when it ends; zero: never.
type apiKey struct {
	rpc.Key

	expire time.Time
}

// triggerKey identifies a trigger: two organizations may have one with the same id.
type triggerKey struct{ organization, id string }

func newDirectory() *directory {
	d := &directory{changed: make(chan struct{})}
	d.clear()
	return d
}

func (d *directory) clear() {
	d.organizations = make(map[string]*configv1.Organization)
	d.keys = make(map[string]apiKey)
	d.triggers = make(map[triggerKey]time.Time)
}

// Reset implements Sink.
func (d *directory) Reset(snapshot []*configv1.Resource, _ int64) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.clear()
	d.put(snapshot)
}

// Apply implements Sink.
func (d *directory) Apply(change *configv1.Change) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.put(change.GetResources())
}

func (d *directory) put(resources []*configv1.Resource) {
	added := false
	for _, resource := range resources {
		switch r := resource.GetResource().(type) {
		case *configv1.Resource_Organization:
			d.organizations[r.Organization.GetId()] = r.Organization
		case *configv1.Resource_DeletedOrganization:
			d.removeOrganization(r.DeletedOrganization)
		case *configv1.Resource_ApiKey:
			d.putKey(r.ApiKey)
		case *configv1.Resource_DeletedApiKey:
			delete(d.keys, r.DeletedApiKey)
		case *configv1.Resource_Trigger:
			d.triggers[triggerKey{r.Trigger.GetOrganization(), r.Trigger.GetId()}] = timeOf(r.Trigger.GetCreateTime())
			added = true
		case *configv1.Resource_DeletedTrigger:
			delete(d.triggers, triggerKey{r.DeletedTrigger.GetOrganization(), r.DeletedTrigger.GetId()})
		}
	}
	if added {
		close(d.changed)
		d.changed = make(chan struct{})
	}
}

func (d *directory) putKey(k *configv1.ApiKey) {
	key := apiKey{
		Key:    rpc.Key{ID: k.GetId(), Organization: k.GetOrganization(), Role: k.GetRole()},
		expire: timeOf(k.GetExpireTime()),
	}
	copy(key.SecretSHA256[:], k.GetSecretSha256())
	d.keys[key.ID] = key
}

// removeOrganization removes an organization with everything that is its own, whether or not the feed has told of
// each: nothing of it may be used any more.
func (d *directory) removeOrganization(id string) {
	delete(d.organizations, id)
	maps.DeleteFunc(d.keys, func(_ string, key apiKey) bool { return id != "" && key.Organization == id })
	maps.DeleteFunc(d.triggers, func(key triggerKey, _ time.Time) bool { return id != "" && key.organization == id })
}

// timeOf returns a time of the feed, zero when it is unset.
func timeOf(t *timestamppb.Timestamp) time.Time {
	if !t.IsValid() {
		return time.Time{}
	}
	return t.AsTime()
}

// platformTriggers returns the ids of the triggers that have a lane of their own, and a channel that is
// closed when there may be more.
func (d *directory) platformTriggers() ([]string, <-chan struct{}) {
	d.mu.RLock()
	defer d.mu.RUnlock()
	ids := make([]string, 0, len(d.triggers))
	for key := range d.triggers {
		if key.organization == "" && bus.Lane(key.id) != bus.LaneCustom {
			ids = append(ids, key.id)
		}
	}
	slices.Sort(ids)
	return ids, d.changed
}

// Key implements rpc.Keys. Besides fault.NotFound, also for a key that has expired, it returns fault.Unavailable
// before the first snapshot, and when the feed has been silent for so long that the key may have been revoked.
func (w *Watcher) Key(ctx context.Context, id string) (rpc.Key, error) {
	if w.Ready(ctx) != nil || w.stale() {
		return rpc.Key{}, fault.New(fault.Unavailable, "CONFIGURATION_STALE", "API keys cannot be checked at the moment")
	}
	w.directory.mu.RLock()
	defer w.directory.mu.RUnlock()
	key, ok := w.directory.keys[id]
	if !ok || !key.expire.IsZero() && !w.now().Before(key.expire) {
		return rpc.Key{}, fault.New(fault.NotFound, "KEY_NOT_FOUND", "no such API key")
	}
	return key.Key, nil
}

// HasOrganization reports whether an organization exists.
func (w *Watcher) HasOrganization(id string) bool { return w.Organization(id) != nil }

// Organization returns what is configured of an organization, nil when it does not exist. It must not be changed.
func (w *Watcher) Organization(id string) *configv1.Organization {
	w.directory.mu.RLock()
	defer w.directory.mu.RUnlock()
	return w.directory.organizations[id]
}

// TriggerCreateTime returns when a trigger of the platform was registered, zero when that is not known.
func (w *Watcher) TriggerCreateTime(id string) time.Time {
	w.directory.mu.RLock()
	defer w.directory.mu.RUnlock()
	return w.directory.triggers[triggerKey{id: id}]
}

// Lanes sends the ids of the platform triggers and the extra names, at once and each time triggers are added,
// until the context ends: what bus.RunLanes takes.
func (w *Watcher) Lanes(ctx context.Context, extra ...string) <-chan []string {
	lanes := make(chan []string)
	go func() {
		if w.WaitFor(ctx, 0) != nil {
			return
		}
		for {
			ids, changed := w.directory.platformTriggers()
			select {
			case lanes <- append(ids, extra...):
			case <-ctx.Done():
				return
			}
			select {
			case <-changed:
			case <-ctx.Done():
				return
			}
		}
	}()
	return lanes
}
