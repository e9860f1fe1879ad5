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
	mu            sync.RWMutex
	revision      int64
	organizations map[string]bool // whether their plan has webhooks
	webhooks      map[string]*Webhook
	// asked has for each trigger and group the webhooks that ask for it, in the order of their ids. As the triggers
	// of a webhook do not overlap, an event finds no webhook twice.
	asked map[question][]*Webhook
}

// question is what a webhook asks for, and what an event answers: a trigger, or a group of them as `meeting.`.
type question struct{ organization, trigger string }

// asking returns the question of a trigger or a group.
func asking(organization, asked string) question {
	if isGroup(asked) {
		asked = asked[:len(asked)-1]
	}
	return question{organization, asked}
}

// NewIndex makes an empty index.
func NewIndex() *Index {
	i := &Index{}
	i.clear()
	return i
}

func (i *Index) clear() {
	i.organizations = make(map[string]bool)
	i.webhooks = make(map[string]*Webhook)
	i.asked = make(map[question][]*Webhook)
}

// Match is which webhooks get an event.
type Match struct {
	Webhooks      []string // their ids
	Revision      int64    // of the configuration that says so
	FailedFilters int      // filters that could not tell, which counts as no
}

// Match returns which webhooks of an organization get an event.
func (i *Index) Match(organization string, event *Event) Match {
	m := matching{event: event}
	var match Match
	var candidates [maxQuestions][]*Webhook
	match.Revision = i.candidates(organization, event.Type, &candidates)
	// Without the lock: a filter takes its time. What the lists hold is never changed.
	for _, list := range candidates {
		for _, w := range list {
			if reason, _ := m.decide(w, false); reason == Matched {
				match.Webhooks = append(match.Webhooks, w.ID)
			}
		}
	}
	match.FailedFilters = m.failed
	return match
}

// maxQuestions is how many questions an event answers: its trigger, of at most four tokens, and the groups above.
const maxQuestions = 4

// candidates finds the webhooks that ask for a trigger.
func (i *Index) candidates(organization, trigger string, found *[maxQuestions][]*Webhook) (revision int64) {
	i.mu.RLock()
	defer i.mu.RUnlock()
	if !i.organizations[organization] {
		return i.revision
	}
	n := 0
	for at, c := range []byte(trigger) {
		if c == '.' && at+1 < len(trigger) && n < maxQuestions-1 {
			found[n] = i.asked[question{organization, trigger[:at+1]}]
			n++
		}
	}
	if !strings.HasSuffix(trigger, ".") {
		found[n] = i.asked[question{organization, trigger}]
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
	m := matching{event: event}
	switch {
	case !available:
		reason = ReasonPlan
	case !w.asks(event.Type):
		reason = ReasonTrigger
	default:
		reason, err = m.decide(w, true)
	}
	return reason, revision, true, err
}

// HasWebhook reports whether an organization has a webhook.
func (i *Index) HasWebhook(organization, webhook string) bool {
	i.mu.RLock()
	defer i.mu.RUnlock()
	w := i.webhooks[webhook]
	return w != nil && w.Organization == organization
}

// Decision says whether a webhook gets an event, and by which rule it does not.
type Decision struct {
	Webhook string
	Reason  Reason
	Err     error // why its filter could not tell
}

// Explain returns for every webhook of an organization whether it gets an event, in the order of their ids. Its rules
// are those of Match, only that each webhook is looked at.
func (i *Index) Explain(organization string, event *Event) (decisions []Decision, revision int64) {
	i.mu.RLock()
	available, revision := i.organizations[organization], i.revision
	var all []*Webhook
	for _, w := range i.webhooks {
		if w.Organization == organization {
			all = append(all, w)
		}
	}
	i.mu.RUnlock()
	slices.SortFunc(all, byID)
	m := matching{event: event}
	for _, w := range all {
		d := Decision{Webhook: w.ID}
		switch {
		case !available:
			d.Reason = ReasonPlan
		case !w.asks(event.Type):
			d.Reason = ReasonTrigger
		default:
			d.Reason, d.Err = m.decide(w, false)
		}
		decisions = append(decisions, d)
	}
	return decisions, revision
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
		i.webhooks[w.ID] = w
		for _, trigger := range w.Triggers {
			q := asking(w.Organization, trigger)
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

func (i *Index) put(w *Webhook) {
	i.webhooks[w.ID] = w
	for _, trigger := range w.Triggers {
		q := asking(w.Organization, trigger)
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
	for _, trigger := range w.Triggers {
		q := asking(w.Organization, trigger)
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
	for id, w := range i.webhooks {
		if w.Organization != organization {
			continue
		}
		delete(i.webhooks, id)
		for _, trigger := range w.Triggers {
			delete(i.asked, asking(organization, trigger)) // all that ask are its own
		}
	}
}
