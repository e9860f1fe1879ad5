package core

import (
	"errors"

	"github.com/meetwire/meetwire/pkg/cloudevent"
)

// HeaderPrefix begins the headers that are attributes of events in binary mode.
const HeaderPrefix = cloudevent.HeaderPrefix

// FromMessage returns the document of an event that came as a message with headers, in the structured or in the binary
// mode of CloudEvents. Errors: fault.InvalidArgument, naming the attribute.
func FromMessage(header map[string][]string, body []byte) (document []byte, err error) {
	document, err = cloudevent.Document(header, body)
	var wrong *cloudevent.Error
	switch {
	case err == nil && len(document) != len(body) && len(body) > MaxEventBytes:
		return nil, violation("", RuleMaxBytes, "must be at most %d bytes, has %d", MaxEventBytes, len(body))
	case errors.As(err, &wrong):
		path := ""
		if wrong.Attribute != "" {
			path = attributePath([]string{wrong.Attribute})
		}
		return nil, violation(path, wrong.Rule, "%s", wrong.Message)
	}
	return document, err
}

// IsEventHeader reports whether a header says something of the event.
func IsEventHeader(name string) bool { return cloudevent.IsHeader(name) }
