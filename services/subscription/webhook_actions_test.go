package subscription_test

import (
	"path"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"
	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"

	subscriptionv1 "github.com/meetwire/meetwire/proto/gen/meetwire/subscription/v1"
)

// sql changes the database behind the service's back.
func (i *installation) sql(t *testing.T, query string, args ...any) {
	t.Helper()
	_, err := i.pool.Exec(t.Context(), query, args...)
	require.NoError(t, err)
}

// team makes a team of acme.
func (i *installation) team(t *testing.T, id string) string {
	t.Helper()
	i.sql(t, "INSERT INTO subscription.team (organization, id, display_name, create_time, update_time) VALUES ('acme', $1, $1, now(), now())", id)
	return "organizations/acme/teams/" + id
}

// disable does what Meetwire does with a webhook that fails.
func (i *installation) disable(t *testing.T, name string) {
	t.Helper()
	i.sql(t, "UPDATE subscription.webhook SET status = 'disabled', status_reason = 'gone' WHERE id = $1", path.Base(name))
}

// told returns the data of the events of a trigger that were published about acme, oldest first.
func (i *installation) told(t *testing.T, trigger string) []map[string]any {
	t.Helper()
	require.Eventually(t, func() bool {
		var waiting int
		err := i.pool.QueryRow(t.Context(), "SELECT count(*) FROM subscription.outbox WHERE organization = 'acme'").Scan(&waiting)
		return err == nil && waiting == 0
	}, patience, poll, "not all are published")
	var all []map[string]any
	for _, event := range i.published(t, 0) {
		if event.Type == trigger {
			all = append(all, event.Data)
		}
	}
	return all
}

func (i *tenant) pause(t *testing.T, name string) *subscriptionv1.Webhook {
	t.Helper()
	w, err := i.admin.webhooks.PauseWebhook(t.Context(), &subscriptionv1.PauseWebhookRequest{Name: name})
	require.NoError(t, err)
	return w
}

func TestWebhookIsPausedAndResumed(t *testing.T) {
	t.Parallel()
	i := setupTenant(t)
	created := i.admin.webhook(t, "acme", booking())
	paused := i.pause(t, created.GetName())
	require.Equal(t, subscriptionv1.Webhook_STATUS_PAUSED, paused.GetStatus())
	require.True(t, paused.GetStatusTime().AsTime().After(created.GetStatusTime().AsTime()))
	require.Equal(t, paused.GetUpdateTime().AsTime(), paused.GetStatusTime().AsTime())
	require.True(t, proto.Equal(paused, i.get(t, created.GetName())))
	before := i.revision(t)
	require.True(t, proto.Equal(paused, i.pause(t, created.GetName())))
	require.Equal(t, before, i.revision(t), "it is paused already")

	resume := &subscriptionv1.ResumeWebhookRequest{Name: created.GetName()}
	answer, err := i.admin.webhooks.ResumeWebhook(t.Context(), resume)
	require.NoError(t, err)
	require.Equal(t, subscriptionv1.Webhook_STATUS_ACTIVE, answer.GetWebhook().GetStatus())
	require.EqualValues(t, 2, answer.GetWebhook().GetGeneration(), "what failed before the pause counts no more")
	require.Nil(t, answer.GetOperation())
	resume.SendMissed = true
	answer, err = i.admin.webhooks.ResumeWebhook(t.Context(), resume)
	require.NoError(t, err)
	require.Nil(t, answer.GetOperation(), "it was not paused")

	paused = i.pause(t, created.GetName())
	answer, err = i.admin.webhooks.ResumeWebhook(t.Context(), resume)
	require.NoError(t, err)
	require.Equal(t, "resume_webhook", answer.GetOperation().GetType())
	require.Equal(t, created.GetName(), answer.GetOperation().GetTarget())
	var start, end time.Time
	var revision int64
	err = i.pool.QueryRow(t.Context(), `
		SELECT (parameters ->> 'start_time')::timestamptz, (parameters ->> 'end_time')::timestamptz, (parameters ->> 'revision')::bigint
		FROM subscription.operation WHERE id = $1`, path.Base(answer.GetOperation().GetName())).Scan(&start, &end, &revision)
	require.NoError(t, err)
	require.Equal(t, paused.GetStatusTime().AsTime().Add(-5*time.Second), start.UTC(), "a moment before")
	require.Equal(t, answer.GetWebhook().GetStatusTime().AsTime().Add(5*time.Second), end.UTC(), "a moment after")
	require.Equal(t, i.revision(t), revision)

	i.disable(t, created.GetName())
	_, err = i.admin.webhooks.PauseWebhook(t.Context(), &subscriptionv1.PauseWebhookRequest{Name: created.GetName()})
	requireCode(t, err, codes.FailedPrecondition)
	_, err = i.admin.webhooks.ResumeWebhook(t.Context(), resume)
	requireCode(t, err, codes.FailedPrecondition)
}

