package dialect

import (
	"bytes"
	"encoding/json"
	"strings"
	"time"
)

// value is a part of a document whose type is not known: anything can be in it. Every method has an answer for what
// is absent or of another type. Where a method returns any, that is what a body has: nil for null.
type value struct{ any }

// object reads the data of an event; false when it is not an object.
func object(data []byte) (value, bool) {
	if len(data) == 0 || data[0] != '{' {
		return value{}, false
	}
	decoder := json.NewDecoder(bytes.NewReader(data))
	decoder.UseNumber() // a float64 cannot hold every number
	var members map[string]any
	if err := decoder.Decode(&members); err != nil {
		return value{}, false
	}
	return value{members}, true
}

// at returns the member that a path of names leads to.
func (v value) at(path ...string) value {
	for _, name := range path {
		members, ok := v.any.(map[string]any)
		if !ok {
			return value{}
		}
		v = value{members[name]}
	}
	return v
}

// isObject says whether it is an object.
func (v value) isObject() bool {
	_, ok := v.any.(map[string]any)
	return ok
}

// objects returns the elements of a list that are objects.
func (v value) objects() []value {
	var objects []value
	list, _ := v.any.([]any)
	for _, element := range list {
		if e := (value{element}); e.isObject() {
			objects = append(objects, e)
		}
	}
	return objects
}

// first returns the first element that is an object.
func (v value) first() value {
	if objects := v.objects(); len(objects) > 0 {
		return objects[0]
	}
	return value{}
}

// string returns a string, which is empty when it is not one.
func (v value) string() string {
	text, _ := v.any.(string)
	return text
}

// text returns a string or nil.
func (v value) text() any {
	if text, ok := v.any.(string); ok {
		return text
	}
	return nil
}

// upper returns a string in upper case, or nil.
func (v value) upper() any {
	if text, ok := v.any.(string); ok {
		return strings.ToUpper(text)
	}
	return nil
}

// number returns a number as it was written, or nil.
func (v value) number() any {
	if number, ok := v.any.(json.Number); ok {
		return number
	}
	return nil
}

// isTrue says whether it is true.
func (v value) isTrue() bool { return v.any == true }

// when reads a time; false when it is not one.
func (v value) when() (time.Time, bool) { return parseTime(v.string()) }

// time returns a time in UTC, written in a layout, or nil.
func (v value) time(layout string) any {
	if t, ok := v.when(); ok {
		return t.Format(layout)
	}
	return nil
}

// amounts returns an object whose members are numbers, without those that are not; nil when it is no object.
func (v value) amounts() any {
	members, ok := v.any.(map[string]any)
	if !ok {
		return nil
	}
	amounts := make(map[string]any, len(members))
	for name := range members {
		if number := v.at(name).number(); number != nil {
			amounts[name] = number
		}
	}
	return amounts
}

// texts returns the given member of each object in a list, where it is a string. It is never nil, so that it is
// written as an empty list.
func (v value) texts(member string) []string {
	texts := []string{}
	for _, o := range v.objects() {
		if text, ok := o.at(member).any.(string); ok {
			texts = append(texts, text)
		}
	}
	return texts
}

// each makes something of each object in a list. It is never nil, so that it is written as an empty list.
func each[T any](list value, f func(value) T) []T {
	made := []T{}
	for _, o := range list.objects() {
		made = append(made, f(o))
	}
	return made
}
