package grpcapi

import (
	"context"

	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/meetwire/meetwire/pkg/aip"
	subscriptionv1 "github.com/meetwire/meetwire/proto/gen/meetwire/subscription/v1"
	"github.com/meetwire/meetwire/services/subscription/internal/core"
)

// Plans implements PlanService.
type Plans struct {
	subscriptionv1.UnimplementedPlanServiceServer

	plans core.Plans
}

// NewPlans returns the service over the configured plans.
func NewPlans(plans core.Plans) *Plans { return &Plans{plans: plans} }

// GetPlan implements PlanService.
func (s *Plans) GetPlan(_ context.Context, req *subscriptionv1.GetPlanRequest) (*subscriptionv1.Plan, error) {
	name, err := parsePlan("name", req.GetName())
	if err != nil {
		return nil, err
	}
	plan, ok := s.plans.Plan(name)
	if !ok {
		return nil, core.NoPlan(name)
	}
	return planMessage(plan), nil
}

// ListPlans implements PlanService.
func (s *Plans) ListPlans(context.Context, *subscriptionv1.ListPlansRequest) (*subscriptionv1.ListPlansResponse, error) {
	return &subscriptionv1.ListPlansResponse{Plans: messages(s.plans.All(), planMessage)}, nil
}

// parsePlan returns the id within the name of a plan.
func parsePlan(field, name string) (string, error) {
	ids, err := aip.ParseNameField(field, name, "plans/{plan}")
	if err != nil {
		return "", err
	}
	return ids[0], nil
}

// planName returns the resource name of a plan; empty when there is none.
func planName(id string) string {
	if id == "" {
		return ""
	}
	return "plans/" + id
}

func planMessage(p core.Plan) *subscriptionv1.Plan {
	message := &subscriptionv1.Plan{
		Name: planName(p.Name), WebhooksAvailable: p.WebhooksAvailable,
		MaxWebhooksPerTrigger: int32(p.MaxPerTrigger), MaxWebhooks: int32(p.MaxWebhooks), //nolint:gosec // G115: the configuration was checked
	}
	if p.RecordRetention != 0 {
		message.RecordRetention = durationpb.New(p.RecordRetention)
	}
	return message
}
