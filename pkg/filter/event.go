package filter

import (
	"errors"
	"sync"

	"cel.dev/cel-go/common/types/ref"
)

// Event is an event that filters look at. Its document is read when the first filter asks, and once for all filters.
// It can be used by several goroutines at once.
type Event struct {
	value func() (ref.Val, error)
}

// ErrEvent is how every filter ends for a document that is no JSON object.
var ErrEvent = errors.New("the event is not a JSON object")

// NewEvent makes an event of a CloudEvents document in the JSON format. The document must not be changed
// afterwards. That it is valid JSON is checked when the first filter asks; what cannot be an object is refused at once.
func NewEvent(document []byte) (*Event, error) {
	start := skipSpace(document, 0)
	if start == len(document) || document[start] != '{' {
		return nil, ErrEvent
	}
	return &Event{value: sync.OnceValues(func() (ref.Val, error) { return decode(document) })}, nil
}
