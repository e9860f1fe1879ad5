package subscription

import (
	"github.com/meetwire/meetwire/pkg/seal"
	subscriptionv1 "github.com/meetwire/meetwire/proto/gen/meetwire/subscription/v1"
	"github.com/meetwire/meetwire/services/subscription/internal/core"
	"github.com/meetwire/meetwire/services/subscription/internal/grpcapi"
	"github.com/meetwire/meetwire/services/subscription/internal/schema"
)

// registerOrganizations puts together what serves organizations and what belongs to them.
func (s *Service) registerOrganizations(box *seal.Box) {
	now, sealer := s.deps.Now, secrets{box: box}
	organizations := core.NewOrganizations(s.store, s.plans, dialects{}, now)
	subscriptionv1.RegisterOrganizationServiceServer(s.server, grpcapi.NewOrganizations(organizations, s.store))
	subscriptionv1.RegisterPlanServiceServer(s.server, grpcapi.NewPlans(s.plans))
	subscriptionv1.RegisterTeamServiceServer(s.server, grpcapi.NewTeams(core.NewTeams(s.store, now), s.store))
	triggers := core.NewTriggers(s.store, schema.Checker{}, now)
	subscriptionv1.RegisterTriggerServiceServer(s.server, grpcapi.NewTriggers(triggers, s.store, now))
	signing := core.NewSigningSecrets(s.store, sealer, sealer.New, now)
	subscriptionv1.RegisterSigningSecretServiceServer(s.server, grpcapi.NewSigningSecrets(signing))
}
