package core

import (
	"cmp"
	"maps"
	"slices"

	"github.com/meetwire/meetwire/pkg/fault"
)

// Plans are those that are configured.
type Plans struct {
	byName map[string]Plan
	byRule string // name of the one that new organizations get
}

// NewPlans returns plans with different names; byDefault is the name of the one that new organizations get.
func NewPlans(plans []Plan, byDefault string) Plans {
	all := Plans{byName: make(map[string]Plan, len(plans)), byRule: byDefault}
	for _, p := range plans {
		all.byName[p.Name] = p
	}
	return all
}

// Plan returns one, and false when it is not configured.
func (p Plans) Plan(name string) (Plan, bool) {
	plan, ok := p.byName[name]
	return plan, ok
}

// Default returns the one that new organizations get.
func (p Plans) Default() Plan { return p.byName[p.byRule] }

// All returns them, ordered by name.
func (p Plans) All() []Plan {
	return slices.SortedFunc(maps.Values(p.byName), func(a, b Plan) int { return cmp.Compare(a.Name, b.Name) })
}

// Of returns the plan by which an organization may make webhooks: fault.FailedPrecondition when it is configured no
// longer. What the organization has keeps working as the plan last had it.
func (p Plans) Of(o Organization) (Plan, error) {
	plan, ok := p.byName[o.Plan]
	if !ok {
		return Plan{}, fault.New(fault.FailedPrecondition, "PLAN_NOT_CONFIGURED",
			"the plan %s of %s is not among the configured plans any more: what there is keeps working, and nothing can be "+
				"created until an operator gives the organization another plan", o.Plan, o.Name())
	}
	return plan, nil
}

// NoPlan is the fault of a plan that is not configured.
func NoPlan(name string) error {
	return fault.New(fault.NotFound, "PLAN_NOT_FOUND", "plans/%s does not exist", name)
}
