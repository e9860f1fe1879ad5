package catalogue

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"strings"
)

// Failures of files that do not fit together.
var (
	errDefinedTwice = errors.New("is defined twice")
	errUndefined    = errors.New("is not defined")
	errOutside      = errors.New("leads out of the schema")
	errTrailing     = errors.New("there is more after the end of the document")
)

// definitions are what schemas may refer to as #/$defs/<name>.
type definitions map[string]json.RawMessage

// defsPrefix begins every reference.
const defsPrefix = "#/$defs/"

// document is the file of a schema. Its members are those that such a file may have at the top; they are written
// in this order, so that people read what matters first.
type document struct {
	Dialect     string          `json:"$schema"`
	Title       string          `json:"title"`
	Description string          `json:"description"`
	Type        string          `json:"type"`
	Ref         string          `json:"$ref,omitempty"`
	Required    []string        `json:"required,omitempty"`
	Properties  json.RawMessage `json:"properties,omitempty"`
	Defs        definitions     `json:"$defs,omitempty"`
}

// readDefinitions reads what the schemas share.
func readDefinitions(from fs.FS) (definitions, error) {
	names, err := fs.Glob(from, "defs/*.defs.json")
	if err != nil {
		return nil, fmt.Errorf("list the definitions: %w", err)
	}
	all := make(definitions)
	for _, name := range names {
		var defs definitions
		if err := readJSON(from, name, &defs); err != nil {
			return nil, err
		}
		for key, def := range defs {
			if _, ok := all[key]; ok {
				return nil, fmt.Errorf("read %s: %s %w", name, key, errDefinedTwice)
			}
			all[key] = def
		}
	}
	return all, nil
}

// readSchema reads the schema of a trigger and adds the definitions that it needs, so that it stands by itself.
func readSchema(from fs.FS, trigger string, defs definitions) (json.RawMessage, error) {
	name := "triggers/" + trigger + ".schema.json"
	var d document
	if err := readJSON(from, name, &d); err != nil {
		return nil, err
	}
	own, err := encode(d)
	if err != nil {
		return nil, fmt.Errorf("write %s: %w", name, err)
	}
	if d.Defs == nil {
		d.Defs = make(definitions)
	}
	if err := d.Defs.add(own, defs); err != nil {
		return nil, fmt.Errorf("resolve %s: %w", name, err)
	}
	whole, err := encode(d)
	if err != nil {
		return nil, fmt.Errorf("write %s: %w", name, err)
	}
	return whole, nil
}

// add adds to d what schema refers to, and what that refers to in turn.
func (d definitions) add(schema json.RawMessage, all definitions) error {
	var value any
	if err := json.Unmarshal(schema, &value); err != nil {
		return fmt.Errorf("read a definition: %w", err)
	}
	for _, ref := range references(value) {
		key, ok := strings.CutPrefix(ref, defsPrefix)
		if !ok {
			return fmt.Errorf("the reference %q %w", ref, errOutside)
		}
		if _, ok := d[key]; ok {
			continue
		}
		def, ok := all[key]
		if !ok {
			return fmt.Errorf("%s %w", key, errUndefined)
		}
		d[key] = def
		if err := d.add(def, all); err != nil {
			return err
		}
	}
	return nil
}

// references returns every $ref within a schema.
func references(value any) []string {
	var refs []string
	switch v := value.(type) {
	case map[string]any:
		for key, member := range v {
			if ref, ok := member.(string); ok && key == "$ref" {
				refs = append(refs, ref)
				continue
			}
			refs = append(refs, references(member)...)
		}
	case []any:
		for _, item := range v {
			refs = append(refs, references(item)...)
		}
	}
	return refs
}

// readJSON reads a file whose content is exactly one JSON value of target's shape. A member that target does not
// have is an error: it would be lost without a word.
func readJSON(from fs.FS, name string, target any) error {
	content, err := fs.ReadFile(from, name)
	if err != nil {
		return fmt.Errorf("read %s: %w", name, err)
	}
	decoder := json.NewDecoder(bytes.NewReader(content))
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(target); err != nil {
		return fmt.Errorf("read %s: %w", name, err)
	}
	if _, err := decoder.Token(); !errors.Is(err, io.EOF) {
		return fmt.Errorf("read %s: %w", name, errTrailing)
	}
	return nil
}

// encode writes compact JSON in which <, > and & stay as they are.
func encode(value any) (json.RawMessage, error) {
	var b bytes.Buffer
	encoder := json.NewEncoder(&b)
	encoder.SetEscapeHTML(false)
	if err := encoder.Encode(value); err != nil {
		return nil, fmt.Errorf("encode: %w", err)
	}
	return bytes.TrimSuffix(b.Bytes(), []byte("\n")), nil
}
