package grpcapi

import (
	"strconv"

	"github.com/google/uuid"

	"github.com/meetwire/meetwire/pkg/aip"
	"github.com/meetwire/meetwire/pkg/fault"
	deliveryv1 "github.com/meetwire/meetwire/proto/gen/meetwire/delivery/v1"
	"github.com/meetwire/meetwire/services/delivery/internal/pgstore"
)

// terms are the comparisons of a filter. The first that is at fault is kept.
type terms struct {
	values map[string]string
	err    error
}

// text returns what a field is compared with; nil when it is not.
func (t *terms) text(field string) *string {
	if value, ok := t.values[field]; ok {
		return &value
	}
	return nil
}

// number is text for a field that is a number of so many bits.
func (t *terms) number(field string, bits int) *int64 {
	value, ok := t.values[field]
	if !ok {
		return nil
	}
	n, err := strconv.ParseInt(value, 10, bits)
	if err != nil || n < 0 {
		t.fail(field + " must be a number in quotes")
		return nil
	}
	return &n
}

// webhook is text for the name of a webhook of an organization.
func (t *terms) webhook(organization string) *uuid.UUID {
	name, ok := t.values["webhook"]
	if !ok {
		return nil
	}
	owner, id, err := resourceName("filter", name, "webhooks")
	if err != nil || owner != organization {
		t.fail("webhook must be organizations/" + organization + "/webhooks/{webhook} with a UUID")
		return nil
	}
	return &id
}

func (t *terms) fail(message string) {
	if t.err == nil {
		t.err = invalidFilter(message)
	}
}

// deliveryFilter reads the filter of ListDeliveries.
func deliveryFilter(organization, text string) (pgstore.Filter, error) {
	var filter pgstore.Filter
	values, times, err := aip.ParseTimeFilter(text, "accept_time",
		"webhook", "trigger", "event_source", "event_id", "event_sequence", "state", "last_status_code", "last_error_class")
	if err != nil {
		return filter, err
	}
	t := &terms{values: values}
	filter = pgstore.Filter{
		Webhook: t.webhook(organization), Trigger: t.text("trigger"), EventSource: t.text("event_source"), EventID: t.text("event_id"),
		Sequence: t.number("event_sequence", 64), ErrorClass: t.text("last_error_class"),
		Since: optional(times.From), Until: optional(times.Before),
	}
	if name := t.text("state"); name != nil {
		number, known := deliveryv1.Delivery_State_value[*name]
		if !known || number == 0 {
			t.fail("state must be STATE_PENDING, STATE_SUCCEEDED, STATE_DEAD_LETTERED or STATE_DROPPED")
		}
		state := int16(number) //nolint:gosec // G115: an enum of five values
		filter.State = &state
	}
	filter.StatusCode = statusCode(t, "last_status_code")
	return filter, t.err
}

// attemptFilter reads the filter of ListAttempts.
func attemptFilter(organization, text string) (pgstore.AttemptFilter, error) {
	var filter pgstore.AttemptFilter
	values, times, err := aip.ParseTimeFilter(text, "start_time", "webhook", "status_code", "error_class", "succeeded")
	if err != nil {
		return filter, err
	}
	t := &terms{values: values}
	filter = pgstore.AttemptFilter{
		Webhook: t.webhook(organization), StatusCode: statusCode(t, "status_code"), ErrorClass: t.text("error_class"),
		Since: optional(times.From), Until: optional(times.Before),
	}
	if succeeded := t.text("succeeded"); succeeded != nil {
		filter.Succeeded, filter.Failed = *succeeded == "true", *succeeded == "false"
		if !filter.Succeeded && !filter.Failed {
			t.fail("succeeded must be true or false")
		}
	}
	return filter, t.err
}

func statusCode(t *terms, field string) *int32 {
	n := t.number(field, 32)
	if n == nil {
		return nil
	}
	code := int32(*n) //nolint:gosec // G115: read as 32 bits
	return &code
}

func invalidFilter(message string) error {
	return fault.Invalid(fault.Field{Path: "filter", Rule: "filter", Message: message})
}
