package schema

import (
	"errors"
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
	left  int64 // of what its filters share
}

func newForm(document []byte) any {
	event, err := filter.NewEvent(document)
	return &form{event: event, err: err, left: shared}
}

// What all filters together may spend on one event of an organization. Each has an allowance that costs the others
// nothing and is enough for what filters usually ask, so that ten thousand of them keep a worker busy for less than half
// a second; who needs more takes it from what they share, which is once more as much.
const (
	allowance = 500
	shared    = 20 * filter.Budget
)

// errShared is how a filter ends that needs more than its allowance, after others have spent what they share.
var errShared = errors.New("the filters of this organization together need too much work for this event")

// Match implements core.Filter.
func (c condition) Match(event *core.Event) (bool, error) {
	f, ok := event.Form(newForm).(*form)
	if !ok {
		return false, fmt.Errorf("an event in the form %T", event.Form(newForm))
	}
	if f.err != nil {
		return false, f.err
	}
	budget := min(allowance+f.left, filter.Budget)
	matched, spent, err := c.shared.MatchWithin(f.event, budget)
	f.left -= max(0, spent-allowance)
	if errors.Is(err, filter.ErrBudget) && budget < filter.Budget {
		err = errShared
	}
	return matched, err
}

// Source implements core.Filter.
func (c condition) Source() string { return c.shared.Source() }
