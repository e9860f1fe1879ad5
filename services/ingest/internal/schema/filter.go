package schema

import (
	"fmt"

	"github.com/meetwire/meetwire/pkg/filter"
	"github.com/meetwire/meetwire/services/ingest/internal/core"
)

// condition implements core.Filter with a filter that is shared by all webhooks with the same source, and compiled
// when the first event meets it. One that does not compile can never tell: subscription has checked it.
type condition struct{ shared *filter.Shared }

// form is the form in which filters look at an event.
type form struct {
	event *filter.Event
	err   error
}

func newForm(document []byte) any {
	event, err := filter.NewEvent(document)
	return form{event, err}
}

// Match implements core.Filter.
func (c condition) Match(event *core.Event) (bool, error) {
	f, ok := event.Form(newForm).(form)
	if !ok {
		return false, fmt.Errorf("an event in the form %T", event.Form(newForm))
	}
	if f.err != nil {
		return false, f.err
	}
	return c.shared.Match(f.event)
}
