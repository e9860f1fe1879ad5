package aip

import (
	"slices"
	"time"

	"go.einride.tech/aip/filtering"
	expr "google.golang.org/genproto/googleapis/api/expr/v1alpha1"
)

// TimeRange is a part of time: from From on, and before Before. A zero time is no limit.
type TimeRange struct {
	From, Before time.Time
}

// ParseTimeFilter parses what ParseFilter does, and comparisons of one more field, a time, by `>=` and `<`, such as
// `action = delete AND create_time >= "2026-05-01T00:00:00Z" AND create_time < "2026-06-01T00:00:00Z"`. A time is in
// quotes, as RFC 3339 has it. Each of the two may be there once.
func ParseTimeFilter(filter, timeField string, fields ...string) (map[string]string, TimeRange, error) {
	// For what is said about a filter that is not understood; no field is called that.
	told := append(slices.Clone(fields), timeField+" (with >= and <)")
	times := timeComparisons{field: timeField, told: told}
	values, err := parseFilter(filter, told, times.take)
	if err != nil {
		return nil, TimeRange{}, err
	}
	return values, times.found, nil
}

// timeComparisons collects the comparisons of a time.
type timeComparisons struct {
	field string
	told  []string
	found TimeRange
}

// take collects a comparison when it is one of the time. It reports whether it is.
func (t *timeComparisons) take(call *expr.Expr_Call) (bool, error) {
	if len(call.GetArgs()) != 2 {
		return false, nil
	}
	if field, ok := path(call.GetArgs()[0]); !ok || field != t.field {
		return false, nil
	}
	var limit *time.Time
	switch call.GetFunction() {
	case filtering.FunctionGreaterEquals:
		limit = &t.found.From
	case filtering.FunctionLessThan:
		limit = &t.found.Before
	default:
		return false, t.invalid("compares %s by something else than >= and <", t.field)
	}
	if !limit.IsZero() {
		return false, t.invalid("limits %s twice on one side", t.field)
	}
	value, err := time.Parse(time.RFC3339Nano, call.GetArgs()[1].GetConstExpr().GetStringValue())
	if err != nil || value.IsZero() {
		return false, t.invalid("compares %s with something that is not a time of RFC 3339 in quotes", t.field)
	}
	*limit = value.UTC()
	return true, nil
}

func (t *timeComparisons) invalid(format string, args ...any) error {
	return invalidFilter(t.told, format, args...)
}
