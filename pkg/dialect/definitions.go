package dialect

import (
	"embed"
	"encoding/json"
	"fmt"
	"strings"
)

//go:embed schemas/*.defs.json
var schemaFiles embed.FS

// defsPrefix begins a reference to a definition of the same schema.
const defsPrefix = "#/$defs/"

// definitions are the parts of a schema that it refers to.
type definitions map[string]json.RawMessage

// readDefinitions reads those of a dialect that has the meeting in its own fields. An error means that the program was
// built from a broken file.
func readDefinitions(name Name) (definitions, error) {
	file := "schemas/" + name + ".defs.json"
	text, err := schemaFiles.ReadFile(file)
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", file, err)
	}
	var defs definitions
	if err := json.Unmarshal(text, &defs); err != nil {
		return nil, fmt.Errorf("read %s: %w", file, err)
	}
	return defs, nil
}

// schema puts the members and the definitions together.
func (d definitions) schema(members ...member) (*schema, error) {
	text, err := encode(d)
	if err != nil {
		return nil, err
	}
	return &schema{members: members, defs: text}, nil
}

// addExtra adds to a definition the member that only one trigger of the meeting has, as the schema of the published
// data describes it.
func (d definitions) addExtra(trigger, to, noShow, notes string, data json.RawMessage) error {
	var name, published, description string
	switch trigger {
	case triggerNoShow:
		name, published, description = noShow, "no_show", "How it was noted that somebody did not come."
	case triggerNotesReady:
		name, published, description = notes, "ai_notes", "The notes that software has written on the meeting."
	default:
		return nil
	}
	extra := described{Description: description, Type: []string{"object", "null"}}
	var has struct {
		Defs definitions `json:"$defs"`
	}
	if len(data) > 0 {
		if err := json.Unmarshal(data, &has); err != nil {
			return fmt.Errorf("%w: %w", ErrSchema, err)
		}
	}
	if _, ok := has.Defs[published]; ok {
		if err := d.take(has.Defs, published); err != nil {
			return err
		}
		extra = described{Description: description, Ref: defsPrefix + published}
	}
	return d.extend(to, name, extra)
}

// take adds a definition of another schema and those that it refers to, unless they are there already: then they are
// the same, since the names differ from those of the dialect's own.
func (d definitions) take(from definitions, name string) error {
	text, ok := from[name]
	if _, have := d[name]; have || !ok {
		return nil
	}
	d[name] = text
	var parsed any
	if err := json.Unmarshal(text, &parsed); err != nil {
		return fmt.Errorf("%w: %w", ErrSchema, err)
	}
	for _, ref := range references(parsed) {
		if other, ok := strings.CutPrefix(ref, defsPrefix); ok {
			if err := d.take(from, other); err != nil {
				return err
			}
		}
	}
	return nil
}

// extend adds a property to a definition, after its others.
func (d definitions) extend(to, name string, property described) error {
	var def struct {
		Description string          `json:"description"`
		Type        string          `json:"type"`
		Required    []string        `json:"required"`
		Properties  json.RawMessage `json:"properties"`
	}
	if err := json.Unmarshal(d[to], &def); err != nil {
		return fmt.Errorf("read the definition %s: %w", to, err)
	}
	text, err := encode(property)
	if err != nil {
		return err
	}
	one := envelope(field{name, text})
	def.Properties = append(append(def.Properties[:len(def.Properties)-1:len(def.Properties)-1], ','), one[1:]...)
	def.Required = append(def.Required, name)
	d[to], err = encode(def)
	return err
}

// references returns every $ref within a schema.
func references(part any) []string {
	var refs []string
	switch p := part.(type) {
	case map[string]any:
		for key, member := range p {
			if ref, ok := member.(string); ok && key == "$ref" {
				refs = append(refs, ref)
				continue
			}
			refs = append(refs, references(member)...)
		}
	case []any:
		for _, item := range p {
			refs = append(refs, references(item)...)
		}
	}
	return refs
}
