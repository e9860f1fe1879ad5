package storetest

import (
	"context"
	"strings"
	"testing"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/meetwire/meetwire/pkg/fault"
	"github.com/meetwire/meetwire/services/subscription/internal/core"
)

// Away checks a store whose database cannot be reached: every method says so.
func Away(t *testing.T, newStore New) {
	t.Helper()
	clock := &clock{now: farFuture()}
	s := &suite{Store: newStore(t, clock.Now), clock: clock}
	h := household{organization: "acme", webhook: uuid.NewString(), team: "t", trigger: "custom.t", key: "k", operation: uuid.NewString()}
	for _, call := range calls() {
		requireKind(t, fault.Unavailable, call.do(t.Context(), s, h), call.name)
	}
	requireKind(t, fault.Unavailable, s.Listen(t.Context(), func() {}), "Listen")
}

// requireUnknown requires that every call about something that is not there says so, and changes nothing.
func requireUnknown(t *testing.T, s *suite, h household, calls []call, kinds ...whom) {
	t.Helper()
	require.Equal(t, traces{}, s.watch(t, func() {
		for _, call := range calls {
			for _, kind := range kinds {
				if call.whom == kind {
					requireKind(t, fault.NotFound, call.do(t.Context(), s, h), call.name, h)
				}
			}
		}
	}))
}

func checkUnknown(t *testing.T, s *suite) {
	s.tenants(t, "acme")
	h := household{organization: "nobody", webhook: uuid.NewString(), team: "t", trigger: "custom.t", key: "k", operation: uuid.NewString()}
	requireUnknown(t, s, h, calls(), tenant, thing)
	h.organization = "acme"
	requireUnknown(t, s, h, calls(), thing)
	// What cannot be an id is nobody's.
	for _, id := range []string{"", "x", "------------------------------------", "00000000-0000-4000-8000-00000000000g"} {
		h.webhook, h.operation = id, id
		for _, call := range calls() {
			switch call.name {
			case "Webhook", "UpdateWebhook", "DeleteWebhook", "Operation", "CancelOperation", "ResumeOperation":
				requireKind(t, fault.NotFound, call.do(t.Context(), s, h), call.name, id)
			}
		}
		found, err := s.WebhooksByID(t.Context(), "acme", []string{id})
		require.NoError(t, err)
		require.Empty(t, found)
	}
	for _, call := range calls() {
		if call.whom == nowork {
			require.ErrorIs(t, call.do(t.Context(), s, household{organization: "acme"}), core.ErrTaken, call.name)
		}
	}
	_, err := s.APIKey(t.Context(), "k")
	requireKind(t, fault.NotFound, err)
}

