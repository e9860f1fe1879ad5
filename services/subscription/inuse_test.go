package subscription_test

import (
	"sync"
	"testing"

	"github.com/stretchr/testify/require"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	subscriptionv1 "github.com/meetwire/meetwire/proto/gen/meetwire/subscription/v1"
)

// A team or a trigger that goes while webhooks begin to ask for it is gone, or asked for, but never both.
func TestNothingIsDeletedWhileSomebodyBeginsToAskForIt(t *testing.T) {
	t.Parallel()
	i := setupTenant(t)
	for range 8 {
		team, trigger := i.admin.team(t, "acme", "north"), i.admin.trigger(t, "acme", "custom.thing")
		w := booking()
		w.Teams, w.Triggers = []string{team.GetName()}, []string{"custom.thing"}
		var made []string
		var mu sync.Mutex
		var all sync.WaitGroup
		for range 4 {
			all.Go(func() {
				created, err := i.admin.webhooks.CreateWebhook(t.Context(), &subscriptionv1.CreateWebhookRequest{Parent: "organizations/acme", Webhook: w})
				if err == nil {
					mu.Lock()
					made = append(made, created.GetName())
					mu.Unlock()
				}
			})
		}
		var ofTeam, ofTrigger error
		all.Go(func() {
			_, ofTeam = i.admin.teams.DeleteTeam(t.Context(), &subscriptionv1.DeleteTeamRequest{Name: team.GetName()})
		})
		all.Go(func() {
			_, ofTrigger = i.admin.triggers.DeleteTrigger(t.Context(), &subscriptionv1.DeleteTriggerRequest{Name: trigger.GetName()})
		})
		all.Wait()
		if len(made) > 0 {
			requireCode(t, ofTeam, codes.FailedPrecondition)
			requireCode(t, ofTrigger, codes.FailedPrecondition)
		}
		for _, name := range made {
			_, err := i.admin.webhooks.DeleteWebhook(t.Context(), &subscriptionv1.DeleteWebhookRequest{Name: name})
			require.NoError(t, err)
		}
		for _, err := range []error{ofTeam, ofTrigger} {
			require.Contains(t, []codes.Code{codes.OK, codes.FailedPrecondition}, status.Code(err))
		}
		if ofTeam != nil {
			_, err := i.admin.teams.DeleteTeam(t.Context(), &subscriptionv1.DeleteTeamRequest{Name: team.GetName()})
			require.NoError(t, err)
		}
		if ofTrigger != nil {
			_, err := i.admin.triggers.DeleteTrigger(t.Context(), &subscriptionv1.DeleteTriggerRequest{Name: trigger.GetName()})
			require.NoError(t, err)
		}
	}
}
