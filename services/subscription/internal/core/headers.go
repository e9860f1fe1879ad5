package core

import (
	"fmt"
	"strings"

	"github.com/meetwire/meetwire/pkg/fault"
)

// Limits of the headers of a webhook.
const (
	MaxHeaders     = 20
	MaxHeaderBytes = 4096 // of all names and values together
)

// checkHeaders returns what is wrong with the headers that a webhook sends with every attempt. path is that of the
// list; reserved tells the names, in lower case, of those that Meetwire or HTTP itself sets. Values are secret, so no
// message shows one; nor does it show a name that is none, which may be a value in the wrong place.
func checkHeaders(path string, headers []Header, reserved func(lowerName string) bool) []fault.Field {
	if len(headers) > MaxHeaders {
		return field(path, ruleMaxItems, "must have at most %d headers", MaxHeaders)
	}
	var fields []fault.Field
	total := 0
	seen := make(map[string]int, len(headers))
	for i, h := range headers {
		total += len(h.Name) + len(h.Value)
		at := fmt.Sprintf("%s[%d]", path, i)
		lower := strings.ToLower(h.Name)
		first, twice := seen[lower]
		switch {
		case h.Name == "":
			fields = append(fields, field(at+".name", ruleRequired, "is required")...)
		case strings.ContainsFunc(h.Name, isNoTokenCharacter):
			fields = append(fields, field(at+".name", ruleFormat,
				"must be the name of a header: letters, digits and !#$%%&'*+-.^_`|~")...)
		case reserved(lower):
			fields = append(fields, field(at+".name", ruleReserved, "%s cannot be set: Meetwire or HTTP itself does", h.Name)...)
		case twice:
			fields = append(fields, field(at+".name", ruleUnique, "%s is there already, at %d", h.Name, first)...)
		default:
			seen[lower] = i
		}
		fields = append(fields, checkHeaderValue(at+".value", h.Value)...)
	}
	if total > MaxHeaderBytes {
		fields = append(fields, field(path, ruleMaxBytes, "must have at most %d bytes of names and values together, has %d",
			MaxHeaderBytes, total)...)
	}
	return fields
}

// checkHeaderValue returns what is wrong with the value of a header. RFC 9110 would allow more, but some of that is lost
// on the way or taken for the end of the header.
func checkHeaderValue(path, value string) []fault.Field {
	switch {
	case value == "":
		return field(path, ruleRequired, "is required")
	case strings.ContainsFunc(value, isNoValueCharacter):
		return field(path, ruleFormat, "must be visible ASCII characters, spaces and tabs")
	case strings.Trim(value, " \t") != value:
		return field(path, ruleFormat, "must not begin or end with a space or a tab")
	}
	return nil
}

// isNoTokenCharacter reports whether a character cannot be in a token of RFC 9110, section 5.6.2.
func isNoTokenCharacter(r rune) bool {
	switch {
	case r >= 'a' && r <= 'z', r >= 'A' && r <= 'Z', r >= '0' && r <= '9', strings.ContainsRune("!#$%&'*+-.^_`|~", r):
		return false
	}
	return true
}

func isNoValueCharacter(r rune) bool { return (r < ' ' || r > '~') && r != '\t' }
