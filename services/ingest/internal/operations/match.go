package operations

import (
	"fmt"
	"slices"
	"strings"

	"github.com/meetwire/meetwire/pkg/filter"
	"github.com/meetwire/meetwire/services/ingest/internal/core"
)

// selector selects events as an operation was asked to.
type selector struct {
	triggers []string
	subject  string
	filter   *filter.Filter // nil: none
}

func newSelector(asked Send) (*selector, error) {
	s := &selector{triggers: asked.Triggers, subject: asked.Subject}
	if asked.Filter == "" {
		return s, nil
	}
	var err error
	if s.filter, err = filter.Compile(asked.Filter); err != nil {
		return nil, fmt.Errorf("compile the filter of an operation: %w", err)
	}
	return s, nil
}

// has reports whether an event is selected. A filter that cannot tell says no, as those of webhooks do.
func (s *selector) has(event *core.Event) bool {
	if len(s.triggers) > 0 && !slices.ContainsFunc(s.triggers, func(asked string) bool { return core.Covers(asked, event.Type) }) {
		return false
	}
	if s.subject != "" && s.subject != event.Subject {
		return false
	}
	if s.filter == nil {
		return true
	}
	form, err := filter.NewEvent(event.Raw)
	if err != nil {
		return false
	}
	matched, err := s.filter.Match(form)
	return err == nil && matched
}

// match returns the ids of the webhooks that get an event, in their order, of one when only that is meant: also a paused
// one, for which it then waits.
func (o *Operations) match(organization, only string, event *core.Event) (webhooks []string, revision int64) {
	if only == "" {
		match := o.Webhooks.Match(organization, event)
		slices.SortFunc(match.Webhooks, strings.Compare)
		return match.Webhooks, match.Revision
	}
	reason, revision, ok, _ := o.Webhooks.MatchOne(organization, only, event)
	if !ok || reason != core.Matched {
		return nil, revision
	}
	return []string{only}, revision
}

// after returns what follows a webhook.
func after(webhooks []string, last string) []string {
	at, found := slices.BinarySearch(webhooks, last)
	if found {
		at++
	}
	return webhooks[at:]
}