func checkIsolation(t *testing.T, s *suite) {
	ours, theirs := s.furnish(t, "acme"), s.furnish(t, "beta")
	wrong := ours
	wrong.organization = theirs.organization
	requireUnknown(t, s, wrong, calls(), thing)
	for _, call := range calls() {
		if call.whom == thing && call.name != "ResumeOperation" && !strings.HasPrefix(call.name, "Delete") {
			require.NoError(t, call.do(t.Context(), s, theirs), call.name)
		}
	}
	ids := []string{ours.webhook, theirs.webhook}
	for _, h := range []household{ours, theirs} {
		webhooks, err := s.WebhooksByID(t.Context(), h.organization, ids)
		require.NoError(t, err)
		require.Len(t, webhooks, 1)
		require.Equal(t, h.webhook, webhooks[0].ID)
		webhooks, err = s.Webhooks(t.Context(), core.WebhookQuery{Organization: h.organization, Limit: everything})
		require.NoError(t, err)
		require.Len(t, webhooks, 1)
		webhooks, err = s.WebhooksAtHost(t.Context(), h.organization, "example.com", core.Webhook{}, everything)
		require.NoError(t, err)
		require.Len(t, webhooks, 1)
		teams, err := s.Teams(t.Context(), h.organization, "", everything)
		require.NoError(t, err)
		require.Len(t, teams, 1)
		triggers, err := s.Triggers(t.Context(), h.organization, core.TriggerFilter{}, "", "", everything)
		require.NoError(t, err)
		require.Len(t, triggers, 1)
		keys, err := s.APIKeys(t.Context(), h.organization, farFuture().AddDate(-9000, 0, 0), "", everything)
		require.NoError(t, err)
		require.Len(t, keys, 1)
		operations, err := s.Operations(t.Context(), h.organization, farFuture(), uuid.Max, everything)
		require.NoError(t, err)
		require.Len(t, operations, 1)
		entries, err := s.AuditEntries(t.Context(), core.AuditQuery{Organization: h.organization}, farFuture(), uuid.Max, everything)
		require.NoError(t, err)
		require.NotEmpty(t, entries)
		for _, entry := range entries {
			require.Equal(t, h.organization, entry.Organization)
			require.Contains(t, entry.Resource, "organizations/"+h.organization)
		}
	}
	// A report names the organization too.
	changed, err := s.ReportHealth(t.Context(), core.HealthReport{
		Organization: theirs.organization, Webhook: ours.webhook, Generation: 1, Level: core.HealthDisable, Reason: "gone",
	}, true)
	require.NoError(t, err)
	require.False(t, changed)
	require.Empty(t, s.watch(t, func() {
		require.NoError(t, s.ReportDeadLetters(t.Context(), []core.DeadLetterCount{{
			Organization: theirs.organization, Webhook: ours.webhook, Reason: "r", Minute: s.clock.Now(), Count: 1,
		}}))
	}))
}

func checkCanceled(t *testing.T, s *suite) {
	h := s.furnish(t, "acme")
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	require.Empty(t, s.watch(t, func() {
		for _, call := range calls() {
			require.ErrorIs(t, call.do(ctx, s, h), context.Canceled, call.name)
		}
		require.ErrorIs(t, s.Listen(ctx, func() {}), context.Canceled)
	}))
}

// checkRefused checks that an error of a function that a store is given comes back as it is, and takes everything back.
func checkRefused(t *testing.T, s *suite) {
	h := s.furnish(t, "acme")
	ctx := t.Context()
	for name, do := range map[string]func() error{
		"UpdateOrganization": func() error {
			_, err := s.UpdateOrganization(ctx, "acme", func(o core.Organization) (core.Organization, bool, error) { return o, true, errStop })
			return err
		},
		"DeleteOrganization": func() error {
			_, err := s.DeleteOrganization(ctx, "acme", func(core.Organization) error { return errStop })
			return err
		},
		"UpdateTeam": func() error {
			_, err := s.UpdateTeam(ctx, "acme", h.team, func(v core.Team) (core.Team, bool, error) { return v, true, errStop })
			return err
		},
		"DeleteTeam": func() error {
			return s.DeleteTeam(ctx, "acme", h.team, func(core.Team, core.InUse) error { return errStop })
		},
		"UpdateTrigger": func() error {
			_, err := s.UpdateTrigger(ctx, "acme", h.trigger, false,
				func(v core.Trigger, _ func() (core.InUse, error)) (core.Trigger, bool, error) {
					return v, true, errStop
				})
			return err
		},
		"DeleteTrigger": func() error {
			return s.DeleteTrigger(ctx, "acme", h.trigger, func(core.Trigger, core.InUse) error { return errStop })
		},
		"InsertWebhook": func() error {
			w := s.newWebhook("acme")
			_, err := s.InsertWebhook(ctx, "acme", w.ID, request("m"), func(context.Context, core.WebhookView) (core.WebhookStep, error) {
				return core.WebhookStep{Webhook: w, Write: true, Action: core.ActionCreate}, errStop
			})
			return err
		},
		"UpdateWebhook": func() error {
			_, _, err := s.UpdateWebhook(ctx, "acme", h.webhook, false,
				func(_ context.Context, _ core.WebhookView, w core.Webhook) (core.WebhookStep, error) {
					return core.WebhookStep{Webhook: w, Write: true, Action: core.ActionUpdate}, errStop
				})
			return err
		},
		"DeleteWebhook": func() error {
			return s.DeleteWebhook(ctx, "acme", h.webhook, func(core.Webhook) error { return errStop })
		},
		"ChangeSigningSecrets": func() error {
			_, err := s.ChangeSigningSecrets(ctx, "acme", func(core.Organization) (core.SecretChange, error) {
				return core.SecretChange{Secrets: s.secrets(1), Action: core.ActionGenerate, Announced: true}, errStop
			})
			return err
		},
		"NoteReveal": func() error {
			_, err := s.NoteReveal(ctx, "acme", func(core.Organization) error { return errStop })
			return err
		},
	} {
		s.leaves(t, traces{}, func() { require.Same(t, errStop, do(), name) }, name)
	}
}

