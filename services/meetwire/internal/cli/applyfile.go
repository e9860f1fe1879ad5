package cli

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"regexp"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"

	subscriptionv1 "github.com/meetwire/meetwire/proto/gen/meetwire/subscription/v1"
)

// applyKey is the key of the metadata of a webhook that has its id in the file that made it.
const applyKey = "apply.id"

// declared is a webhook of a file.
type declared struct {
	id      string
	line    int
	webhook *subscriptionv1.Webhook
	paths   []string // of what the file names, for an update mask
}

// applyID is what ids must look like.
var applyID = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9_.-]{0,99}$`)

// maxValues bounds how many values a document may have, counting those of aliases each time.
const maxValues = 100_000

// fileError says where in a file something is wrong.
func fileError(node *yaml.Node, format string, args ...any) error {
	return fmt.Errorf("line %d: "+format, append([]any{node.Line}, args...)...)
}

// readDeclared reads the webhooks of a YAML file: one a document.
func readDeclared(text []byte) ([]declared, error) {
	decoder := yaml.NewDecoder(bytes.NewReader(text))
	var all []declared
	lines := make(map[string]int)
	for {
		var document yaml.Node
		err := decoder.Decode(&document)
		if errors.Is(err, io.EOF) {
			return all, nil
		}
		if err != nil {
			return nil, errors.New(strings.TrimPrefix(err.Error(), "yaml: "))
		}
		root := document.Content[0]
		if root.Kind == yaml.ScalarNode && root.Tag == "!!null" {
			continue // nothing but comments
		}
		d, err := declare(root)
		if err != nil {
			return nil, err
		}
		if earlier, twice := lines[d.id]; twice {
			return nil, fileError(root, "the id %s is used in line %d already", d.id, earlier)
		}
		lines[d.id] = d.line
		all = append(all, d)
	}
}

// declare reads one webhook.
func declare(root *yaml.Node) (declared, error) {
	if root.Kind != yaml.MappingNode {
		return declared{}, fileError(root, "a document must be a webhook: fields with their values")
	}
	d := declared{line: root.Line, webhook: &subscriptionv1.Webhook{}}
	reader := &documentReader{}
	message := d.webhook.ProtoReflect()
	for key, value := range pairs(root) {
		if key.Value == "id" {
			if d.id != "" {
				return d, fileError(key, "id is there twice")
			}
			if !applyID.MatchString(value.Value) || value.Kind != yaml.ScalarNode {
				return d, fileError(value, "id must be 1 to 100 characters of A-Z, a-z, 0-9, _, . and -, the first of them a letter or a digit")
			}
			d.id = value.Value
			continue
		}
		field, err := settable(message, key, "")
		if err != nil {
			return d, err
		}
		encoded, paths, err := reader.field(field, value)
		if err != nil {
			return d, err
		}
		d.paths = append(d.paths, paths...)
		if err := setField(d.webhook, field, key, encoded); err != nil {
			return d, err
		}
	}
	if d.id == "" {
		return d, fileError(root, "id is required: it is what the webhook is found again by")
	}
	if _, taken := d.webhook.GetMetadata()[applyKey]; taken {
		return d, fileError(root, "metadata must not have the key %s: it keeps the id", applyKey)
	}
	if d.webhook.Metadata == nil {
		d.webhook.Metadata = make(map[string]string)
	}
	d.webhook.Metadata[applyKey] = d.id
	return d, nil
}

// setField puts a field into a webhook.
func setField(to *subscriptionv1.Webhook, field protoreflect.FieldDescriptor, key *yaml.Node, encoded any) error {
	if to.ProtoReflect().Has(field) {
		return fileError(key, "%s is there twice", key.Value)
	}
	text, err := json.Marshal(map[string]any{field.JSONName(): encoded})
	if err != nil {
		return fileError(key, "%s cannot be read", key.Value)
	}
	one := &subscriptionv1.Webhook{}
	if err := protojson.Unmarshal(text, one); err != nil {
		return fileError(key, "%s has not the form of the API", key.Value) // the cause could show a secret
	}
	proto.Merge(to, one)
	return nil
}

// pairs goes through the keys and values of a mapping.
func pairs(mapping *yaml.Node) func(func(key, value *yaml.Node) bool) {
	return func(yield func(key, value *yaml.Node) bool) {
		for i := 0; i+1 < len(mapping.Content); i += 2 {
			value := mapping.Content[i+1]
			if value.Kind == yaml.AliasNode {
				value = value.Alias
			}
			if !yield(mapping.Content[i], value) {
				return
			}
		}
	}
}

// settable returns the field that a key names.
func settable(message protoreflect.Message, key *yaml.Node, within string) (protoreflect.FieldDescriptor, error) {
	field := message.Descriptor().Fields().ByJSONName(key.Value)
	path := within + key.Value
	if field == nil {
		return nil, fileError(key, "unknown field %s", path)
	}
	if within != "" {
		return field, nil
	}
	switch field.Name() {
	case "name", "etag", "create_time", "update_time", "status_reason", "status_time", "generation", "secret_versions":
		return nil, fileError(key, "%s cannot be set: Meetwire does", path)
	}
	return field, nil
}

// documentReader turns YAML into what JSON has, as the contract wants it.
type documentReader struct{ values int }

// field returns a field's value, and the paths that an update mask names it with.
func (r *documentReader) field(field protoreflect.FieldDescriptor, value *yaml.Node) (any, []string, error) {
	encoded, err := r.value(field, value, field.JSONName())
	if err != nil {
		return nil, nil, err
	}
	name := string(field.Name())
	switch name {
	case "retry_policy", "dialect_options", "failure_threshold":
		var paths []string
		for key := range pairs(value) {
			paths = append(paths, name+"."+string(field.Message().Fields().ByJSONName(key.Value).Name()))
		}
		if len(paths) > 0 {
			return encoded, paths, nil
		}
	}
	return encoded, []string{name}, nil
}

// value reads the value of a field with all that is in it.
func (r *documentReader) value(field protoreflect.FieldDescriptor, node *yaml.Node, path string) (any, error) {
	if node.Kind == yaml.ScalarNode && node.Tag == "!!null" {
		return nil, nil //nolint:nilnil // it is null
	}
	switch {
	case field.IsMap():
		return r.mapping(node, path)
	case field.IsList():
		if node.Kind != yaml.SequenceNode {
			return nil, fileError(node, "%s must be a list", path)
		}
		all := make([]any, 0, len(node.Content))
		for i, item := range node.Content {
			if item.Kind == yaml.AliasNode {
				item = item.Alias
			}
			one, err := r.single(field, item, fmt.Sprintf("%s[%d]", path, i))
			if err != nil {
				return nil, err
			}
			all = append(all, one)
		}
		return all, nil
	default:
		return r.single(field, node, path)
	}
}

// mapping reads texts by their keys.
func (r *documentReader) mapping(node *yaml.Node, path string) (any, error) {
	if node.Kind != yaml.MappingNode {
		return nil, fileError(node, "%s must have keys and values", path)
	}
	all := make(map[string]any)
	for key, value := range pairs(node) {
		if _, twice := all[key.Value]; twice {
			return nil, fileError(key, "%s.%s is there twice", path, key.Value)
		}
		if value.Kind != yaml.ScalarNode {
			return nil, fileError(value, "%s.%s must be a text", path, key.Value)
		}
		all[key.Value] = value.Value
	}
	return all, nil
}

// single reads one value.
func (r *documentReader) single(field protoreflect.FieldDescriptor, node *yaml.Node, path string) (any, error) {
	if r.values++; r.values > maxValues {
		return nil, fileError(node, "the document has more than %d values", maxValues)
	}
	isMessage := field.Message() != nil && field.Message().ParentFile().Package() != "google.protobuf"
	switch {
	case isMessage && node.Kind != yaml.MappingNode:
		return nil, fileError(node, "%s must have fields", path)
	case isMessage:
		return r.message(field, node, path)
	case node.Kind != yaml.ScalarNode:
		return nil, fileError(node, "%s must be a single value", path)
	default:
		return yamlScalar(field, node, path)
	}
}

func (r *documentReader) message(field protoreflect.FieldDescriptor, node *yaml.Node, path string) (any, error) {
	all := make(map[string]any)
	for key, value := range pairs(node) {
		inner := field.Message().Fields().ByJSONName(key.Value)
		if inner == nil {
			return nil, fileError(key, "unknown field %s.%s", path, key.Value)
		}
		if _, twice := all[key.Value]; twice {
			return nil, fileError(key, "%s.%s is there twice", path, key.Value)
		}
		var err error
		if all[key.Value], err = r.value(inner, value, path+"."+key.Value); err != nil {
			return nil, err
		}
	}
	return all, nil
}

// yamlScalar reads a text, a number or the like. What is wrong is never shown: it could be a secret.
func yamlScalar(field protoreflect.FieldDescriptor, node *yaml.Node, path string) (any, error) {
	switch field.Kind() {
	case protoreflect.BoolKind:
		if node.Tag != "!!bool" {
			return nil, fileError(node, "%s must be true or false", path)
		}
		return strings.EqualFold(node.Value, "true"), nil
	case protoreflect.Int32Kind, protoreflect.Int64Kind:
		number, err := strconv.ParseInt(node.Value, 10, 64)
		if node.Tag != "!!int" || err != nil {
			return nil, fileError(node, "%s must be an integer", path)
		}
		return number, nil
	case protoreflect.DoubleKind:
		number, err := strconv.ParseFloat(node.Value, 64)
		if err != nil || (node.Tag != "!!int" && node.Tag != "!!float") {
			return nil, fileError(node, "%s must be a number", path)
		}
		return number, nil
	case protoreflect.EnumKind:
		if field.Enum().Values().ByName(protoreflect.Name(node.Value)) == nil {
			return nil, fileError(node, "%s must be one of %s", path, enumNames(field))
		}
		return node.Value, nil
	default:
		return node.Value, nil // YAML takes 1.0 for a number, and 2027-01-31 for a date
	}
}

func enumNames(field protoreflect.FieldDescriptor) string {
	var names []string
	for i := 1; i < field.Enum().Values().Len(); i++ {
		names = append(names, string(field.Enum().Values().Get(i).Name()))
	}
	return strings.Join(names, ", ")
}
