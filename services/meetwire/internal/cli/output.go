package cli

import (
	"bytes"
	"encoding/json"
	"fmt"
	"regexp"
	"strings"
	"text/tabwriter"
	"time"
	"unicode"

	"go.yaml.in/yaml/v3"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/timestamppb"
)

// column is a column of a table, or a line of the view of one thing.
type column struct {
	title string
	path  string // of the field; `name` is shown as its last segment, `=name` as it is
}

// show writes one message.
func (s *Session) show(message proto.Message, columns []column) error {
	if s.connection.Output != "table" {
		return s.showRaw(message)
	}
	var lines []string
	for _, c := range columns {
		if text := cell(message.ProtoReflect(), c.path); text != "" {
			lines = append(lines, c.title+"\t"+text)
		}
	}
	return s.align(lines)
}

// table writes the messages of a list.
func table[M proto.Message](s *Session, all []M, list proto.Message, columns []column) error {
	if s.connection.Output != "table" {
		return s.showRaw(list)
	}
	if len(all) == 0 {
		return s.say("nothing found")
	}
	titles := make([]string, len(columns))
	for i, c := range columns {
		titles[i] = strings.ToUpper(c.title)
	}
	lines := []string{strings.Join(titles, "\t")}
	for _, message := range all {
		cells := make([]string, len(columns))
		for i, c := range columns {
			cells[i] = cell(message.ProtoReflect(), c.path)
			if !strings.HasPrefix(c.path, "=") {
				cells[i] = shortened(cells[i])
			}
		}
		lines = append(lines, strings.Join(cells, "\t"))
	}
	return s.align(lines)
}

// paged is an answer with a page of a list.
type paged interface {
	proto.Message
	GetNextPageToken() string
}

// tablePage writes the messages of a page, and tells how to get the next one.
func tablePage[M proto.Message](s *Session, all []M, list paged, columns []column) error {
	if err := table(s, all, list, columns); err != nil {
		return err
	}
	return s.more(list.GetNextPageToken())
}

// align writes lines whose cells are separated by tabs, one below the other.
func (s *Session) align(lines []string) error {
	var b bytes.Buffer
	w := tabwriter.NewWriter(&b, 0, 0, 2, ' ', 0)
	if _, err := fmt.Fprintln(w, strings.Join(lines, "\n")); err != nil {
		return fmt.Errorf("write the answer: %w", err)
	}
	if err := w.Flush(); err != nil {
		return fmt.Errorf("write the answer: %w", err)
	}
	for line := range strings.Lines(b.String()) {
		if _, err := fmt.Fprintln(s.terminal.Out, strings.TrimRight(line, " \n")); err != nil {
			return fmt.Errorf("write the answer: %w", err)
		}
	}
	return nil
}

// showRaw writes a message as the API has it.
func (s *Session) showRaw(message proto.Message) error {
	encoded, err := indented(message)
	if err != nil {
		return err
	}
	if s.connection.Output == "yaml" {
		if encoded, err = toYAML(encoded); err != nil {
			return err
		}
	}
	if _, err := s.terminal.Out.Write(encoded); err != nil {
		return fmt.Errorf("write the answer: %w", err)
	}
	return nil
}

// indented writes a message as JSON that is the same each time: protojson varies its white space on purpose.
func indented(message proto.Message) ([]byte, error) {
	encoded, err := protojson.Marshal(message)
	if err != nil {
		return nil, fmt.Errorf("write the answer: %w", err)
	}
	var b bytes.Buffer
	if err := json.Indent(&b, encoded, "", "  "); err != nil {
		return nil, fmt.Errorf("write the answer: %w", err)
	}
	b.WriteByte('\n')
	return b.Bytes(), nil
}

// toYAML writes JSON as YAML, with its fields in their order.
func toYAML(encoded []byte) ([]byte, error) {
	var node yaml.Node
	if err := yaml.Unmarshal(encoded, &node); err != nil { // JSON is YAML
		return nil, fmt.Errorf("write the answer as YAML: %w", err)
	}
	block(&node)
	var b bytes.Buffer
	encoder := yaml.NewEncoder(&b)
	encoder.SetIndent(2)
	if err := encoder.Encode(&node); err != nil {
		return nil, fmt.Errorf("write the answer as YAML: %w", err)
	}
	return b.Bytes(), nil
}

