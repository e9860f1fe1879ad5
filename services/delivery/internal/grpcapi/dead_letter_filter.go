package grpcapi

import (
	"github.com/google/uuid"

	"github.com/meetwire/meetwire/pkg/aip"
	"github.com/meetwire/meetwire/pkg/bus"
	"github.com/meetwire/meetwire/services/delivery/internal/natsbus"
)

// letterSelection reads a filter of dead letters, of an organization or, with bus.AnyToken, of all. What becomes a part of
// NATS subjects is checked: other characters would select something else.
func letterSelection(organization, filter string) (natsbus.Selection, error) {
	selected := natsbus.Selection{}
	if organization != bus.AnyToken {
		selected.Organization = organization
	}
	values, times, err := aip.ParseTimeFilter(filter, "dead_letter_time", "webhook", "trigger", "reason", "event_id", "delivery")
	if err != nil {
		return selected, err
	}
	t := &terms{values: values}
	if name := t.text("webhook"); name != nil && organization == bus.AnyToken {
		owner, id, err := resourceName("filter", *name, "webhooks")
		if err != nil {
			return selected, invalidFilter("webhook must be organizations/{organization}/webhooks/{webhook} with a UUID")
		}
		selected.Organization, selected.Webhook = owner, id.String()
	} else if id := t.webhook(organization); id != nil {
		selected.Webhook = id.String()
	}
	selected.Trigger, selected.Reason = values["trigger"], values["reason"]
	selected.EventID, selected.Delivery = values["event_id"], values["delivery"]
	selected.Since, selected.Before = times.From, times.Before
	if t.text("trigger") != nil && !bus.IsTrigger(selected.Trigger) {
		t.fail("trigger must be the id of one, such as meeting.booked")
	}
	if t.text("delivery") != nil {
		if id, err := uuid.Parse(selected.Delivery); err != nil || id.String() != selected.Delivery {
			t.fail("delivery must be the id of one: a UUID in small letters")
		}
	}
	for _, field := range []string{"reason", "event_id"} {
		if value := t.text(field); value != nil && *value == "" {
			t.fail(field + " must not be empty")
		}
	}
	return selected, t.err
}
