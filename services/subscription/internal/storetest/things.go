package storetest

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/meetwire/meetwire/services/subscription/internal/core"
)

// request returns a new request of a method.
func request(method string) core.Request {
	return core.Request{ID: uuid.NewString(), Method: method, Fingerprint: [32]byte{1, 0, 255}}
}

func (s *suite) newOrganization(id string) core.Organization {
	now := s.stored()
	return core.Organization{ID: id, DisplayName: id, Plan: "plan", WebhooksAvailable: true, Version: 1, CreateTime: now, UpdateTime: now}
}

func (s *suite) newTeam(organization, id string) core.Team {
	now := s.stored()
	return core.Team{Organization: organization, ID: id, DisplayName: id, Version: 1, CreateTime: now, UpdateTime: now}
}

func (s *suite) newTrigger(organization, id string) core.Trigger {
	now := s.stored()
	return core.Trigger{
		Organization: organization, ID: id, DisplayName: id, Description: "d", Group: "g", Schema: "true", Sample: `{"a": 1}`,
		Version: 1, CreateTime: now, UpdateTime: now,
	}
}

func (s *suite) newKey(organization string) core.APIKey {
	return core.APIKey{
		ID: "k" + uuid.NewString(), Organization: organization, DisplayName: "key", Role: core.RoleAdmin,
		SecretSHA256: [32]byte{1, 0, 255}, CreateTime: s.stored(),
	}
}

func (s *suite) newWebhook(organization string) core.Webhook {
	now := s.stored()
	return core.Webhook{
		ID: uuid.NewString(), Organization: organization, DisplayName: "hook", TargetURL: "https://example.com/", Triggers: []string{"meeting.booked"},
		Dialect: "standard", SecretSource: core.SecretOwn, Secrets: []core.SealedSecret{{Sealed: []byte{0, 1, 255}, CreateTime: now}},
		MaxConcurrency: 8, Timeout: 15 * time.Second, Status: core.StatusActive, StatusTime: now, Generation: 1, CreateTime: now, UpdateTime: now,
	}
}

// tenants makes organizations.
func (s *suite) tenants(t *testing.T, ids ...string) {
	t.Helper()
	for _, id := range ids {
		require.NoError(t, s.InsertOrganization(t.Context(), s.newOrganization(id), core.Request{}))
	}
}

// makeWebhook returns what InsertWebhook calls to get a webhook as it is.
func makeWebhook(w core.Webhook) func(context.Context, core.WebhookView) (core.WebhookStep, error) {
	return func(context.Context, core.WebhookView) (core.WebhookStep, error) {
		return core.WebhookStep{Webhook: w, Write: true, Action: core.ActionCreate}, nil
	}
}

// insert stores a webhook.
func (s *suite) insert(t *testing.T, w core.Webhook) core.Webhook {
	t.Helper()
	stored, err := s.InsertWebhook(t.Context(), w.Organization, w.ID, core.Request{}, makeWebhook(w))
	require.NoError(t, err)
	return stored
}

// webhook stores a new webhook.
func (s *suite) webhook(t *testing.T, organization string) core.Webhook {
	t.Helper()
	return s.insert(t, s.newWebhook(organization))
}

// alter returns what UpdateWebhook calls to write a webhook after edit.
func alter(edit func(*core.Webhook)) func(context.Context, core.WebhookView, core.Webhook) (core.WebhookStep, error) {
	return func(_ context.Context, _ core.WebhookView, w core.Webhook) (core.WebhookStep, error) {
		edit(&w)
		return core.WebhookStep{Webhook: w, Write: true, Action: core.ActionUpdate}, nil
	}
}

// household is one of each thing of an organization.
type household struct {
	organization, webhook, team, trigger, key, operation string
}

// furnish makes an organization with one of each thing.
func (s *suite) furnish(t *testing.T, organization string) household {
	t.Helper()
	s.tenants(t, organization)
	h := household{organization: organization, team: "sales-" + organization, trigger: "custom.lead_" + organization}
	require.NoError(t, s.InsertTeam(t.Context(), s.newTeam(organization, h.team), core.Request{}))
	require.NoError(t, s.InsertTrigger(t.Context(), s.newTrigger(organization, h.trigger), core.Request{}, false))
	k := s.newKey(organization)
	require.NoError(t, s.InsertAPIKey(t.Context(), k, core.Request{}))
	h.key = k.ID
	h.webhook = s.webhook(t, organization).ID
	h.operation = s.resume(t, organization, h.webhook).ID
	return h
}

// resume begins the operation that sends a webhook what it has missed.
func (s *suite) resume(t *testing.T, organization, webhook string) core.Operation {
	t.Helper()
	_, begun, err := s.UpdateWebhook(t.Context(), organization, webhook, false,
		func(_ context.Context, _ core.WebhookView, w core.Webhook) (core.WebhookStep, error) {
			o := core.NewResumeOperation(organization, webhook, w.StatusTime, w.StatusTime.Add(time.Hour))
			return core.WebhookStep{Webhook: w, Write: true, Action: core.ActionResume, Operation: &o}, nil
		})
	require.NoError(t, err)
	require.NotNil(t, begun)
	return *begun
}

// take takes over the next operation.
func (s *suite) take(t *testing.T) core.Work {
	t.Helper()
	work, ok, err := s.TakeOperation(t.Context(), time.Minute)
	require.NoError(t, err)
	require.True(t, ok, "there is no work")
	return work
}

// secrets returns n secrets, the newest first, all but the newest with an end.
func (s *suite) secrets(n int) []core.SealedSecret {
	secrets := make([]core.SealedSecret, n)
	now := s.stored()
	for i := range secrets {
		secrets[i] = core.SealedSecret{Sealed: fmt.Appendf([]byte{0, 255}, "secret %d", i), CreateTime: now.Add(-time.Duration(i) * time.Hour)}
		if i > 0 {
			secrets[i].ExpireTime = now.Add(time.Duration(100-i) * time.Hour)
		}
	}
	return secrets
}
