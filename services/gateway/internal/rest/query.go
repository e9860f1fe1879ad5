package rest

import (
	"fmt"
	"net/url"
	"strings"

	"github.com/grpc-ecosystem/grpc-gateway/v2/runtime"
	"github.com/grpc-ecosystem/grpc-gateway/v2/utilities"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
)

// strictQuery reads query parameters into a message, as the runtime does, and refuses what it would pass over: a
// misspelled filter must not return everything.
type strictQuery struct{ runtime.DefaultQueryParser }

// Parse implements runtime.QueryParameterParser.
func (q *strictQuery) Parse(message proto.Message, values url.Values, filter *utilities.DoubleArray) error {
	for name := range values {
		if !hasField(message.ProtoReflect().Descriptor(), strings.Split(name, ".")) {
			return fmt.Errorf("%.64q is not a parameter", name)
		}
	}
	return q.DefaultQueryParser.Parse(message, values, filter)
}

// hasField reports whether a path of field names, as in JSON or as in the contract, leads to a field.
func hasField(message protoreflect.MessageDescriptor, path []string) bool {
	field := message.Fields().ByJSONName(path[0])
	if field == nil {
		field = message.Fields().ByTextName(path[0])
	}
	switch {
	case field == nil:
		return false
	case len(path) == 1:
		return true
	}
	return field.Message() != nil && hasField(field.Message(), path[1:])
}
