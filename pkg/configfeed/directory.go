package configfeed

import (
	"context"
	"slices"
	"sync"

	"github.com/meetwire/meetwire/pkg/bus"
	"github.com/meetwire/meetwire/pkg/fault"
	"github.com/meetwire/meetwire/pkg/rpc"
	configv1 "github.com/meetwire/meetwire/proto/gen/meetwire/config/v1"
)

// directory is the sink of what every service asks for.
type directory struct {
	mu            sync.RWMutex
	organizations map[string]*configv1.Organization
	keys          map[string]rpc.Key
	triggers      map[string]*configv1.Trigger
	changed       chan struct{} // closed, and replaced, when a trigger is added
}

func newDirectory() *directory {
	d := &directory{changed: make(chan struct{})}
	d.clear()
	return d
}

func (d *directory) clear() {
	d.organizations = make(map[string]*configv1.Organization)
	d.keys = make(map[string]rpc.Key)
	d.triggers = make(map[string]*configv1.Trigger)
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
		case *configv1.Resource_ApiKey:
			key := rpc.Key{ID: r.ApiKey.GetId(), Organization: r.ApiKey.GetOrganization(), Role: r.ApiKey.GetRole()}
			copy(key.SecretSHA256[:], r.ApiKey.GetSecretSha256())
			d.keys[key.ID] = key
		case *configv1.Resource_DeletedApiKey:
			delete(d.keys, r.DeletedApiKey)
		case *configv1.Resource_Trigger:
			d.triggers[r.Trigger.GetId()] = r.Trigger
			added = true
		}
	}
	if added {
		close(d.changed)
		d.changed = make(chan struct{})
	}
}

// platformTriggers returns the ids of the triggers that have a lane of their own, and a channel that is
// closed when there may be more.
func (d *directory) platformTriggers() ([]string, <-chan struct{}) {
	d.mu.RLock()
	defer d.mu.RUnlock()
	ids := make([]string, 0, len(d.triggers))
	for id := range d.triggers {
		if bus.Lane(id) != bus.LaneCustom {
			ids = append(ids, id)
		}
	}
	slices.Sort(ids)
	return ids, d.changed
}

// Key implements rpc.Keys. Besides fault.NotFound it returns fault.Unavailable before the first snapshot, and when
// the feed has been silent for so long that the key may have been revoked.
func (w *Watcher) Key(ctx context.Context, id string) (rpc.Key, error) {
	if w.Ready(ctx) != nil || w.stale() {
		return rpc.Key{}, fault.New(fault.Unavailable, "CONFIGURATION_STALE", "API keys cannot be checked at the moment")
	}
	w.directory.mu.RLock()
	defer w.directory.mu.RUnlock()
	key, ok := w.directory.keys[id]
	if !ok {
		return rpc.Key{}, fault.New(fault.NotFound, "KEY_NOT_FOUND", "no such API key")
	}
	return key, nil
}

// HasOrganization reports whether an organization exists.
func (w *Watcher) HasOrganization(id string) bool {
	w.directory.mu.RLock()
	defer w.directory.mu.RUnlock()
	_, ok := w.directory.organizations[id]
	return ok
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
