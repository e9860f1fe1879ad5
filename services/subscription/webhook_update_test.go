package subscription_test

import (
	"encoding/base64"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/fieldmaskpb"

	subscriptionv1 "github.com/meetwire/meetwire/proto/gen/meetwire/subscription/v1"
)

// update changes a webhook by a mask, and returns it.
func (i *tenant) update(t *testing.T, w *subscriptionv1.Webhook, paths ...string) *subscriptionv1.Webhook {
	t.Helper()
	req := &subscriptionv1.UpdateWebhookRequest{Webhook: w}
	if paths != nil {
		req.UpdateMask = &fieldmaskpb.FieldMask{Paths: paths}
	}
	updated, err := i.admin.webhooks.UpdateWebhook(t.Context(), req)
	require.NoError(t, err)
	require.Empty(t, updated.GetSecret())
	require.True(t, proto.Equal(updated, i.get(t, w.GetName())), "the answer is what is stored")
	return updated
}

// full is a webhook that sets everything.
func full() *subscriptionv1.Webhook {
	return &subscriptionv1.Webhook{
		DisplayName: "full", TargetUrl: "https://example.com/full", Triggers: []string{"meeting.booked", "meeting.canceled"},
		Status: subscriptionv1.Webhook_STATUS_PAUSED, Timeout: durationpb.New(3 * time.Second),
		RetryPolicy: &subscriptionv1.RetryPolicy{
			MaxRetries: 5, FirstDelay: durationpb.New(time.Second), Factor: 3, MaxDelay: durationpb.New(time.Minute), Jitter: 0.1,
		},
	}
}

// requireSame asserts that two webhooks differ in nothing that callers set.
func requireSame(t *testing.T, want, got *subscriptionv1.Webhook) {
	t.Helper()
	want, got = proto.CloneOf(want), proto.CloneOf(got)
	for _, w := range []*subscriptionv1.Webhook{want, got} {
		w.Name, w.Secret, w.Etag, w.CreateTime, w.UpdateTime = "", "", "", nil, nil
	}
	require.True(t, proto.Equal(want, got), "want %v\ngot  %v", want, got)
}

func TestUpdateWithoutMaskChangesWhatIsSet(t *testing.T) {
	t.Parallel()
	i := setupTenant(t)
	before := i.admin.webhook(t, "acme", full())
	after := i.update(t, &subscriptionv1.Webhook{Name: before.GetName(), TargetUrl: "https://example.com/new"})
	want := full()
	want.TargetUrl = "https://example.com/new"
	requireSame(t, want, after)
	require.NotEqual(t, before.GetEtag(), after.GetEtag())
	require.Equal(t, before.GetCreateTime().AsTime(), after.GetCreateTime().AsTime())
	require.True(t, after.GetUpdateTime().AsTime().After(before.GetUpdateTime().AsTime()))

	after = i.update(t, &subscriptionv1.Webhook{
		Name: before.GetName(), Status: subscriptionv1.Webhook_STATUS_ACTIVE, RetryPolicy: &subscriptionv1.RetryPolicy{MaxRetries: 9},
	}, []string{}...)
	want.Status = subscriptionv1.Webhook_STATUS_ACTIVE
	want.RetryPolicy = &subscriptionv1.RetryPolicy{
		MaxRetries: 9, FirstDelay: durationpb.New(time.Second), Factor: 2, MaxDelay: durationpb.New(24 * time.Hour),
	}
	requireSame(t, want, after)
}

