package subscription_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"google.golang.org/grpc/codes"

	accessv1 "github.com/meetwire/meetwire/proto/gen/meetwire/access/v1"
	subscriptionv1 "github.com/meetwire/meetwire/proto/gen/meetwire/subscription/v1"
)

func TestPlansAreShownToEveryKey(t *testing.T) {
	t.Parallel()
	i := setup(t)
	operator := i.operator(t)
	operator.organization(t, "acme", false)
	publisher := i.as(t, operator.key(t, "acme", accessv1.Role_ROLE_PUBLISHER))
	answer, err := publisher.plans.ListPlans(t.Context(), &subscriptionv1.ListPlansRequest{})
	require.NoError(t, err)
	require.Len(t, answer.GetPlans(), 3)
	require.Equal(t, "plans/enterprise", answer.GetPlans()[0].GetName())
	plan, err := publisher.plans.GetPlan(t.Context(), &subscriptionv1.GetPlanRequest{Name: "plans/organization"})
	require.NoError(t, err)
	require.True(t, plan.GetWebhooksAvailable())
	require.EqualValues(t, 20, plan.GetMaxWebhooksPerTrigger())
	require.Nil(t, plan.GetRecordRetention())
	_, err = publisher.plans.GetPlan(t.Context(), &subscriptionv1.GetPlanRequest{Name: "plans/nothing"})
	requireCode(t, err, codes.NotFound)
}

// Plans are what the configuration says, also for organizations that were there before.
func TestChangedPlansReachTheWatchers(t *testing.T) {
	t.Parallel()
	i := newInstallation(t)
	cfg := i.config()
	cfg.Plans = `{"plans": [{"name": "small", "webhooks_available": true, "record_retention": "48h"}, {"name": "none", "webhooks_available": false}]}`
	cfg.DefaultPlan = "small"
	first := i.startWith(t, cfg)
	operator := first.operator(t)
	for _, slug := range []string{"a", "b"} {
		operator.organization(t, slug, false)
	}
	_, err := operator.createOrganization(t.Context(), "c", &subscriptionv1.Organization{DisplayName: "c", Plan: "plans/none"})
	require.NoError(t, err)
	// One that is older than plans.
	_, err = i.pool.Exec(t.Context(), "UPDATE subscription.organization SET plan = '' WHERE id = 'b'")
	require.NoError(t, err)
	follower := first.follow(t)
	require.Equal(t, 48*time.Hour, follower.told(t, i, "a").GetRecordRetention().AsDuration())
	revision := i.revision(t)

	cfg.Plans = `{"plans": [{"name": "small", "webhooks_available": false, "record_retention": "24h"}, {"name": "large", "webhooks_available": true}]}`
	cfg.DefaultPlan = "large"
	second := i.startWith(t, cfg)
	told := follower.told(t, i, "a")
	require.False(t, told.GetWebhooksAvailable())
	require.Equal(t, 24*time.Hour, told.GetRecordRetention().AsDuration())
	require.True(t, follower.told(t, i, "b").GetWebhooksAvailable())
	require.False(t, follower.told(t, i, "c").GetWebhooksAvailable(), "what a plan that is gone came to stays")
	require.Equal(t, revision+2, i.revision(t), "one change for each plan")

	operator = second.operator(t)
	o, err := operator.organizations.GetOrganization(t.Context(), &subscriptionv1.GetOrganizationRequest{Name: "organizations/b"})
	require.NoError(t, err)
	require.Equal(t, "plans/large", o.GetPlan())
	o, err = operator.organizations.GetOrganization(t.Context(), &subscriptionv1.GetOrganizationRequest{Name: "organizations/c"})
	require.NoError(t, err)
	require.Equal(t, "plans/none", o.GetPlan())
	o.DisplayName = "Renamed"
	o, err = operator.organizations.UpdateOrganization(t.Context(), &subscriptionv1.UpdateOrganizationRequest{Organization: o})
	require.NoError(t, err, "sent back as it was read")
	require.Equal(t, "Renamed", o.GetDisplayName())
	_, err = operator.webhooks.CreateWebhook(t.Context(), &subscriptionv1.CreateWebhookRequest{Parent: "organizations/c", Webhook: booking()})
	s := requireCode(t, err, codes.FailedPrecondition)
	require.Contains(t, s.Message(), "none")
	require.Contains(t, s.Message(), "configured")

	i.startWith(t, cfg)
	require.Equal(t, revision+2, i.revision(t), "nothing has changed")
}

func TestConfigurationWithWrongPlansIsRefused(t *testing.T) {
	t.Parallel()
	i := newInstallation(t)
	cfg := i.config()
	cfg.Plans = `{"plans": [{"name": "small"}]}`
	require.ErrorContains(t, cfg.Validate(), "MEETWIRE_PLANS")
	require.ErrorContains(t, cfg.Validate(), "webhooks_available")
	cfg.Plans, cfg.DefaultPlan = "", "gold"
	require.ErrorContains(t, cfg.Validate(), `"gold"`)
}
