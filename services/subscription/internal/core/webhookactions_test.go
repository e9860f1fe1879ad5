package core_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/meetwire/meetwire/pkg/fault"
	"github.com/meetwire/meetwire/services/subscription/internal/core"
)

func TestSecretFollowsItsSource(t *testing.T) {
	t.Parallel()
	s := newSteps()
	change := validChange()
	change.SecretSource = new(core.SecretNone)
	_, _, err := s.webhooks.Create(t.Context(), "acme", change, core.Request{}, false)
	require.Contains(t, requireField(t, err, "webhook.secret_source"), "needs a secret")
	change.Dialect = new("text")
	w, secret := s.create(t, change)
	require.Empty(t, secret)
	require.Empty(t, w.Secrets)
	requireField(t, s.refused(t, core.WebhookChange{Secret: new("given")}), "webhook.secret")

	w = s.update(t, core.WebhookChange{SecretSource: new(core.SecretOwn)})
	require.Equal(t, webhookID+"|made", string(w.Secrets[0].Sealed), "one is made when it is needed")
	err = s.refused(t, core.WebhookChange{SecretSource: new(core.SecretOrganization)})
	require.True(t, fault.Is(err, fault.FailedPrecondition), "%v", err)
	require.Equal(t, "NO_SIGNING_SECRET", fault.From(err).Reason)
	err = s.refused(t, core.WebhookChange{Dialect: new("standard")})
	require.Contains(t, requireField(t, err, "webhook.secret"), "standard", "the secret is no key")
	w = s.update(t, core.WebhookChange{Dialect: new("standard"), Secret: new(secretOf(32))})
	require.Equal(t, webhookID+"|"+secretOf(32), string(w.Secrets[0].Sealed))
	w = s.update(t, core.WebhookChange{Dialect: new("text")})
	require.Len(t, w.Secrets, 1, "a key is a text, too")

	change = validChange()
	change.Dialect = new("shared")
	_, _, err = s.webhooks.Create(t.Context(), "acme", change, core.Request{}, false)
	require.Equal(t, "NO_SIGNING_SECRET", fault.From(err).Reason)
	s.store.organizations["acme"] = core.Organization{ID: "acme", Plan: "all", Secrets: []core.SealedSecret{{Sealed: []byte("x")}}}
	w, secret = s.create(t, change)
	require.Empty(t, secret)
	require.Equal(t, core.SecretOrganization, w.SecretSource)
	change.Secret = new("given")
	w, secret = s.create(t, change)
	require.Equal(t, "given", secret)
	require.Equal(t, core.SecretOwn, w.SecretSource)
}

func TestRotatedSecretsEndWithTheGracePeriod(t *testing.T) {
	t.Parallel()
	s := newSteps()
	_, first := s.create(t, validChange())
	rotate := func(grace time.Duration) core.Webhook {
		w, _, err := s.webhooks.RotateSecret(t.Context(), "acme", webhookID, "", grace)
		require.NoError(t, err)
		return w
	}
	w := rotate(24 * time.Hour)
	require.Len(t, w.Secrets, 2)
	require.Zero(t, w.Secrets[0].ExpireTime)
	require.Equal(t, s.now.Add(24*time.Hour), w.Secrets[1].ExpireTime)
	require.Equal(t, core.TriggerSecretRotated, s.store.last.Events[0].Trigger)

	s.now = s.now.Add(time.Hour)
	w = rotate(7 * 24 * time.Hour)
	require.Equal(t, s.now.Add(23*time.Hour), w.Secrets[2].ExpireTime, "what was decided is not put off")
	secrets, err := s.webhooks.RevealSecret(t.Context(), "acme", webhookID)
	require.NoError(t, err)
	require.Equal(t, []string{secretOf(32), secretOf(32), first}, secrets)
	require.Equal(t, core.ActionReveal, s.store.last.Action)

	s.now = s.now.Add(23 * time.Hour)
	require.Len(t, rotate(time.Hour).Secrets, 3, "the oldest has ended")
	for range 12 {
		w = rotate(time.Hour)
	}
	require.Len(t, w.Secrets, core.MaxValidSecrets)
	w, err = s.webhooks.ActivateSecret(t.Context(), "acme", webhookID)
	require.NoError(t, err)
	require.Len(t, w.Secrets, 1)
	require.Len(t, rotate(0).Secrets, 1)
	_, _, err = s.webhooks.RotateSecret(t.Context(), "acme", webhookID, "", 7*24*time.Hour+1)
	require.Contains(t, requireField(t, err, "grace_period"), "168h")
	_, _, err = s.webhooks.RotateSecret(t.Context(), "acme", webhookID, "hunter2", 0)
	requireField(t, err, "secret")
	require.NotContains(t, err.Error(), "hunter2")
}

