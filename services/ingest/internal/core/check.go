package core

import (
	"encoding/json"
	"strings"
	"time"

	"github.com/meetwire/meetwire/pkg/fault"
)

// ConfigurationDelay is how long what was configured may be on its way to the one who has to know it.
const ConfigurationDelay = 2 * time.Second

// Schema checks the data of events.
type Schema interface {
	// Check reports in which way data does not satisfy the schema: a pointer (RFC 6901) to the place, and what is
	// wrong there. ok is true when it does satisfy it.
	Check(data json.RawMessage) (pointer, problem string, ok bool)
}

// Trigger is a type of event, as it is configured.
type Trigger struct {
	// Operational events are published by Meetwire itself only.
	Operational bool
	// WarnOnly accepts data that does not satisfy the schema.
	WarnOnly bool
	// Start is since when its events are taken, see TriggerStart; zero: since ever.
	Start time.Time
	// Schema is nil when everything satisfies it.
	Schema Schema
}

// TriggerStart returns since when the events of a trigger are taken that was registered at a time. Those of a moment
// before count too: clocks differ, and a publisher waits for nobody.
func TriggerStart(created time.Time) time.Time {
	if created.IsZero() {
		return created
	}
	return created.Add(-ConfigurationDelay)
}

// Catalogue knows what may be published.
type Catalogue interface {
	// HasOrganization reports whether an organization exists.
	HasOrganization(id string) bool
	// Trigger returns a trigger of the platform, or the organization's own; false when there is none.
	Trigger(organization, id string) (Trigger, bool)
}

// Check reports whether an organization may publish this event; operational says that Meetwire itself has published
// it. The event is accepted in spite of a warning, which says that its data does not satisfy the schema. The errors are
// fault.InvalidArgument, fault.NotFound for an organization that does not exist, or fault.PermissionDenied for a
// trigger or a source that is Meetwire's own.
func Check(catalogue Catalogue, organization string, event *Event, operational bool) (warning bool, err error) {
	if !catalogue.HasOrganization(organization) {
		return false, UnknownOrganization(organization)
	}
	trigger, ok := catalogue.Trigger(organization, event.Type)
	if !ok {
		return false, UnknownTrigger("type")
	}
	if trigger.Operational && !operational {
		return false, reserved("event.type", RuleReservedTrigger, "RESERVED_TRIGGER", event.Type+" is")
	}
	if strings.HasPrefix(event.Source, ownSources) && !operational {
		// With the source and the id of one of ours, it could take its place.
		return false, reserved("event.source", RuleReservedSource, "RESERVED_SOURCE", "what comes from "+ownSources+" is")
	}
	if event.Data == nil {
		return false, violation("data", RuleRequired, "is required")
	}
	if trigger.Schema == nil {
		return false, nil
	}
	if pointer, problem, ok := trigger.Schema.Check(event.Data); !ok {
		if trigger.WarnOnly {
			return true, nil
		}
		return false, violation("data"+pointer, RuleSchema, "%s", problem)
	}
	return false, nil
}

// UnknownOrganization is the failure for an organization that does not exist.
func UnknownOrganization(organization string) error {
	e := fault.New(fault.NotFound, "ORGANIZATION_NOT_FOUND", "organization %s does not exist", organization)
	e.Fields = []fault.Field{{Path: "parent", Rule: RuleUnknownOrganization, Message: "does not exist"}}
	return e
}

// UnknownTrigger is the failure for a trigger that nobody has registered.
func UnknownTrigger(attribute string) error {
	return violation(attribute, RuleUnknownTrigger, "is not a trigger of this organization")
}

// ownSources is what the sources of Meetwire's own events begin with.
const ownSources = "//meetwire/"

// reserved is the failure for what only Meetwire itself publishes.
func reserved(path, rule, reason, what string) error {
	e := fault.New(fault.PermissionDenied, reason, "%s: %s published by Meetwire itself only", path, what)
	e.Fields = []fault.Field{{Path: path, Rule: rule, Message: "is published by Meetwire itself only"}}
	return e
}

// TypeMismatch is the failure of an event that was published to the subject of another trigger.
func TypeMismatch(trigger string) error {
	return violation("type", RuleValue, "must be %s, the trigger that the subject names", trigger)
}
