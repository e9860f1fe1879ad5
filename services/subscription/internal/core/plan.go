package core

import (
	"time"

	"github.com/meetwire/meetwire/pkg/fault"
)

// Plan says what an organization may have.
type Plan struct {
	Name              string        // such as `enterprise`
	WebhooksAvailable bool          // without them no webhook can be created, and events match nothing
	MaxPerTrigger     int           // greatest number of webhooks that ask for one trigger; 0: no limit
	MaxWebhooks       int           // greatest number of webhooks in all; 0: no limit
	RecordRetention   time.Duration // how long records of deliveries are kept; 0: as long as the installation keeps them
}

// Limited reports whether the number of webhooks matters at all.
func (p Plan) Limited() bool { return !p.WebhooksAvailable || p.MaxPerTrigger > 0 || p.MaxWebhooks > 0 }

// checkRoom returns fault.FailedPrecondition with the reason PLAN_LIMIT when the plan has no room for a webhook that
// asks for these patterns. others are the patterns of the organization's other webhooks, before those that the webhook
// asks for already, nil for a new one: only what is added is counted, so that a webhook of an organization that has
// more than its plan allows can still be changed. A group counts towards each of the triggers that it covers.
func (p Plan) checkRoom(patterns, before []string, others [][]string, triggers []TriggerFacts) error {
	isNew := before == nil
	added := make([]string, 0, len(triggers))
	for _, t := range triggers {
		if coveredByAny(patterns, t.ID) && !coveredByAny(before, t.ID) {
			added = append(added, t.ID)
		}
	}
	if !isNew && len(added) == 0 {
		return nil
	}
	if !p.WebhooksAvailable {
		return planLimit("the plan %s has no webhooks", p.Name)
	}
	if isNew && p.MaxWebhooks > 0 && len(others) >= p.MaxWebhooks {
		return planLimit("the plan %s allows %d webhooks, and there are %d", p.Name, p.MaxWebhooks, len(others))
	}
	if p.MaxPerTrigger == 0 {
		return nil
	}
	for _, id := range added {
		count := 0
		for _, other := range others {
			if coveredByAny(other, id) {
				count++
			}
		}
		if count >= p.MaxPerTrigger {
			return planLimit("the plan %s allows %d webhooks for each trigger, a group counting towards every trigger that it "+
				"covers, and %s has %d", p.Name, p.MaxPerTrigger, id, count)
		}
	}
	return nil
}

func planLimit(format string, args ...any) error {
	return fault.New(fault.FailedPrecondition, "PLAN_LIMIT", format, args...)
}