// checkTraces checks that each change has one entry in the audit log and is one revision of the feed.
func checkTraces(t *testing.T, s *suite) {
	h := s.furnish(t, "acme")
	own := "organizations/acme"
	signing := core.SigningSecretName("acme")
	want := map[string]traces{
		"UpdateOrganization": {audit: []string{"update " + own}, feed: [][]string{{"organization acme"}}},
		"UpdateTeam":         {audit: []string{"update " + own + "/teams/" + h.team}},
		"DeleteTeam":         {audit: []string{"delete " + own + "/teams/" + h.team}},
		"InsertTeam":         {audit: []string{"create " + own + "/teams/new"}},
		"InsertTrigger":      {audit: []string{"create " + own + "/triggers/custom.new"}, feed: [][]string{{"trigger acme/custom.new"}}},
		"UpdateTrigger":      {audit: []string{"update " + own + "/triggers/" + h.trigger}}, // nothing that the others are told
		"DeleteTrigger":      {audit: []string{"delete " + own + "/triggers/" + h.trigger}, feed: [][]string{{"-trigger acme/" + h.trigger}}},
		"UpdateWebhook":      {audit: []string{"update " + own + "/webhooks/" + h.webhook}, feed: [][]string{{"webhook " + h.webhook}}},
		"DeleteWebhook": {
			audit: []string{"delete " + own + "/webhooks/" + h.webhook}, feed: [][]string{{"-webhook " + h.webhook}},
			events: []string{core.TriggerWebhookDeleted},
		},
		"ChangeSigningSecrets": {audit: []string{"generate " + signing}, feed: [][]string{{"organization acme"}}},
		"NoteReveal":           {audit: []string{"reveal " + signing}},
		"DeleteAPIKey":         {audit: []string{"delete " + own + "/apiKeys/" + h.key}, feed: [][]string{{"-key " + h.key}}},
		"CancelOperation":      {audit: []string{"cancel " + own + "/operations/" + h.operation}},
	}
	for _, call := range changes() {
		left, ok := want[call.name]
		if !ok {
			continue
		}
		s.leaves(t, left, func() { require.NoError(t, call.do(t.Context(), s, h), call.name) }, call.name)
	}
	for _, call := range reads() {
		if call.whom == nobody && call.name != "APIKey" {
			require.Empty(t, s.watch(t, func() { require.NoError(t, call.do(t.Context(), s, h), call.name) }), call.name)
		}
	}
	for name, insert := range map[string]func(*suite, *testing.T) (audit, feed string){
		"organization": func(s *suite, t *testing.T) (string, string) {
			s.tenants(t, "beta")
			return "create organizations/beta", "organization beta"
		},
		"webhook": func(s *suite, t *testing.T) (string, string) {
			w := s.webhook(t, "acme")
			return "create " + w.Name(), "webhook " + w.ID
		},
		"key": func(s *suite, t *testing.T) (string, string) {
			k := s.newKey("acme")
			require.NoError(t, s.InsertAPIKey(t.Context(), k, core.Request{}))
			return "create " + k.Name(), "key " + k.ID
		},
	} {
		var audit, feed string
		left := s.watch(t, func() { audit, feed = insert(s, t) })
		require.Equal(t, traces{audit: []string{audit}, feed: [][]string{{feed}}}, left, name)
	}
}
