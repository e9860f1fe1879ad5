package core

import (
	"regexp"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/meetwire/meetwire/pkg/fault"
)

// Limits of the triggers of a webhook.
const (
	MaxTriggers      = 100 // of one webhook
	MaxTriggerLength = 128 // characters of one id
)

// Limits and defaults of a trigger.
const (
	MaxGroupLength              = 100     // characters
	MaxTriggerDescriptionLength = 2000    // characters
	MaxSchemaBytes              = 1 << 16 // of the JSON text
	MaxSampleBytes              = 1 << 16 // of the JSON text
	DefaultTriggerGroup         = "Custom"
	AnySchema                   = "true" // everything satisfies it
)

// customPrefix begins the ids of organizations' own triggers.
const customPrefix = "custom."

// The rules that only a trigger's fields can break.
const (
	ruleReserved   = "reserved"
	ruleMaxBytes   = "max_bytes"
	ruleSchema     = "json_schema"
	ruleSatisfies  = "satisfies_schema"
	ruleCompatible = "compatible"
)

var triggerPattern = regexp.MustCompile(`^[a-z][a-z0-9_]*(\.[a-z][a-z0-9_]*){1,3}$`)

// Trigger is a type of event.
type Trigger struct {
	Organization string // slug; empty: of the platform
	ID           string // such as meeting.booked
	DisplayName  string
	Description  string
	Group        string // heading under which a list shows it
	Schema       string // JSON Schema (2020-12) of the events' data, as JSON text
	Sample       string // a complete data, as JSON text
	Deprecated   bool   // new webhooks cannot ask for it
	WarnOnly     bool   // data that does not satisfy the schema is accepted and counted, rather than refused
	BuiltIn      bool   // it comes with the program
	Operational  bool   // only Meetwire itself publishes its events
	Version      int64  // counts its changes
	CreateTime   time.Time
	UpdateTime   time.Time
}

// IsTrigger reports whether s can be the id of a trigger: two to four tokens of [a-z][a-z0-9_]*, separated by
// dots, at most 128 characters.
func IsTrigger(s string) bool { return len(s) <= MaxTriggerLength && triggerPattern.MatchString(s) }

// IsCustomTrigger reports whether s is the id of an organization's own trigger.
func IsCustomTrigger(s string) bool { return IsTrigger(s) && strings.HasPrefix(s, customPrefix) }

// Name returns the resource name; that of a trigger of the platform is what operators call it.
func (t Trigger) Name() string { return TriggerName(t.Organization, t.ID) }

// ETag returns a text that changes with every change of the trigger.
func (t Trigger) ETag() string { return etagOf(t.Name(), t.CreateTime, t.Version) }

// CheckETag returns fault.Aborted when an etag is given and is not the current one.
func (t Trigger) CheckETag(etag string) error { return checkETag(etag, t.ETag(), t.Name()) }

// sameContent reports whether two states of a trigger differ in nothing but what operators may change of all triggers.
func (t Trigger) sameContent(other Trigger) bool {
	t.Deprecated, t.WarnOnly = other.Deprecated, other.WarnOnly
	return t == other
}

// Document returns the trigger as the audit log shows it.
func (t Trigger) Document() Document {
	mode := "SCHEMA_MODE_ENFORCE"
	if t.WarnOnly {
		mode = "SCHEMA_MODE_WARN"
	}
	return Document{
		"name": t.Name(), "displayName": t.DisplayName, "description": t.Description, "group": t.Group,
		"schema": t.Schema, "sample": t.Sample, "deprecated": t.Deprecated, "schemaMode": mode,
	}
}

// TriggerName returns the resource name of a trigger; an organization that is empty stands for the platform.
func TriggerName(organization, id string) string {
	if organization == "" {
		organization = AnyOrganization
	}
	return "organizations/" + organization + "/triggers/" + id
}

// TriggerGroups returns the groups that cover a trigger, such as meeting.* for meeting.booked.
func TriggerGroups(id string) []string {
	var groups []string
	for i, c := range id {
		if c == '.' {
			groups = append(groups, id[:i]+".*")
		}
	}
	return groups
}

// NoTrigger is the fault of a trigger that is not there.
func NoTrigger(organization, id string) error {
	return fault.New(fault.NotFound, "TRIGGER_NOT_FOUND", "%s does not exist", TriggerName(organization, id))
}

// TriggerExists is the fault of a trigger's id that is in use.
func TriggerExists(organization, id string) error {
	err := fault.New(fault.AlreadyExists, "TRIGGER_EXISTS", "%s exists", TriggerName(organization, id))
	err.Fields = field("trigger_id", ruleUnique, "is in use")
	return err
}

// checkNewTrigger returns what is wrong with the id of a new trigger of an organization, or of the platform when that is
// empty.
func checkNewTrigger(organization, id string) []fault.Field {
	const path = "trigger_id"
	custom := strings.HasPrefix(id, customPrefix)
	switch {
	case !IsTrigger(id):
		return field(path, ruleFormat,
			"must be two to four tokens of [a-z][a-z0-9_]*, separated by dots, at most %d characters", MaxTriggerLength)
	case organization != "" && !custom:
		return field(path, ruleFormat, "must begin with %q: the others are the platform's", customPrefix)
	case organization == "" && custom:
		return field(path, ruleFormat, "must not begin with %q, as organizations' own do", customPrefix)
	}
	for _, reserved := range reservedPrefixes() {
		if strings.HasPrefix(id, reserved) {
			return field(path, ruleReserved, "must not begin with %q, which is for what Meetwire itself publishes", reserved)
		}
	}
	return nil
}

// checkOwner returns fault.PermissionDenied when an organization is to change a trigger of the platform.
func checkOwner(organization, id string) error {
	if organization == "" || strings.HasPrefix(id, customPrefix) {
		return nil
	}
	return fault.New(fault.PermissionDenied, "PLATFORM_TRIGGER",
		"%s is the platform's: operators change it as %s", TriggerName(organization, id), TriggerName("", id))
}

// reservedPrefixes begin the ids of operational triggers, now and later.
func reservedPrefixes() []string { return []string{"webhook.", "secret.", "delivery.", "meetwire."} }

// checkGroup returns what is wrong with the heading of a trigger; empty stands for the default.
func checkGroup(group string) []fault.Field {
	const path = "trigger.group"
	switch {
	case utf8.RuneCountInString(group) > MaxGroupLength:
		return field(path, ruleMaxLength, "must have at most %d characters", MaxGroupLength)
	case !utf8.ValidString(group) || strings.ContainsFunc(group, unicode.IsControl):
		return field(path, ruleFormat, "must be UTF-8 without control characters")
	case group != strings.TrimSpace(group):
		return field(path, ruleFormat, "must not begin or end with a space")
	}
	return nil
}

// checkTriggerDescription returns what is wrong with a text for people, which may have several lines.
func checkTriggerDescription(text string) []fault.Field {
	const path = "trigger.description"
	control := func(r rune) bool { return unicode.IsControl(r) && r != '\n' && r != '\t' }
	switch {
	case utf8.RuneCountInString(text) > MaxTriggerDescriptionLength:
		return field(path, ruleMaxLength, "must have at most %d characters", MaxTriggerDescriptionLength)
	case !utf8.ValidString(text) || strings.ContainsFunc(text, control):
		return field(path, ruleFormat, "must be UTF-8 without control characters but line breaks and tabs")
	}
	return nil
}
