package rpc

import (
	"errors"
	"strings"

	"buf.build/go/protovalidate"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"

	"github.com/meetwire/meetwire/pkg/fault"
)

const (
	// maxViolations bounds how many violations are told; a status holds no more.
	maxViolations = 20
	// thoroughBytes is the size from which on only the first violation of a request is looked for: a million
	// items that are all wrong would keep a processor busy for seconds.
	thoroughBytes = 64 << 10
)

// validate checks a request against the rules in its descriptor (buf.validate).
func validate(validator protovalidate.Validator, request proto.Message) error {
	var options []protovalidate.ValidationOption
	if proto.Size(request) >= thoroughBytes {
		options = append(options, protovalidate.WithFailFast())
	}
	err := validator.Validate(request, options...)
	if err == nil {
		return nil
	}
	var invalid *protovalidate.ValidationError
	if !errors.As(err, &invalid) || len(invalid.Violations) == 0 {
		return fault.Wrap(fault.Internal, "INTERNAL", err, "validate the request")
	}
	violations := invalid.Violations[:min(len(invalid.Violations), maxViolations)]
	fields := make([]fault.Field, len(violations))
	for i, violation := range violations {
		fields[i] = fault.Field{
			Path:    protovalidate.FieldPathString(violation.Proto.GetField()),
			Rule:    violation.Proto.GetRuleId(),
			Message: violationText(violation),
		}
	}
	return fault.Invalid(fields...)
}

// violationText says what is wrong, with the limit.
func violationText(violation *protovalidate.Violation) string {
	text := violation.Proto.GetMessage()
	switch rule := violation.Proto.GetRuleId(); rule {
	case "enum.in":
		if names := enumNames(violation); names != "" {
			return "must be one of " + names
		}
	case "":
	default:
		if text == "" {
			return "breaks the rule " + rule
		}
	}
	return text
}

// enumNames names the values that an enum field may have: people know them by name, not by number.
func enumNames(violation *protovalidate.Violation) string {
	field := violation.FieldDescriptor
	allowed, ok := violation.RuleValue.Interface().(protoreflect.List)
	if !ok || field == nil || field.Enum() == nil {
		return ""
	}
	names := make([]string, 0, allowed.Len())
	for i := range allowed.Len() {
		number, ok := allowed.Get(i).Interface().(int32)
		if !ok {
			return ""
		}
		value := field.Enum().Values().ByNumber(protoreflect.EnumNumber(number))
		if value == nil {
			return ""
		}
		names = append(names, string(value.Name()))
	}
	return strings.Join(names, ", ")
}
