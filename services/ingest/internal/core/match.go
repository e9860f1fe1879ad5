package core

import (
	"slices"
	"strings"
)

// Webhook is what matching needs to know of a webhook.
type Webhook struct {
	ID           string
	Organization string
	Triggers     []string // ids, and groups of them such as `meeting.*`
	EventTypes   []string // empty: all
	Teams        []string // empty: those of all members
	Filter       Filter   // nil: none
	Paused       bool
	Disabled     bool  // its events become dead letters, as long as not too many wait for it
	Generation   int64 // counts how often it became active
}

// Reason is the rule by which a webhook does not get an event.
type Reason string

// The rules, in their order.
const (
	Matched         Reason = ""           // none: it gets the event
	ReasonPlan      Reason = "plan"       // the organization's plan has no webhooks
	ReasonTrigger   Reason = "trigger"    // it asks for other triggers
	ReasonStatus    Reason = "status"     // it is paused, or disabled with too much waiting for it
	ReasonTeams     Reason = "teams"      // it asks for other teams
	ReasonEventType Reason = "event_type" // it asks for other event types
	ReasonFilter    Reason = "filter"     // its filter says no, or cannot say
)

// Filter says which events a webhook gets.
type Filter interface {
	// Match reports whether an event satisfies the filter. Every error says that the filter cannot tell.
	Match(event *Event) (bool, error)
	// Source returns the expression.
	Source() string
}

// Backlog knows for which disabled webhooks too much waits.
type Backlog interface {
	// Full reports whether an event for a disabled webhook is skipped, and counts one that is not. It must be quick:
	// events wait for it.
	Full(organization, webhook string) bool
	// IsFull reports the same, and counts nothing.
	IsFull(organization, webhook string) bool
}

// matching is one event on its way through the rules.
type matching struct {
	event   *Event
	backlog Backlog // nil: nothing is ever too much
}

// skips reports whether a webhook gets no event at the moment, whatever the event is, and counts one that it gets.
func (m *matching) skips(w *Webhook) bool {
	return w.Paused || w.Disabled && m.backlog != nil && m.backlog.Full(w.Organization, w.ID)
}

// wouldSkip reports the same of an event that it does not get now.
func (m *matching) wouldSkip(w *Webhook) bool {
	return w.Paused || w.Disabled && m.backlog != nil && m.backlog.IsFull(w.Organization, w.ID)
}

// asks reports whether a webhook asks for a trigger: what an index finds without looking at each webhook.
func (w *Webhook) asks(trigger string) bool {
	return slices.ContainsFunc(w.Triggers, func(asked string) bool { return covers(asked, trigger) })
}

// isGroup reports whether a name stands for a group of triggers, as `meeting.*` does.
func isGroup(asked string) bool { return strings.HasSuffix(asked, ".*") }

// covers reports whether a trigger or a group covers a trigger or a narrower group.
func covers(asked, trigger string) bool {
	if asked == trigger {
		return true
	}
	prefix := asked[:max(len(asked)-1, 0)]
	return isGroup(asked) && strings.HasPrefix(trigger, prefix) && len(trigger) > len(prefix)
}

// decide goes through the rules after plan, trigger and status. The error says why a filter could not tell.
func (m *matching) decide(w *Webhook) (Reason, error) {
	if len(w.Teams) > 0 && !sharesTeam(w.Teams, m.event.Teams) {
		return ReasonTeams, nil
	}
	if len(w.EventTypes) > 0 && !has(w.EventTypes, m.event.EventType) {
		return ReasonEventType, nil
	}
	if w.Filter == nil {
		return Matched, nil
	}
	switch ok, err := w.Filter.Match(m.event); {
	case err != nil:
		return ReasonFilter, err
	case !ok:
		return ReasonFilter, nil
	}
	return Matched, nil
}

// sharesTeam reports whether an event of some teams is one of the asked ones, which are in order.
func sharesTeam(asked, teams []string) bool {
	for _, team := range teams {
		if has(asked, team) {
			return true
		}
	}
	return false
}

// fewChoices is up to where it is quicker to look at all names: most differ in their length already.
const fewChoices = 8

// has reports whether a sorted list has a name.
func has(sorted []string, name string) bool {
	if len(sorted) <= fewChoices {
		return slices.Contains(sorted, name)
	}
	_, found := slices.BinarySearch(sorted, name)
	return found
}