func TestHeadersKeepTheirValues(t *testing.T) {
	t.Parallel()
	s := newSteps()
	change := validChange()
	change.Headers = &[]core.Header{{Name: "X-Tenant", Value: "acme"}, {Name: "Authorization", Value: "Bearer t"}}
	w, _ := s.create(t, change)
	require.Equal(t, webhookID+"/headers/authorization|Bearer t", string(w.Headers[1].Sealed))
	writes := s.store.writes
	same := s.update(t, core.WebhookChange{Headers: &[]core.Header{{Name: "X-Tenant"}, {Name: "Authorization", Value: "Bearer t"}}})
	require.Equal(t, w, same)
	require.Equal(t, writes, s.store.writes)
	w = s.update(t, core.WebhookChange{Headers: &[]core.Header{{Name: "authorization"}, {Name: "X-New", Value: "n"}}})
	require.Equal(t, []core.SealedHeader{
		{Name: "authorization", Sealed: []byte(webhookID + "/headers/authorization|Bearer t")},
		{Name: "X-New", Sealed: []byte(webhookID + "/headers/x-new|n")},
	}, w.Headers)
	requireField(t, s.refused(t, core.WebhookChange{Headers: &[]core.Header{{Name: "X-Other"}}}), "webhook.headers[0].value")
	require.Empty(t, s.update(t, core.WebhookChange{Headers: &[]core.Header{}}).Headers)
}

func TestStatusOfAWebhook(t *testing.T) {
	t.Parallel()
	s := newSteps()
	s.create(t, validChange())
	created := s.now
	s.now = s.now.Add(time.Hour)
	w, err := s.webhooks.Pause(t.Context(), "acme", webhookID)
	require.NoError(t, err)
	require.Equal(t, core.StatusPaused, w.Status)
	require.Equal(t, s.now, w.StatusTime)
	require.Equal(t, created, w.CreateTime)
	again, err := s.webhooks.Pause(t.Context(), "acme", webhookID)
	require.NoError(t, err)
	require.Equal(t, w, again)
	_, err = s.webhooks.Enable(t.Context(), "acme", webhookID)
	require.ErrorContains(t, err, "resume it")

	s.now = s.now.Add(time.Hour)
	resumed, operation, err := s.webhooks.Resume(t.Context(), "acme", webhookID, true)
	require.NoError(t, err)
	require.Equal(t, core.StatusActive, resumed.Status)
	const margin = 5 * time.Second // clocks differ
	require.Equal(t, w.StatusTime.Add(-margin), operation.Parameters.StartTime)
	require.Equal(t, s.now.Add(margin), operation.Parameters.EndTime)
	_, operation, err = s.webhooks.Resume(t.Context(), "acme", webhookID, true)
	require.NoError(t, err)
	require.Nil(t, operation, "there is nothing that it has missed")

	disabled := s.store.webhook.WithStatus(core.StatusDisabled, "gone", s.now)
	s.store.webhook = &disabled
	require.EqualValues(t, 2, disabled.Generation)
	_, err = s.webhooks.Pause(t.Context(), "acme", webhookID)
	require.ErrorContains(t, err, "enable it")
	_, _, err = s.webhooks.Resume(t.Context(), "acme", webhookID, false)
	require.ErrorContains(t, err, "enable it")
	require.ErrorContains(t, s.refused(t, core.WebhookChange{Status: new(core.StatusActive)}), "enable it")
	s.update(t, core.WebhookChange{Status: new(core.StatusDisabled), Description: new("as it was read")})
	s.update(t, core.WebhookChange{Status: new(core.WebhookStatus("")), Description: new("")})
	w, err = s.webhooks.Enable(t.Context(), "acme", webhookID)
	require.NoError(t, err)
	require.Equal(t, core.StatusActive, w.Status)
	require.Empty(t, w.StatusReason)
	require.EqualValues(t, 3, w.Generation)
	require.Equal(t, core.TriggerWebhookEnabled, s.store.last.Events[0].Trigger)
	requireField(t, s.refused(t, core.WebhookChange{Status: new(core.StatusDisabled)}), "webhook.status")
}
