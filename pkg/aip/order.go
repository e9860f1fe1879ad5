package aip

import (
	"fmt"
	"slices"
	"strings"

	"github.com/meetwire/meetwire/pkg/fault"
)

// ParseOrder parses an order of AIP-132 that has one field, such as `create_time` or `create_time desc`. An empty one is
// the first of the given fields. A field that is not among them, and anything else, is a fault.InvalidArgument of the
// field order_by that says what is allowed.
func ParseOrder(orderBy string, fields ...string) (field string, descending bool, err error) {
	words := strings.Fields(orderBy)
	if len(words) == 0 && len(fields) > 0 {
		return fields[0], false, nil
	}
	descending = len(words) == 2 && words[1] == "desc"
	if len(words) == 0 || len(words) > 1 && !descending || !slices.Contains(fields, words[0]) {
		return "", false, fault.Invalid(fault.Field{
			Path: "order_by", Rule: "order_by",
			Message: fmt.Sprintf("must be one of %s, with \" desc\" for the other way round", strings.Join(fields, ", ")),
		})
	}
	return words[0], descending, nil
}
