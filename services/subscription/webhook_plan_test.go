package subscription_test

import (
	"sync"
	"testing"

	"github.com/stretchr/testify/require"
	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/codes"

	subscriptionv1 "github.com/meetwire/meetwire/proto/gen/meetwire/subscription/v1"
)

// requirePlanLimit asserts that a call failed because of a plan, and what is said of it.
func requirePlanLimit(t *testing.T, err error, says ...string) {
	t.Helper()
	s := requireCode(t, err, codes.FailedPrecondition)
	for _, text := range says {
		require.Contains(t, s.Message(), text)
	}
	for _, detail := range s.Details() {
		if info, ok := detail.(*errdetails.ErrorInfo); ok {
			require.Equal(t, "PLAN_LIMIT", info.GetReason())
			return
		}
	}
	require.Fail(t, "no reason")
}

// plan gives acme a plan.
func (i *tenant) plan(t *testing.T, name string) {
	t.Helper()
	i.sql(t, "UPDATE subscription.organization SET plan = $1 WHERE id = 'acme'", name)
}

func TestPlanLimitHoldsExactly(t *testing.T) {
	t.Parallel()
	i := setupTenant(t)
	i.plan(t, "organization")
	const creators, limit = 50, 20
	errs := make([]error, creators)
	start := make(chan struct{})
	var creating sync.WaitGroup
	for n := range creators {
		c := i.as(t, i.operatorKey) // a connection of its own
		creating.Go(func() {
			w := booking()
			if n%2 == 0 {
				w.Triggers = []string{"meeting.*", "contact.updated"}
			}
			<-start
			_, errs[n] = c.webhooks.CreateWebhook(t.Context(), &subscriptionv1.CreateWebhookRequest{Parent: "organizations/acme", Webhook: w})
		})
	}
	close(start)
	creating.Wait()
	made := 0
	for _, err := range errs {
		if err == nil {
			made++
			continue
		}
		requirePlanLimit(t, err, "the plan organization allows 20 webhooks", "meeting.booked has 20")
	}
	require.Equal(t, limit, made)
	require.Len(t, i.listed(t, "trigger = meeting.booked", ""), limit)
}

func TestPlanLimitsUpdatesToo(t *testing.T) {
	t.Parallel()
	i := setupTenant(t)
	i.sql(t, insertWebhooks, 20, "", "meeting.booked", 1)
	i.plan(t, "organization")
	other := booking()
	other.Triggers = []string{"contact.updated"}
	var names []string
	for range 5 {
		names = append(names, i.admin.webhook(t, "acme", other).GetName())
	}
	set := func(name string, triggers ...string) error {
		_, err := i.admin.webhooks.UpdateWebhook(t.Context(), &subscriptionv1.UpdateWebhookRequest{
			Webhook: &subscriptionv1.Webhook{Name: name, Triggers: triggers},
		})
		return err
	}
	requirePlanLimit(t, set(names[0], "meeting.booked"), "20 webhooks")
	requirePlanLimit(t, set(names[0], "contact.updated", "meeting.*"), "meeting.booked has 20")
	require.NoError(t, set(names[0], "contact.updated", "meeting.canceled"))
	i.sql(t, "DELETE FROM subscription.webhook WHERE id = (SELECT id FROM subscription.webhook WHERE triggers = ARRAY['meeting.booked'] LIMIT 1)")
	// One place is left for five that want it.
	errs := make([]error, len(names))
	var changing sync.WaitGroup
	for n, name := range names {
		changing.Go(func() { errs[n] = set(name, "meeting.booked", "contact.updated") })
	}
	changing.Wait()
	made := 0
	for _, err := range errs {
		if err == nil {
			made++
			continue
		}
		requirePlanLimit(t, err)
	}
	require.Equal(t, 1, made)
}

func TestDowngradeBlocksCreationAlone(t *testing.T) {
	t.Parallel()
	i := setupTenant(t)
	w := i.admin.webhook(t, "acme", booking())
	i.plan(t, "startup")
	_, err := i.admin.webhooks.CreateWebhook(t.Context(), &subscriptionv1.CreateWebhookRequest{Parent: "organizations/acme", Webhook: booking()})
	requirePlanLimit(t, err, "the plan startup has no webhooks")
	updated := i.update(t, &subscriptionv1.Webhook{Name: w.GetName(), DisplayName: "still there", Triggers: []string{"meeting.booked"}})
	require.Equal(t, subscriptionv1.Webhook_STATUS_ACTIVE, updated.GetStatus())
	_, err = i.admin.webhooks.UpdateWebhook(t.Context(), &subscriptionv1.UpdateWebhookRequest{
		Webhook: &subscriptionv1.Webhook{Name: w.GetName(), Triggers: []string{"meeting.booked", "meeting.canceled"}},
	})
	requirePlanLimit(t, err)
	i.plan(t, "unknown")
	i.update(t, &subscriptionv1.Webhook{Name: w.GetName(), DisplayName: "as before", Triggers: []string{"meeting.booked"}})
	_, err = i.admin.webhooks.CreateWebhook(t.Context(), &subscriptionv1.CreateWebhookRequest{Parent: "organizations/acme", Webhook: booking()})
	requireCode(t, err, codes.FailedPrecondition)
	p := i.preview(t, &subscriptionv1.PreviewWebhookRequest{Webhook: booking()})
	require.NotEmpty(t, p.GetBody(), "to look costs nothing")
}