func TestDisabledWebhookIsEnabled(t *testing.T) {
	t.Parallel()
	i := setupTenant(t)
	name := i.admin.webhook(t, "acme", booking()).GetName()
	enable := &subscriptionv1.EnableWebhookRequest{Name: name}
	active, err := i.admin.webhooks.EnableWebhook(t.Context(), enable)
	require.NoError(t, err)
	require.EqualValues(t, 1, active.GetGeneration(), "it is active")
	i.disable(t, name)
	disabled := i.get(t, name)
	require.Equal(t, subscriptionv1.Webhook_STATUS_DISABLED, disabled.GetStatus())
	require.Equal(t, "gone", disabled.GetStatusReason())
	_, err = i.admin.webhooks.UpdateWebhook(t.Context(), &subscriptionv1.UpdateWebhookRequest{
		Webhook: &subscriptionv1.Webhook{Name: name, Status: subscriptionv1.Webhook_STATUS_ACTIVE},
	})
	requireCode(t, err, codes.FailedPrecondition)
	disabled.DisplayName = "sent back as it was read"
	require.Equal(t, subscriptionv1.Webhook_STATUS_DISABLED, i.update(t, disabled, "*").GetStatus())

	enabled, err := i.admin.webhooks.EnableWebhook(t.Context(), enable)
	require.NoError(t, err)
	require.Equal(t, subscriptionv1.Webhook_STATUS_ACTIVE, enabled.GetStatus())
	require.Empty(t, enabled.GetStatusReason())
	require.EqualValues(t, 2, enabled.GetGeneration())
	told := i.told(t, "webhook.enabled")
	require.Len(t, told, 1)
	require.InDelta(t, 2, told[0]["generation"], 0)
	require.Equal(t, map[string]any{"name": name, "id": path.Base(name), "display_name": "sent back as it was read"}, told[0]["webhook"])

	i.pause(t, name)
	_, err = i.admin.webhooks.EnableWebhook(t.Context(), enable)
	requireCode(t, err, codes.FailedPrecondition)
}

