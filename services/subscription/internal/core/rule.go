package core

import (
	"fmt"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/meetwire/meetwire/pkg/fault"
)

// MaxDisplayNameLength is the greatest number of characters of a name for people.
const MaxDisplayNameLength = 200

// The rules that a field can break, as fault.Field names them.
const (
	ruleRequired   = "required"
	ruleMaxLength  = "max_length"
	ruleFormat     = "format"
	ruleRange      = "range"
	ruleUnique     = "unique"
	ruleMaxItems   = "max_items"
	ruleExists     = "exists"
	ruleExclusive  = "exclusive"
	ruleOneOf      = "in"
	ruleDeprecated = "deprecated"
)

// Stored returns a time as Postgres keeps it, in UTC and whole microseconds, so that the answer to a creation
// and every later one say the same.
func Stored(t time.Time) time.Time { return t.UTC().Truncate(time.Microsecond) }

// checkDisplayName returns what is wrong with a name for people.
func checkDisplayName(path, name string) []fault.Field {
	switch {
	case strings.TrimSpace(name) == "":
		return field(path, ruleRequired, "is required: 1 to %d characters that are not all spaces", MaxDisplayNameLength)
	case utf8.RuneCountInString(name) > MaxDisplayNameLength:
		return field(path, ruleMaxLength, "must have at most %d characters", MaxDisplayNameLength)
	case !utf8.ValidString(name) || strings.ContainsFunc(name, unicode.IsControl):
		return field(path, ruleFormat, "must be UTF-8 without control characters")
	}
	return nil
}

// field returns one field at fault, as a slice to append.
func field(path, rule, format string, args ...any) []fault.Field {
	return []fault.Field{{Path: path, Rule: rule, Message: fmt.Sprintf(format, args...)}}
}

// invalid returns the fault of the given fields, nil when there are none.
func invalid(fields []fault.Field) error {
	if len(fields) == 0 {
		return nil
	}
	return fault.Invalid(fields...)
}
