package core

import (
	"bytes"
	"encoding/json"
	"strconv"
	"strings"
)

// Limits of the JSON of events. They are what every reader behind us takes, and what it may cost to check an event.
const (
	MaxDepth         = 64  // levels of objects and arrays in data
	MaxNumberLength  = 400 // characters of a number
	MaxExponent      = 308 // of a number, as in RFC 8259, section 6: also -308
	maxPointerLength = 512 // bytes of a pointer that we tell
	// fewNames is up to how many names of an object are compared with each other.
	fewNames = 16
)

// scanner goes through a document once, before anything is made of it. It finds what JSON allows and readers understand
// in different ways or cannot take. What is not JSON is left to the one who reads the document then: the scan just ends.
type scanner struct {
	raw   []byte
	at    int
	depth int
	place []token
	names [][]byte // of the objects that are open, the innermost last
	id    []byte   // of the data
	found error
}

// token is a step into a document.
type token struct {
	name  []byte // of a member
	index int    // of an item
}

// scan returns what is wrong with a document, and the id of its data when that is a string. When it is not JSON, whole is
// false, and it is for json to say why.
func scan(raw []byte) (id string, whole bool, err error) {
	s := scanner{raw: raw, place: make([]token, 0, 8), names: make([][]byte, 0, 32)}
	s.space()
	whole = s.value()
	s.space()
	return string(s.id), whole && s.at == len(raw), s.found
}

// refuse ends the scan with a violation at this place.
func (s *scanner) refuse(rule, format string, args ...any) bool {
	tokens := make([]string, len(s.place))
	for i, t := range s.place {
		if tokens[i] = string(t.name); t.name == nil {
			tokens[i] = strconv.Itoa(t.index)
		}
	}
	s.found = violation(attributePath(tokens), rule, format, args...)
	return false
}

func (s *scanner) space() {
	for s.at < len(s.raw) && (s.raw[s.at] == ' ' || s.raw[s.at] == '\n' || s.raw[s.at] == '\t' || s.raw[s.at] == '\r') {
		s.at++
	}
}

// take reads one byte, and what space follows it.
func (s *scanner) take(c byte) bool {
	if s.at == len(s.raw) || s.raw[s.at] != c {
		return false
	}
	s.at++
	s.space()
	return true
}

// value reads a value.
func (s *scanner) value() bool {
	if s.at == len(s.raw) {
		return false
	}
	switch c := s.raw[s.at]; {
	case c == '{':
		return s.nested(s.object)
	case c == '[':
		return s.nested(s.array)
	case c == '"':
		said, ok := s.text()
		if len(s.place) == 2 && string(s.place[0].name) == "data" && string(s.place[1].name) == "id" {
			s.id = said
		}
		return ok
	case c == '-' || c >= '0' && c <= '9':
		return s.number()
	}
	for _, word := range []string{"true", "false", "null"} {
		if bytes.HasPrefix(s.raw[s.at:], []byte(word)) {
			s.at += len(word)
			return true
		}
	}
	return false
}

// nested reads an object or an array, unless it is too deep inside others.
func (s *scanner) nested(read func() bool) bool {
	if s.depth > MaxDepth { // the document itself is a level more
		return s.refuse(RuleDepth, "must not be nested deeper than %d levels", MaxDepth)
	}
	s.depth++
	s.at++
	s.space()
	ok := read()
	s.depth--
	return ok
}

// array reads the rest of an array.
func (s *scanner) array() bool {
	if s.take(']') {
		return true
	}
	s.place = append(s.place, token{})
	for {
		if !s.value() {
			return false
		}
		s.space()
		if s.take(']') {
			s.place = s.place[:len(s.place)-1]
			return true
		}
		if !s.take(',') {
			return false
		}
		s.place[len(s.place)-1].index++
	}
}

// object reads the rest of an object, in which no name may occur twice.
func (s *scanner) object() bool {
	if s.take('}') {
		return true
	}
	first := len(s.names)
	var many map[string]struct{} // of the names, once there are many
	for {
		if !s.member(first, &many) {
			return false
		}
		s.space()
		if s.take('}') {
			s.names = s.names[:first]
			return true
		}
		if !s.take(',') {
			return false
		}
	}
}

// member reads a name, which must not be among those of the same object, and its value.
func (s *scanner) member(first int, many *map[string]struct{}) bool {
	if s.at == len(s.raw) || s.raw[s.at] != '"' {
		return false
	}
	name, ok := s.text()
	if !ok {
		return false
	}
	s.place = append(s.place, token{name: name})
	if s.isTwice(name, s.names[first:], many) {
		return s.refuse(RuleDuplicateKey, "must not be in the same object twice")
	}
	s.names = append(s.names, name)
	s.space()
	if !s.take(':') || !s.value() {
		return false
	}
	s.place = s.place[:len(s.place)-1]
	return true
}

