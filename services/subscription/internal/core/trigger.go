package core

import (
	"fmt"
	"regexp"

	"github.com/meetwire/meetwire/pkg/fault"
)

// Limits of the triggers of a webhook.
const (
	MaxTriggers      = 100 // of one webhook
	MaxTriggerLength = 128 // characters of one id
)

var triggerPattern = regexp.MustCompile(`^[a-z][a-z0-9_]*(\.[a-z][a-z0-9_]*){1,3}$`)

// Trigger is a type of event.
type Trigger struct {
	ID          string // such as meeting.booked
	DisplayName string
	Description string
	Group       string // heading under which a list shows it
	Schema      string // JSON Schema (2020-12) of the events' data, as JSON text
	Sample      string // a complete data, as JSON text
}

// IsTrigger reports whether s can be the id of a trigger: two to four tokens of [a-z][a-z0-9_]*, separated by
// dots, at most 128 characters.
func IsTrigger(s string) bool { return len(s) <= MaxTriggerLength && triggerPattern.MatchString(s) }

// NoTrigger is the fault of a trigger that is not there.
func NoTrigger(organization, id string) error {
	return fault.New(fault.NotFound, "TRIGGER_NOT_FOUND", "organizations/%s/triggers/%s does not exist", organization, id)
}

// checkTriggers returns what is wrong with the list of a webhook's triggers, except that some may not exist.
func checkTriggers(ids []string) []fault.Field {
	if len(ids) == 0 {
		return field("webhook.triggers", ruleRequired, "is required: 1 to %d triggers", MaxTriggers)
	}
	if len(ids) > MaxTriggers {
		return field("webhook.triggers", ruleMaxItems, "must have at most %d triggers", MaxTriggers)
	}
	var fields []fault.Field
	seen := make(map[string]int, len(ids))
	for i, id := range ids {
		if !IsTrigger(id) {
			fields = append(fields, field(triggerPath(i), ruleFormat,
				"must be two to four tokens of [a-z][a-z0-9_]*, separated by dots, at most %d characters", MaxTriggerLength)...)
			continue
		}
		if first, ok := seen[id]; ok {
			fields = append(fields, field(triggerPath(i), ruleUnique, "%s is there already, at %d", id, first)...)
			continue
		}
		seen[id] = i
	}
	return fields
}

// checkKnown returns which triggers of a webhook do not exist.
func checkKnown(ids []string, known map[string]bool) []fault.Field {
	var fields []fault.Field
	for i, id := range ids {
		if !known[id] {
			fields = append(fields, field(triggerPath(i), ruleExists, "%s is not a trigger: see the list of triggers", id)...)
		}
	}
	return fields
}

func triggerPath(i int) string { return fmt.Sprintf("webhook.triggers[%d]", i) }