func TestSecretIsRotated(t *testing.T) {
	t.Parallel()
	i := setupTenant(t)
	created := i.admin.webhook(t, "acme", booking())
	rotate := func(req *subscriptionv1.RotateWebhookSecretRequest) *subscriptionv1.Webhook {
		req.Name = created.GetName()
		w, err := i.admin.webhooks.RotateWebhookSecret(t.Context(), req)
		require.NoError(t, err)
		return w
	}
	first := rotate(&subscriptionv1.RotateWebhookSecretRequest{})
	require.NotEmpty(t, first.GetSecret())
	require.NotEqual(t, created.GetSecret(), first.GetSecret())
	require.Len(t, first.GetSecretVersions(), 2)
	require.Nil(t, first.GetSecretVersions()[0].GetExpireTime())
	require.Equal(t, first.GetUpdateTime().AsTime().Add(24*time.Hour), first.GetSecretVersions()[1].GetExpireTime().AsTime())
	const chosen = "whsec_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"
	second := rotate(&subscriptionv1.RotateWebhookSecretRequest{Secret: chosen, GracePeriod: durationpb.New(time.Hour)})
	require.Equal(t, chosen, second.GetSecret())
	for _, old := range second.GetSecretVersions()[1:] {
		require.Equal(t, second.GetUpdateTime().AsTime().Add(time.Hour), old.GetExpireTime().AsTime())
	}
	reveal := &subscriptionv1.RevealWebhookSecretRequest{Name: created.GetName()}
	before := i.revision(t)
	revealed, err := i.admin.webhooks.RevealWebhookSecret(t.Context(), reveal)
	require.NoError(t, err)
	require.Equal(t, []string{chosen, first.GetSecret(), created.GetSecret()}, revealed.GetSecrets())
	require.Equal(t, before, i.revision(t))
	entries := i.admin.entries(t, "acme", `resource = "`+created.GetName()+`"`)
	require.Equal(t, []string{"reveal webhooks", "rotate webhooks", "rotate webhooks", "create webhooks"}, actions(entries))
	_, err = i.viewer.webhooks.RevealWebhookSecret(t.Context(), reveal)
	requireCode(t, err, codes.PermissionDenied)

	// What has expired is shown to nobody, and gone with the next change.
	i.sql(t, `UPDATE subscription.webhook SET secrets = jsonb_set(secrets, '{2,expire_time}', '"2026-01-01T00:00:00Z"') WHERE id = $1`, path.Base(created.GetName()))
	revealed, err = i.admin.webhooks.RevealWebhookSecret(t.Context(), reveal)
	require.NoError(t, err)
	require.Equal(t, []string{chosen, first.GetSecret()}, revealed.GetSecrets())
	require.Len(t, i.get(t, created.GetName()).GetSecretVersions(), 2)
	require.Len(t, i.sealedSecrets(t, created.GetName()), 3)
	i.pause(t, created.GetName())
	require.Len(t, i.sealedSecrets(t, created.GetName()), 2)

	activate := &subscriptionv1.ActivateWebhookSecretRequest{Name: created.GetName()}
	active, err := i.admin.webhooks.ActivateWebhookSecret(t.Context(), activate)
	require.NoError(t, err)
	require.Len(t, active.GetSecretVersions(), 1)
	require.Empty(t, active.GetSecret())
	before = i.revision(t)
	_, err = i.admin.webhooks.ActivateWebhookSecret(t.Context(), activate)
	require.NoError(t, err)
	require.Equal(t, before, i.revision(t))
	for range 12 {
		active = rotate(&subscriptionv1.RotateWebhookSecretRequest{GracePeriod: durationpb.New(7 * 24 * time.Hour)})
	}
	require.Len(t, active.GetSecretVersions(), 10)
	require.Len(t, rotate(&subscriptionv1.RotateWebhookSecretRequest{GracePeriod: durationpb.New(0)}).GetSecretVersions(), 1)
	told := i.told(t, "secret.rotated")
	require.Len(t, told, 15)
	require.InDelta(t, 24*60*60, told[0]["grace_period_seconds"], 0)
	require.InDelta(t, 0, told[14]["grace_period_seconds"], 0)

	_, err = i.admin.webhooks.RotateWebhookSecret(t.Context(), &subscriptionv1.RotateWebhookSecretRequest{
		Name: created.GetName(), GracePeriod: durationpb.New(7*24*time.Hour + 1),
	})
	requireField(t, err, "grace_period", "")
	_, err = i.admin.webhooks.RotateWebhookSecret(t.Context(), &subscriptionv1.RotateWebhookSecretRequest{Name: created.GetName(), Secret: "hunter2-hunter2"})
	requireField(t, err, "secret", "whsec_")
	require.NotContains(t, err.Error(), "hunter2")
}

func TestWebhookWithoutASecretOfItsOwn(t *testing.T) {
	t.Parallel()
	i := setupTenant(t)
	unsigned := booking()
	unsigned.Dialect, unsigned.SecretSource = "harmonizely", subscriptionv1.Webhook_SECRET_SOURCE_NONE
	w := i.admin.webhook(t, "acme", unsigned)
	require.Empty(t, w.GetSecret())
	require.Empty(t, w.GetSecretVersions())
	_, err := i.admin.webhooks.RotateWebhookSecret(t.Context(), &subscriptionv1.RotateWebhookSecretRequest{Name: w.GetName()})
	requireCode(t, err, codes.FailedPrecondition)
	_, err = i.admin.webhooks.ActivateWebhookSecret(t.Context(), &subscriptionv1.ActivateWebhookSecretRequest{Name: w.GetName()})
	requireCode(t, err, codes.FailedPrecondition)
	_, err = i.admin.webhooks.RevealWebhookSecret(t.Context(), &subscriptionv1.RevealWebhookSecretRequest{Name: w.GetName()})
	requireCode(t, err, codes.FailedPrecondition)

	shared := booking()
	shared.Dialect = "avoma"
	create := &subscriptionv1.CreateWebhookRequest{Parent: "organizations/acme", Webhook: shared}
	_, err = i.admin.webhooks.CreateWebhook(t.Context(), create)
	require.Contains(t, requireCode(t, err, codes.FailedPrecondition).Message(), "signing secret")
	i.organizationSecret(t, "whsec_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA")
	w = i.admin.webhook(t, "acme", shared)
	require.Equal(t, subscriptionv1.Webhook_SECRET_SOURCE_ORGANIZATION, w.GetSecretSource())
	require.Empty(t, w.GetSecret())
	own := i.update(t, &subscriptionv1.Webhook{Name: w.GetName(), SecretSource: subscriptionv1.Webhook_SECRET_SOURCE_OWN})
	require.Len(t, own.GetSecretVersions(), 1, "one was made for it")
}