// oldYAML are texts that YAML 1.1, which many tools still read, takes for something else.
var oldYAML = regexp.MustCompile(`(?i)^(y|n|yes|no|on|off|[-+]?[0-9][0-9_]*(:[0-5]?[0-9])+(\.[0-9_]*)?)$`)

// block takes the style of JSON out of a node.
func block(node *yaml.Node) {
	node.Style = 0
	if node.Kind == yaml.ScalarNode && oldYAML.MatchString(node.Value) {
		node.Style = yaml.DoubleQuotedStyle
	}
	for _, inner := range node.Content {
		block(inner)
	}
}

// say writes a line for people: nothing when machines read along.
func (s *Session) say(format string, args ...any) error {
	out := s.terminal.Out
	if s.connection.Output != "table" {
		out = s.terminal.Err
	}
	if _, err := fmt.Fprintf(out, format+"\n", args...); err != nil {
		return fmt.Errorf("write the answer: %w", err)
	}
	return nil
}

// maxCell is the greatest width of a cell of a table.
const maxCell = 60

func shortened(text string) string {
	runes := []rune(text)
	if len(runes) <= maxCell {
		return text
	}
	return string(runes[:maxCell-1]) + "…"
}

// cell returns the text of a field, which may be an inner one.
func cell(message protoreflect.Message, path string) string {
	name, rest, inner := strings.Cut(strings.TrimPrefix(path, "="), ".")
	field := message.Descriptor().Fields().ByName(protoreflect.Name(name))
	if field == nil {
		return ""
	}
	value := message.Get(field)
	if inner {
		if !message.Has(field) {
			return ""
		}
		return cell(value.Message(), rest)
	}
	switch {
	case field.IsMap():
		var pairs []string
		value.Map().Range(func(key protoreflect.MapKey, v protoreflect.Value) bool {
			pairs = append(pairs, printable(key.String()+"="+v.String()))
			return true
		})
		return sortedList(pairs)
	case field.IsList():
		items := make([]string, value.List().Len())
		for i := range items {
			items[i] = text(field, value.List().Get(i))
		}
		return strings.Join(items, ", ")
	case field.HasPresence() && !message.Has(field):
		return ""
	case path == "name":
		full := value.String()
		return printable(full[strings.LastIndexByte(full, '/')+1:])
	default:
		return text(field, value)
	}
}

func text(field protoreflect.FieldDescriptor, value protoreflect.Value) string {
	switch {
	case field.Kind() == protoreflect.EnumKind:
		return enumText(field, value)
	case field.Kind() == protoreflect.BoolKind:
		if value.Bool() {
			return "yes"
		}
		return "no"
	case field.Message() == nil:
		if text := value.String(); text != "0" || field.Kind() == protoreflect.StringKind {
			return printable(text)
		}
		return ""
	}
	switch m := value.Message().Interface().(type) {
	case *timestamppb.Timestamp:
		return m.AsTime().UTC().Format(time.RFC3339)
	case *durationpb.Duration:
		return m.AsDuration().String()
	default:
		encoded, err := protojson.Marshal(m)
		if err != nil {
			return "?"
		}
		var compact bytes.Buffer
		if err := json.Compact(&compact, encoded); err != nil {
			return "?"
		}
		return printable(compact.String())
	}
}

// enumText is the value without what all values of the type begin with: active of STATUS_ACTIVE.
func enumText(field protoreflect.FieldDescriptor, value protoreflect.Value) string {
	known := field.Enum().Values().ByNumber(value.Enum())
	if known == nil {
		return value.String()
	}
	zero := string(field.Enum().Values().Get(0).Name())
	prefix := strings.TrimSuffix(zero, "UNSPECIFIED")
	short := strings.ToLower(strings.TrimPrefix(string(known.Name()), prefix))
	if short == "unspecified" {
		return ""
	}
	return short
}

// printableLines is printable for a text of several lines.
func printableLines(text string) string {
	lines := strings.Split(text, "\n")
	for i := range lines {
		lines[i] = printable(lines[i])
	}
	return strings.Join(lines, "\n")
}

// printable takes out what would confuse a terminal or a table.
func printable(text string) string {
	return strings.Map(func(r rune) rune {
		switch {
		case r == '\n' || r == '\t' || r == '\r':
			return ' '
		case !unicode.IsPrint(r):
			return unicode.ReplacementChar
		}
		return r
	}, text)
}
