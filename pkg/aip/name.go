package aip

import (
	"strings"

	"github.com/meetwire/meetwire/pkg/fault"
)

// maxNameLength is the greatest length of a resource name, in bytes.
const maxNameLength = 512

// ParseName returns the ids within a resource name, in the order of the pattern's variables: of
// `organizations/acme/webhooks/1` with the pattern `organizations/{organization}/webhooks/{webhook}` they are
// acme and 1. An id is one or more of the characters that a URL needs no escape for (RFC 3986: letters, digits,
// `-`, `.`, `_`, `~`). A name of another form is a fault.InvalidArgument of the field name.
func ParseName(name, pattern string) ([]string, error) { return ParseNameField("name", name, pattern) }

// ParseNameField is ParseName for a name in another field, such as `parent` or `webhook.name`.
func ParseNameField(field, name, pattern string) ([]string, error) {
	ids, ok := match(name, pattern)
	if !ok {
		return nil, fault.Invalid(fault.Field{Path: field, Rule: "resource_name", Message: "must have the form " + pattern})
	}
	return ids, nil
}

// match returns the ids within a name that has the form of the pattern.
func match(name, pattern string) ([]string, bool) {
	if len(name) > maxNameLength || strings.Count(name, "/") != strings.Count(pattern, "/") {
		return nil, false
	}
	ids := make([]string, 0, 2)
	for segment := range strings.SplitSeq(name, "/") {
		var wanted string
		wanted, pattern, _ = strings.Cut(pattern, "/")
		if !strings.HasPrefix(wanted, "{") {
			if segment != wanted {
				return nil, false
			}
			continue
		}
		if !isID(segment) {
			return nil, false
		}
		ids = append(ids, segment)
	}
	return ids, true
}

func isID(s string) bool {
	for i := range len(s) {
		c := s[i]
		letter := (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z')
		if digit := c >= '0' && c <= '9'; !letter && !digit && !strings.ContainsRune("-._~", rune(c)) {
			return false
		}
	}
	return s != "" && s != "." && s != ".."
}
