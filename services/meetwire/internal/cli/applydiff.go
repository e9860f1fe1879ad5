package cli

import (
	"fmt"
	"strings"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"

	subscriptionv1 "github.com/meetwire/meetwire/proto/gen/meetwire/subscription/v1"
)

// change is a field that differs.
type change struct {
	Field string `json:"field"`
	From  string `json:"from,omitempty"`
	To    string `json:"to,omitempty"`

	path string // in an update mask
}

// hidden stands for what is not shown.
const hidden = "(not shown)"

// differences compares two webhooks in the fields of some paths.
func differences(from, to *subscriptionv1.Webhook, paths []string) []change {
	var all []change
	for _, path := range paths {
		before, after := at(from.ProtoReflect(), path), at(to.ProtoReflect(), path)
		if before.equal(after) {
			continue
		}
		all = append(all, change{Field: after.name, From: before.show(), To: after.show(), path: path})
	}
	return all
}

// place is a field of a message.
type place struct {
	in    protoreflect.Message
	field protoreflect.FieldDescriptor
	name  string // as JSON has it
}

// at finds a field by its path in an update mask.
func at(in protoreflect.Message, path string) place {
	name := ""
	for {
		first, rest, more := strings.Cut(path, ".")
		field := in.Descriptor().Fields().ByName(protoreflect.Name(first))
		name += field.JSONName()
		if !more {
			return place{in, field, name}
		}
		in, path, name = in.Get(field).Message(), rest, name+"."
	}
}

func (p place) equal(other place) bool {
	if p.field.Name() == "headers" {
		// Their values are in no answer.
		return headerNames(p) == headerNames(other)
	}
	// A field without presence that is not set equals one that has the default.
	if p.field.HasPresence() && p.in.Has(p.field) != other.in.Has(other.field) {
		return false
	}
	if p.field.Message() != nil && !p.field.IsList() && !p.field.IsMap() {
		return proto.Equal(p.in.Get(p.field).Message().Interface(), other.in.Get(other.field).Message().Interface())
	}
	return p.in.Get(p.field).Equal(other.in.Get(other.field))
}

// show returns the value for people: secrets and the values of headers never.
func (p place) show() string {
	switch {
	case p.field.Name() == "secret":
		if p.in.Has(p.field) {
			return hidden
		}
		return ""
	case p.field.Name() == "headers":
		return headerNames(p)
	case p.field.IsList() || p.field.IsMap():
		return cell(p.in, string(p.field.Name()))
	case p.in.Has(p.field):
		return cell(p.in, string(p.field.Name()))
	}
	return ""
}

func headerNames(p place) string {
	list := p.in.Get(p.field).List()
	names := make([]string, list.Len())
	for i := range names {
		header := list.Get(i).Message()
		names[i] = header.Get(header.Descriptor().Fields().ByName("name")).String()
		names[i] = printable(names[i]) + ": " + hidden
	}
	return strings.Join(names, ", ")
}

// lines writes the changes of a webhook for people.
func lines(all []change) string {
	var b strings.Builder
	for _, c := range all {
		from, to := c.From, c.To
		switch {
		case from == "" && to == "":
			fmt.Fprintf(&b, "    %s\n", c.Field)
		case from == "":
			fmt.Fprintf(&b, "    %s: %s\n", c.Field, to)
		case to == "":
			fmt.Fprintf(&b, "    %s: %s -> (none)\n", c.Field, from)
		default:
			fmt.Fprintf(&b, "    %s: %s -> %s\n", c.Field, from, to)
		}
	}
	return b.String()
}
