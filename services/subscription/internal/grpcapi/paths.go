package grpcapi

import (
	"fmt"
	"slices"
	"strings"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"

	"github.com/meetwire/meetwire/pkg/fault"
)

// changedFields returns which of the fields that can be changed an update is about: those that the paths of its mask
// name, all of them for a `*`, and without paths those that the message sets. Fields that callers cannot change are passed
// over, so that a resource can be sent back as it was read.
func changedFields(message proto.Message, paths []string, changeable ...string) (map[string]bool, error) {
	changed := make(map[string]bool, len(changeable))
	fields := message.ProtoReflect().Descriptor().Fields()
	switch {
	case len(paths) == 0:
		for _, name := range changeable {
			changed[name] = message.ProtoReflect().Has(fields.ByName(protoreflect.Name(name)))
		}
		return changed, nil
	case len(paths) == 1 && paths[0] == maskAll:
		for _, name := range changeable {
			changed[name] = true
		}
		return changed, nil
	}
	for _, path := range paths {
		name := protoPath(path)
		switch {
		case slices.Contains(changeable, name):
			changed[name] = true
		case strings.ContainsAny(name, ".*") || fields.ByName(protoreflect.Name(name)) == nil:
			return nil, fault.Invalid(fault.Field{
				Path: "update_mask", Rule: "known_path",
				Message: fmt.Sprintf("must name %s, or be %q alone; %.64q is neither", strings.Join(changeable, ", "), maskAll, path),
			})
		}
	}
	return changed, nil
}
