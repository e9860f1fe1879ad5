package storetest

import (
	"context"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/meetwire/meetwire/pkg/fault"
	"github.com/meetwire/meetwire/services/subscription/internal/core"
)

// checkUpdatesAtOnce checks that each of many changes of one thing sees what those before it have made of it.
func checkUpdatesAtOnce(t *testing.T, s *suite) {
	const writers = 10
	ctx := t.Context()
	h := s.furnish(t, "acme")
	revisions := make([]int64, writers)
	before := s.revision(t)
	for name, update := range map[string]func(i int) error{
		"organization": func(int) error {
			_, err := s.UpdateOrganization(ctx, "acme", func(o core.Organization) (core.Organization, bool, error) {
				o.Version++
				return o, true, nil
			})
			return err
		},
		"team": func(int) error {
			_, err := s.UpdateTeam(ctx, "acme", h.team, func(v core.Team) (core.Team, bool, error) {
				v.Version++
				return v, true, nil
			})
			return err
		},
		"trigger": func(int) error {
			_, err := s.UpdateTrigger(ctx, "acme", h.trigger, false, func(v core.Trigger, _ func() (core.InUse, error)) (core.Trigger, bool, error) {
				v.Version++
				return v, true, nil
			})
			return err
		},
		"webhook": func(i int) error {
			w, _, err := s.UpdateWebhook(ctx, "acme", h.webhook, i%2 == 0, alter(func(w *core.Webhook) { w.Generation++ }))
			revisions[i] = w.Revision
			return err
		},
	} {
		for _, err := range together(writers, update) {
			require.NoError(t, err, name)
		}
	}
	o, err := s.Organization(ctx, "acme")
	require.NoError(t, err)
	require.EqualValues(t, 1+writers, o.Version)
	team, err := s.Team(ctx, "acme", h.team)
	require.NoError(t, err)
	require.EqualValues(t, 1+writers, team.Version)
	trigger, err := s.Trigger(ctx, "acme", h.trigger)
	require.NoError(t, err)
	require.EqualValues(t, 1+writers, trigger.Version)
	w, err := s.Webhook(ctx, "acme", h.webhook)
	require.NoError(t, err)
	require.EqualValues(t, 1+writers, w.Generation)
	slices.Sort(revisions)
	require.Len(t, slices.Compact(revisions), writers, "each change has a revision of its own")
	require.Greater(t, revisions[0], before)
	require.Equal(t, w.Revision, slices.Max(revisions))
}

// checkPlanLimit checks that a rule about all webhooks of an organization holds while many are added at once, new ones
// and others that begin to ask for something.
func checkPlanLimit(t *testing.T, s *suite) {
	const limit, callers = 5, 16
	ctx := t.Context()
	s.tenants(t, "acme", "beta")
	full := fault.New(fault.FailedPrecondition, "PLAN_LIMIT", "full")
	room := func(ctx context.Context, view core.WebhookView, id string) error {
		others, err := view.TriggersOfOthers(ctx, id)
		if err != nil {
			return err
		}
		asking := slices.DeleteFunc(others, func(triggers []string) bool { return !slices.Contains(triggers, "custom.limited") })
		if len(asking) >= limit {
			return full
		}
		return nil
	}
	var existing []core.Webhook
	for range callers / 2 {
		existing = append(existing, s.webhook(t, "acme"))
	}
	var errs []error
	left := s.watch(t, func() {
		errs = together(callers, func(i int) error {
			if i%2 == 0 {
				_, _, err := s.UpdateWebhook(ctx, "acme", existing[i/2].ID, true,
					func(ctx context.Context, view core.WebhookView, w core.Webhook) (core.WebhookStep, error) {
						w.Triggers = []string{"custom.limited"}
						return core.WebhookStep{Webhook: w, Write: true, Action: core.ActionUpdate}, room(ctx, view, w.ID)
					})
				return err
			}
			w := s.newWebhook("acme")
			w.Triggers = []string{"custom.limited"}
			_, err := s.InsertWebhook(ctx, "acme", w.ID, request("m"), func(ctx context.Context, view core.WebhookView) (core.WebhookStep, error) {
				return core.WebhookStep{Webhook: w, Write: true, Action: core.ActionCreate}, room(ctx, view, w.ID)
			})
			return err
		})
	})
	made := 0
	for _, err := range errs {
		if err == nil {
			made++
			continue
		}
		require.ErrorIs(t, err, full)
	}
	require.Equal(t, limit, made)
	require.Len(t, left.audit, limit)
	require.Len(t, left.feed, limit)
	found, err := s.Webhooks(ctx, core.WebhookQuery{Organization: "acme", Patterns: []string{"custom.limited"}, Limit: everything})
	require.NoError(t, err)
	require.Len(t, found, limit)
}
