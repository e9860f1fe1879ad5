package core

import (
	"maps"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/meetwire/meetwire/pkg/fault"
)

// Limits of what callers keep with a webhook.
const (
	MaxMetadata            = 50  // entries
	MaxMetadataKeyLength   = 40  // characters
	MaxMetadataValueLength = 500 // characters
)

// checkMetadata returns what is wrong with what callers keep with a webhook. path is that of the map; an entry's is
// path.key.
func checkMetadata(path string, metadata map[string]string) []fault.Field {
	if len(metadata) > MaxMetadata {
		return field(path, ruleMaxItems, "must have at most %d entries", MaxMetadata)
	}
	var fields []fault.Field
	for _, key := range slices.Sorted(maps.Keys(metadata)) {
		value := metadata[key]
		switch {
		case key == "" || len(key) > MaxMetadataKeyLength || strings.ContainsFunc(key, isNoKeyCharacter):
			fields = append(fields, field(path, ruleFormat, "must have keys of 1 to %d letters, digits, '_', '.' and '-'",
				MaxMetadataKeyLength)...)
		case utf8.RuneCountInString(value) > MaxMetadataValueLength:
			fields = append(fields, field(path+"."+key, ruleMaxLength, "must have at most %d characters", MaxMetadataValueLength)...)
		case !utf8.ValidString(value) || strings.ContainsFunc(value, unicode.IsControl):
			fields = append(fields, field(path+"."+key, ruleFormat, "must be UTF-8 without control characters")...)
		}
	}
	return fields
}

// isNoKeyCharacter reports whether a character cannot be in a key of the metadata.
func isNoKeyCharacter(r rune) bool { return isNoHostCharacter(r) && r != '.' }
