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

// full is a webhook that sets everything but the team, and the secret, which no answer has.
func full() *subscriptionv1.Webhook {
	return &subscriptionv1.Webhook{
		DisplayName: "full", TargetUrl: "https://example.com/full", Triggers: []string{"meeting.booked", "meeting.canceled"},
		Status: subscriptionv1.Webhook_STATUS_PAUSED, Timeout: durationpb.New(3 * time.Second),
		RetryPolicy: &subscriptionv1.RetryPolicy{
			MaxRetries: 5, FirstDelay: durationpb.New(time.Second), Factor: 3, MaxDelay: durationpb.New(time.Minute), Jitter: 0.1,
			GiveUpAge: durationpb.New(time.Hour),
		},
		Description: "One\nand two ✨", EventTypes: []string{"intro-call", "demo"}, Filter: "event.data.duration > 30",
		Dialect: "axcelerate", DialectOptions: &subscriptionv1.DialectOptions{SignatureEncoding: "base64", ClientId: 17},
		SecretSource:     subscriptionv1.Webhook_SECRET_SOURCE_OWN,
		Headers:          []*subscriptionv1.Header{{Name: "X-Tenant", Value: "acme-1"}, {Name: "Authorization", Value: "Bearer t0ken"}},
		FailureThreshold: &subscriptionv1.FailureThreshold{ConsecutiveFailures: 12, WithoutSuccess: durationpb.New(time.Hour)},
		MaxConcurrency:   3, RateLimit: 0.5, AlertEmails: []string{"ops@example.com"}, Metadata: map[string]string{"env": "test", "a-b": "c"},
	}
}

// withDefaults is a webhook as it is shown that says no more than it must.
func withDefaults(w *subscriptionv1.Webhook) *subscriptionv1.Webhook {
	w.Status, w.Timeout, w.Dialect, w.MaxConcurrency = subscriptionv1.Webhook_STATUS_ACTIVE, durationpb.New(15*time.Second), "standard", 8
	w.SecretSource = subscriptionv1.Webhook_SECRET_SOURCE_OWN
	w.RetryPolicy = &subscriptionv1.RetryPolicy{Preset: subscriptionv1.RetryPolicy_PRESET_STANDARD}
	w.FailureThreshold = &subscriptionv1.FailureThreshold{WithoutSuccess: durationpb.New(5 * 24 * time.Hour)}
	return w
}

