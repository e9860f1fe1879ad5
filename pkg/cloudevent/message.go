// Package cloudevent owns how an event of CloudEvents 1.0 is in a message with headers: what the binary mode says in them
// becomes one document in the JSON format. It does not decide whether that is a valid event.
package cloudevent

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"mime"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"
)

// Headers of events in binary mode.
const (
	HeaderPrefix      = "ce-" // of attributes
	headerContentType = "content-type"
)

// Rules that a message can break.
const (
	RuleAttributeName = "attribute_name"
	RuleContentType   = "content_type"
	RuleDuplicateKey  = "duplicate_key"
	RuleJSON          = "json"
	RuleUTF8          = "utf8"
)

// Error says why no document can be made of a message.
type Error struct {
	Attribute string // at fault; empty: the whole
	Rule      string
	Message   string
}

// Error implements error.
func (e *Error) Error() string { return strings.TrimSpace(e.Attribute + " " + e.Message) }

func failed(attribute, rule, format string, args ...any) error {
	return &Error{Attribute: attribute, Rule: rule, Message: fmt.Sprintf(format, args...)}
}

// Document returns the document of an event that came as a message with headers. It may be the body itself (the
// structured mode of CloudEvents), or be in the body and in headers that begin with `ce-` (the binary mode): then the
// document is made, always the same for the same message. Upper and lower case of the names of headers are the same.
// Errors: *Error.
func Document(header map[string][]string, body []byte) ([]byte, error) {
	if len(header) == 0 {
		return body, nil
	}
	said, err := eventHeaders(header)
	if err != nil {
		return nil, err
	}
	if len(said) == 0 {
		return body, nil
	}
	media, _, err := mime.ParseMediaType(said[headerContentType])
	if err != nil {
		media = "" // it says nothing about the mode
	}
	switch {
	case media == "application/cloudevents" || media == "application/cloudevents+json":
		return body, nil
	case strings.HasPrefix(media, "application/cloudevents"):
		return nil, failed("", RuleContentType, "must be one event in the JSON format, is %s", media)
	case said[HeaderPrefix+"specversion"] == "":
		return body, nil
	}
	return fromBinary(said, body)
}

// IsHeader reports whether a header says something of the event.
func IsHeader(name string) bool {
	name = strings.ToLower(name)
	return name == headerContentType || strings.HasPrefix(name, HeaderPrefix)
}

// IsAttribute reports whether CloudEvents allows a name of an attribute.
func IsAttribute(name string) bool {
	for _, c := range []byte(name) {
		if (c < 'a' || c > 'z') && (c < '0' || c > '9') {
			return false
		}
	}
	return name != ""
}

// IsJSON reports whether a media type says that something is JSON.
func IsJSON(contentType string) bool {
	media, _, err := mime.ParseMediaType(contentType)
	return err == nil && (media == "application/json" || strings.HasSuffix(media, "+json"))
}

// eventHeaders returns the headers that are about the event, with lower-case names.
func eventHeaders(header map[string][]string) (map[string]string, error) {
	var said map[string]string // most events have none
	for name, values := range header {
		if !IsHeader(name) || len(values) == 0 {
			continue
		}
		name = strings.ToLower(name)
		attribute, ok := strings.CutPrefix(name, HeaderPrefix)
		if !ok {
			attribute = "datacontenttype"
		}
		if _, twice := said[name]; twice || len(values) > 1 {
			return nil, failed(attribute, RuleDuplicateKey, "must not be in the headers twice")
		}
		if said == nil {
			said = make(map[string]string)
		}
		said[name] = values[0]
	}
	return said, nil
}

// fromBinary makes the document of an event in binary mode.
func fromBinary(said map[string]string, body []byte) ([]byte, error) {
	attributes := make(map[string]string, len(said)+1)
	for name, value := range said {
		attribute, ok := strings.CutPrefix(name, HeaderPrefix)
		if !ok {
			continue
		}
		if !IsAttribute(attribute) || attribute == "data" {
			return nil, failed(attribute, RuleAttributeName, "must be a name of lower-case letters and digits, and not `data`")
		}
		value = percentDecoded(value)
		if !utf8.ValidString(value) {
			return nil, failed(attribute, RuleUTF8, "must be UTF-8")
		}
		attributes[attribute] = value
	}
	// The binding of HTTP says it by the one header, that of NATS by the other.
	if _, ok := attributes["datacontenttype"]; !ok && said[headerContentType] != "" {
		attributes["datacontenttype"] = said[headerContentType]
	}
	if contentType := attributes["datacontenttype"]; contentType != "" && !IsJSON(contentType) {
		return nil, failed("datacontenttype", RuleContentType, "must be application/json or end in +json")
	}
	if !utf8.Valid(body) {
		return nil, failed("data", RuleUTF8, "must be UTF-8")
	}
	if len(body) > 0 && !json.Valid(body) {
		return nil, failed("data", RuleJSON, "must be JSON")
	}
	return structured(attributes, body), nil
}

// structured writes an event in the JSON format.
func structured(attributes map[string]string, data []byte) []byte {
	var b bytes.Buffer
	b.WriteByte('{')
	for i, attribute := range slices.Sorted(maps.Keys(attributes)) {
		if i > 0 {
			b.WriteByte(',')
		}
		value, err := json.Marshal(attributes[attribute])
		if err != nil {
			value = []byte(`""`) // strings can always be written
		}
		b.WriteString(strconv.Quote(attribute))
		b.WriteByte(':')
		b.Write(value)
	}
	if len(data) > 0 {
		b.WriteString(`,"data":`)
		b.Write(data)
	}
	b.WriteByte('}')
	return b.Bytes()
}

// percentDecoded returns what the value of a header stands for: CloudEvents writes everything there but printable ASCII,
// and the percent sign, the quotation mark and the space, as the octets of UTF-8 in the manner of URIs. What is no such
// octet is left as it is. Quotation marks around a value, which older producers write, do not count.
func percentDecoded(value string) string {
	if len(value) >= 2 && value[0] == '"' && value[len(value)-1] == '"' {
		value = unescaped(value[1 : len(value)-1])
	}
	if !strings.Contains(value, "%") {
		return value
	}
	var b strings.Builder
	for i := 0; i < len(value); i++ {
		if value[i] == '%' && i+2 < len(value) {
			if octet, err := strconv.ParseUint(value[i+1:i+3], 16, 8); err == nil {
				b.WriteByte(byte(octet))
				i += 2
				continue
			}
		}
		b.WriteByte(value[i])
	}
	return b.String()
}

// unescaped removes the backslashes of a quoted string.
func unescaped(value string) string {
	var b strings.Builder
	for i := 0; i < len(value); i++ {
		if value[i] == '\\' && i+1 < len(value) {
			i++
		}
		b.WriteByte(value[i])
	}
	return b.String()
}
