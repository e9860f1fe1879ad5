package docs

import (
	"slices"
	"strings"
)

// field is a line of the table of a body.
type field struct {
	Path        string // such as data.hosts[].email
	Type        string // such as string or null
	Required    bool   // within what it belongs to
	Description string
	Values      string // what it can be, when that is laid down
}

// Limits of a table: a schema can describe more than anybody reads, or more than there is room for.
const (
	maxFields = 1000
	maxLevels = 12
	maxSteps  = 20000
)

// fieldsOf returns the fields that a JSON Schema describes, in the order of the schema, and whether there are more.
func fieldsOf(schema string) (fields []field, truncated bool) {
	root, err := parse(schema)
	if err != nil {
		return nil, false
	}
	w := &walker{resolver: newResolver(root)}
	w.walk("", root, nil)
	return w.fields, w.truncated
}

// walker goes through a schema.
type walker struct {
	resolver  *resolver
	fields    []field
	truncated bool
	steps     int
}

// part is a schema that applies to a value, and whether it does so in any case.
type part struct {
	schema *value
	always bool
}

// parts returns all schemas that apply to the value that a schema describes: itself, what it refers to, and what it is
// combined from.
func (w *walker) parts(schema *value) []part {
	var all []part
	var add func(schema *value, always bool)
	add = func(schema *value, always bool) {
		w.steps++
		if schema == nil || w.steps > maxSteps || slices.ContainsFunc(all, func(p part) bool { return p.schema == schema }) {
			return
		}
		all = append(all, part{schema, always})
		for _, reference := range []string{"$ref", "$dynamicRef"} {
			if to := schema.string(reference); to != "" {
				add(w.resolver.find(schema, to), always)
			}
		}
		if combined := schema.get("allOf"); combined != nil {
			for _, inner := range combined.items {
				add(inner, always)
			}
		}
		for _, name := range []string{"anyOf", "oneOf"} {
			if choices := schema.get(name); choices != nil {
				for _, inner := range choices.items {
					add(inner, false)
				}
			}
		}
		for _, name := range []string{"then", "else"} {
			add(schema.get(name), false)
		}
		if dependent := schema.get("dependentSchemas"); dependent != nil {
			for _, m := range dependent.members {
				add(m.value, false)
			}
		}
	}
	add(schema, true)
	return all
}

// walk adds the fields within a value. above are the schemas that it is within, so that what contains itself ends.
func (w *walker) walk(path string, schema *value, above []*value) {
	parts := w.parts(schema)
	for _, p := range parts {
		if slices.Contains(above, p.schema) {
			return
		}
	}
	if len(above) > 0 && strings.Count(path, ".") >= maxLevels {
		w.truncated = true
		return
	}
	for _, p := range parts {
		above = append(above, p.schema)
	}
	for _, m := range properties(parts) {
		name := m.name
		if path != "" {
			name = path + "." + name
		}
		w.field(name, m, above)
	}
	for _, inner := range elements(parts) {
		w.walk(path+inner.name, inner.value, above)
	}
}

// field adds one field and those within it.
func (w *walker) field(path string, p property, above []*value) {
	if w.steps > maxSteps || len(w.fields) >= maxFields {
		w.truncated = true
		return
	}
	described := p.schemas[0]
	if len(p.schemas) > 1 {
		// Two schemas say something about it: both hold.
		described = &value{kind: object, members: []member{{"allOf", &value{kind: list, items: p.schemas}}}}
	}
	parts := w.parts(described)
	f := field{
		Path: path, Required: p.required,
		Type: w.typeOf(described, 0), Description: descriptionOf(parts), Values: valuesOf(parts),
	}
	if f.Description == "" && p.name == anyName {
		f.Description = "The value of each other name."
	}
	w.fields = append(w.fields, f)
	w.walk(path, described, above)
}

// anyName stands for the names that are not laid down.
const anyName = "*"

// property is a property of an object with everything that is said about it.
type property struct {
	name     string
	schemas  []*value
	required bool
}

