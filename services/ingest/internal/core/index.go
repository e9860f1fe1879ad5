package core

import (
	"slices"
	"strings"
	"sync"
)

// Organization is what matching needs to know of a tenant.
type Organization struct {
	ID                string
	WebhooksAvailable bool
}

// Change is what is different in a new revision of the configuration.
type Change struct {
	Organizations        []Organization // new or changed
	Webhooks             []Webhook      // new or changed
	DeletedWebhooks      []string
	DeletedOrganizations []string // with all webhooks that are theirs
}

// Index finds the webhooks that asked for an event. It is safe for concurrent use; a match takes no part in
// what it costs to change it.
type Index struct {
	backlog Backlog // nil: nothing is ever too much

	mu            sync.RWMutex
	revision      int64
	organizations map[string]bool // whether their plan has webhooks
	webhooks      map[string]*Webhook
	owned         map[string]map[string]*Webhook // by organization
	// asked has for each question the webhooks that ask it, in the order of their ids. As the triggers and the event types
	// of a webhook do not overlap, an event finds no webhook twice.
	asked map[question][]*Webhook
}

// question is what a webhook asks for, and what an event answers: a trigger, or a group of them as `meeting.`, with an
// event type, or with any.
type question struct{ organization, trigger, eventType string }

// anyEventType is asked by webhooks that want all, or so many that they are not worth a question each: the rule looks
// at those.
const anyEventType = ""

// questions are what a webhook asks.
func (w *Webhook) questions(yield func(question) bool) {
	eventTypes := w.EventTypes
	if len(eventTypes) == 0 || len(eventTypes) > fewChoices {
		eventTypes = []string{anyEventType}
	}
	for _, trigger := range w.Triggers {
		if isGroup(trigger) {
			trigger = trigger[:len(trigger)-1]
		}
		for _, eventType := range eventTypes {
			if !yield(question{w.Organization, trigger, eventType}) {
				return
			}
		}
	}
}

// NewIndex makes an empty index.
func NewIndex() *Index {
	i := &Index{}
	i.clear()
	return i
}

// SetBacklog has disabled webhooks for which too much waits treated as paused. It is called before the index is used.
func (i *Index) SetBacklog(backlog Backlog) { i.backlog = backlog }

func (i *Index) clear() {
	i.organizations = make(map[string]bool)
	i.webhooks = make(map[string]*Webhook)
	i.owned = make(map[string]map[string]*Webhook)
	i.asked = make(map[question][]*Webhook)
}

// Match is which webhooks get an event.
type Match struct {
	Webhooks []string        // their ids
	Skipped  []Skip          // webhooks that would get it, were they not paused
	Failed   []FilterFailure // filters that could not tell, which counts as no
	Revision int64           // of the configuration that says so
}

// Skip is a webhook that misses an event.
type Skip struct {
	Webhook    string
	Generation int64 // of the webhook: what is missed is counted anew with each
}

// FilterFailure is a webhook whose filter could not tell.
type FilterFailure struct {
	Webhook string
	Err     error
}

// Match returns which webhooks of an organization get an event.
func (i *Index) Match(organization string, event *Event) Match {
	m := matching{event: event, backlog: i.backlog}
	var match Match
	var candidates [maxQuestions][]*Webhook
	match.Revision = i.candidates(organization, event, &candidates)
	// Without the lock: a filter takes its time. What the lists hold is never changed.
	for _, list := range candidates {
		for _, w := range list {
			switch reason, err := m.decide(w); {
			case err != nil:
				match.Failed = append(match.Failed, FilterFailure{w.ID, err})
			case reason != Matched:
			case m.skips(w):
				match.Skipped = append(match.Skipped, Skip{w.ID, w.Generation})
			default:
				match.Webhooks = append(match.Webhooks, w.ID)
			}
		}
	}
	return match
}

// maxQuestions is how many questions an event answers: its trigger, of at most four tokens, and the groups above, each
// with its event type and with any.
const maxQuestions = 8

// candidates finds the webhooks that ask what an event answers.
func (i *Index) candidates(organization string, event *Event, found *[maxQuestions][]*Webhook) (revision int64) {
	i.mu.RLock()
	defer i.mu.RUnlock()
	if !i.organizations[organization] {
		return i.revision
	}
	n := 0
	ask := func(trigger string) {
		found[n] = i.asked[question{organization, trigger, anyEventType}]
		if event.EventType != anyEventType {
			found[n+1] = i.asked[question{organization, trigger, event.EventType}]
		}
		n += 2
	}
	for at, c := range []byte(event.Type) {
		if c == '.' && at+1 < len(event.Type) && n < maxQuestions-2 {
			ask(event.Type[:at+1])
		}
	}
	if !strings.HasSuffix(event.Type, ".") {
		ask(event.Type)
	}
	return i.revision
}

