package docs

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"net/url"
	"strconv"
	"strings"
)

// value is a JSON value that keeps the order of members, in which people wrote them.
type value struct {
	members []member // of an object
	items   []*value // of an array
	text    string   // a string as it is, else the JSON of a scalar
	kind    kind
	raw     string // the JSON of a scalar
}

type member struct {
	name  string
	value *value
}

type kind int

const (
	scalar kind = iota
	text
	list
	object
)

// errNoJSON is returned for what is not one JSON value.
var errNoJSON = errors.New("not JSON")

// maxNesting bounds how deep a document may go.
const maxNesting = 200

// parse reads one JSON value.
func parse(document string) (*value, error) {
	decoder := json.NewDecoder(strings.NewReader(document))
	decoder.UseNumber()
	v, err := parseValue(decoder, 0)
	if err != nil {
		return nil, err
	}
	if _, err := decoder.Token(); !errors.Is(err, io.EOF) {
		return nil, errNoJSON
	}
	return v, nil
}

func parseValue(decoder *json.Decoder, depth int) (*value, error) {
	token, err := decoder.Token()
	if err != nil || depth > maxNesting {
		return nil, errNoJSON
	}
	switch t := token.(type) {
	case json.Delim:
		return parseCollection(decoder, t, depth)
	case string:
		return &value{kind: text, text: t, raw: quoted(t)}, nil
	case json.Number:
		return &value{text: t.String(), raw: t.String()}, nil
	case bool:
		return &value{text: strconv.FormatBool(t), raw: strconv.FormatBool(t)}, nil
	default:
		return &value{text: "null", raw: "null"}, nil
	}
}

func parseCollection(decoder *json.Decoder, open json.Delim, depth int) (*value, error) {
	v := &value{kind: list}
	if open == '{' {
		v.kind = object
	}
	for decoder.More() {
		name := ""
		if v.kind == object {
			token, err := decoder.Token()
			if err != nil {
				return nil, errNoJSON
			}
			name, _ = token.(string)
		}
		inner, err := parseValue(decoder, depth+1)
		if err != nil {
			return nil, err
		}
		if v.kind == object {
			v.members = append(v.members, member{name, inner})
		} else {
			v.items = append(v.items, inner)
		}
	}
	if _, err := decoder.Token(); err != nil {
		return nil, errNoJSON
	}
	return v, nil
}

func quoted(s string) string {
	var b bytes.Buffer
	encoder := json.NewEncoder(&b)
	encoder.SetEscapeHTML(false)
	if err := encoder.Encode(s); err != nil {
		return s
	}
	return strings.TrimSuffix(b.String(), "\n")
}

// get returns a member of an object, and nil when there is none.
func (v *value) get(name string) *value {
	if v == nil {
		return nil
	}
	for _, m := range v.members {
		if m.name == name {
			return m.value
		}
	}
	return nil
}

// typeName returns what JSON Schema calls its type.
func (v *value) typeName() string {
	switch {
	case v.kind == object:
		return "object"
	case v.kind == list:
		return "array"
	case v.kind == text:
		return "string"
	case v.raw == "null":
		return "null"
	case v.raw == "true", v.raw == "false":
		return "boolean"
	default:
		return "number"
	}
}

// string returns the text of a member that is a string.
func (v *value) string(name string) string {
	if found := v.get(name); found != nil && found.kind == text {
		return found.text
	}
	return ""
}

// resolver finds what schemas refer to. It knows what is within the document only, which is all that is allowed.
type resolver struct {
	resources map[string]*value // by $id; "" is the document
	anchors   map[string]*value // by $id and $anchor, with # between
	home      map[*value]string // of each schema the $id of its resource
}

func newResolver(root *value) *resolver {
	r := &resolver{resources: map[string]*value{"": root}, anchors: map[string]*value{}, home: map[*value]string{}}
	r.index(root, "")
	return r
}

func (r *resolver) index(v *value, home string) {
	if id := v.string("$id"); id != "" {
		home = strings.TrimSuffix(resolved(home, id), "#")
		r.resources[home] = v
	}
	r.home[v] = home
	if anchor := v.string("$anchor"); anchor != "" {
		r.anchors[home+"#"+anchor] = v
	}
	for _, m := range v.members {
		r.index(m.value, home)
	}
	for _, item := range v.items {
		r.index(item, home)
	}
}

// find returns what a schema refers to, and nil when it is not there.
func (r *resolver) find(from *value, reference string) *value {
	target, fragment, _ := strings.Cut(reference, "#")
	home := r.home[from]
	if target != "" {
		home = resolved(home, target)
	}
	resource := r.resources[home]
	switch {
	case resource == nil || fragment == "":
		return resource
	case !strings.HasPrefix(fragment, "/"):
		return r.anchors[home+"#"+fragment]
	}
	return resource.at(fragment)
}

// at follows a JSON pointer (RFC 6901) as it stands in a URI.
func (v *value) at(pointer string) *value {
	for _, part := range strings.Split(pointer[1:], "/") {
		if unescaped, err := url.PathUnescape(part); err == nil {
			part = unescaped
		}
		part = strings.ReplaceAll(strings.ReplaceAll(part, "~1", "/"), "~0", "~")
		switch {
		case v == nil:
			return nil
		case v.kind == list:
			index, err := strconv.Atoi(part)
			if err != nil || index < 0 || index >= len(v.items) {
				return nil
			}
			v = v.items[index]
		default:
			v = v.get(part)
		}
	}
	return v
}

// resolved makes a reference absolute, where there is something to make it absolute with.
func resolved(base, reference string) string {
	from, err := url.Parse(base)
	if err != nil || base == "" {
		return reference
	}
	to, err := from.Parse(reference)
	if err != nil {
		return reference
	}
	return to.String()
}
