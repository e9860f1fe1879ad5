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
}

// Reason is the rule by which a webhook does not get an event.
type Reason string

// The rules, in their order.
const (
	Matched         Reason = ""           // none: it gets the event
	ReasonPlan      Reason = "plan"       // the organization's plan has no webhooks
	ReasonTrigger   Reason = "trigger"    // it asks for other triggers
	ReasonStatus    Reason = "status"     // it is paused
	ReasonTeams     Reason = "teams"      // it asks for other teams
	ReasonEventType Reason = "event_type" // it asks for other event types
	ReasonFilter    Reason = "filter"     // its filter says no, or cannot say
)

// Filter says which events a webhook gets.
type Filter interface {
	// Match reports whether an event satisfies the filter. Every error says that the filter cannot tell.
	Match(event *Event) (bool, error)
}

// matching is one event on its way through the rules.
type matching struct {
	event  *Event
	failed int // filters that could not tell
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

// decide goes through the rules after plan and trigger. The error says why a filter could not tell.
func (m *matching) decide(w *Webhook, anyStatus bool) (Reason, error) {
	if w.Paused && !anyStatus {
		return ReasonStatus, nil
	}
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
		m.failed++
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

// has reports whether a sorted list has a name.
func has(sorted []string, name string) bool {
	_, found := slices.BinarySearch(sorted, name)
	return found
}
