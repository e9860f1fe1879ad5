package core

import (
	"bytes"
	"encoding/json"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/meetwire/meetwire/pkg/cloudevent"
)

// optionalAttributes checks what may be left out, and the extensions that nobody here knows.
func optionalAttributes(attributes map[string]json.RawMessage) error {
	if raw, ok := attributes["data_base64"]; ok && !isNull(raw) {
		return violation("data_base64", RuleValue, "must not be used: `data` must be JSON")
	}
	if contentType, err := optional(attributes, "datacontenttype"); err != nil || contentType != "" && !cloudevent.IsJSON(contentType) {
		return either(err, violation("datacontenttype", RuleValue, "must be application/json or end in +json"))
	}
	if schema, err := optional(attributes, "dataschema"); err != nil || schema != "" && !isURI(schema) {
		return either(err, violation("dataschema", RuleValue, "must be a URI with its scheme"))
	}
	var others []string
	for attribute := range attributes {
		if !isKnown(attribute) {
			others = append(others, attribute)
		}
	}
	slices.Sort(others) // so that the same document always breaks the same rule
	for _, attribute := range others {
		if err := checkExtension(attribute, attributes[attribute]); err != nil {
			return err
		}
	}
	return nil
}

// isKnown reports whether an attribute has a check of its own.
func isKnown(attribute string) bool {
	switch attribute {
	case "specversion", "id", "source", "type", "time", "subject", "data", "data_base64", "datacontenttype", "dataschema",
		AttributeTeams, AttributeEventType:
		return true
	}
	return false
}

// checkExtension checks the name and the value of an attribute by the rules that CloudEvents has for all of them.
func checkExtension(attribute string, raw json.RawMessage) error {
	path := attributePath([]string{attribute})
	if !cloudevent.IsAttribute(attribute) {
		return violation(path, RuleAttributeName, "must be a name of lower-case letters and digits")
	}
	switch raw[0] {
	case '"':
		_, err := optional(map[string]json.RawMessage{attribute: raw}, attribute)
		return err
	case '{', '[':
		return violation(path, RuleType, "must be a string, a whole number or a boolean")
	case 't', 'f', 'n':
		return nil
	}
	if _, err := strconv.ParseInt(string(raw), 10, 32); err != nil {
		return violation(path, RuleType, "must be a whole number of 32 bits when it is a number")
	}
	return nil
}

func isURI(s string) bool {
	parsed, err := url.Parse(s)
	return err == nil && parsed.IsAbs()
}

func isNull(raw json.RawMessage) bool { return bytes.Equal(raw, []byte("null")) }

// either returns the first error, or the second when there is no first.
func either(err, other error) error {
	if err != nil {
		return err
	}
	return other
}

// instant returns the time of an event.
func instant(attributes map[string]json.RawMessage) (time.Time, error) {
	written, err := optional(attributes, "time")
	if err != nil || written == "" {
		return time.Time{}, err
	}
	at, err := time.Parse(time.RFC3339, written)
	// What is parsed there and is none: 1:00 for 01:00, and a comma for the point.
	if err != nil || written[len("2026-01-31T12")] != ':' || strings.Contains(written, ",") {
		return time.Time{}, violation("time", RuleValue, "must be a time of RFC 3339, such as 2026-01-31T12:00:00Z")
	}
	if at = at.UTC(); at.Year() < 1 || at.Year() > 9999 {
		return time.Time{}, violation("time", RuleValue, "must be in the years 1 to 9999")
	}
	return at, nil
}

// subjectOf returns what an event is about that does not say so itself: the id of its data, if that can be one.
func subjectOf(dataID string) string {
	if utf8.RuneCountInString(dataID) > MaxAttributeLength || strings.ContainsFunc(dataID, unicode.IsControl) {
		return ""
	}
	return dataID
}

// teams returns the teams that an event names.
func teams(attributes map[string]json.RawMessage) ([]string, error) {
	written, err := optional(attributes, AttributeTeams)
	if err != nil || written == "" {
		return nil, err
	}
	if n := strings.Count(written, ",") + 1; n > MaxTeams {
		return nil, violation(AttributeTeams, RuleMaxItems, "must name at most %d teams, names %d", MaxTeams, n)
	}
	var ids []string
	for id := range strings.SplitSeq(written, ",") {
		if id = strings.TrimSpace(id); id != "" {
			ids = append(ids, id)
		}
	}
	return ids, nil
}

// optional returns an attribute that may be left out or be null, which is the same. Null is nothing in the JSON format;
// an empty text is something, which CloudEvents does not allow in its own attributes, so that the libraries of receivers
// refuse the event.
func optional(attributes map[string]json.RawMessage, attribute string) (string, error) {
	raw, ok := attributes[attribute]
	if !ok || isNull(raw) {
		return "", nil
	}
	var value string
	if err := json.Unmarshal(raw, &value); err != nil {
		return "", violation(attribute, RuleType, "must be a string")
	}
	if value == "" && !mayBeEmpty(attribute) {
		return "", violation(attribute, RuleLength, "must not be empty: leave it out when there is nothing to say")
	}
	if strings.ContainsFunc(value, unicode.IsControl) {
		return "", violation(attribute, RuleControlCharacter, "must have no control characters")
	}
	return value, nil
}

// mayBeEmpty reports whether an attribute that need not be there may be an empty text: ours and others' extensions.
func mayBeEmpty(attribute string) bool {
	switch attribute {
	case "time", "subject", "datacontenttype", "dataschema":
		return false
	}
	return true
}

// short is optional for an attribute that we keep.
func short(attributes map[string]json.RawMessage, attribute string) (string, error) {
	value, err := optional(attributes, attribute)
	if err != nil {
		return "", err
	}
	if n := utf8.RuneCountInString(value); n > MaxAttributeLength {
		return "", violation(attribute, RuleLength, "must be at most %d characters, has %d", MaxAttributeLength, n)
	}
	return value, nil
}

// text returns a required attribute that is a string with something in it.
func text(attributes map[string]json.RawMessage, attribute string) (string, error) {
	raw, ok := attributes[attribute]
	if !ok || isNull(raw) {
		return "", violation(attribute, RuleRequired, "is required")
	}
	value, err := optional(attributes, attribute)
	if err == nil && value == "" {
		err = violation(attribute, RuleRequired, "must not be empty")
	}
	return value, err
}

// name returns a required attribute that is part of the event's identity.
func name(attributes map[string]json.RawMessage, attribute string) (string, error) {
	value, err := text(attributes, attribute)
	if err != nil {
		return "", err
	}
	if n := utf8.RuneCountInString(value); n > MaxAttributeLength {
		return "", violation(attribute, RuleLength, "must be at most %d characters, has %d", MaxAttributeLength, n)
	}
	if strings.TrimSpace(value) != value {
		return "", violation(attribute, RuleValue, "must not begin or end with white space")
	}
	return value, nil
}
