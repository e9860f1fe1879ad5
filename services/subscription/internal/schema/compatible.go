package schema

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
)

// anyItem stands for each item of an array in what people are told of a place.
const anyItem = "*"

// maxNamed is how many differences are named.
const maxNamed = 20

// Incompatible implements core.Schemas.
func (Checker) Incompatible(old, next string) []string {
	before, wrong := parse(old)
	after, alsoWrong := parse(next)
	if wrong != "" || alsoWrong != "" {
		return nil // CheckSchema has said so
	}
	var broken []string
	compare(nil, shaper{root: before}.shape(before, 0), shaper{root: after}.shape(after, 0), &broken)
	if len(broken) > maxNamed {
		more := len(broken) - maxNamed
		broken = append(broken[:maxNamed:maxNamed], fmt.Sprintf("and %d more", more))
	}
	return broken
}

// shape is what a receiver can rely on in a place of the data.
type shape struct {
	types    []string          // those that it may have, sorted; nil: any
	members  map[string]*shape // properties, and items by their index
	required map[string]bool   // the properties that are always there
	items    *shape            // every item; nil: nothing is said of them
}

// compare notes what a receiver relies on that knows the old shape, and does not have with the next.
func compare(at []string, old, next *shape, broken *[]string) {
	if !covers(old.types, next.types) {
		*broken = append(*broken, fmt.Sprintf("%s was %s, and would be %s", pointerTo(at), spell(old.types), spell(next.types)))
		return
	}
	for _, name := range slices.Sorted(maps.Keys(old.members)) {
		place := append(slices.Clone(at), name)
		member, there := next.members[name]
		if !there {
			*broken = append(*broken, pointerTo(place)+" would be gone")
			continue
		}
		if old.required[name] && !next.required[name] {
			*broken = append(*broken, pointerTo(place)+" would be required no longer")
		}
		compare(place, old.members[name], member, broken)
	}
	if old.items != nil {
		items := next.items
		if items == nil {
			items = &shape{}
		}
		compare(append(slices.Clone(at), anyItem), old.items, items, broken)
	}
}

// covers reports whether everything that is of one of the next types is of one of the old.
func covers(old, next []string) bool {
	if old == nil {
		return true
	}
	if next == nil {
		return false
	}
	for _, t := range next {
		if !slices.Contains(old, t) && (t != "integer" || !slices.Contains(old, "number")) {
			return false
		}
	}
	return true
}

func spell(types []string) string {
	if types == nil {
		return "anything"
	}
	return strings.Join(types, " or ")
}

// shaper makes shapes of the parts of a schema that checkStructure accepts: without circles, and with a bounded number of
// places.
type shaper struct{ root any }

// shape returns what a schema promises; nil when nothing satisfies it.
func (s shaper) shape(value any, depth int) *shape {
	schema, ok := value.(map[string]any)
	if !ok || depth > MaxPlaces {
		if value == false {
			return nil
		}
		return &shape{}
	}
	result := s.own(schema, depth+1)
	if ref, ok := schema["$ref"].(string); ok {
		if target, _, found := resolve(s.root, ref); found {
			result = both(result, s.shape(target, depth+1))
		}
	}
	for _, one := range list(schema["allOf"]) {
		result = both(result, s.shape(one, depth+1))
	}
	for _, keyword := range []string{"anyOf", "oneOf"} {
		alternatives := list(schema[keyword])
		if len(alternatives) == 0 {
			continue
		}
		var one *shape
		for _, alternative := range alternatives {
			one = either(one, s.shape(alternative, depth+1))
		}
		result = both(result, one)
	}
	if _, conditional := schema["if"]; conditional {
		result = both(result, either(s.orAny(schema["then"], depth+1), s.orAny(schema["else"], depth+1)))
	}
	return result
}

// orAny is the shape of a part, of anything where it is not there.
func (s shaper) orAny(value any, depth int) *shape {
	if value == nil {
		return &shape{}
	}
	return s.shape(value, depth)
}

// own returns what the keywords of a schema say by themselves.
func (s shaper) own(schema map[string]any, depth int) *shape {
	result := &shape{types: typesOf(schema), members: make(map[string]*shape), required: make(map[string]bool)}
	if properties, ok := schema["properties"].(map[string]any); ok {
		for name, property := range properties {
			if member := s.shape(property, depth); member != nil {
				result.members[name] = member
			}
		}
	}
	for i, item := range list(schema["prefixItems"]) {
		if member := s.shape(item, depth); member != nil {
			result.members[strconv.Itoa(i)] = member
		}
	}
	for _, one := range list(schema["required"]) {
		if name, ok := one.(string); ok {
			result.required[name] = true
			if result.members[name] == nil {
				result.members[name] = &shape{}
			}
		}
	}
	if items, ok := schema["items"]; ok {
		result.items = s.shape(items, depth)
	}
	return result
}

// both is what two schemas promise that hold together.
func both(a, b *shape) *shape {
	if a == nil || b == nil {
		return nil
	}
	result := &shape{types: shared(a.types, b.types), members: maps.Clone(a.members), required: maps.Clone(a.required), items: a.items}
	if result.members == nil {
		result.members, result.required = make(map[string]*shape), make(map[string]bool)
	}
	for name, member := range b.members {
		if mine, ok := result.members[name]; ok {
			if member = both(mine, member); member == nil {
				member = &shape{}
			}
		}
		result.members[name] = member
	}
	maps.Copy(result.required, b.required)
	switch {
	case a.items == nil:
		result.items = b.items
	case b.items != nil:
		result.items = both(a.items, b.items)
	}
	return result
}

// either is what two schemas promise of which one holds. What only one of them has may be there.
func either(a, b *shape) *shape {
	if a == nil {
		return b
	}
	if b == nil {
		return a
	}
	result := &shape{members: maps.Clone(a.members), required: make(map[string]bool), items: a.items}
	if a.types != nil && b.types != nil {
		result.types = slices.Compact(slices.Sorted(slices.Values(slices.Concat(a.types, b.types))))
	}
	if result.members == nil {
		result.members = make(map[string]*shape)
	}
	for name, member := range b.members {
		if mine, ok := result.members[name]; ok {
			member = either(mine, member)
		}
		result.members[name] = member
		if a.required[name] && b.required[name] {
			result.required[name] = true
		}
	}
	if b.items != nil {
		result.items = either(a.items, b.items)
	}
	return result
}

// shared returns the types that are among both; nil is all.
func shared(a, b []string) []string {
	if a == nil {
		return b
	}
	if b == nil {
		return a
	}
	types := []string{}
	for _, t := range a {
		if slices.Contains(b, t) || (t == "integer" && slices.Contains(b, "number")) {
			types = append(types, t)
		}
	}
	for _, t := range b {
		if t == "integer" && slices.Contains(a, "number") && !slices.Contains(types, t) {
			types = append(types, t)
		}
	}
	slices.Sort(types)
	return types
}

// typesOf returns the types that a schema allows by itself, sorted; nil: all.
func typesOf(schema map[string]any) []string {
	if name, ok := schema["type"].(string); ok {
		return []string{name}
	}
	var types []string
	for _, one := range list(schema["type"]) {
		if name, ok := one.(string); ok {
			types = append(types, name)
		}
	}
	if types != nil {
		slices.Sort(types)
		return types
	}
	values := list(schema["enum"])
	if value, ok := schema["const"]; ok {
		values = append(values, value)
	}
	for _, value := range values {
		types = append(types, typeOf(value))
	}
	slices.Sort(types)
	return slices.Compact(types)
}

func list(value any) []any {
	items, _ := value.([]any)
	return items
}