// MatchOne tells by which rule one webhook does not get an event, whether or not it is paused. It returns false when
// the organization has no such webhook. The error says why a filter could not tell.
func (i *Index) MatchOne(organization, webhook string, event *Event) (reason Reason, revision int64, ok bool, err error) {
	i.mu.RLock()
	w, available := i.webhooks[webhook], i.organizations[organization]
	revision = i.revision
	i.mu.RUnlock()
	if w == nil || w.Organization != organization {
		return "", revision, false, nil
	}
	m := matching{event: event, backlog: i.backlog}
	switch {
	case !available:
		reason = ReasonPlan
	case !w.asks(event.Type):
		reason = ReasonTrigger
	default:
		reason, err = m.decide(w)
	}
	return reason, revision, true, err
}

// Webhook returns a webhook of an organization, or false when it has none of this id.
func (i *Index) Webhook(organization, webhook string) (Webhook, bool) {
	i.mu.RLock()
	defer i.mu.RUnlock()
	w := i.webhooks[webhook]
	if w == nil || w.Organization != organization {
		return Webhook{}, false
	}
	return *w, true
}

// HasWebhook reports whether an organization has a webhook.
func (i *Index) HasWebhook(organization, webhook string) bool {
	i.mu.RLock()
	defer i.mu.RUnlock()
	w := i.webhooks[webhook]
	return w != nil && w.Organization == organization
}

// Reset replaces everything.
func (i *Index) Reset(all Change, revision int64) {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.clear()
	for _, o := range all.Organizations {
		i.organizations[o.ID] = o.WebhooksAvailable
	}
	for _, w := range all.Webhooks {
		w := ready(w)
		i.own(w)
		for q := range w.questions {
			i.asked[q] = append(i.asked[q], w) // nobody has these lists yet
		}
	}
	for _, list := range i.asked {
		slices.SortFunc(list, byID)
	}
	i.revision = revision
}

// Apply makes a change, all of it at once.
func (i *Index) Apply(change Change, revision int64) {
	i.mu.Lock()
	defer i.mu.Unlock()
	for _, o := range change.Organizations {
		i.organizations[o.ID] = o.WebhooksAvailable
	}
	for _, id := range change.DeletedWebhooks {
		i.remove(id)
	}
	for _, w := range change.Webhooks {
		i.remove(w.ID)
		i.put(ready(w))
	}
	for _, organization := range change.DeletedOrganizations {
		i.removeOrganization(organization)
	}
	i.revision = revision
}

// ready returns a webhook in the form in which it is looked up: triggers that do not overlap, lists in order.
func ready(w Webhook) *Webhook {
	w.EventTypes = sorted(w.EventTypes)
	w.Teams = sorted(w.Teams)
	triggers := sorted(w.Triggers)
	w.Triggers = slices.DeleteFunc(slices.Clone(triggers), func(trigger string) bool {
		return slices.ContainsFunc(triggers, func(other string) bool { return other != trigger && covers(other, trigger) })
	})
	return &w
}

func sorted(names []string) []string {
	if len(names) == 0 {
		return nil
	}
	names = slices.Clone(names)
	slices.Sort(names)
	return slices.Clip(slices.Compact(names))
}

func byID(a, b *Webhook) int { return strings.Compare(a.ID, b.ID) }

// own notes whose a webhook is.
func (i *Index) own(w *Webhook) {
	i.webhooks[w.ID] = w
	if i.owned[w.Organization] == nil {
		i.owned[w.Organization] = make(map[string]*Webhook)
	}
	i.owned[w.Organization][w.ID] = w
}

func (i *Index) put(w *Webhook) {
	i.own(w)
	for q := range w.questions {
		// Readers may hold the old list, so a new one takes its place.
		at, _ := slices.BinarySearchFunc(i.asked[q], w, byID)
		i.asked[q] = slices.Insert(slices.Clone(i.asked[q]), at, w)
	}
}

func (i *Index) remove(id string) {
	w, ok := i.webhooks[id]
	if !ok {
		return
	}
	delete(i.webhooks, id)
	if delete(i.owned[w.Organization], id); len(i.owned[w.Organization]) == 0 {
		delete(i.owned, w.Organization)
	}
	for q := range w.questions {
		at, found := slices.BinarySearchFunc(i.asked[q], w, byID)
		switch {
		case !found:
		case len(i.asked[q]) == 1:
			delete(i.asked, q)
		default:
			i.asked[q] = slices.Delete(slices.Clone(i.asked[q]), at, at+1)
		}
	}
}

func (i *Index) removeOrganization(organization string) {
	delete(i.organizations, organization)
	for id, w := range i.owned[organization] {
		delete(i.webhooks, id)
		for q := range w.questions {
			delete(i.asked, q) // all that ask are its own
		}
	}
	delete(i.owned, organization)
}
