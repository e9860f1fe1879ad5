package bus

import (
	"errors"
	"fmt"
	"regexp"
	"strings"
)

// Wildcards of NATS subjects, for building filters.
const (
	AnyToken = "*"
	AnyRest  = ">"
)

// Lanes that are no platform trigger's.
const (
	// LaneCustom carries all organizations' own triggers together.
	LaneCustom = "custom"
	// LaneBulk carries replays and other mass sends, which never stand in front of live traffic.
	LaneBulk = "bulk"
)

// Limits of names, see IsOrganization and IsTrigger.
const (
	MaxOrganizationLength = 63
	MaxTriggerLength      = 128
)

// CustomPrefix begins every trigger that is an organization's own.
const CustomPrefix = "custom."

var (
	organizationPattern = regexp.MustCompile(`^[a-z0-9-]{1,63}$`)
	triggerPattern      = regexp.MustCompile(`^[a-z][a-z0-9_]*(\.[a-z][a-z0-9_]*){1,3}$`)
)

// IsOrganization reports whether s is an organization's slug: 1 to 63 characters of a-z, 0-9 and '-'.
func IsOrganization(s string) bool { return organizationPattern.MatchString(s) }

// IsTrigger reports whether s is a trigger's id: two to four tokens of [a-z][a-z0-9_]*, separated by dots, at
// most 128 characters.
func IsTrigger(s string) bool { return len(s) <= MaxTriggerLength && triggerPattern.MatchString(s) }

// Lane returns the lane of a trigger: `meeting.booked` travels in `meeting-booked`, every `custom.…` in `custom`.
func Lane(trigger string) string {
	if strings.HasPrefix(trigger, CustomPrefix) {
		return LaneCustom
	}
	return strings.ReplaceAll(trigger, ".", "-")
}

// EventSubject is where an event is published: `events.<organization>.<trigger>`.
func EventSubject(organization, trigger string) string {
	return "events." + organization + "." + trigger
}

// EventsFilter selects every event.
func EventsFilter() string { return "events.>" }

// EventOrganizationFilters selects every event of an organization, also one that was published without a trigger.
func EventOrganizationFilters(organization string) []string {
	return []string{"events." + organization, "events." + organization + ".>"}
}

// EventLaneFilter selects the events of every organization for a platform trigger, or for LaneCustom those
// of all organizations' own triggers.
func EventLaneFilter(trigger string) string {
	if trigger == LaneCustom {
		return "events.*.custom.>"
	}
	return "events.*." + trigger
}

// ParseEventSubject returns the organization and the trigger of an event's subject. Both are as published: the
// trigger may be one that IsTrigger refuses, and empty when the subject ends with the organization.
func ParseEventSubject(subject string) (organization, trigger string, err error) {
	rest, ok := strings.CutPrefix(subject, "events.")
	organization, trigger, named := strings.Cut(rest, ".")
	if !ok || organization == "" || named && trigger == "" {
		return "", "", fmt.Errorf("subject %q is not events.<organization>.<trigger>", subject)
	}
	return organization, trigger, nil
}

// DeliverySubject is where a delivery that may be tried now is published.
func DeliverySubject(lane, organization, webhook string) string {
	return "deliveries." + lane + "." + organization + "." + webhook
}

// DeliveryLaneFilter selects the deliveries of one lane.
func DeliveryLaneFilter(lane string) string { return "deliveries." + lane + ".>" }

// RetryTimerSubject is the one subject of a delivery's timer: a message there replaces the one before.
func RetryTimerSubject(organization, webhook, delivery string) string {
	return "retries.at." + organization + "." + webhook + "." + delivery
}

// RetryTimersFilter selects every timer that waits for a webhook.
func RetryTimersFilter(organization, webhook string) string {
	return "retries.at." + organization + "." + webhook + ".>"
}

// RetryDueSubject is where a timer's message arrives when it is due.
func RetryDueSubject(lane, organization, webhook string) string {
	return "retries.due." + lane + "." + organization + "." + webhook
}

// RetryDueLaneFilter selects what is due in one lane.
func RetryDueLaneFilter(lane string) string { return "retries.due." + lane + ".>" }

// DeadLetterSubject is the one subject of a delivery's dead letter. Lane, organization and webhook may be
// AnyToken to select several.
func DeadLetterSubject(lane, organization, webhook, delivery string) string {
	return "deadletters." + lane + "." + organization + "." + webhook + "." + delivery
}

// RecordSubject is where changes in the life of a webhook's deliveries are published.
func RecordSubject(organization, webhook string) string {
	return "records." + organization + "." + webhook
}

// RejectSubject is where what an organization published and we could not accept is kept.
func RejectSubject(organization string) string { return "rejects." + organization }

// FanOutSubject is where it is published what became of an event of an organization.
func FanOutSubject(organization string) string { return "fanouts." + organization }

// FanOutsFilter selects what became of every event.
func FanOutsFilter() string { return "fanouts.>" }

// errSubject is returned by ParseWorkSubject.
var errSubject = errors.New("not a subject of deliveries or due retries")

// Work is what the subject of a delivery that may be tried now says.
type Work struct {
	Lane         string
	Organization string
	Webhook      string
	Retry        bool // it comes from RETRIES
}

// ParseWorkSubject takes apart what DeliverySubject and RetryDueSubject build.
func ParseWorkSubject(subject string) (Work, error) {
	tokens := strings.Split(subject, ".")
	switch {
	case len(tokens) == 4 && tokens[0] == "deliveries":
		return Work{Lane: tokens[1], Organization: tokens[2], Webhook: tokens[3]}, nil
	case len(tokens) == 5 && tokens[0] == "retries" && tokens[1] == "due":
		return Work{Lane: tokens[2], Organization: tokens[3], Webhook: tokens[4], Retry: true}, nil
	}
	return Work{}, fmt.Errorf("%w: %q", errSubject, subject)
}
