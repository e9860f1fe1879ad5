package core

import (
	"fmt"
	"strings"

	"github.com/meetwire/meetwire/pkg/fault"
)

// Limits of the event types that a webhook asks for.
const (
	MaxEventTypes      = 100
	MaxEventTypeLength = 255 // characters of one slug
)

// checkEventTypes returns what is wrong with the slugs of the event types (booking pages) that a webhook asks for. path
// is that of the list.
func checkEventTypes(path string, slugs []string) []fault.Field {
	if len(slugs) > MaxEventTypes {
		return field(path, ruleMaxItems, "must have at most %d event types", MaxEventTypes)
	}
	var fields []fault.Field
	seen := make(map[string]int, len(slugs))
	for i, slug := range slugs {
		at := fmt.Sprintf("%s[%d]", path, i)
		if slug == "" || len(slug) > MaxEventTypeLength || strings.ContainsFunc(slug, isNoSlugCharacter) {
			fields = append(fields, field(at, ruleFormat,
				"must be the slug of an event type: 1 to %d letters, digits, '.', '_', '~' and '-'", MaxEventTypeLength)...)
			continue
		}
		if first, ok := seen[slug]; ok {
			fields = append(fields, field(at, ruleUnique, "%s is there already, at %d", slug, first)...)
			continue
		}
		seen[slug] = i
	}
	return fields
}

// isNoSlugCharacter reports whether a character must be escaped in a URL, so that no slug has it.
func isNoSlugCharacter(r rune) bool { return isNoKeyCharacter(r) && r != '~' }
