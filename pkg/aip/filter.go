package aip

import (
	"fmt"
	"slices"
	"strings"
	"unicode/utf8"

	"go.einride.tech/aip/filtering"
	expr "google.golang.org/genproto/googleapis/api/expr/v1alpha1"

	"github.com/meetwire/meetwire/pkg/fault"
)

// maxFilterLength is the greatest length of a filter, in bytes. The parser is recursive and takes milliseconds for
// the worst filter of this length.
const maxFilterLength = 2048

// ParseFilter parses the part of AIP-160 that the API's lists understand: comparisons of a field with a value by
// `=`, joined by AND, such as `event_id = "bk_1" AND state = STATE_DEAD_LETTERED`. It returns the value for each
// field that the filter names; an empty filter names none. A value is taken letter by letter, a `*` in it too. A field
// that is given as `metadata.*` stands for every key of a map: in `metadata.env = "test" AND metadata."a-b" = "c"` the
// fields are `metadata.env` and `metadata.a-b`.
// Everything else, a field that is not among the given ones, and a field that is named twice is a
// fault.InvalidArgument of the field filter that says what is allowed.
func ParseFilter(filter string, fields ...string) (map[string]string, error) {
	return parseFilter(filter, fields, nil)
}

// takeComparison collects a comparison of a kind of its own. It reports whether it has.
type takeComparison func(call *expr.Expr_Call) (bool, error)

// parseFilter parses a filter; take, when there is one, is asked first about each of its comparisons.
func parseFilter(filter string, fields []string, take takeComparison) (map[string]string, error) {
	values := make(map[string]string, len(fields))
	if strings.TrimSpace(filter) == "" {
		return values, nil
	}
	if len(filter) > maxFilterLength {
		return nil, invalidFilter(fields, "is longer than %d bytes", maxFilterLength)
	}
	var parser filtering.Parser
	parser.Init(filter)
	parsed, err := parser.Parse()
	if err != nil {
		return nil, invalidFilter(fields, "cannot be parsed; quotes are needed around a value that is not made of letters, digits, _, / and dots alone")
	}
	if err := conjunction(parsed.GetExpr(), fields, values, take); err != nil {
		return nil, err
	}
	return values, nil
}

// conjunction collects the comparisons of an expression that consists of nothing else.
func conjunction(e *expr.Expr, fields []string, values map[string]string, take takeComparison) error {
	call := e.GetCallExpr()
	if call == nil {
		return invalidFilter(fields, "has a part that is not a comparison")
	}
	if take != nil && call.GetFunction() != filtering.FunctionAnd {
		if taken, err := take(call); taken || err != nil {
			return err
		}
	}
	switch call.GetFunction() {
	case filtering.FunctionAnd:
		for _, part := range call.GetArgs() {
			if err := conjunction(part, fields, values, take); err != nil {
				return err
			}
		}
		return nil
	case filtering.FunctionEquals:
		return comparison(call.GetArgs(), fields, values)
	case filtering.FunctionFuzzyAnd:
		return invalidFilter(fields, "has comparisons that are not joined by AND")
	default:
		return invalidFilter(fields, "has an operator or a function that is not allowed")
	}
}

// comparison collects one `field = value`.
func comparison(args []*expr.Expr, fields []string, values map[string]string) error {
	if len(args) != 2 {
		return invalidFilter(fields, "has a comparison without two sides")
	}
	field, ok := path(args[0])
	if !ok || !allowed(fields, field) {
		return invalidFilter(fields, "names a field that is not allowed")
	}
	if _, twice := values[field]; twice {
		return invalidFilter(fields, "names %s twice", field)
	}
	value, ok := path(args[1])
	if !ok {
		constant, isString := args[1].GetConstExpr().GetConstantKind().(*expr.Constant_StringValue)
		if !isString {
			return invalidFilter(fields, "compares %s with something that is neither a quoted text nor a plain word", field)
		}
		value = constant.StringValue
	}
	if value == "" || strings.ContainsRune(value, 0) || !utf8.ValidString(value) {
		return invalidFilter(fields, "compares %s with a text that is empty or has characters that no value has", field)
	}
	values[field] = value
	return nil
}

// allowed reports whether a field is among the given ones, or a key of a map that is.
func allowed(fields []string, field string) bool {
	if strings.ContainsRune(field, 0) || !utf8.ValidString(field) {
		return false
	}
	return slices.ContainsFunc(fields, func(one string) bool {
		prefix, isMap := strings.CutSuffix(one, "*")
		return one == field && !isMap || isMap && len(field) > len(prefix) && strings.HasPrefix(field, prefix)
	})
}

// path returns what is written as words with dots between them.
func path(e *expr.Expr) (string, bool) {
	if ident := e.GetIdentExpr(); ident != nil {
		return ident.GetName(), true
	}
	member := e.GetSelectExpr()
	if member == nil {
		return "", false
	}
	operand, ok := path(member.GetOperand())
	return operand + "." + member.GetField(), ok
}

func invalidFilter(fields []string, format string, args ...any) error {
	allowed := "nothing: this list has no filter"
	if len(fields) > 0 {
		allowed = fmt.Sprintf(`comparisons such as %s = "value", joined by AND, of: %s`, fields[0], strings.Join(fields, ", "))
	}
	return fault.Invalid(fault.Field{
		Path: "filter", Rule: "filter", Message: fmt.Sprintf(format, args...) + ". Allowed: " + allowed,
	})
}