// requireSame asserts that two webhooks differ in nothing that callers set and answers show.
func requireSame(t *testing.T, want, got *subscriptionv1.Webhook) {
	t.Helper()
	want, got = proto.CloneOf(want), proto.CloneOf(got)
	for _, w := range []*subscriptionv1.Webhook{want, got} {
		w.Name, w.Secret, w.Etag, w.CreateTime, w.UpdateTime, w.StatusTime, w.Generation, w.SecretVersions = "", "", "", nil, nil, nil, 0, nil
		for _, h := range w.GetHeaders() {
			h.Value = ""
		}
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
	other.RetryPolicy, want.RetryPolicy = nil, &subscriptionv1.RetryPolicy{Preset: subscriptionv1.RetryPolicy_PRESET_EXPONENTIAL}
	requireSame(t, want, i.update(t, other, "retry_policy"))
}

func TestUpdateOfAPreset(t *testing.T) {
	t.Parallel()
	i := setupTenant(t)
	name := i.admin.webhook(t, "acme", full()).GetName()
	want := full()
	set := func(p *subscriptionv1.RetryPolicy, paths ...string) {
		t.Helper()
		requireSame(t, want, i.update(t, &subscriptionv1.Webhook{Name: name, RetryPolicy: p}, paths...))
	}
	want.RetryPolicy = &subscriptionv1.RetryPolicy{Preset: subscriptionv1.RetryPolicy_PRESET_STANDARD, GiveUpAge: durationpb.New(time.Hour)}
	set(&subscriptionv1.RetryPolicy{Preset: subscriptionv1.RetryPolicy_PRESET_STANDARD, MaxRetries: 7}, "retry_policy.preset")
	want.RetryPolicy.GiveUpAge = durationpb.New(2 * time.Hour)
	set(&subscriptionv1.RetryPolicy{GiveUpAge: durationpb.New(2 * time.Hour)}, "retry_policy.give_up_age")
	want.RetryPolicy = &subscriptionv1.RetryPolicy{
		MaxRetries: 7, FirstDelay: durationpb.New(time.Second), Factor: 2, MaxDelay: durationpb.New(24 * time.Hour), GiveUpAge: durationpb.New(2 * time.Hour),
	}
	set(&subscriptionv1.RetryPolicy{MaxRetries: 7}, "retry_policy.max_retries")
	want.RetryPolicy = &subscriptionv1.RetryPolicy{Preset: subscriptionv1.RetryPolicy_PRESET_NONE}
	set(&subscriptionv1.RetryPolicy{Preset: subscriptionv1.RetryPolicy_PRESET_NONE}, "retry_policy.preset", "retry_policy.max_retries",
		"retry_policy.first_delay", "retry_policy.factor", "retry_policy.max_delay", "retry_policy.jitter", "retry_policy.give_up_age")
	_, err := i.admin.webhooks.UpdateWebhook(t.Context(), &subscriptionv1.UpdateWebhookRequest{
		Webhook: &subscriptionv1.Webhook{
			Name: name, RetryPolicy: &subscriptionv1.RetryPolicy{Preset: subscriptionv1.RetryPolicy_PRESET_NONE, MaxRetries: 3},
		},
		UpdateMask: &fieldmaskpb.FieldMask{Paths: []string{"retry_policy.preset", "retry_policy.max_retries"}},
	})
	requireField(t, err, "webhook.retry_policy.preset", "give_up_age")
}

func TestUpdateOfPartsOfTheOthers(t *testing.T) {
	t.Parallel()
	i := setupTenant(t)
	name := i.admin.webhook(t, "acme", full()).GetName()
	want := full()
	other := &subscriptionv1.Webhook{
		Name: name, FailureThreshold: &subscriptionv1.FailureThreshold{ConsecutiveFailures: 4, Off: true},
		DialectOptions: &subscriptionv1.DialectOptions{SignatureEncoding: "hex", ClientId: 3},
	}
	want.FailureThreshold.ConsecutiveFailures = 4
	requireSame(t, want, i.update(t, other, "failure_threshold.consecutive_failures"))
	want.FailureThreshold.WithoutSuccess = nil
	requireSame(t, want, i.update(t, other, "failureThreshold.withoutSuccess"))
	want.DialectOptions.ClientId = 3
	requireSame(t, want, i.update(t, other, "dialect_options.client_id"))
	want.DialectOptions.SignatureEncoding = "hex"
	requireSame(t, want, i.update(t, other, "dialect_options.signature_encoding"))
	other.FailureThreshold.ConsecutiveFailures = 0
	want.FailureThreshold = &subscriptionv1.FailureThreshold{Off: true}
	requireSame(t, want, i.update(t, other, "failure_threshold.off", "failure_threshold.consecutive_failures"))
	other.FailureThreshold = nil
	requireSame(t, want, i.update(t, other, "failure_threshold")) // that is what the dialect has
	other.DialectOptions, want.DialectOptions = nil, nil
	requireSame(t, want, i.update(t, other, "dialect_options"))

	want.EventTypes, want.AlertEmails, want.Metadata, want.Headers, want.Filter, want.Description, want.RateLimit = nil, nil, nil, nil, "", "", 0
	requireSame(t, want, i.update(t, other, "event_types", "alert_emails", "metadata", "headers", "filter", "description", "rate_limit"))
}

func TestUpdateOfEverything(t *testing.T) {
	t.Parallel()
	i := setupTenant(t)
	given := full()
	given.Secret = "whsec_" + base64.StdEncoding.EncodeToString([]byte(strings.Repeat("g", 32))) // good for every dialect
	created := i.admin.webhook(t, "acme", given)
	sealed := i.sealedSecret(t, created.GetName())
	want := booking()
	want.Name = created.GetName()
	after := i.update(t, want, "*")
	requireSame(t, withDefaults(want), after)
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
