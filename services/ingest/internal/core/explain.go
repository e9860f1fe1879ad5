package core

import (
	"fmt"
	"slices"
	"strings"
)

// Page is which webhooks are looked at.
type Page struct {
	Webhook string // only this one; empty: all
	After   string // only those with a higher id
	Size    int    // how many at most
}

// Decision says whether a webhook gets an event, and by which rule it does not.
type Decision struct {
	Webhook string
	Reason  Reason
	Detail  string // what the rule compares; empty when it matches
	Filter  string // the webhook's, when the rules before it say yes
	Err     error  // why its filter could not tell
}

// Explained is a page of decisions.
type Explained struct {
	Decisions []Decision // in the order of the webhooks' ids
	More      bool       // there are webhooks after these
	Revision  int64      // of the configuration that says so
}

// Explain tells of webhooks of an organization whether they get an event. Its rules are those of Match, only that each
// webhook is looked at.
func (i *Index) Explain(organization string, event *Event, page Page) Explained {
	i.mu.RLock()
	available, revision := i.organizations[organization], i.revision
	var chosen []*Webhook
	for id, w := range i.owned[organization] {
		if id > page.After && (page.Webhook == "" || id == page.Webhook) {
			chosen = append(chosen, w)
		}
	}
	i.mu.RUnlock()
	slices.SortFunc(chosen, byID)
	explained := Explained{More: len(chosen) > page.Size, Revision: revision}
	m := matching{event: event, backlog: i.backlog}
	for _, w := range chosen[:min(page.Size, len(chosen))] {
		explained.Decisions = append(explained.Decisions, m.explain(w, available))
	}
	return explained
}

// explain goes through the rules and says what they compare.
func (m *matching) explain(w *Webhook, available bool) Decision {
	d := Decision{Webhook: w.ID}
	switch {
	case !available:
		d.Reason, d.Detail = ReasonPlan, "the plan of the organization has no webhooks"
		return d
	case !w.asks(m.event.Type):
		d.Reason, d.Detail = ReasonTrigger, fmt.Sprintf("asks for %s; the event is %s", some(w.Triggers), some([]string{m.event.Type}))
		return d
	case m.wouldSkip(w):
		if d.Reason, d.Detail = ReasonStatus, "is paused"; !w.Paused {
			d.Detail = "is disabled, and too much waits for it already"
		}
		return d
	}
	switch d.Reason, d.Err = m.decide(w); d.Reason {
	case ReasonTeams:
		d.Detail = fmt.Sprintf("asks for the teams %s; the event is of %s", some(w.Teams), some(m.event.Teams))
		return d
	case ReasonEventType:
		d.Detail = fmt.Sprintf("asks for the event types %s; the event has %s", some(w.EventTypes), some([]string{m.event.EventType}))
		return d
	case ReasonFilter:
		if d.Detail = "the filter says no"; d.Err != nil {
			d.Detail = "the filter cannot tell"
		}
	}
	if w.Filter != nil {
		d.Filter = w.Filter.Source()
	}
	return d
}

// maxNamed is how many names are told of a list.
const maxNamed = 20

// some writes a list for people.
func some(names []string) string {
	names = slices.DeleteFunc(slices.Clone(names), func(name string) bool { return name == "" })
	if len(names) == 0 {
		return "none"
	}
	if more := len(names) - maxNamed; more > 0 {
		return fmt.Sprintf("%s and %d more", strings.Join(names[:maxNamed], ", "), more)
	}
	return strings.Join(names, ", ")
}

// Completed returns a document with an id and a source, should it have none: it is about something that has not happened.
func Completed(document []byte) []byte {
	at := strings.IndexByte(string(document), '{') + 1
	attributes, err := attributesOf(document)
	if err != nil || at == 0 {
		return document // Parse says what is wrong
	}
	var missing []byte
	for _, made := range [][2]string{{"id", "explained"}, {"source", "/explained"}} {
		if _, ok := attributes[made[0]]; !ok {
			missing = fmt.Appendf(missing, "%q:%q,", made[0], made[1])
		}
	}
	if len(attributes) == 0 && len(missing) > 0 {
		missing = missing[:len(missing)-1]
	}
	return slices.Concat(document[:at], missing, document[at:])
}
