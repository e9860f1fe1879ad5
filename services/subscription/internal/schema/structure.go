package schema

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
)

// part is a schema within another.
type part struct {
	place   []string // from the schema that it is in
	schema  any
	applied bool // it is applied to data whenever the schema that it is in is; definitions are not
}

// parts returns the schemas within a schema, ordered.
func parts(schema map[string]any) []part {
	var found []part
	for _, keyword := range slices.Sorted(maps.Keys(schema)) {
		value := schema[keyword]
		switch keyword {
		case "$defs", "definitions", "properties", "patternProperties", "dependentSchemas":
			members, ok := value.(map[string]any)
			if !ok {
				continue // the library says so
			}
			applied := keyword != "$defs" && keyword != "definitions"
			for _, name := range slices.Sorted(maps.Keys(members)) {
				found = append(found, part{[]string{keyword, name}, members[name], applied})
			}
		case "allOf", "anyOf", "oneOf", "prefixItems":
			items, ok := value.([]any)
			if !ok {
				continue
			}
			for i, item := range items {
				found = append(found, part{[]string{keyword, strconv.Itoa(i)}, item, true})
			}
		case "items", "contains", "additionalProperties", "propertyNames", "unevaluatedItems", "unevaluatedProperties",
			"not", "if", "then", "else":
			found = append(found, part{[]string{keyword}, value, true})
		}
	}
	return found
}

// checkStructure returns what of a schema the library would take, and we do not: references out of it, in a circle, or
// to so much that applying it takes long.
func checkStructure(document any) string {
	w := walker{root: document, done: make(map[string]int), open: make(map[string]bool)}
	places := w.walk(document, nil)
	if w.problem == "" && places > MaxPlaces {
		return fmt.Sprintf("must say something about at most %d places of the data, with all references followed", MaxPlaces)
	}
	return w.problem
}

// walker counts the places of a schema, each part once.
type walker struct {
	root    any
	done    map[string]int  // places of the parts that were walked, by their pointer
	open    map[string]bool // the parts that are being walked
	problem string          // the first
}

// walk returns how many places a part says something about, at most a few more than MaxPlaces.
func (w *walker) walk(value any, at []string) int {
	schema, ok := value.(map[string]any)
	if !ok || w.problem != "" {
		return 1
	}
	pointer := pointerTo(at)
	if places, ok := w.done[pointer]; ok {
		return places
	}
	if w.open[pointer] {
		w.fail(at, "must not contain itself by a reference in a circle")
		return 1
	}
	w.open[pointer] = true
	defer delete(w.open, pointer)
	w.checkKeywords(schema, at)
	places := 1
	for _, p := range parts(schema) {
		if inner := w.walk(p.schema, append(slices.Clone(at), p.place...)); p.applied {
			places = min(places+inner, MaxPlaces+1)
		}
	}
	if ref, ok := schema["$ref"].(string); ok && w.problem == "" {
		target, place, found := resolve(w.root, ref)
		if !found {
			w.fail(append(slices.Clone(at), "$ref"), "must be # or a JSON pointer into this schema, such as #/$defs/name")
			return places
		}
		places = min(places+w.walk(target, place), MaxPlaces+1)
	}
	w.done[pointer] = places
	return places
}

// checkKeywords finds the keywords that make references lead somewhere else.
func (w *walker) checkKeywords(schema map[string]any, at []string) {
	for _, keyword := range []string{"$dynamicRef", "$dynamicAnchor", "$anchor", "$recursiveRef", "$recursiveAnchor"} {
		if _, ok := schema[keyword]; ok {
			w.fail(append(slices.Clone(at), keyword), "is not supported: refer to #/$defs/name")
		}
	}
	if _, ok := schema["$id"]; ok && len(at) > 0 {
		w.fail(append(slices.Clone(at), "$id"), "is supported at the top only")
	}
	if version, ok := schema["$schema"]; ok && version != draft && version != draft+"#" {
		w.fail(append(slices.Clone(at), "$schema"), "must be "+draft)
	}
}

func (w *walker) fail(at []string, problem string) {
	if w.problem == "" {
		w.problem = "at " + pointerTo(at) + ": " + problem
	}
}

// resolve returns what a reference within a document leads to.
func resolve(root any, ref string) (target any, place []string, ok bool) {
	pointer, ok := strings.CutPrefix(ref, "#")
	if !ok {
		return nil, nil, false
	}
	if pointer == "" {
		return root, nil, true
	}
	if pointer[0] != '/' || strings.Contains(pointer, "%") {
		return nil, nil, false
	}
	target = root
	for token := range strings.SplitSeq(pointer[1:], "/") {
		token = strings.NewReplacer("~1", "/", "~0", "~").Replace(token)
		switch v := target.(type) {
		case map[string]any:
			if target, ok = v[token]; !ok {
				return nil, nil, false
			}
		case []any:
			i, err := strconv.Atoi(token)
			if err != nil || i < 0 || i >= len(v) {
				return nil, nil, false
			}
			target = v[i]
		default:
			return nil, nil, false
		}
		place = append(place, token)
	}
	return target, place, true
}