// properties returns the properties that schemas together describe.
func properties(parts []part) []property {
	var all []property
	var required []string
	add := func(name string, schema *value) {
		index := slices.IndexFunc(all, func(p property) bool { return p.name == name })
		if index < 0 {
			all = append(all, property{name: name, schemas: []*value{schema}})
			return
		}
		all[index].schemas = append(all[index].schemas, schema)
	}
	for _, p := range parts {
		if listed := p.schema.get("properties"); listed != nil {
			for _, m := range listed.members {
				add(m.name, m.value)
			}
		}
		if listed := p.schema.get("patternProperties"); listed != nil {
			for _, m := range listed.members {
				add("/"+m.name+"/", m.value)
			}
		}
		if more := p.schema.get("additionalProperties"); more != nil && more.kind == object {
			add(anyName, more)
		}
		if names := p.schema.get("required"); names != nil && p.always {
			for _, name := range names.items {
				required = append(required, name.text)
			}
		}
	}
	for i := range all {
		all[i].required = slices.Contains(required, all[i].name)
	}
	return all
}

// elements returns what an array can contain, by what is put behind its path.
func elements(parts []part) []member {
	var all []member
	for _, p := range parts {
		for _, name := range []string{"prefixItems", "items", "contains"} {
			inner := p.schema.get(name)
			switch {
			case inner == nil:
			case inner.kind == list:
				for _, item := range inner.items {
					all = append(all, member{"[]", item})
				}
			case inner.kind == object:
				all = append(all, member{"[]", inner})
			}
		}
	}
	return all
}

// descriptionOf returns the nearest description: what refers to something knows best what it is there.
func descriptionOf(parts []part) string {
	for _, name := range []string{"description", "title"} {
		for _, p := range parts {
			if said := p.schema.string(name); said != "" {
				return said
			}
		}
	}
	return ""
}

// laidDown returns the values that are laid down.
func laidDown(parts []part) []*value {
	for _, p := range parts {
		if only := p.schema.get("const"); only != nil {
			return []*value{only}
		}
		if some := p.schema.get("enum"); some != nil && some.kind == list {
			return some.items
		}
	}
	return nil
}

// valuesOf writes those of them that are short enough to be read.
func valuesOf(parts []part) string {
	var all []string
	for _, v := range laidDown(parts) {
		if v.kind <= text {
			all = append(all, v.raw)
		}
	}
	return strings.Join(all, ", ")
}

// typeOf returns the types that a value can have.
func (w *walker) typeOf(schema *value, depth int) string {
	const deep = 4
	var all []string
	add := func(name string) {
		if name != "" && !slices.Contains(all, name) {
			all = append(all, name)
		}
	}
	parts := w.parts(schema)
	format := ""
	for _, p := range parts {
		if found := p.schema.string("format"); found != "" {
			format = " (" + found + ")"
		}
	}
	for _, p := range parts {
		types := []*value{p.schema.get("type")}
		if types[0] != nil && types[0].kind == list {
			types = types[0].items
		}
		for _, t := range types {
			switch {
			case t == nil:
			case t.text == "string":
				add("string" + format)
			case t.text == "array" && depth < deep:
				add(w.arrayType(parts, depth))
			default:
				add(t.text)
			}
		}
	}
	if len(all) == 0 {
		for _, v := range laidDown(parts) {
			add(v.typeName())
		}
	}
	if len(all) == 0 {
		return "any"
	}
	slices.SortStableFunc(all, func(a, b string) int { return boolOrder(a == "null") - boolOrder(b == "null") })
	return strings.Join(all, " or ")
}

// arrayType names what is in an array.
func (w *walker) arrayType(parts []part, depth int) string {
	var inner []string
	for _, element := range elements(parts) {
		if name := w.typeOf(element.value, depth+1); !slices.Contains(inner, name) {
			inner = append(inner, name)
		}
	}
	if len(inner) == 0 {
		return "array"
	}
	return "array of " + strings.Join(inner, " or ")
}

func boolOrder(b bool) int {
	if b {
		return 1
	}
	return 0
}