func TestUpdateWithMaskChangesWhatItNames(t *testing.T) {
	t.Parallel()
	i := setupTenant(t)
	name := i.admin.webhook(t, "acme", full()).GetName()
	other := &subscriptionv1.Webhook{
		Name: name, DisplayName: "other", TargetUrl: "https://example.com/other", Triggers: []string{"meeting.canceled"},
	}
	want := full()

	want.DisplayName = "other"
	requireSame(t, want, i.update(t, other, "display_name"))
	want.Triggers = []string{"meeting.canceled"}
	requireSame(t, want, i.update(t, other, "triggers", "name", "etag", "create_time", "update_time"))
	want.Status = subscriptionv1.Webhook_STATUS_ACTIVE // unset stands for the default
	requireSame(t, want, i.update(t, other, "status"))
	want.Timeout = durationpb.New(15 * time.Second)
	requireSame(t, want, i.update(t, other, "timeout"))

	other.RetryPolicy = &subscriptionv1.RetryPolicy{MaxRetries: 8, FirstDelay: durationpb.New(2 * time.Second)}
	want.RetryPolicy.MaxRetries = 8
	requireSame(t, want, i.update(t, other, "retry_policy.max_retries"))
	want.RetryPolicy.FirstDelay, want.RetryPolicy.Factor = durationpb.New(2*time.Second), 2
	requireSame(t, want, i.update(t, other, "retry_policy.first_delay", "retry_policy.factor"))
	want.RetryPolicy.MaxDelay, want.RetryPolicy.Jitter = durationpb.New(24*time.Hour), 0
	requireSame(t, want, i.update(t, other, "retry_policy.max_delay", "retry_policy.jitter"))
	want.RetryPolicy.MaxRetries, want.TargetUrl = 4, "https://example.com/other"
	other.RetryPolicy.MaxRetries = 4
	requireSame(t, want, i.update(t, other, "retryPolicy.maxRetries", "targetUrl")) // as REST may write it
	other.RetryPolicy, want.RetryPolicy = nil, nil
	requireSame(t, want, i.update(t, other, "retry_policy"))
}

func TestUpdateOfEverything(t *testing.T) {
	t.Parallel()
	i := setupTenant(t)
	created := i.admin.webhook(t, "acme", full())
	sealed := i.sealedSecret(t, created.GetName())
	want := booking()
	want.Name = created.GetName()
	after := i.update(t, want, "*")
	want.Status, want.Timeout = subscriptionv1.Webhook_STATUS_ACTIVE, durationpb.New(15*time.Second)
	requireSame(t, want, after)
	require.Equal(t, sealed, i.sealedSecret(t, created.GetName()), "one who never saw the secret does not lose it")

	want.Secret = "whsec_" + base64.StdEncoding.EncodeToString([]byte(strings.Repeat("n", 32)))
	i.update(t, want, "*")
	require.NotEqual(t, sealed, i.sealedSecret(t, created.GetName()))

	_, err := i.admin.webhooks.UpdateWebhook(t.Context(), &subscriptionv1.UpdateWebhookRequest{
		Webhook: &subscriptionv1.Webhook{Name: created.GetName()}, UpdateMask: &fieldmaskpb.FieldMask{Paths: []string{"*"}},
	})
	requireField(t, err, "webhook.display_name", "")
	requireField(t, err, "webhook.triggers", "")
}

func TestUpdateRefusesUnknownPaths(t *testing.T) {
	t.Parallel()
	i := setupTenant(t)
	w := i.admin.webhook(t, "acme", booking())
	for _, paths := range [][]string{
		{"DisplayName"}, {"display_name", "nonsense"}, {"*", "display_name"}, {"webhook.display_name"}, {"triggers.0"},
		{"retry_policy.nonsense"}, {""}, {"timeout.seconds"}, {"\x00"}, {strings.Repeat("x", 100_000)},
	} {
		_, err := i.admin.webhooks.UpdateWebhook(t.Context(), &subscriptionv1.UpdateWebhookRequest{
			Webhook: w, UpdateMask: &fieldmaskpb.FieldMask{Paths: paths},
		})
		requireField(t, err, "update_mask", "display_name, target_url")
	}
	for path, at := range map[string]string{"display_name": "webhook.display_name", "target_url": "webhook.target_url", "triggers": "webhook.triggers", "secret": "webhook.secret"} {
		_, err := i.admin.webhooks.UpdateWebhook(t.Context(), &subscriptionv1.UpdateWebhookRequest{
			Webhook: &subscriptionv1.Webhook{Name: w.GetName()}, UpdateMask: &fieldmaskpb.FieldMask{Paths: []string{path}},
		})
		requireField(t, err, at, "")
	}
	for _, name := range []string{"", "organizations/acme", "organizations/acme/webhooks/x"} {
		_, err := i.admin.webhooks.UpdateWebhook(t.Context(), &subscriptionv1.UpdateWebhookRequest{
			Webhook: &subscriptionv1.Webhook{Name: name, DisplayName: "x"},
		})
		require.Error(t, err)
	}
}

func TestUpdateThatChangesNothingIsNone(t *testing.T) {
	t.Parallel()
	i := setupTenant(t)
	created := i.admin.webhook(t, "acme", full())
	before := i.revision(t)
	created.Secret = ""
	for _, paths := range [][]string{nil, {"*"}, {"display_name"}, {"etag"}} {
		require.True(t, proto.Equal(created, i.update(t, created, paths...)))
	}
	require.Equal(t, before, i.revision(t))
}