// isTwice reports whether a name is among those of an object. Many of them are looked up in a map.
func (s *scanner) isTwice(name []byte, among [][]byte, many *map[string]struct{}) bool {
	if len(among) < fewNames {
		for _, other := range among {
			if bytes.Equal(name, other) {
				return true
			}
		}
		return false
	}
	if *many == nil {
		*many = make(map[string]struct{}, 2*fewNames)
		for _, other := range among {
			(*many)[string(other)] = struct{}{}
		}
	}
	_, twice := (*many)[string(name)]
	(*many)[string(name)] = struct{}{}
	return twice
}

// text reads a string and returns what it says.
func (s *scanner) text() (said []byte, ok bool) {
	start := s.at
	escaped := false
	for s.at++; s.at < len(s.raw); s.at++ {
		switch c := s.raw[s.at]; {
		case c == '"':
			s.at++
			if !escaped {
				return s.raw[start+1 : s.at-1], true
			}
			var unquoted string
			if json.Unmarshal(s.raw[start:s.at], &unquoted) != nil {
				return nil, false
			}
			return []byte(unquoted), true
		case c < ' ':
			return nil, false
		case c == '\\':
			escaped = true
			if !s.escape() {
				return nil, false
			}
		}
	}
	return nil, false
}

// escape reads an escape to its last byte. Two that are the halves of one character must follow each other: what one of
// them alone means, every reader decides for itself.
func (s *scanner) escape() bool {
	s.at++
	if s.at == len(s.raw) || s.raw[s.at] != 'u' {
		return s.at < len(s.raw)
	}
	unit, ok := s.unit(s.at + 1)
	if !ok {
		return false
	}
	s.at += 4
	if unit < 0xd800 || unit > 0xdfff {
		return true
	}
	if unit < 0xdc00 && s.at+2 < len(s.raw) && s.raw[s.at+1] == '\\' && s.raw[s.at+2] == 'u' {
		if second, ok := s.unit(s.at + 3); ok && second >= 0xdc00 && second <= 0xdfff {
			s.at += 6
			return true
		}
	}
	return s.refuse(RuleUTF8, `must not have one half of a surrogate pair, \u%04x`, unit)
}

// unit returns the four hexadecimal digits from a place on.
func (s *scanner) unit(at int) (uint64, bool) {
	if at+4 > len(s.raw) {
		return 0, false
	}
	unit, err := strconv.ParseUint(string(s.raw[at:at+4]), 16, 16)
	return unit, err == nil
}

// number reads a number that is not too great to be computed with.
func (s *scanner) number() bool {
	start, exponent := s.at, -1
	for ; s.at < len(s.raw) && strings.IndexByte("0123456789.+-eE", s.raw[s.at]) >= 0; s.at++ {
		if c := s.raw[s.at]; c == 'e' || c == 'E' {
			exponent = s.at + 1
		}
	}
	written := s.raw[start:s.at]
	if len(written) > MaxNumberLength {
		return s.refuse(RuleNumber, "must be a number of at most %d characters, has %d", MaxNumberLength, len(written))
	}
	if exponent >= 0 {
		digits := strings.TrimLeft(strings.TrimLeft(string(s.raw[exponent:s.at]), "+-"), "0")
		if n, err := strconv.Atoi("0" + digits); err == nil && n > MaxExponent || len(digits) > 3 {
			return s.refuse(RuleNumber, "must be a number with an exponent from -%d to %d", MaxExponent, MaxExponent)
		}
	}
	if !json.Valid(written) {
		return false
	}
	if exponent >= 0 || len(written) > MaxExponent {
		if _, err := strconv.ParseFloat(string(written), 64); err != nil {
			return s.refuse(RuleNumber, "must be a number that a double can hold")
		}
	}
	return true
}

// pointerEscapes are those of RFC 6901.
func pointerEscapes() *strings.Replacer { return strings.NewReplacer("~", "~0", "/", "~1") }

// JSONPointer writes a place in a document as a JSON pointer (RFC 6901). One that would be very long, because the names in
// it are, ends at what is around the place.
func JSONPointer(place []string) string {
	var b strings.Builder
	escapes := pointerEscapes()
	for _, one := range place {
		next := escapes.Replace(one)
		if b.Len()+1+len(next) > maxPointerLength {
			break
		}
		b.WriteByte('/')
		b.WriteString(next)
	}
	return b.String()
}

// attributePath is how the violation of a place is called: the attribute, and the pointer to the place in it.
func attributePath(place []string) string { return strings.TrimPrefix(JSONPointer(place), "/") }

// PointerOf returns the JSON pointer into the document for the path of a field at fault, `event.data/title`; empty for
// the whole.
func PointerOf(path string) string {
	if inner, ok := strings.CutPrefix(path, "event."); ok {
		return "/" + inner
	}
	return ""
}
