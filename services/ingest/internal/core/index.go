package core

import (
	"slices"
	"sync"
)

// Webhook is what matching needs to know of a webhook.
type Webhook struct {
	ID           string
	Organization string
	Triggers     []string
	Paused       bool
}

// Index finds the webhooks that asked for an event. It is safe for concurrent use; a match takes no part in
// what it costs to change it.
type Index struct {
	mu       sync.RWMutex
	revision int64
	webhooks map[string]Webhook
	asked    map[question][]string // ids of active webhooks, in the order of their ids
}

// question is what a webhook asks for, and what an event answers.
type question struct{ organization, trigger string }

// NewIndex makes an empty index.
func NewIndex() *Index {
	i := &Index{}
	i.clear()
	return i
}

func (i *Index) clear() {
	i.webhooks = make(map[string]Webhook)
	i.asked = make(map[question][]string)
}

// Match returns the ids of the webhooks that asked for a trigger of an organization, and the revision of the
// configuration that says so. The slice must not be changed.
func (i *Index) Match(organization, trigger string) (webhooks []string, revision int64) {
	i.mu.RLock()
	defer i.mu.RUnlock()
	return i.asked[question{organization, trigger}], i.revision
}

// Reset replaces all webhooks.
func (i *Index) Reset(webhooks []Webhook, revision int64) {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.clear()
	for _, w := range webhooks {
		i.put(w)
	}
	i.revision = revision
}

// Apply adds or replaces webhooks and removes others, all at once.
func (i *Index) Apply(put []Webhook, removed []string, revision int64) {
	i.mu.Lock()
	defer i.mu.Unlock()
	for _, id := range removed {
		i.remove(id)
	}
	for _, w := range put {
		i.remove(w.ID)
		i.put(w)
	}
	i.revision = revision
}

func (i *Index) put(w Webhook) {
	i.webhooks[w.ID] = w
	if w.Paused {
		return
	}
	for _, trigger := range w.Triggers {
		q := question{w.Organization, trigger}
		at, found := slices.BinarySearch(i.asked[q], w.ID)
		if !found {
			// Readers may hold the old slice, so a new one takes its place.
			i.asked[q] = slices.Insert(slices.Clone(i.asked[q]), at, w.ID)
		}
	}
}

func (i *Index) remove(id string) {
	w, ok := i.webhooks[id]
	if !ok {
		return
	}
	delete(i.webhooks, id)
	for _, trigger := range w.Triggers {
		q := question{w.Organization, trigger}
		at, found := slices.BinarySearch(i.asked[q], id)
		if !found {
			continue
		}
		if len(i.asked[q]) == 1 {
			delete(i.asked, q)
		} else {
			i.asked[q] = slices.Delete(slices.Clone(i.asked[q]), at, at+1)
		}
	}
}