func TestRepeatedRequestMakesOneWebhook(t *testing.T) {
	t.Parallel()
	i := setupTenant(t)
	req := &subscriptionv1.CreateWebhookRequest{Parent: "organizations/acme", Webhook: full(), RequestId: uuid.NewString()}
	first, err := i.admin.webhooks.CreateWebhook(t.Context(), req)
	require.NoError(t, err)
	before := i.revision(t)
	second, err := i.admin.webhooks.CreateWebhook(t.Context(), req)
	require.NoError(t, err)
	require.True(t, proto.Equal(first, second), "also with its secret")
	require.Equal(t, before, i.revision(t))
	req.Webhook.Secret, req.Webhook.Headers[0].Value = "another secret", "another value"
	third, err := i.admin.webhooks.CreateWebhook(t.Context(), req)
	require.NoError(t, err, "what a request is recognized by tells nothing of its secrets")
	require.True(t, proto.Equal(first, third))
	req.Webhook.DisplayName = "another"
	_, err = i.admin.webhooks.CreateWebhook(t.Context(), req)
	requireField(t, err, "request_id", "different request")
	req.RequestId = "x"
	_, err = i.admin.webhooks.CreateWebhook(t.Context(), req)
	requireField(t, err, "request_id", "")
}

func TestValidateOnlyChangesNothing(t *testing.T) {
	t.Parallel()
	i := setupTenant(t)
	existing := i.admin.webhook(t, "acme", booking())
	before := i.revision(t)
	req := &subscriptionv1.CreateWebhookRequest{Parent: "organizations/acme", Webhook: full(), RequestId: uuid.NewString(), ValidateOnly: true}
	would, err := i.admin.webhooks.CreateWebhook(t.Context(), req)
	require.NoError(t, err)
	requireSame(t, full(), would)
	require.Empty(t, would.GetSecret())
	req.ValidateOnly = false
	_, err = i.admin.webhooks.CreateWebhook(t.Context(), req)
	require.NoError(t, err, "the request id is unused")
	require.Equal(t, before+1, i.revision(t))

	would, err = i.admin.webhooks.UpdateWebhook(t.Context(), &subscriptionv1.UpdateWebhookRequest{
		Webhook: &subscriptionv1.Webhook{Name: existing.GetName(), DisplayName: "new"}, ValidateOnly: true,
	})
	require.NoError(t, err)
	require.Equal(t, "new", would.GetDisplayName())
	require.Equal(t, "Booking sync", i.get(t, existing.GetName()).GetDisplayName())
	_, err = i.admin.webhooks.UpdateWebhook(t.Context(), &subscriptionv1.UpdateWebhookRequest{
		Webhook: &subscriptionv1.Webhook{Name: existing.GetName(), DisplayName: " "}, ValidateOnly: true,
	})
	requireField(t, err, "webhook.display_name", "")
	require.Equal(t, before+1, i.revision(t))
}

func TestDeletionIsTold(t *testing.T) {
	t.Parallel()
	i := setupTenant(t)
	w := i.admin.webhook(t, "acme", full())
	_, err := i.admin.webhooks.DeleteWebhook(t.Context(), &subscriptionv1.DeleteWebhookRequest{Name: w.GetName()})
	require.NoError(t, err)
	told := i.told(t, "webhook.deleted")
	require.Len(t, told, 1)
	require.Equal(t, map[string]any{"name": w.GetName(), "id": path.Base(w.GetName()), "display_name": "full"}, told[0]["webhook"])
	entry := i.admin.entries(t, "acme", `action = delete`)[0]
	require.Nil(t, entry.GetAfter())
	was := entry.GetBefore().AsMap()
	require.Equal(t, "https://example.com/full", was["targetUrl"])
	require.Equal(t, "REDACTED", was["headers"].([]any)[0].(map[string]any)["value"])
}
